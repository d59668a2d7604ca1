"""Errors in data, configs and certificates."""

from tests.planted.mutant import Mutant

MUTANTS = [
    Mutant(
        "certificates that accept any size",
        "evaluation/certify.py",
        "if not fine <= bound:",
        "if not fine <= 1e9:",
        "../test_certify.py -k exact_law",
    ),
    Mutant(
        "certificates that do not look at the order",
        "evaluation/certify.py",
        "(row.declared - 0.4) + 1e-7",
        "(row.declared - 9.4) + 1e-7",
        "../test_certify.py -k exact_law",
    ),
    Mutant(
        "arrays forget the ends of their range",
        "training/data/arrays.py",
        "Images(256 if levels is None else levels, low, high)",
        "Images(256 if levels is None else levels)",
        "../test_presets.py -m 'not slow' -k without_a_file",
    ),
    Mutant(
        "arrays of another shape are taken",
        "training/data/arrays.py",
        "if shape is not None and",
        "if shape is None and",
        "../test_presets.py -m 'not slow' -k mistake",
    ),
    Mutant(
        "NCSNv2's moves on CIFAR-10 of NCSN's length",
        "configs/presets/ncsn.py",
        "epsilon=6.2e-6",
        "epsilon=2e-5",
        "../test_presets.py -m 'not slow' -k technique_4",
    ),
    Mutant(
        "a preset that cannot be built here",
        "configs/presets/vp.py",
        "label='time'",
        "label='index'",
        "../test_presets.py -m 'not slow' -k 'works_on and vp_cifar10_ddpmpp'",
    ),
    Mutant(
        "levels of dark bytes",
        "training/data/arrays.py",
        "whole // 2 <= largest < whole",
        "whole // 8 <= largest < whole",
        "../test_data.py -k meaning",
    ),
    Mutant(
        "channels last taken for first",
        "training/data/arrays.py",
        "data.movedim(-1, 1) if",
        "data.movedim(1, 1) if",
        "../test_data.py -k channels",
    ),
    Mutant(
        "the last tenth is not held out",
        "training/data/folder.py",
        "np.arange(len(data)) % 10 == 9",
        "np.arange(len(data)) % 10 == 8",
        "../test_data.py -k folder",
    ),
    Mutant(
        "transparent is black",
        "training/data/folder.py",
        'over.size, "white"',
        'over.size, "black"',
        "../test_data.py -k sizes",
    ),
    Mutant(
        "changed pictures come from the cache",
        "training/data/folder.py",
        "file.stat().st_size, file.stat().st_mtime_ns)",
        "0, 0)",
        "../test_data.py -k folder",
    ),
    Mutant(
        "pickles of CIFAR-10 may run code",
        "training/data/cifar.py",
        "if (module, name) not in SAFE",
        "if False",
        "../test_data.py -k cifar",
    ),
    Mutant(
        "test pictures with the classes of others",
        "training/data/folder.py",
        "self.train_y[~held_out], self.train_y[held_out]",
        "self.train_y[~held_out], self.train_y[~held_out]",
        "../test_classes.py -k folders_are",
    ),
    Mutant(
        "an AUROC bounded by a rule of one",
        "evaluation/auroc.py",
        "0.05 ** (1 / self.pairs)",
        "1 - 1 / self.pairs",
        "../test_examples.py -k do_not_overlap",
    ),
]

"""Errors in networks and checkpoints."""

from tests.planted.mutant import Mutant

MUTANTS = [
    Mutant(
        "doubled map cropped nowhere",
        "models/layers/resampling.py",
        "padding=crop, groups=C",
        "padding=0, groups=C",
        "test_layers.py -k adjoint",
    ),
    Mutant(
        "sums of branches not scaled",
        "models/layers/style.py",
        "both if factor == 1 else both.mul_(factor)",
        "both if factor else both.mul_(factor)",
        "test_layers.py -k sum_of_branches",
    ),
    Mutant(
        "dropout drawn anew where blocks are computed again",
        "models/speed.py",
        "*inputs, use_reentrant=False,",
        "*inputs, use_reentrant=False, preserve_rng_state=False,",
        "../test_speed.py -k dropout",
    ),
    Mutant(
        "blocks computed again in evaluation too",
        "models/speed.py",
        "if module.training and torch",
        "if torch",
        "../test_speed.py -k nothing_is_trained",
    ),
    Mutant(
        "sigma rounded to bfloat16",
        "models/ncsnpp.py",
        "sigma.to(torch.promote_types(out.dtype, torch.float32))",
        "sigma.to(out.dtype)",
        "../test_speed.py -k sigma",
    ),
    Mutant(
        "flipped bits in tensors unseen",
        "models/files.py",
        "if written.get(name) != found:",
        "if False:",
        "../test_kept.py -k flipped_bit",
    ),
    Mutant(
        "flipped bits in metadata unseen",
        "models/files.py",
        'if sums.get("", _sum_of_text(metadata)) != _sum_of_text(metadata):',
        "if False:",
        "../test_kept.py -k flipped_bit",
    ),
    Mutant(
        "checksum blind to dtype and shape",
        "models/files.py",
        'zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())',
        "0",
        "../test_kept.py -k flipped_bit",
    ),
    Mutant(
        "exported keys and values swapped",
        "models/exporting.py",
        'zip("qkv", value.chunk(3)',
        'zip("qvk", value.chunk(3)',
        "test_exporting.py -k comes_back",
    ),
    Mutant(
        "exported network not compared with what comes back",
        "models/exporting.py",
        "if key not in free and back.arguments[key] != told[key]]",
        "if key not in free and key not in back.arguments]",
        "test_exporting.py -k does_not_have",
    ),
    Mutant(
        "exported betas one level late",
        "models/exporting.py",
        "torch.tensor((0.0, *sde.log_alphas), dtype=torch.float64)",
        "torch.tensor((*sde.log_alphas, 2 * sde.log_alphas[-1]), dtype=torch.float64)",
        "test_exporting.py -k by_name",
    ),
    Mutant(
        "attention of a level that resamples in blocks taken for one with convolutions",
        "models/importers/diffusers.py",
        'c["downsample_type"] == "resnet" if kind.startswith("Attn") else',
        'False if kind.startswith("Attn") else',
        "test_exporting.py -k comes_back",
    ),
    Mutant(
        "damaged files are read",
        "models/importers/reading.py",
        "bad = archive.testzip()",
        "bad = None",
        "test_door.py -k flipped",
    ),
    Mutant(
        "a scheduler's end is forgotten",
        "models/importers/diffusers.py",
        "VPSDE(*ends, t_min=t_min)",
        "VPSDE(*ends)",
        "test_door.py -k where_a_scheduler_stops",
    ),
]

"""Errors in what is done with files from strangers."""

from tests.planted.mutant import Mutant

MUTANTS = [
    Mutant(
        "classes that a run's folder names are imported",
        "score_sde/config/component.py",
        "    _require_trusted(kind, path)\n",
        "",
        "../test_faults_trust.py -k 'shell or folder_names'",
    ),
    Mutant(
        "the folder's texts count as the user's",
        "score_sde/config/config.py",
        "    reading_a_folder()\n",
        "",
        "../test_faults_trust.py -k 'shell or folder_names'",
    ),
    Mutant(
        "a class is called before its kind is looked at",
        "score_sde/config/component.py",
        "not issubclass(factory, base)",
        "not issubclass(factory, object)",
        "../test_faults_trust.py -k another_kind",
    ),
    Mutant(
        "the trust of a command never ends",
        "score_sde/trust.py",
        "        _FOLDER.reset(folder)\n",
        "",
        "../test_faults_trust.py -k trust_ends",
    ),
    Mutant(
        "an array of CIFAR-10 says what its bytes are",
        "score_sde/data/cifar.py",
        'if name not in ("u1", b"u1")',
        "if False",
        "../test_faults_pickles.py -k what_no_batch_holds",
    ),
    Mutant(
        "an archive of CIFAR-10 says how large it is",
        "score_sde/data/cifar.py",
        "_require_size(self._path, LARGEST + 1 if size < 0 else size, LARGEST)",
        "None",
        "../test_faults_pickles.py -k claims_much",
    ),
    Mutant(
        "pictures that start another program",
        "score_sde/data/folder.py",
        "Image.open(stream, formats=_known())",
        "Image.open(stream)",
        "../test_faults_pictures.py",
    ),
    Mutant(
        "endings of pictures that start another program",
        "score_sde/data/folder.py",
        "items() if name in FORMATS}",
        "items()}",
        "../test_faults_pictures.py",
    ),
    Mutant(
        "pickles take their memory before they read",
        "score_sde/data/cifar.py",
        "    del dispatch[pickle.BYTEARRAY8[0]]",
        "    pass",
        "../test_faults_pickles.py -k what_no_batch_holds",
    ),
]

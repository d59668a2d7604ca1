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
        "networks of a claimed number of layers",
        "models/building.py",
        "if made[what] > most[what]:",
        "if False:",
        "../test_faults_sizes.py -k 'little_memory and depth and 30000'",
    ),
    Mutant(
        "networks of a claimed size are built before their shapes are compared",
        "models/building.py",
        "    load_weights(sketch, weights, assign=True)\n",
        "",
        "../test_faults_sizes.py -k 'little_memory and 20000'",
    ),
    Mutant(
        "a header's object is called before its kind is looked at",
        "models/checkpoint.py",
        "or not issubclass(cls, kind)",
        "or False",
        "../test_faults_sizes.py -k in_the_place_of",
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

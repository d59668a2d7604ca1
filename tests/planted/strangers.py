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
]

"""Errors in what is refused of networks, grids and tolerances."""

from tests.planted.mutant import Mutant

MUTANTS = [
    Mutant(
        "answers whose graph does not lead to x",
        "sde_lib/asking.py",
        "answer.requires_grad and _leads_to(answer, x)",
        "answer.requires_grad",
        "../test_faults_networks.py -k 'without_a_gradient and detached_input'",
    ),
    Mutant(
        "gradient looked for after x was added",
        "sde_lib/score.py",
        'check_gradient(output, x, "the network")',
        "pass",
        "../test_faults_networks.py -k 'without_a_gradient and under_no_grad'",
    ),
    Mutant(
        "inputs changed in place",
        "sde_lib/asking.py",
        "if x._version != before:",
        "if x._version < before:",
        "../test_faults_networks.py -k 'changes_its_input or report_of_91'",
    ),
    Mutant(
        "conditions changed in place",
        "sde_lib/asking.py",
        "tensors[key]._version != version",
        "tensors[key]._version < version",
        "../test_faults_networks.py -k changes_a_condition",
    ),
    Mutant(
        "a noise label that the network changes for all",
        "sde_lib/score.py",
        "told, copy=True",
        "told",
        "../test_faults_networks.py -k told_again",
    ),
]

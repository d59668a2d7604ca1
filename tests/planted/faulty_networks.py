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
    Mutant(
        "networks in training mode behind a function",
        "sde_lib/score.py",
        "if is_counting():",
        "if not is_counting():",
        "../test_faults_networks.py -k found_wherever",
    ),
    Mutant(
        "norms of the batch in training mode",
        "sde_lib/asking.py",
        "return layer.track_running_stats",
        "return False",
        "../test_faults_networks.py -k gives_the_same_twice",
    ),
    Mutant(
        "a network in training mode that a score function has",
        "sde_lib/reverse.py",
        "check_evaluation_mode(part)",
        "pass",
        "../test_faults_networks.py -k found_wherever",
    ),
    Mutant(
        "grids that rise",
        "samplers/grids.py",
        "elif bool((grid.diff() > 0).any()):",
        "elif bool((grid.diff() > 9).any()):",
        "../test_faults_grids.py -k refused_at_the_door",
    ),
    Mutant(
        "grids that begin beyond T",
        "samplers/grids.py",
        "grid[0] > sde.T * (1 + 1e-6)",
        "grid[0] > sde.T * 10",
        "../test_faults_grids.py -k refused_at_the_door",
    ),
    Mutant(
        "samples in the precision of the score",
        "samplers/sampler.py",
        "x, mean = x.to(dtype), mean.to(dtype)  # a score",
        "pass  # a score",
        "../test_faults_grids.py -k precision",
    ),
    Mutant(
        "data cast before their mean is subtracted",
        "sde_lib/data.py",
        "raw.to(torch.promote_types(raw.dtype, u.dtype)) - self.mean",
        "raw.to(u.dtype) - self.mean",
        "../test_faults_precision.py -k less_their_mean",
    ),
    Mutant(
        "samples far from 0 decoded in float32",
        "sde_lib/data.py",
        "(x.double() if coarse else x)",
        "x",
        "../test_faults_precision.py -k digits",
    ),
    Mutant(
        "real data scored after they were cast",
        "score_sde/evaluation/reals.py",
        "transform.dequantize(raw, torch.zeros(()))",
        "transform.encode(raw.float())",
        "../test_faults_precision.py -k far_from_zero_is",
    ),
]

"""The recipes of CONTRIBUTING, followed in a package outside of the tree: every law finds the new class and holds it.

Each recipe is the whole file that a user writes. The laws run in a process of their own, with the file as a plug-in
(tests/registry.py), and on the cases of the new class alone.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PREDICTOR = '''
"""Adams and Bashforth's method on the probability flow."""

from dataclasses import dataclass
from itertools import pairwise

from samplers import Predictor, Step
from sde_lib import LinearSDE
from tests.laws.scalars import eps_at, signal


@dataclass(frozen=True)
class AdamsBashforth(Predictor):
    """In y = x / alpha, v = sigma / alpha, dy/dv = eps: y_s = y + h [eps + (eps - eps_before) h / (2 h_before)], h = v_s - v_t.

    Reference: Zhang and Chen, 2022, arXiv 2204.13902, section 3.3 (iPNDM).

    >>> AdamsBashforth()
    AdamsBashforth()
    """

    order = 2
    requires = LinearSDE
    multistep = True

    def step(self, rsde, x, t, s, memory, noise):
        """One step; one network call. memory is the estimate of the call before and the v where it was made."""
        from_, to = rsde.sde.at(t), rsde.sde.at(s)
        v, h = from_.sigma / from_.alpha, to.sigma / to.alpha - from_.sigma / from_.alpha
        eps = slope = rsde.predict(x, t).eps
        if memory is not None:
            before, v_before = memory
            slope = eps + (0.5 * h / (v - v_before)) * (eps - before)
        x = (to.alpha / from_.alpha) * x + (to.alpha * h) * slope
        return Step(x, x, (eps, v))


def in_numbers(x, times, draws):
    """The paper's formula, in scalars."""
    y, before = x / signal(times[0])[0], None
    for (a, b), (c, d), t in ((signal(t), signal(s), t) for t, s in pairwise(times)):
        h, now = d / c - b / a, eps_at(a * y, t)
        y = y + h * (now if before is None else now + 0.5 * h / before[1] * (now - before[0]))
        before = now, h
    return signal(times[-1])[0] * y


PAPERS = {AdamsBashforth(): in_numbers}
SIZES = {AdamsBashforth(): -3.519e-4}  # of in_numbers at 400 steps
'''

CORRECTOR = '''
"""Hamiltonian moves."""

from dataclasses import dataclass

from samplers import Corrector, Step
from sde_lib import LinearSDE
from sde_lib.tensors import expand


@dataclass(frozen=True)
class Hamiltonian(Corrector):
    """A momentum is drawn, and leaps leapfrog steps of h = snr sigma_t are made at one time, without a Metropolis test.

    p <- z, then leaps times p <- p + h/2 score(x), x <- x + h p, p <- p + h/2 score(x). One leap is Langevin's move.

    Reference: Neal, 2011, arXiv 1206.1901, section 5.2.

    >>> Hamiltonian(snr=0.1)
    Hamiltonian(snr=0.1, leaps=5)
    """

    snr: float = 0.16
    leaps: int = 5
    requires = LinearSDE

    def bias(self, sde, t, std):
        """q / (1 - q), q = (h / 2 std)^2: a leapfrog step keeps x^2 / std^2 + p^2 / (1 - q), not x^2 / std^2 + p^2."""
        q = float((0.5 * self.snr * sde.at(t).sigma / std) ** 2)
        return q / (1 - q)

    def correct(self, rsde, x, t, noise):
        """leaps moves; leaps + 1 network calls."""
        h = self.snr * expand(rsde.sde.at(t).sigma, x)
        p, score = noise(x), rsde.score(x, t)
        for _ in range(self.leaps):
            p = p + (0.5 * h) * score
            x = x + h * p
            score = rsde.score(x, t)
            p = p + (0.5 * h) * score
        return Step(x, x)
'''

PROCESS = '''
"""A process whose log-SNR falls along a line."""

from dataclasses import dataclass

import torch

from sde_lib import LinearSDE


@dataclass(frozen=True)
class VariationalSDE(LinearSDE):
    """Variance preserving, with a log-SNR that falls along a line from log_snr_max to log_snr_min.

    Reference: Kingma, Salimans, Poole, Ho, 2021, arXiv 2107.00630, section 3.1 and appendix H.

    >>> VariationalSDE().at(0.5).log_snr
    tensor(4.1500, dtype=torch.float64)
    """

    log_snr_max: float = 13.3
    log_snr_min: float = -5.0

    def _log_snr(self, t):
        return self.log_snr_max + t * (self.log_snr_min - self.log_snr_max)

    def log_alpha(self, t):
        """log sigmoid(log-SNR) / 2."""
        return 0.5 * torch.nn.functional.logsigmoid(self._log_snr(t))

    def alpha(self, t):
        """sqrt(sigmoid(log-SNR))."""
        return self.log_alpha(t).exp()

    def sigma(self, t):
        """sqrt(sigmoid(-log-SNR))."""
        return torch.sqrt(torch.sigmoid(-self._log_snr(t)))
'''

LAWS = "tests/laws/"


def hold(folder, recipe, files, words):
    """The tests of some files whose names contain some words, with a recipe as a plug-in: their output, and whether all pass."""
    (folder / "my_recipe.py").write_text(recipe)
    arguments = [sys.executable, "-m", "pytest", "-n", "0", "-v", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    arguments += [*files, "-k", words]
    environment = {
        "SCORE_SDE_TEST_PLUGINS": "my_recipe",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(arguments, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    return done.stdout + done.stderr, done.returncode == 0


def passed(output):
    """The names of the tests that have passed."""
    return set(re.findall(r"::(test_\w+)\S*(?: \S+)* PASSED", output))


@pytest.mark.slow
def test_a_predictor_of_another_package_passes_every_law(tmp_path):
    files = [LAWS + f"test_{what}.py" for what in ("samplers", "papers", "predictors", "samples")]
    files += ["tests/test_structure.py", str(tmp_path / "my_recipe.py")]
    output, right = hold(tmp_path, PREDICTOR, files, "AdamsBashforth")
    assert right, output[-3000:]
    assert passed(output) >= {
        "test_order_on_the_probability_flow",
        "test_order_of_the_law_by_impulse_response",
        "test_size_of_the_error_of_the_law",
        "test_every_combination_gives_the_law",
        "test_nfe_is_counted",
        "test_the_law_agrees_with_the_papers_formulas_in_numbers",
        "test_every_predictor_has_a_second_implementation",
        "test_float32_states_stay_float32_and_near_those_of_float64",
        "test_everything_public_is_documented",
    }


@pytest.mark.slow
def test_a_corrector_of_another_package_passes_every_law(tmp_path):
    files = [LAWS + "test_samplers.py", "tests/test_structure.py", str(tmp_path / "my_recipe.py")]
    output, right = hold(tmp_path, CORRECTOR, files, "Hamiltonian")
    assert right, output[-3000:]
    assert passed(output) >= {
        "test_corrector_keeps_the_law_at_its_time",
        "test_every_corrector_has_a_finite_bias_somewhere",
        "test_every_combination_gives_the_law",
        "test_everything_public_is_documented",
    }


@pytest.mark.slow
def test_a_process_of_another_package_passes_every_law(tmp_path):
    files = [LAWS + f"test_{what}.py" for what in ("processes", "oracles", "densities", "predictions", "samplers", "correctors")]
    files += ["tests/test_structure.py", str(tmp_path / "my_recipe.py")]
    output, right = hold(tmp_path, PROCESS, files, "VariationalSDE and not (test_every_combination and not EulerMaruyama)")
    assert right, output[-3000:]
    assert passed(output) >= {
        "test_moments_of_drift_and_diffusion_are_those_of_the_kernel",
        "test_order_on_the_probability_flow",
        "test_corrector_keeps_the_law_at_its_time",
        "test_sample_depends_on_seed_and_index_alone",
        "test_metropolis_keeps_the_law_where_langevin_does_not",
        "test_everything_public_is_documented",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "file", "words", "sentence"),
    [
        (PREDICTOR.split("PAPERS =")[0], "samplers", "size_of_the_error and AdamsBashforth", r"no row in SIZES: give the size"),
        (PREDICTOR.split("PAPERS =")[0], "papers", "second_implementation and AdamsBashforth", r"no row in PAPERS: give the size"),
        (
            CORRECTOR.replace("def bias", "def _bias"),
            "samplers",
            "keeps_the_law and Hamiltonian",
            r"declares 0 at most: mend the move, or declare",
        ),
        (
            CORRECTOR.replace("x = x + h * p", "x = x + 1.1 * h * p"),
            "samplers",
            "keeps_the_law and Hamiltonian",
            r"changes the variance of N\(m, p\)",
        ),
    ],
    ids=["size", "paper", "bias", "wrong"],
)
def test_what_a_recipe_lacks_is_reported_in_one_sentence(recipe, file, words, sentence, tmp_path):
    output, right = hold(tmp_path, recipe, [LAWS + f"test_{file}.py"], words)
    assert not right
    assert re.search(sentence, output), output[-3000:]

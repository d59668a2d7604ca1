"""Planted errors: each is a formula made wrong in one place, and the tests that must fail because of it.

python tests/mutants.py            # a table of all, with what became of each
python tests/mutants.py langevin   # those whose name contains a word
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("sde_lib", "samplers", "likelihood", "models", "training", "evaluation", "configs", "tests")


class Mutant(NamedTuple):
    """A name, the file, the text that occurs there exactly once, what it becomes, and the tests that see it."""

    name: str
    file: str
    text: str
    becomes: str
    tests: str


PROCESSES, SAMPLERS, DENSITIES = "test_processes.py", "test_samplers.py", "test_densities.py"
ORACLES, IMPLICIT, BINOMIAL = "test_oracles.py", "test_implicit.py", "test_binomial.py"
PREDICTIONS, NOISE, ODE = "test_predictions.py", "test_noise.py", "test_ode.py"
PREDICTORS, PAPERS, BOUND = "test_predictors.py", "test_papers.py", "test_sde_bound.py"
PRESETS = "../test_presets.py -m 'not slow'"
LATENTS, CURVE = "test_latents.py", "test_rate_distortion.py"

MUTANTS = [
    Mutant(
        "linear beta without its half",
        "sde_lib/schedules.py",
        "self.beta_min + 0.5 * t *",
        "self.beta_min + t *",
        f"{PROCESSES} -k moments",
    ),
    Mutant(
        "cosine integral's sine dropped",
        "sde_lib/schedules.py",
        "- math.tan(self._start) * torch.sin(turn))",
        ")",
        f"{PROCESSES} -k derivatives",
    ),
    Mutant(
        "VP drift twice too large",
        "sde_lib/processes.py",
        "return Rates(-0.5 * beta, beta)",
        "return Rates(-beta, beta)",
        f"{PROCESSES} -k moments",
    ),
    Mutant(
        "sub-VP sigma as a variance",
        "sde_lib/processes.py",
        "return -torch.expm1(-integral_of(self.beta, t))",
        "return torch.sqrt(-torch.expm1(-integral_of(self.beta, t)))",
        f"{PROCESSES} -k derivatives",
    ),
    Mutant(
        "sub-VP g with one B",
        "sde_lib/processes.py",
        "torch.expm1(-2 * integral_of",
        "torch.expm1(-integral_of",
        f"{PROCESSES} -k moments",
    ),
    Mutant(
        "VE rate without its factor 2",
        "sde_lib/processes.py",
        "2 * self._log_ratio * self.sigma",
        "self._log_ratio * self.sigma",
        f"{PROCESSES} -k moments",
    ),
    Mutant(
        "derived g^2 loses its drift",
        "sde_lib/linear.py",
        "(sigma_slope - f * sigma)",
        "sigma_slope",
        f"{PROCESSES} -k derivatives",
    ),
    Mutant(
        "transition forgets the noise of s",
        "sde_lib/linear.py",
        "torch.sqrt(-torch.expm1(to.log_snr - from_.log_snr))",
        "1",
        f"{PROCESSES} -k later_kernel",
    ),
    Mutant(
        "posterior with alpha_t for alpha_s", "sde_lib/linear.py", "to.alpha * rest", "from_.alpha * rest", f"{PROCESSES} -k bayes"
    ),
    Mutant(
        "posterior with sigma_t for sigma_s",
        "sde_lib/linear.py",
        "expand(to.sigma * rest.sqrt(), x_t)",
        "expand(from_.sigma * rest.sqrt(), x_t)",
        f"{PROCESSES} -k bayes",
    ),
    Mutant(
        "prior N(0, 1) for every process",
        "sde_lib/linear.py",
        "Gaussian(torch.zeros_like(like), self.at(self.T).sigma)",
        "Gaussian(torch.zeros_like(like), self.at(self.T).sigma**0)",
        f"{PROCESSES} -k prior",
    ),
    Mutant(
        "schedule in float32",
        "sde_lib/tensors.py",
        "torch.as_tensor(t, dtype=torch.float64)",
        "torch.as_tensor(t, dtype=torch.float32).double()",
        f"{PROCESSES} -k cancel",
    ),
    Mutant(
        "table off by one",
        "sde_lib/tabulated.py",
        "place = t * len(table) - 1",
        "place = t * len(table) - 2",
        f"{PROCESSES} -k table_is_its_betas",
    ),
    Mutant(
        "coefficient on the wrong axis",
        "sde_lib/tensors.py",
        "reshape(-1, *[1] * (x.ndim - 1))",
        "reshape(*[1] * (x.ndim - 1), -1)",
        f"{PREDICTIONS} -k 'times_of_each_row and 4'",
    ),
    Mutant(
        "x0 with the wrong sign of sigma",
        "sde_lib/prediction.py",
        "Readings((b / determinant, -sigma / determinant)",
        "Readings((b / determinant, sigma / determinant)",
        f"{PREDICTIONS} -k every_reading",
    ),
    Mutant(
        "v pair swapped",
        "sde_lib/parameterizations.py",
        "return -level.sigma, level.alpha",
        "return level.alpha, -level.sigma",
        f"{PREDICTIONS} -k v_pair",
    ),
    Mutant(
        "EDM without its skip",
        "sde_lib/parameterizations.py",
        "-level.alpha * self.sigma_data / norm",
        "level.alpha * 0",
        f"{PREDICTIONS} -k edm",
    ),
    Mutant(
        "likelihood weighting by g",
        "sde_lib/weightings.py",
        "sde.rates(t).g2,",
        "sde.rates(t).g2.sqrt(),",
        f"{PREDICTIONS} -k loss_is_the_weighted",
    ),
    Mutant(
        "importance weight dropped",
        "sde_lib/losses.py",
        "weight = self.times.weight(sde, t) * weighting",
        "weight = weighting",
        f"{PREDICTIONS} -k loss_is_the_weighted",
    ),
    Mutant(
        "reverse drift with half the score",
        "sde_lib/reverse.py",
        "(0.5 * (1 + eta**2) * g**2)",
        "(0.5 * g**2)",
        f"{SAMPLERS} -k order_of_the_law",
    ),
    Mutant("reverse drift with eta for eta^2", "sde_lib/reverse.py", "(1 + eta**2)", "(1 + 1)", f"{SAMPLERS} -k order_on_the"),
    Mutant(
        "Euler-Maruyama's noise with h for sqrt(h)",
        "samplers/predictors/euler_maruyama.py",
        "torch.sqrt(h) * noise",
        "h * noise",
        f"{SAMPLERS} -k order_of_the_law",
    ),
    Mutant(
        "Euler-Maruyama asks the score at s",
        "samplers/predictors/euler_maruyama.py",
        "rsde.drift(x, t, self.eta)",
        "rsde.drift(x, s, self.eta)",
        f"{SAMPLERS} -k 'size_of_the_error or second_implementation'",
    ),
    Mutant(
        "reverse diffusion with s and t swapped",
        "samplers/predictors/reverse_diffusion.py",
        "transition_coefficients(s, t)",
        "transition_coefficients(t, s)",
        f"{SAMPLERS} -k order_of_the_law",
    ),
    Mutant(
        "reverse diffusion with 1/a",
        "samplers/predictors/reverse_diffusion.py",
        "(2 - a) * x",
        "(1 / a) * x",
        f"{SAMPLERS} -k 'size_of_the_error or second_implementation'",
    ),
    Mutant(
        "exponential step with alpha_t for alpha_s",
        "samplers/predictors/exponential.py",
        "to.sigma / from_.sigma, to.alpha, (-0.5",
        "to.sigma / from_.sigma, from_.alpha, (-0.5",
        f"{PAPERS} -k 'papers_formulas and DPMSolver'",
    ),
    Mutant(
        "exponential step with a sign in h",
        "samplers/predictors/exponential.py",
        "to.alpha, (-0.5 *",
        "to.alpha, (0.5 *",
        f"{PAPERS} -k 'papers_formulas and DPMSolver'",
    ),
    Mutant(
        "eps step with sigma_t for sigma_s",
        "samplers/predictors/exponential.py",
        "to.alpha / from_.alpha, to.sigma, 0.5 * span",
        "to.alpha / from_.alpha, from_.sigma, 0.5 * span",
        f"{PAPERS} -k 'papers_formulas and DPMSolver'",
    ),
    Mutant(
        "straight line without its half",
        "samplers/predictors/exponential.py",
        "return [0.5 * whole]",
        "return [whole]",
        f"{SAMPLERS} -k 'order_on_the and DPMSolver'",
    ),
    Mutant(
        "parabola with half its second derivative",
        "samplers/predictors/exponential.py",
        "part if k == 1 or (halved and k == 2) else",
        "part if k == 1 or k == 2 else",
        f"{SAMPLERS} -k 'order_on_the and DPMSolver'",
    ),
    Mutant(
        "published third order corrected",
        "samplers/predictors/dpm_solver.py",
        "halved=self.published)",
        "halved=False)",
        f"{PAPERS} -k 'papers_formulas and DPMSolver'",
    ),
    Mutant(
        "third order started at the first",
        "samplers/predictors/dpm_solver.py",
        "min(self.order, 2) if self.multistep",
        "min(self.order, 1) if self.multistep",
        f"{PAPERS} -k 'papers_formulas and DPMSolver'",
    ),
    Mutant(
        "stages at the wrong place",
        "samplers/predictors/dpm_solver.py",
        "stage / order)",
        "stage / (order + 1))",
        f"{PAPERS} -k 'papers_formulas and DPMSolver'",
    ),
    Mutant(
        "third stage in a straight line",
        "samplers/predictors/dpm_solver.py",
        "simple=order == 2)",
        "simple=True)",
        f"{SAMPLERS} -k 'order_on_the and DPMSolver'",
    ),
    Mutant(
        "SDE-DPM-Solver with the noise of half a step",
        "samplers/predictors/sde_dpm_solver.py",
        "torch.expm1(self.eta**2 * (",
        "torch.expm1(0.5 * self.eta**2 * (",
        f"{SAMPLERS} -k 'order_of_the_law and SDEDPM and VESDE'",
    ),
    Mutant(
        "SDE-DPM-Solver's decay without eta",
        "samplers/predictors/exponential.py",
        "torch.exp((-0.5 * eta**2) * span)",
        "torch.exp((-0.5 * eta) * span)",
        f"{PAPERS} -k 'papers_formulas and SDEDPM'",
    ),
    Mutant(
        "DDIM with eta for eta^2",
        "samplers/predictors/ddim.py",
        "torch.log1p(-(eta**2) * rest)",
        "torch.log1p(-eta * rest)",
        f"{PAPERS} -k 'papers_formulas and DDIM'",
    ),
    Mutant(
        "DDIM's noise at sigma_t",
        "samplers/predictors/ddim.py",
        "eta * to.sigma * rest.sqrt()",
        "eta * from_.sigma * rest.sqrt()",
        f"{PAPERS} -k 'papers_formulas and DDIM'",
    ),
    Mutant(
        "UniPC does not correct",
        "samplers/predictors/unipc.py",
        "x = integrate(before, level, from_, (*others, value)",
        "_ = integrate(before, level, from_, (*others, value)",
        f"{SAMPLERS} -k 'order_on_the and UniPC'",
    ),
    Mutant(
        "UniPC corrects from the state after",
        "samplers/predictors/unipc.py",
        "x = integrate(before, level",
        "x = integrate(x, level",
        f"{SAMPLERS} -k 'order_on_the and UniPC'",
    ),
    Mutant(
        "UniPC forgets an estimate",
        "samplers/predictors/unipc.py",
        "(value, *others[: self.order - 1])",
        "(value, *others[: self.order - 2])",
        f"{PAPERS} -k 'papers_formulas and UniPC'",
    ),
    Mutant(
        "Heun asks at t again",
        "samplers/predictors/heun.py",
        "rsde.predict(x + h * eps, s).eps",
        "rsde.predict(x + h * eps, t).eps",
        f"{PAPERS} -k 'papers_formulas and Heun'",
    ),
    Mutant(
        "Heun's step without its scale",
        "samplers/predictors/heun.py",
        "d - b * c / a",
        "d - b",
        f"{PAPERS} -k 'papers_formulas and Heun'",
    ),
    Mutant(
        "churn of the whole variance",
        "samplers/predictors/heun.py",
        "torch.sqrt(-torch.expm1(more - log_snr))",
        "torch.ones_like(b)",
        f"{PAPERS} -k 'papers_formulas and Heun'",
    ),
    Mutant(
        "churn by gamma for the variance",
        "samplers/predictors/heun.py",
        "2 * math.log1p(gamma)",
        "math.log1p(gamma)",
        f"{PAPERS} -k 'papers_formulas and Heun'",
    ),
    Mutant(
        "churn outside its range",
        "samplers/predictors/heun.py",
        "& (v <= most)",
        "",
        f"{PREDICTORS} -k never_churns",
    ),
    Mutant(
        "SRA1 without its integral",
        "samplers/predictors/runge_kutta.py",
        "+ c * (W + other * 3**-0.5)",
        "+ c * W",
        f"{PAPERS} -k 'papers_formulas and Stochastic'",
    ),
    Mutant(
        "SRA1 with weights of Heun",
        "samplers/predictors/runge_kutta.py",
        "end = 0.5 / c",
        "end = 0.5 * c / c",
        f"{SAMPLERS} -k 'order_of_the_law and Stochastic and VESDE'",
    ),
    Mutant(
        "annealed step at the wrong sigma",
        "samplers/correctors/annealed.py",
        "self.epsilon / sde.at(sde.t_min).sigma ** 2",
        "self.epsilon / sde.at(sde.t_min).sigma",
        "test_correctors.py -k conventions",
    ),
    Mutant(
        "NCSN's step for NCSNv2's",
        "samplers/correctors/annealed.py",
        '(0.5 if self.published == "ncsn" else 1.0)',
        '(0.5 if self.published == "ncsnv2" else 1.0)',
        "test_correctors.py -k conventions",
    ),
    Mutant(
        "plain Langevin with the whole epsilon",
        "samplers/correctors/unadjusted.py",
        "0.5 * self.epsilon",
        "self.epsilon",
        f"{SAMPLERS} -k 'keeps_the_law and Unadjusted and VESDE'",
    ),
    Mutant(
        "Metropolis keeps everything",
        "samplers/correctors/metropolis.py",
        "kept = chance.log() < log_ratio",
        "kept = chance.log() < log_ratio.abs() + 1",
        "test_correctors.py -k 'metropolis_keeps and VESDE'",
    ),
    Mutant(
        "Metropolis without the way back",
        "samplers/correctors/metropolis.py",
        "+ 0.5 * sum_over_state(z**2) - back",
        "",
        "test_correctors.py -k 'metropolis'",
    ),
    Mutant(
        "corrector alone stops before the last level",
        "samplers/sampler.py",
        "times if predictor is None else times[1:]",
        "times[1:]",
        "test_correctors.py -k alone",
    ),
    Mutant(
        "Karras's grid with rho upside down",
        "samplers/times.py",
        "-0.5 * end / self.rho",
        "-0.5 * end * self.rho",
        "test_correctors.py -k root",
    ),
    Mutant(
        "dynamic threshold that does not shrink",
        "samplers/thresholding.py",
        "middle + (half / edge) *",
        "middle +",
        "test_correctors.py -k dynamic",
    ),
    Mutant(
        "Brownian bridge without its area",
        "samplers/torch_sde.py",
        "0.5 * W + 1.5 * H",
        "0.5 * W + H",
        "test_torch_sde.py -k brownian",
    ),
    Mutant(
        "area of a half twice too large",
        "samplers/torch_sde.py",
        "0.25 * H - (h**0.5 / 8) * z",
        "0.5 * H - (h**0.5 / 8) * z",
        "test_torch_sde.py -k brownian",
    ),
    Mutant(
        "reverse SDE in the forward clock",
        "samplers/torch_sde.py",
        "return -self.rsde.drift(",
        "return self.rsde.drift(",
        "test_torch_sde.py -k euler",
    ),
    Mutant(
        "Langevin down the gradient",
        "samplers/correctors/langevin.py",
        "mean = x + h * rsde.score(x, t)",
        "mean = x - h * rsde.score(x, t)",
        f"{SAMPLERS} -k keeps_the_law",
    ),
    Mutant(
        "Langevin without sqrt 2",
        "samplers/correctors/langevin.py",
        "mean, std = x, torch.sqrt(2 * h)",
        "mean, std = x, torch.sqrt(h)",
        f"{SAMPLERS} -k keeps_the_law",
    ),
    Mutant(
        "Langevin's default couples the batch",
        "samplers/correctors/langevin.py",
        'if self.step == "time":',
        'if self.step == "never":',
        f"{SAMPLERS} -k depends_on_seed",
    ),
    Mutant(
        "grid that stops early",
        "samplers/times.py",
        "times[0], times[-1] = sde.T, t_min",
        "times[0], times[-1] = sde.T, 2 * t_min",
        f"{SAMPLERS} -k grids_run",
    ),
    Mutant("memory kept across a corrector", "samplers/sampler.py", "if disturbed:", "if False:", f"{SAMPLERS} -k memory_does_not"),
    Mutant(
        "last noise kept",
        "samplers/sampler.py",
        'frame.mean if self.last == "mean"',
        'frame.x if self.last == "mean"',
        f"{SAMPLERS} -k last_says",
    ),
    Mutant(
        "index of the first row ignored",
        "samplers/sampler.py",
        "torch.arange(index, index + rows)",
        "torch.arange(rows)",
        f"{SAMPLERS} -k depends_on_seed",
    ),
    Mutant(
        "rows share their noise",
        "sde_lib/noise.py",
        "(rows & _MASK)[None, :, None].expand(shape)",
        "(0 * rows)[None, :, None].expand(shape)",
        f"{SAMPLERS} -k pairs",
    ),
    Mutant(
        "the same noise at every step",
        "sde_lib/noise.py",
        "draw[:, None, None].expand(shape)",
        "(0 * draw)[:, None, None].expand(shape)",
        f"{NOISE} -k uncorrelated",
    ),
    Mutant("Philox with a wrong constant", "sde_lib/noise.py", "0xCD9E8D57", "0xCD9E8D59", f"{NOISE} -k known_answers"),
    Mutant(
        "Inpaint's mean takes the noised pixels",
        "samplers/constraints.py",
        "torch.where(mask, law.mean, mean)",
        "torch.where(mask, law.mean, x)",
        f"{SAMPLERS} -k drops_the_last_noise",
    ),
    Mutant(
        "error of a step by the worst row",
        "sde_lib/ode.py",
        "flatten(1).mean(1).double().sqrt()",
        "mean().double().sqrt().expand(len(v))",
        f"{ODE} -k neighbours",
    ),
    Mutant(
        "times beyond the end", "sde_lib/ode.py", "final = h >= remaining", "final = h * 0 >= remaining", f"{ODE} -k never_leaves"
    ),
    Mutant(
        "steps that follow round-off",
        "sde_lib/ode.py",
        "torch.exp2(torch.round(16 * torch.log2(h)) / 16)",
        "h",
        f"{SAMPLERS} -k 'seed_and_index_alone and flow'",
    ),
    Mutant(
        "betas of another number of steps not rescaled",
        "sde_lib/tables.py",
        "steps, dtype=torch.float64) * (1000 / steps)",
        "steps, dtype=torch.float64)",
        "test_tables.py -k linear_and_cosine",
    ),
    Mutant("cosine betas not clipped", "sde_lib/tables.py", ".clamp_max(largest)", "", "test_tables.py -k linear_and_cosine"),
    Mutant("places by multiplication", "sde_lib/tables.py", "round(at)", "int(at)", "test_tables.py -k space_timesteps"),
    Mutant(
        "NCSN's index from the small end",
        "sde_lib/tabulated.py",
        "tuple(range(n - 1, -1, -1)) if falling",
        "tuple(range(n)) if falling",
        "test_tables.py -k table_of_sigmas",
    ),
    Mutant(
        "the respaced index is its own",
        "sde_lib/tabulated.py",
        "return self._indices.to(place.device)[place]",
        "return place",
        "test_tables.py -k respaced",
    ),
    Mutant(
        "uniform times with half a share at the ends",
        "sde_lib/tabulated.py",
        "(u * (n - first)).floor()",
        "(u * (n - first - 1)).round()",
        "test_tables.py -k visit_every_level",
    ),
    Mutant(
        "the large variance of the level before",
        "sde_lib/variational.py",
        "2 * sde.at(t).sigma.log() + log_rest(t)",
        "2 * sde.before(second).sigma.log() + log_rest(t)",
        "test_variational.py -k beta_tilde_and_beta",
    ),
    Mutant(
        "KL with its variances exchanged",
        "sde_lib/variational.py",
        "- log_variance\n    nats",
        "* -1 + log_variance\n    nats",
        "test_variational.py -k 'terms or elbo'",
    ),
    Mutant(
        "the hybrid's bound teaches the mean",
        "sde_lib/variational.py",
        "output=prediction.output.detach()",
        "output=prediction.output",
        "test_variational.py -k hybrid",
    ),
    Mutant(
        "the decoder's last bin closed",
        "sde_lib/variational.py",
        "torch.where(codes == images.levels - 1, far,",
        "torch.where(codes == images.levels, far,",
        "test_variational.py -k decoder",
    ),
    Mutant(
        "the bound without its number of levels",
        "sde_lib/variational.py",
        "weight = len(sde.log_alphas) * self",
        "weight = 1.0 * self",
        "test_variational.py -k rescaled_kl",
    ),
    Mutant(
        "the fraction of the variance from -1",
        "sde_lib/parameterizations.py",
        "(variance + 1) / 2",
        "variance",
        "test_variational.py -k 'hybrid or fraction'",
    ),
    Mutant(
        "the previous mean without what x_t holds of x0",
        "sde_lib/parameterizations.py",
        "+ of_x * level.alpha, of_x",
        ", of_x",
        "test_variational.py -k 'step_back and PREVIOUS'",
    ),
    Mutant(
        "a moved model sees the state unscaled",
        "sde_lib/moved.py",
        "self.model.predict(expand(scale, x) * x",
        "self.model.predict(x",
        "test_moved.py -k exact_score",
    ),
    Mutant(
        "the error of x0 weighed as that of eps",
        "sde_lib/weightings.py",
        "(sde.at(t).sigma ** 2 / sde.at(t).alpha) ** 2,",
        "(sde.at(t).sigma / sde.at(t).alpha) ** 2,",
        "test_times.py -k named_after",
    ),
    Mutant(
        "min-SNR as a maximum",
        "sde_lib/weightings.py",
        "torch.exp(-log_snr)).clamp_max(1.0)",
        "torch.exp(-log_snr)).clamp_min(1.0)",
        "test_times.py -k named_after",
    ),
    Mutant(
        "log-normal times with the density of log-SNR",
        "sde_lib/times.py",
        "g2 / (2 * sde.at(t).sigma ** 2)",
        "g2 / sde.at(t).sigma ** 2",
        "test_times.py -k density_that",
    ),
    Mutant(
        "losses remembered as their mean",
        "sde_lib/times.py",
        "(self.losses**2).mean(1).sqrt()",
        "self.losses.mean(1)",
        "test_times.py -k rule",
    ),
    Mutant(
        "the flow's noise without the signal's loss",
        "sde_lib/processes.py",
        "Rates(-1 / (1 - t), 2 * t / (1 - t))",
        "Rates(-1 / (1 - t), 2 * t)",
        f"{PROCESSES} -k moments",
    ),
    Mutant(
        "ancestral noise of the wrong end",
        "samplers/predictors/ancestral.py",
        "large = small * (from_.sigma / to.sigma)",
        "large = small * (to.sigma / from_.sigma)",
        f"{SAMPLERS} -k second_implementation",
    ),
    Mutant(
        "ancestral with r upside down",
        "samplers/predictors/ddim.py",
        "torch.expm1(log_k - h)",
        "torch.expm1(log_k + h)",
        f"{SAMPLERS} -k second_implementation",
    ),
    Mutant(
        "another clock without its slope",
        "sde_lib/ode.py",
        "expand(power * u ** (power - 1), y) * fn",
        "expand(power * u ** 0, y) * fn",
        f"{ODE} -k another_clock",
    ),
    Mutant(
        "divergence with the wrong sign",
        "likelihood/flow.py",
        "prior[:, None] + solution",
        "prior[:, None] - solution",
        f"{DENSITIES} -k 'likelihood_is_the_density and VPSDE'",
    ),
    Mutant(
        "probes of other rows",
        "likelihood/flow.py",
        "probe[:, rows] if probe.numel()",
        "probe[:, : len(rows)] if probe.numel()",
        f"{DENSITIES} -k does_not_depend_on_its_batch",
    ),
    Mutant(
        "Hutchinson by the mean",
        "sde_lib/jacobian.py",
        "(vJ * v).flatten(1).sum(1)",
        "(vJ * v).flatten(1).mean(1)",
        f"{DENSITIES} -k trace_of_the_jacobian",
    ),
    Mutant(
        "bin width of levels - 1",
        "sde_lib/data.py",
        "(self.high - self.low) / self.levels",
        "(self.high - self.low) / (self.levels - 1)",
        f"{DENSITIES} -k 'round_trip or eight_bits'",
    ),
    Mutant(
        "bits with the wrong sign of the bin",
        "sde_lib/data.py",
        "return dims * math.log(self.bin_width)",
        "return -dims * math.log(self.bin_width)",
        f"{DENSITIES} -k discretised",
    ),
    Mutant("Gaussian without its constant", "sde_lib/gaussian.py", "+ 0.5 * math.log(2 * math.pi)", "", f"{DENSITIES} -k scipys"),
    Mutant(
        "mixture's score without its weights",
        "sde_lib/oracles.py",
        "joint.softmax(0) * centred",
        "(joint - self.log_weights[:, None]).softmax(0) * centred",
        f"{DENSITIES} -k convolved",
    ),
    Mutant(
        "points' entropy counts copies",
        "sde_lib/oracles.py",
        "_, which = self.points.unique(dim=0, return_inverse=True)",
        "which = torch.arange(len(self.points))",
        f"{ORACLES} -k entropies",
    ),
    Mutant(
        "points' squares without alpha",
        "sde_lib/oracles.py",
        "centred @ points.T - 0.5 * alpha[:, None] *",
        "centred @ points.T - 0.5 *",
        f"{ORACLES} -k 'sum_of_their_kernels'",
    ),
    Mutant(
        "points far from the origin lose digits",
        "sde_lib/oracles.py",
        "self._centre = self.points.mean(0)",
        "self._centre = 0 * self.points.mean(0)",
        f"{ORACLES} -k noise_is_small",
    ),
    Mutant(
        "mixture's determinant of one entry",
        "sde_lib/oracles.py",
        "* (len(means) / len(variances))",
        "",
        f"{DENSITIES} -k convolved",
    ),
    Mutant(
        "ring's width not scaled",
        "sde_lib/planar.py",
        "(alpha * self.width) ** 2",
        "self.width**2",
        f"{ORACLES} -k circle",
    ),
    Mutant(
        "ring's centre divides by zero",
        "sde_lib/planar.py",
        ".clamp_min(1e-150)",
        "",
        f"{ORACLES} -k circle",
    ),
    Mutant(
        "ring's Bessel function not scaled back",
        "sde_lib/planar.py",
        "(r - radius) ** 2) / (2 * v)",
        "r**2 + radius**2) / (2 * v)",
        f"{ORACLES} -k 'circle or thin'",
    ),
    Mutant(
        "checkerboard without its Jacobian",
        "sde_lib/planar.py",
        " - 2 * alpha.log()",
        "",
        f"{ORACLES} -k 'board and integral'",
    ),
    Mutant(
        "checkerboard loses its right tail",
        "sde_lib/planar.py",
        "flip = low > 0",
        "flip = low > 1e300",
        f"{ORACLES} -k far_away",
    ),
    Mutant(
        "checkerboard's slope not turned around",
        "sde_lib/planar.py",
        "torch.where(flip, -slope, slope)",
        "slope",
        f"{ORACLES} -k 'board and integral'",
    ),
    Mutant(
        "checkerboard samples its light squares",
        "sde_lib/planar.py",
        "squares.sum(1) % 2 == 0",
        "squares.sum(1) % 2 == 1",
        f"{ORACLES} -k where_the_data_are",
    ),
    Mutant(
        "implicit loss with half its trace",
        "sde_lib/implicit.py",
        "(2 * trace(",
        "(trace(",
        f"{IMPLICIT} -k explicit",
    ),
    Mutant(
        "sliced loss with half its square",
        "sde_lib/implicit.py",
        "square = sum_over_state(score**2)",
        "square = 0.5 * sum_over_state(score**2)",
        f"{IMPLICIT} -k all_signs",
    ),
    Mutant(
        "square of the mean slice",
        "sde_lib/implicit.py",
        ".square().mean(0)",
        ".mean(0).square()",
        f"{IMPLICIT} -k all_signs",
    ),
    Mutant(
        "one kind of probe for the other",
        "sde_lib/implicit.py",
        'if self.kind == "rademacher" else',
        'if self.kind != "rademacher" else',
        f"{IMPLICIT} -k unbiased",
    ),
    Mutant(
        "trace by the mean",
        "sde_lib/jacobian.py",
        "flatten(2).sum((0, 2))",
        "flatten(2).mean((0, 2))",
        f"{IMPLICIT} -k all_signs",
    ),
    Mutant(
        "trace without its graph",
        "sde_lib/jacobian.py",
        "retain_graph=True, create_graph=create_graph",
        "retain_graph=True, create_graph=False",
        f"{IMPLICIT} -k parameters",
    ),
    Mutant(
        "quadratic form without its graph",
        "sde_lib/jacobian.py",
        "retain_graph=retain_graph or create_graph, create_graph=create_graph",
        "retain_graph=True",
        f"{IMPLICIT} -k parameters",
    ),
    Mutant(
        "density of times dropped",
        "sde_lib/losses.py",
        "self.times.weight(sde, t) * weighting_of(",
        "weighting_of(",
        f"{IMPLICIT} -k weights_of_time",
    ),
    Mutant(
        "binomial marginal without its half",
        "sde_lib/binomial.py",
        "(0.5 - x0.double())",
        "(1 - x0.double())",
        f"{BINOMIAL} -k marginals",
    ),
    Mutant(
        "binomial posterior a step late",
        "sde_lib/binomial.py",
        "expand((left + 1) / self.steps, spin)",
        "expand(left / self.steps, spin)",
        f"{BINOMIAL} -k bayes",
    ),
    Mutant(
        "binomial reverse forgets x0 = 0",
        "sde_lib/binomial.py",
        "log_off + off.log()",
        "log_off + on.log()",
        f"{BINOMIAL} -k entropy",
    ),
    Mutant(
        "binomial term without its entropy",
        "sde_lib/binomial.py",
        "total - torch.special.entr(q) - q * log_p",
        "total - q * log_p",
        f"{BINOMIAL} -k entropy",
    ),
    Mutant(
        "binomial loss of one time",
        "sde_lib/binomial.py",
        "return self.steps * self.term(",
        "return self.term(",
        f"{BINOMIAL} -k terms_at",
    ),
    Mutant(
        "binomial sampling jumps to x0",
        "sde_lib/binomial.py",
        "self.posterior(x, self._logits(network, x, t, cond).sigmoid(), t)",
        "self._logits(network, x, t, cond).sigmoid()",
        f"{BINOMIAL} -k factorised",
    ),
    Mutant(
        "binomial label without its quarter",
        "sde_lib/binomial.py",
        "(2 * self.steps - t)).log() / 4",
        "(2 * self.steps - t)).log()",
        f"{BINOMIAL} -k entropy",
    ),
    Mutant(
        "a checkerboard that looks at one axis alone",
        "likelihood/divergence.py",
        "generators += [torch.stack(bits).sum(0) % 2, *bits[:0:-1]]",
        "generators += [bits[-1], *bits[:0:-1]]",
        "test_probing.py -k 'few_are_exact or as_many'",
    ),
    Mutant(
        "the probes of a pair summed, not averaged",
        "likelihood/divergence.py",
        "unflatten(1, (self.repeats, self.probes)).mean(2)",
        "unflatten(1, (self.repeats, self.probes)).sum(2)",
        "test_probing.py -k unbiased",
    ),
    Mutant(
        "noisy densities averaged as densities",
        "likelihood/bits.py",
        "return draws.mean(0) if noisy else",
        "return draws.mean(0) if False else",
        "test_bits.py -k noisy_densities",
    ),
    Mutant(
        "the same probes at every draw",
        "likelihood/bits.py",
        "seed + (draw << 32)",
        "seed + (0 << 32)",
        "test_bits.py -k probes_of_its_own",
    ),
    Mutant(
        "jackknife without its factor",
        "likelihood/bits.py",
        "(M - 1) ** 2 / M * others.var(0)",
        "others.var(0) / M",
        "test_bits.py -k noisy_densities",
    ),
    Mutant(
        "truncated normal with the mass of the whole one",
        "likelihood/dequantize.py",
        "math.sqrt(2 * math.pi) * (1 - 2 * below))",
        "math.sqrt(2 * math.pi))",
        "test_bits.py -k points_are_of_their_bins",
    ),
    Mutant(
        "a learned law without the sigmoid's slope",
        "likelihood/dequantize.py",
        "+ s + log_u + log_rest",
        "+ s + log_u",
        "test_dequantizer.py -k density_that_is_said",
    ),
    Mutant(
        "a plan that forgets the draws",
        "likelihood/budget.py",
        "draws = max(1, math.ceil((of_draws + of_probes) / budget))",
        "draws = max(1, math.ceil(of_probes / budget))",
        "test_budget.py -k 'planned and 0.02'",
    ),
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
        "encoding along the grid as it is",
        "samplers/sampler.py",
        "self.times(sde).flip(0)",
        "self.times(sde)",
        f"{LATENTS} -k paper_s",
    ),
    Mutant(
        "flow encoded from T",
        "samplers/sampler.py",
        "x0, sde.valid_t_min(self.t_min), sde.T)",
        "x0, sde.T, sde.valid_t_min(self.t_min))",
        f"{LATENTS} -k affine_map",
    ),
    Mutant(
        "middle of a step in one direction only",
        "sde_lib/linear.py",
        "(t - middle) * (t - s) > 0",
        "middle < t",
        f"{LATENTS} -k order_of_the_inversion",
    ),
    Mutant(
        "slerp by half the angle",
        "samplers/latents.py",
        "2 * torch.atan2",
        "torch.atan2",
        f"{LATENTS} -k slerp",
    ),
    Mutant(
        "slerp without its length",
        "samplers/latents.py",
        " * torch.sqrt((1 - w) + w * ratio**2)",
        "",
        f"{LATENTS} -k independent_normal",
    ),
    Mutant(
        "interpolation with one noise for both",
        "samplers/latents.py",
        ".sample(noise(x0)) for",
        ".sample(RowNoise(seed, torch.arange(index, index + len(a)))(x0)) for",
        f"{LATENTS} -k affine_law",
    ),
    Mutant(
        "interpolation from the next time on",
        "samplers/times.py",
        ".abs().argmin()) :]",
        ".abs().argmin()) + 1 :]",
        f"{LATENTS} -k what_is_left",
    ),
    Mutant(
        "guesses from the mean of a step",
        "samplers/latents.py",
        "rsde.predict(frame.x,",
        "rsde.predict(frame.mean,",
        f"{LATENTS} -k progressive",
    ),
    Mutant(
        "rate with the step that is still to come",
        "likelihood/bounds.py",
        "torch.cat([sums[:, 1:], L_T[:, None]], dim=1)",
        "sums",
        f"{CURVE} -k closed_forms",
    ),
    Mutant(
        "distortion in units of states",
        "likelihood/bounds.py",
        "square().mean(1) / images.bin_width**2",
        "square().mean(1)",
        f"{CURVE} -k levels_whatever",
    ),
    Mutant(
        "error of the distortion twice too large",
        "likelihood/bounds.py",
        "_error(squared) / (2 * distortion)",
        "_error(squared) / distortion",
        f"{CURVE} -k spread",
    ),
    Mutant(
        "bound's times uniform in log-SNR with the weights of y",
        "likelihood/sde_bound.py",
        "first.log_snr - 2 * (y + torch.log1p(torch.exp(-2 * y)) - math.log(2))",
        "first.log_snr - 2 * y",
        f"{BOUND} -k exact_score",
    ),
    Mutant(
        "bound's noise without its h",
        "likelihood/sde_bound.py",
        "expand(sigma * h, x) * z",
        "expand(sigma, x) * z",
        f"{BOUND} -k law_at_t_min",
    ),
    Mutant(
        "bound's state scaled from t = 0",
        "likelihood/sde_bound.py",
        "expand(alpha / first.alpha, x)",
        "expand(alpha, x)",
        f"{BOUND} -k law_at_t_min",
    ),
    Mutant(
        "bound's divergence counted once",
        "likelihood/sde_bound.py",
        "+ 2 * (divergence + known))",
        "+ divergence + 2 * known)",
        f"{BOUND} -k squared_error",
    ),
    Mutant(
        "bound forgets the spread of x_T in its prior",
        "likelihood/sde_bound.py",
        "- 0.5 * dims * (arrival.std / prior.std) ** 2",
        "",
        f"{BOUND} -k exact_score",
    ),
    Mutant(
        "bound's reference without its variance at the end",
        "likelihood/sde_bound.py",
        "(growth + arrival.std**2 / variance_T)",
        "growth",
        f"{BOUND} -k exact_score",
    ),
    Mutant(
        "bound's square weighed without h",
        "likelihood/sde_bound.py",
        "values.append(h * (sigma**2",
        "values.append((sigma**2",
        f"{BOUND} -k law_at_t_min",
    ),
    Mutant(
        "sliced bound without sigma squared",
        "likelihood/sde_bound.py",
        "divergence = h * sigma**2 * quadratic_form",
        "divergence = h * quadratic_form",
        f"{BOUND} -k exact_score",
    ),
    Mutant(
        "bound's error of one draw for that of two",
        "likelihood/sde_bound.py",
        ".mean((1, 2)) / (2 * draws)",
        ".mean((1, 2)) / draws",
        f"{BOUND} -k what_they_say",
    ),
    Mutant(
        "bound's rows all have the first row's noise",
        "likelihood/sde_bound.py",
        "return torch.arange(index, index + n)",
        "return torch.arange(n)",
        f"{BOUND} -k depend",
    ),
    Mutant(
        "bounds of dequantized points raised by their mean's logarithm",
        "likelihood/sde_bound.py",
        "-torch.stack(bounds).mean(0) * to_bits",
        "(math.log(len(bounds)) - torch.stack(bounds).logsumexp(0)) * to_bits",
        f"{BOUND} -k dequantizations",
    ),
    Mutant(
        "images of the command line lose the range of a preset",
        "training/flags.py",
        'text if text.split("(")[0] == "arrays" else "arrays"',
        '"arrays"',
        f"{PRESETS} -k command_line",
    ),
    Mutant(
        "a preset without images is trained",
        "training/experiment.py",
        "if not shape[0]:",
        "if shape[0] is None:",
        f"{PRESETS} -k mistake",
    ),
    Mutant(
        "arrays forget the ends of their range",
        "training/data/arrays.py",
        "Images(levels, low, high)",
        "Images(levels)",
        f"{PRESETS} -k without_a_file",
    ),
    Mutant(
        "arrays of another shape are taken",
        "training/data/arrays.py",
        "if shape is not None and",
        "if shape is None and",
        f"{PRESETS} -k mistake",
    ),
    Mutant(
        "NCSNv2's moves on CIFAR-10 of NCSN's length",
        "configs/presets/ncsn.py",
        "epsilon=6.2e-6",
        "epsilon=2e-5",
        f"{PRESETS} -k technique_4",
    ),
    Mutant(
        "a preset that cannot be built here",
        "configs/presets/vp.py",
        "label='time'",
        "label='index'",
        f"{PRESETS} -k 'works_on and vp_cifar10_ddpmpp'",
    ),
]


def plant(mutant: Mutant | None, selection: str) -> tuple[bool, str]:
    """Whether the selected tests pass in a copy of the project with an error planted (or none), and the end of their output."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "golden"))
        for file in ("pyproject.toml", "run.py"):
            shutil.copy(ROOT / file, copy / file)
        if mutant is not None:
            path = copy / mutant.file
            source = path.read_text()
            if source.count(mutant.text) != 1:
                raise ValueError(
                    f"{mutant.name}: {mutant.text!r} occurs {source.count(mutant.text)} times in {mutant.file}, not once"
                )
            path.write_text(source.replace(mutant.text, mutant.becomes))
        arguments = f"{sys.executable} -m pytest -q -x -n 0 -p no:cacheprovider {selection}"
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(arguments, cwd=copy / "tests" / "laws", env=environment, capture_output=True, text=True, shell=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant and mutant.name}: the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0, done.stdout[-300:]


def survivors(mutants: list[Mutant]) -> list[str]:
    """The names of the mutants that no test kills, with a line for each mutant printed on the way."""
    alive = []
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1))) as pool:
        for mutant, (passed, _) in zip(mutants, pool.map(lambda m: plant(m, m.tests), mutants), strict=True):
            print(f"{'SURVIVED' if passed else 'killed':<9} {mutant.name:<45} {mutant.file}", flush=True)
            if passed:
                alive.append(mutant.name)
    return alive


if __name__ == "__main__":
    chosen = [m for m in MUTANTS if len(sys.argv) < 2 or sys.argv[1].lower() in m.name.lower()]
    left = survivors(chosen)
    print(f"{len(chosen) - len(left)} of {len(chosen)} killed")
    sys.exit(bool(left))

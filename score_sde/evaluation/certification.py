"""Certification of samplers against known laws: exactly on Gaussian data, and by statistical tests on samples of mixtures."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from samplers import Ancestral, LogSNR, Sampler, impulse_response
from score_sde.errors import first_line
from score_sde.progress import progress_bar
from sde_lib import VPSDE, GaussianOracle, LinearSDE, MixtureOracle, ReverseSDE, RowNoise

__all__ = [
    "Impulse",
    "Law",
    "certify",
    "certify_impulses",
    "certify_laws",
    "high_mixture",
    "impulse_table",
    "law_table",
    "p_values",
    "plane_mixture",
]

ALARM = 1e-7  # a smaller p-value is a failure: one false alarm in 1e5 runs of a hundred tests


class Impulse(NamedTuple):
    """A certificate of a predictor and a corrector under a process, from impulse responses on two grids.

    nfe are the network calls on each grid. error is the error of the mean (in standard deviations) and of the variance (as a
    ratio) together. order is the measured order of convergence, and declared the predictor's own. verdict is "pass", "fail",
    "refused" or "not affine", and reason explains it.
    """

    predictor: str
    corrector: str
    process: str
    nfe: tuple[int, int] = (0, 0)
    error: tuple[float, float] = (math.nan, math.nan)
    order: float = math.nan
    declared: int = 0
    verdict: str = "pass"
    reason: str = ""


class Law(NamedTuple):
    """A certificate of samples of a mixture: the p-values of tests against the exact law, and the verdict."""

    predictor: str
    mixture: str
    nfe: int
    p: dict[str, float]
    verdict: str = "pass"
    reason: str = ""


def certify_impulses(predictor: Any, corrector: Any, sde: LinearSDE, steps: tuple[int, int] = (100, 200)) -> Impulse:
    """Certify one combination by its exact law on Gaussian data, on two grids that are even in log-SNR.

    It passes when both hold:
        Size: the error on the finer grid is at most 1.2 times that of ancestral sampling; for orders above 1, at most 0.5 %; with
        a corrector, whose step has an error of its own, at most 15 %.
        Order: the error falls with the declared order less 0.4; with a corrector or a table, to at most 0.65 of it, or below 2 %.

    The size is needed besides the order: a score at the wrong end of a step has the right order and a larger error.
    """
    declared = 0 if predictor is None else predictor.convergence
    row = Impulse(_name(predictor), _name(corrector), type(sde).__name__, declared=declared)
    try:
        rsde = ReverseSDE(sde, GaussianOracle(torch.zeros(1, dtype=torch.float64), 0.3).score(sde))
        for algorithm in (predictor, corrector):
            if algorithm is not None:
                rsde.require(algorithm.requires, _name(algorithm))
                algorithm.check(rsde)
        samplers = [Sampler(predictor, corrector, times=LogSNR(n, t_min=max(1e-3, sde.t_min))) for n in steps]
    except (TypeError, ValueError) as error:
        return row._replace(verdict="refused", reason=first_line(error))
    try:
        if _bends(replace(samplers[0], times=LogSNR(8, t_min=max(1e-3, sde.t_min)), last="sample"), sde):
            return row._replace(verdict="not affine", reason="its steps are not affine in the state: only samples can tell")
        responses = [impulse_response(sampler, sde) for sampler in samplers]
    except Exception as error:  # a user's predictor may raise anything
        return row._replace(verdict="fail", reason=first_line(error))
    coarse, fine = (math.hypot(r.mean_error, r.variance_error) for r in responses)
    order = math.log2(coarse / fine) / math.log2(steps[1] / steps[0]) if min(coarse, fine) > 0 else math.inf
    row = row._replace(nfe=(responses[0].nfe, responses[1].nfe), error=(coarse, fine), order=order)
    bound = 0.15 if corrector is not None else 1.2 * _ancestral(sde, steps[1]) if row.declared <= 1 else 0.005
    if not fine <= bound:
        return row._replace(
            verdict="fail", reason=f"an error of {fine:.2g} at {steps[1]} steps, and at most {bound:.2g} is allowed"
        )
    if corrector is not None or sde.has_table:
        falls = fine <= max(0.65 * coarse, 0.02)
    else:
        falls = fine <= coarse * (steps[0] / steps[1]) ** (row.declared - 0.4) + 1e-7
    if not falls:
        return row._replace(verdict="fail", reason=f"its error falls with order {order:.2f}, and it declares {row.declared}")
    return row


@cache
def _ancestral(sde: LinearSDE, steps: int) -> float:
    """The error of the law of ancestral sampling, which is the largest among the published first-order methods."""
    response = impulse_response(Sampler(Ancestral(), times=LogSNR(steps, t_min=max(1e-3, sde.t_min))), sde)
    return math.hypot(response.mean_error, response.variance_error)


def _bends(sampler: Sampler, sde: LinearSDE) -> bool:
    """Whether the steps of a sampler are not affine in the state, so that its impulse response does not determine its law.

    Raises:
        RuntimeError: when the result of a row depends on the other rows.
    """
    score_fn = GaussianOracle(torch.tensor([0.7], dtype=torch.float64), 0.3).score(sde)
    x_T = sde.at(sde.T).sigma * torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    still: Any = torch.zeros_like

    def run(x: Tensor) -> Tensor:
        frames = sampler.stream(sde, score_fn, tuple(x.shape), x_T=x, noise=still, dtype=torch.float64)
        return torch.stack([frame.x for frame in frames], 1)  # every state: the last ones hardly depend on the first

    together, alone = run(x_T), torch.cat([run(x) for x in x_T.split(1)])
    if not torch.allclose(together, alone, rtol=1e-6, atol=1e-9):
        raise RuntimeError("the result of a row depends on the other rows")
    return bool(((alone[0] - 2 * alone[1] + alone[2]).abs() > 1e-6 * alone.abs().amax((0, 2))[:, None]).any())


def high_mixture() -> MixtureOracle:
    """Four Gaussians in 192 dimensions, where few samples have much power."""
    means = 0.6 * RowNoise(11, 4)(torch.empty(4, 192, dtype=torch.float64))
    return MixtureOracle([0.1, 0.2, 0.3, 0.4], means, [0.2, 0.3, 0.4, 0.5])


def plane_mixture() -> MixtureOracle:
    """Three Gaussians in the plane, where many samples are cheap: they test the weights."""
    means = torch.tensor([[-1.0, 0.0], [0.8, 0.6], [0.5, -0.9]], dtype=torch.float64)
    return MixtureOracle([0.2, 0.3, 0.5], means, [0.15, 0.25, 0.2])


def p_values(data: MixtureOracle, sde: LinearSDE, x: Tensor, t: float) -> dict[str, float]:
    """p-values of samples x (n, d) against the law of a mixture at time t.

    stein: E[x . score] = -d.
    radial: |x - alpha m_k|^2 / V_k is chi-squared within each component.
    weights: the numbers of samples in the components.
    pairs: rows are independent, by products of whitened entries of rows 1, 2 and n/2 apart.
    """
    n, d = x.shape
    level = sde.at(torch.full((n,), t, dtype=torch.float64))
    joint, centred, variances = data.components(x, level.alpha, level.sigma)
    dot = (x * data.score_density(x, level.alpha, level.sigma)).sum(1)
    k, rows = joint.argmax(1), torch.arange(n)
    radius = (centred[rows, k] ** 2 / variances[rows, k]).sum(1)
    white = centred[rows, k] / variances[rows, k].sqrt()
    products = [(white * white.roll(shift, 0)).sum().item() / white.numel() ** 0.5 for shift in (1, 2, n // 2)]
    weights = data.log_weights.exp().numpy()
    return {
        "stein": float(2 * stats.norm.sf(abs(dot.mean().item() + d) / (dot.std().item() / n**0.5))),
        "radial": float(stats.kstest(radius.numpy(), stats.chi2(d).cdf).pvalue),
        "weights": float(stats.chisquare(torch.bincount(k, minlength=len(weights)).numpy(), weights * n).pvalue),
        "pairs": float(2 * stats.norm.sf(max(map(abs, products)))),
    }


def certify_laws(predictor: Any, corrector: Any = None) -> Iterator[Law]:
    """Certify a predictor by samples of both mixtures under VP, from the exact law at T with the exact score, at t_min = 1e-3.

    Orders above 1 take 200 steps. First order takes 800, or 400 in the plane, so that its error stays below what the tests detect.
    """
    sde, t_min = VPSDE(), 1e-3
    name = " + ".join(filter(None, (_name(predictor), _name(corrector))))
    fast = predictor is not None and predictor.convergence > 1 and corrector is None
    for label, data, n, slow in (("192 dimensions", high_mixture(), 600, 800), ("a plane", plane_mixture(), 5000, 400)):
        row = Law(name, label, 0, {})
        try:
            sampler = Sampler(predictor, corrector, times=LogSNR(200 if fast else slow, t_min=t_min), last="sample")
            x0 = data.sample(n, seed=1)
            x_T = sde.kernel(x0, sde.T).sample(RowNoise(2, n)(x0))
            x, nfe = sampler.sample(sde, data.score(sde), tuple(x0.shape), seed=3, x_T=x_T, dtype=torch.float64)
            row = row._replace(nfe=nfe, p=p_values(data, sde, x, t_min))
        except Exception as error:  # a user's predictor may raise anything
            yield row._replace(verdict="fail", reason=first_line(error))
            continue
        worst = min(row.p, key=lambda test: row.p[test])
        if row.p[worst] < ALARM:
            row = row._replace(verdict="fail", reason=f"p = {row.p[worst]:.1g} in {worst}, and less than {ALARM:g} is an alarm")
        yield row


def _name(algorithm: Any) -> str:
    return "" if algorithm is None else type(algorithm).__name__


def impulse_table(rows: list[Impulse]) -> str:
    """The table of errors: each predictor alone under each process, and with each corrector the largest error of all processes."""
    lines = [f"{'process':<16} {'predictor':<20} {'calls':>11} {'error of the law':>20} {'order':>6} {'declared':>8}  verdict"]
    for r in (r for r in rows if not r.corrector):
        numbers = f"{r.nfe[0]:>5} {r.nfe[1]:>5} {r.error[0]:>9.1e} {r.error[1]:>10.1e} {r.order:>6.2f} {r.declared:>8}"
        lines.append(f"{r.process:<16} {r.predictor:<20} {numbers if r.verdict != 'refused' else '':<53}  {_verdict(r)}")
    pairs = list(dict.fromkeys((r.corrector, r.predictor) for r in rows if r.corrector))
    if pairs:
        lines.append(f"\n{'corrector':<16} {'predictor':<20} {'processes':>9} {'largest error':>14}  verdict")
    for corrector, predictor in pairs:
        own = [r for r in rows if (r.corrector, r.predictor) == (corrector, predictor)]
        ran = [r for r in own if not math.isnan(r.error[1])]
        largest = f"{max(r.error[1] for r in ran):.1e}" if ran else ""
        verdicts = dict.fromkeys(_verdict(r) for r in sorted(own, key=lambda r: r.verdict != "fail"))
        lines.append(f"{corrector:<16} {predictor:<20} {len(ran):>9} {largest:>14}  {'; '.join(verdicts)}")
    return "\n".join(lines)


def law_table(rows: list[Law]) -> str:
    """The table of p-values of each predictor on each mixture."""
    tests = ("stein", "radial", "weights", "pairs")
    lines = [f"{'predictor':<30} {'mixture':<16} {'calls':>6} " + " ".join(f"{test:>8}" for test in tests) + "  verdict"]
    for r in rows:
        p = " ".join(f"{r.p.get(test, math.nan):>8.1g}" for test in tests)
        lines.append(f"{r.predictor:<30} {r.mixture:<16} {r.nfe:>6} {p}  {_verdict(r)}")
    return "\n".join(lines)


def _verdict(row: Impulse | Law) -> str:
    return {"fail": f"FAIL: {row.reason}", "refused": f"refused: {row.reason}"}.get(row.verdict, row.verdict)


def certify(
    predictors: Sequence[Any], correctors: Sequence[Any], processes: Sequence[LinearSDE], laws_with: Sequence[Any]
) -> tuple[list[Impulse], list[Law]]:
    """Certify every predictor, with every corrector under every process by impulses, and with each of laws_with by samples.

    A corrector may be None. Many combinations are distributed over the cores.
    """
    jobs: list[tuple[Any, ...]] = [(_laws, p, c) for p in predictors for c in laws_with]
    law_jobs = len(jobs)
    jobs += [(_impulses, p, c, sde) for sde in processes for c in correctors for p in predictors]
    workers = min(os.cpu_count() or 1, 8) if len(jobs) > 20 else 0
    with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) if workers else nullcontext() as pool:
        done = pool.imap(_do, jobs) if pool else map(_do, jobs)
        results = list(progress_bar(done, total=len(jobs), description="certifying", unit=" rows", leave=False))
    laws, impulses = results[:law_jobs], results[law_jobs:]
    return list(itertools.chain.from_iterable(impulses)), list(itertools.chain.from_iterable(laws))


def _impulses(predictor: Any, corrector: Any, sde: LinearSDE) -> list[Impulse]:
    return [certify_impulses(predictor, corrector, sde, (100, 200) if corrector is None else (50, 100))]


def _laws(predictor: Any, corrector: Any) -> list[Law]:
    return list(certify_laws(predictor, corrector))


def _do(job: tuple[Any, ...]) -> list[Any]:
    return job[0](*job[1:])

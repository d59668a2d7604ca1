"""Second implementations of the predictors, from the papers in numbers: the law of the output, and the size of its error."""

import math
from itertools import pairwise

import numpy as np
import pytest

from samplers import (
    DDIM,
    Ancestral,
    DPMSolver,
    EulerMaruyama,
    Heun,
    LogSNR,
    ReverseDiffusion,
    Sampler,
    SDEDPMSolver,
    StochasticRungeKutta,
    UniPC,
    impulse_response,
)
from sde_lib import VPSDE
from tests.laws.scalars import M, V, data_at, eps_at, half_log_snr, signal, time_of
from tests.laws.test_samplers import SIZES, require_row
from tests.registry import PREDICTORS, name, plugged


def second_order(sign, estimate, single=False):
    """Lu et al., 2022 (b), Algorithms 1 and 2, r = 1/2; sign = +1: 2022 (a), with eps, as their code writes them out."""

    def path(x, times, draws):
        before = None
        for t, s in pairwise(times):
            (a, b), (c, d), h = signal(t), signal(s), half_log_snr(s) - half_log_snr(t)
            now = estimate(x, t)
            ratio, scale, phi = (c / a, d, math.expm1(h)) if sign > 0 else (d / b, c, math.expm1(-h))
            if single:
                r = time_of(half_log_snr(t) + 0.5 * h)
                (e, f), part = signal(r), math.expm1(sign * h / 2)
                middle = (e / a) * x - f * part * now if sign > 0 else (f / b) * x - e * part * now
                x = ratio * x - scale * phi * now - scale * phi * (estimate(middle, r) - now)
            else:
                D = now if before is None else now + (now - before[0]) * h / (2 * before[1])
                x, before = ratio * x - scale * phi * D, (now, h)
        return x

    return path


def third_order_multistep(x, times, draws):
    """The code released with Lu et al.: phi_2 and phi_3 by their recursions, and its halved second derivative."""
    known = []
    for t, s in pairwise(times):
        (_, b), (c, d), h = signal(t), signal(s), half_log_snr(s) - half_log_snr(t)
        known = [(data_at(x, t), half_log_snr(t)), *known[:2]]
        phi_1 = math.expm1(-h)
        phi_2 = phi_1 / h + 1
        phi_3 = phi_2 / h - 0.5
        now = known[0][0]
        base = (d / b) * x - c * phi_1 * now
        if len(known) > 1:
            r0 = (known[0][1] - known[1][1]) / h
            D1_0 = (now - known[1][0]) / r0
        if len(known) == 1:
            x = base
        elif len(known) == 2:
            x = base - 0.5 * c * phi_1 * D1_0
        else:
            r1 = (known[1][1] - known[2][1]) / h
            D1_1 = (known[1][0] - known[2][0]) / r1
            D1 = D1_0 + r0 / (r0 + r1) * (D1_0 - D1_1)
            D2 = (D1_0 - D1_1) / (r0 + r1)
            x = base + c * phi_2 * D1 - c * phi_3 * D2
    return x


def polynomial(sign, estimate):
    """The parabola through the last three, integrated by a Gauss rule; the second step 2M and the first 2S."""
    nodes, weights = np.polynomial.legendre.leggauss(12)

    def path(x, times, draws):
        known = []
        for t, s in pairwise(times):
            (a, b), (c, d) = signal(t), signal(s)
            start, end = half_log_snr(t), half_log_snr(s)
            known = [(estimate(x, t), start), *known[:2]]
            if len(known) < 3:
                step = second_order(sign, estimate, single=True)
                if len(known) == 1:
                    x = step(x, [t, s], draws)
                    continue
                h, D = end - start, None
                D = known[0][0] + (known[0][0] - known[1][0]) * h / (2 * (start - known[1][1]))
                x = (c / a) * x - d * math.expm1(h) * D if sign > 0 else (d / b) * x - c * math.expm1(-h) * D
                continue
            lam = start + (end - start) * (nodes + 1) / 2
            total = 0 * x
            for at, weight in zip(lam, weights * (end - start) / 2, strict=True):
                value = 0 * x
                for i, (f, place) in enumerate(known):
                    value += f * math.prod((at - other) / (place - other) for j, (_, other) in enumerate(known) if j != i)
                total += weight * math.exp(-sign * at) * value
            x = (c / a) * x - c * total if sign > 0 else (d / b) * x + d * total
        return x

    return path


def third_order_single(x, times, draws):
    """Lu et al., 2022 (a), Algorithm 2, with x0 for eps: r1 = 1/3, r2 = 2/3."""
    for t, s in pairwise(times):
        (_, b), (c, d), h = signal(t), signal(s), half_log_snr(s) - half_log_snr(t)
        now = data_at(x, t)
        t1, t2 = (time_of(half_log_snr(t) + r * h) for r in (1 / 3, 2 / 3))
        (c1, d1), (c2, d2) = signal(t1), signal(t2)
        u1 = (d1 / b) * x - c1 * math.expm1(-h / 3) * now
        D1 = data_at(u1, t1) - now
        u2 = (d2 / b) * x - c2 * math.expm1(-2 * h / 3) * now + 2 * c2 * (math.expm1(-2 * h / 3) / (2 * h / 3) + 1) * D1
        D2 = data_at(u2, t2) - now
        x = (d / b) * x - c * math.expm1(-h) * now + 1.5 * c * (math.expm1(-h) / h + 1) * D2
    return x


def unipc(order):
    """Zhao et al., 2023, Algorithms 5 and 7, with R_p, g_p and a_p as matrices, B(h) = e^h - 1 at -h."""

    def update(x, t, s, now, others, correct):
        (_, b), (c, d), h = signal(t), signal(s), half_log_snr(s) - half_log_snr(t)
        hh, B = -h, math.expm1(-h)
        rks = [(place - half_log_snr(t)) / h for _, place in others] + ([1.0] if correct is not None else [])
        values = [f for f, _ in others] + ([correct] if correct is not None else [])
        D = [(f - now) / r for f, r in zip(values, rks, strict=True)]
        q = len(D)
        rows, right, phi, factorial = [], [], math.expm1(hh) / hh - 1, 1
        for i in range(1, q + 1):
            rows.append(np.array(rks) ** (i - 1))
            right.append(phi * factorial / B)
            factorial *= i + 1
            phi = phi / hh - 1 / factorial
        rho = [0.5] if q == 1 else np.linalg.solve(np.array(rows), np.array(right)) if q else []
        return (d / b) * x - c * math.expm1(hh) * now - c * B * sum((w * f for w, f in zip(rho, D, strict=True)), 0 * x)

    def path(x, times, draws):
        known, before = [], None
        for t, s in pairwise(times):
            now = data_at(x, t)
            if before is not None:
                x = update(before[0], before[1], t, known[0][0], known[1:], now)
            known = [(now, half_log_snr(t)), *known][:order]
            before = x, t
            x = update(x, t, s, now, known[1:], None)
        return x

    return path


def heun(churn):
    """Karras et al., 2022, Algorithm 2, for y = x / alpha with sigma / alpha for sigma."""

    def path(x, times, draws):
        v = [signal(t)[1] / signal(t)[0] for t in times]
        y = x / signal(times[0])[0]
        for here, there in pairwise(v):
            more = min(here * (1 + min(churn / len(v), math.sqrt(2) - 1)), v[0]) if churn else here

            def slope(y, v):
                t = time_of(-math.log(v))
                return (y - data_at(signal(t)[0] * y, t)) / v

            if churn:
                y = y + math.sqrt(max(more**2 - here**2, 0)) * next(draws)
            d = slope(y, more)
            y, again = y + (there - more) * d, y
            y = again + (there - more) * (d + slope(y, there)) / 2
        return signal(times[-1])[0] * y

    return path


def sde_2m(eta):
    """Lu et al., 2022 (b), appendix A: SDE-DPM-Solver++(2M); for another eta by the variation of constants."""

    def path(x, times, draws):
        before = None
        for t, s in pairwise(times):
            (_, b), (c, d), h = signal(t), signal(s), half_log_snr(s) - half_log_snr(t)
            now = data_at(x, t)
            D = now if before is None else now + 0.5 * (h / before[1]) * (now - before[0])
            x = (d / b) * math.exp(-(eta**2) * h) * x + c * (1 - math.exp(-(1 + eta**2) * h)) * D
            x = x + d * math.sqrt(1 - math.exp(-2 * eta**2 * h)) * next(draws)
            before = now, h
        return x

    return path


def sra1(x, times, draws):
    """Rossler, 2010, table 6.3, on dY = (x0 - Y) / tau (-dtau) + dW."""
    tau = [(signal(t)[1] / signal(t)[0]) ** 2 for t in times]
    y = x / signal(times[0])[0]
    for here, there in pairwise(tau):
        h = here - there
        z1, z2 = math.sqrt(h) * next(draws), math.sqrt(h) * next(draws)
        I10 = 0.5 * h * (z1 + z2 / math.sqrt(3))

        def a(y, tau):
            t = time_of(-0.5 * math.log(tau))
            return (data_at(signal(t)[0] * y, t) - y) / tau

        a1 = a(y, here)
        a2 = a(y + 0.75 * a1 * h + 1.5 * I10 / h, here - 0.75 * h)
        y = y + h * (a1 / 3 + 2 * a2 / 3) + (z1 - I10 / h) + I10 / h
    return signal(times[-1])[0] * y


def ddim(eta):
    """Song, Meng, Ermon, 2021, equations 12 and 16, their alpha being alpha^2."""

    def path(x, times, draws):
        for t, s in pairwise(times):
            a, b = signal(t)[0] ** 2, signal(s)[0] ** 2
            std = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
            x = math.sqrt(b) * data_at(x, t) + math.sqrt(1 - b - std**2) * eps_at(x, t) + std * next(draws)
        return x

    return path


PAPERS = {
    DDIM(eta=0.5): ddim(0.5),
    DDIM(eta=1.0): ddim(1.0),
    DDIM(): ddim(0.0),
    DPMSolver(order=2): second_order(-1, data_at),
    DPMSolver(order=2, data_prediction=False): second_order(1, eps_at),
    DPMSolver(order=2, multistep=False): second_order(-1, data_at, single=True),
    DPMSolver(order=3): polynomial(-1, data_at),
    DPMSolver(order=3, data_prediction=False): polynomial(1, eps_at),
    DPMSolver(order=3, multistep=False): third_order_single,
    DPMSolver(order=3, published=True): third_order_multistep,
    UniPC(order=1): unipc(1),
    UniPC(order=2): unipc(2),
    UniPC(order=3): unipc(3),
    Heun(): heun(0.0),
    Heun(churn=10.0): heun(10.0),
    SDEDPMSolver(): sde_2m(1.0),
    SDEDPMSolver(eta=0.5): sde_2m(0.5),
    StochasticRungeKutta(): sra1,
    **plugged("PAPERS"),
}


@pytest.mark.parametrize("steps", [25, 400])
@pytest.mark.parametrize("predictor", PAPERS, ids=name)
def test_the_law_agrees_with_the_papers_formulas_in_numbers(predictor, steps):
    """The output as an affine function of the start and the draws, by the paper's formula: its variance is the law's."""
    times = LogSNR(steps, t_min=1e-3)(VPSDE()).tolist()
    basis = iter(np.eye(2 * steps + 2)[2:])
    alpha, sigma = signal(1.0)
    x = np.zeros(2 * steps + 2)
    x[0], x[1] = alpha * M, math.sqrt(alpha**2 * V + sigma**2)
    x = PAPERS[predictor](x, times, basis)
    alpha, sigma = signal(times[-1])
    truth = alpha**2 * V + sigma**2
    response = impulse_response(Sampler(predictor, times=LogSNR(steps, t_min=1e-3)), VPSDE())
    assert response.variance_error == pytest.approx((x[1:] ** 2).sum() / truth - 1, rel=1e-6, abs=1e-12)
    assert response.mean_error == pytest.approx((x[0] - alpha * M) / math.sqrt(truth), rel=1e-6, abs=1e-12)
    if steps == 400:
        assert SIZES[predictor] == pytest.approx((x[1:] ** 2).sum() / truth - 1, rel=0.01)


ELSEWHERE = (Ancestral(), Ancestral("large"), EulerMaruyama(), EulerMaruyama(eta=0.0))  # in test_samplers.py
ELSEWHERE += (ReverseDiffusion(), ReverseDiffusion(eta=0.0), DPMSolver(order=1))


@pytest.mark.parametrize("predictor", PREDICTORS, ids=name)
def test_every_predictor_has_a_second_implementation(predictor):
    require_row("PAPERS", {**dict.fromkeys(ELSEWHERE), **PAPERS}, predictor)

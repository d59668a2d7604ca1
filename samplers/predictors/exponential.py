"""The formula that the exponential multistep methods share: a polynomial through estimates, integrated exactly."""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import torch
from torch import Tensor

from sde_lib.linear import Level

__all__ = ["integrate_exponential"]


def integrate_exponential(
    x: Tensor,
    from_: Level,
    to: Level,
    values: Sequence[Tensor],
    places: Sequence[Tensor],
    *,
    data: bool = True,
    eta: float = 0.0,
    simple: bool = True,
    halved: bool = False,
) -> Tensor:
    """The state carried from one level to another along estimates of x0 (data) or of eps, without the noise of a step.

    In lambda = log-SNR / 2, h = lambda_s - lambda_t, the reverse equation is linear but for the estimate F, and

        x_s = (sigma_s / sigma_t) e^(-eta^2 h) x + alpha_s (1 + eta^2) int_0^h e^(-(1 + eta^2) (h - u)) F(lambda_t + u) du    (data)
        x_s = (alpha_s / alpha_t) x - sigma_s int_0^h e^(h - u) F(lambda_t + u) du                                           (eps)

    with F the polynomial through values at places (log-SNR), the first of them at from_. simple: the slope of a straight line
    weighs (e^z - 1) / 2 in place of its exact integral, as in the second-order formulas of DPM-Solver and UniPC. halved: the second
    derivative of a parabola is halved, as in DPM-Solver's third-order multistep as it was released.
    """
    span = to.log_snr - from_.log_snr
    if data:
        ratio, scale, z = to.sigma / from_.sigma, to.alpha, (-0.5 * (1 + eta**2)) * span
        if eta:
            ratio = ratio * torch.exp((-0.5 * eta**2) * span)
    else:
        ratio, scale, z = to.alpha / from_.alpha, to.sigma, 0.5 * span
    whole = torch.expm1(z)
    x, rest = ratio * x, whole
    if len(values) > 1:
        nodes = [(place - from_.log_snr) / span for place in places[1:]]
        for node, weight, value in zip(nodes, _weights(z, whole, nodes, simple, halved), values[1:], strict=True):
            part = weight / node
            rest = rest - part
            x = x - (scale * part) * value
    return x - (scale * rest) * values[0]


def _weights(z: Tensor, whole: Tensor, nodes: list[Tensor], simple: bool, halved: bool) -> list[Tensor]:
    """w with sum_j w_j r_j^(k-1) = k! z phi_(k+1)(z), z phi_1 = e^z - 1 and z phi_(k+1) = phi_k - 1/k!, at the nodes r.

    The system is Vandermonde's, and solved as Bjorck and Pereyra did (1970, Mathematics of Computation 24).
    """
    if len(nodes) == 1 and simple:
        return [0.5 * whole]
    w, part = [], whole
    for k in range(1, len(nodes) + 1):
        part = part / z - 1 / factorial(k)
        w.append(part if k == 1 or (halved and k == 2) else factorial(k) * part)
    n = len(nodes)
    for k in range(n - 1):
        for i in range(n - 1, k, -1):
            w[i] = w[i] - nodes[k] * w[i - 1]
    for k in range(n - 2, -1, -1):
        for i in range(k + 1, n):
            w[i] = w[i] / (nodes[i] - nodes[i - k - 1])
        for i in range(k, n - 1):
            w[i] = w[i] - w[i + 1]
    return w

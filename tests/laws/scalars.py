"""VP, and the model of data N(M, V) under it, in plain numbers: what second implementations of steps are written with.

A state is the vector of the coefficients of an affine function of the start and of the draws, its constant first.
"""

import math

M, V = 0.7, 0.09


def signal(t):
    B = 0.1 * t + 9.95 * t * t
    return math.exp(-B / 2), math.sqrt(-math.expm1(-B))


def half_log_snr(t):
    return math.log(signal(t)[0] / signal(t)[1])


def time_of(lam):
    """The inverse of half_log_snr: B = log(1 + e^-2 lambda), a quadratic in t."""
    B = math.log1p(math.exp(-2 * lam))
    return (-0.1 + math.sqrt(0.01 + 4 * 9.95 * B)) / (2 * 9.95)


def data_at(x, t):
    """E[x0 | x] for N(M, V); x is an affine function of the start and the draws: its constant, then its coefficients."""
    alpha, sigma = signal(t)
    gain = alpha * V / (alpha**2 * V + sigma**2)
    x0 = gain * x
    x0[0] += M - gain * alpha * M
    return x0


def eps_at(x, t):
    alpha, sigma = signal(t)
    return (x - alpha * data_at(x, t)) / sigma

"""Seeded inputs that many laws are tested on."""

import torch


def normal(shape, seed=0):
    """Standard normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn_codes(p, n, d, seed=0):
    """n rows of d independent codes, (n, d), of which code k has the probability p[k]."""
    return torch.multinomial(p, n * d, replacement=True, generator=torch.Generator().manual_seed(seed)).reshape(n, d)

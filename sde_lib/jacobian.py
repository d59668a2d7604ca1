"""Traces and quadratic forms of a Jacobian, row by row, by backward passes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["quadratic_form", "trace"]


def trace(y: Tensor, x: Tensor, *, chunk: int = 16, create_graph: bool = False) -> Tensor:
    """tr dy/dx of each row, (B,), for y shaped like x and computed from it row by row: one backward pass for each entry.

    chunk entries go together; create_graph keeps what a further derivative, to the parameters of a network, needs.
    """
    dims = x[0].numel()
    basis = torch.eye(dims, dtype=y.dtype, device=y.device).reshape(dims, 1, *x.shape[1:])
    total = torch.zeros(x.shape[0], dtype=y.dtype, device=y.device)
    for part in basis.split(chunk):
        directions = part.expand(-1, *x.shape)
        (columns,) = torch.autograd.grad(y, x, directions, is_grads_batched=True, retain_graph=True, create_graph=create_graph)
        total = total + (columns * directions).flatten(2).sum((0, 2))
    return total


def quadratic_form(y: Tensor, x: Tensor, v: Tensor, *, retain_graph: bool = False, create_graph: bool = False) -> Tensor:
    """v . (dy/dx) v of each row, (B,), for y and v shaped like x: one backward pass."""
    (vJ,) = torch.autograd.grad(y, x, v, retain_graph=retain_graph or create_graph, create_graph=create_graph)
    return (vJ * v).flatten(1).sum(1)

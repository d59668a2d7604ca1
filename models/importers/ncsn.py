"""Networks of NCSN and NCSNv2, from their own releases and from score_sde_pytorch.

Reference: Song and Ermon, 2019, arXiv 1907.05600; 2020, arXiv 2006.09011, and the released code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .order import fit, in_order

__all__ = ["STAGES", "weights_of_ncsn"]

STAGES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "ncsnv2_64": ((1, 2, 2, 2), (1, 1, 2, 4)),
    "ncsnv2_128": ((1, 2, 2, 4, 4), (1, 1, 1, 2, 4)),
    "ncsnv2_256": ((1, 2, 2, 2, 4, 4), (1, 1, 1, 1, 2, 4)),
}
"""Multipliers and dilations of the published networks."""

WORDS = (
    *("begin_conv", "normalizer", "end_conv", "res1", "res2", "res3", "res31", "res4", "res5"),
    *("refine1", "refine2", "refine31", "refine3", "refine4", "refine5", "adapt_convs", "msf", "crp", "output_convs"),
    *("normalize1", "conv1", "normalize2", "conv2", "shortcut", "norm", "norms", "conv", "convs", "embed", "weight", "bias"),
)


def weights_of_ncsn(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state of theirs as one of ours. Raises ValueError where they do not fit."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        head, _, leaf = key.rpartition(".")
        if leaf == "alpha":  # a normalisation that is not conditional: one class
            key = f"{head}.embed.weight"
            value = torch.cat([state[f"{head}.{name}"] for name in ("gamma", "alpha", "beta")])[None]
        elif leaf in ("gamma", "beta"):
            continue
        key = re.sub(r"(\d)_(\d)_(conv|norm)", r"\1.\2.\3", key)
        renamed[re.sub(r"\.(convs|norms)\.(\d)", r".\2.\1", key)] = value
    return fit(in_order(renamed, WORDS).values(), network)

"""Import of NCSN and NCSNv2, from their own releases and from score_sde_pytorch.

Reference: Song and Ermon, 2019, arXiv 1907.05600; 2020, arXiv 2006.09011, and the released code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sde_lib import Images, LinearSDE, Score
from sde_lib.parameterizations import Parameterization
from sde_lib.tables import geometric_sigmas
from sde_lib.tabulated import ncsn

from ..ncsn import NCSN, NCSNv2
from .images import levels_from
from .order import fit, in_order, without_prefix

__all__ = ["STAGES", "holds", "model_of", "weights_of_ncsn"]

STAGES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "ncsnv2_64": ((1, 2, 2, 2), (1, 1, 2, 4)),
    "ncsnv2_128": ((1, 2, 2, 4, 4), (1, 1, 1, 2, 4)),
    "ncsnv2_256": ((1, 2, 2, 2, 4, 4), (1, 1, 1, 1, 2, 4)),
}
"""Multipliers and dilations of the published networks."""

WORDS = (
    "begin_conv",
    "normalizer",
    "end_conv",
    "res1",
    "res2",
    "res3",
    "res31",
    "res4",
    "res5",
    "refine1",
    "refine2",
    "refine31",
    "refine3",
    "refine4",
    "refine5",
    "adapt_convs",
    "msf",
    "crp",
    "output_convs",
    "normalize1",
    "conv1",
    "normalize2",
    "conv2",
    "shortcut",
    "norm",
    "norms",
    "conv",
    "convs",
    "embed",
    "weight",
    "bias",
)


def weights_of_ncsn(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state of NCSN or NCSNv2 under our names.

    Raises:
        ValueError: when the weights do not fit the network.
    """
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


def holds(content: Any) -> bool:
    """Whether content looks like a file of NCSN or NCSNv2."""
    return "begin_conv.weight" in _states(content)[0]


def model_of(content: Any, config: Mapping[str, Any] | None, weights: str) -> tuple[nn.Module, LinearSDE, Parameterization, Images]:
    """Network, process, parameterization and data of a file. config has image_size, and for NCSN sigma_begin and sigma_end.

    Raises:
        KeyError: when config lacks one of them.
        ValueError: when image_size is not an integer, or the sigmas in the file are not geometric.
    """
    raw, ema = _states(content)
    first, names = raw["begin_conv.weight"], {key.split(".")[0] for key in raw}
    stages = STAGES["ncsnv2_256" if "res31" in names else "ncsnv2_128" if "res5" in names else "ncsnv2_64"]
    channels, inputs = first.shape[:2]
    told = config or {}
    size = told["image_size"]
    if type(size) is not int:
        raise ValueError(f"image_size is {size!r}: an integer is needed, the height and width of the images")
    shape = (inputs, size, size)
    if "normalizer.embed.weight" in raw:
        levels = len(raw["normalizer.embed.weight"])
        table = (float(told["sigma_end"]), float(told["sigma_begin"]), levels)
        network: nn.Module = NCSN(shape, channels, *stages, levels=levels)
        data = Images(256, 0.0, 1.0)  # trained on dequantized images
    else:
        sigmas = raw["sigmas"].double()
        table = (_rounded(sigmas[-1]), _rounded(sigmas[0]), len(sigmas))
        if not torch.allclose(geometric_sigmas(*table), sigmas, rtol=1e-5):
            raise ValueError(
                f"the {len(sigmas)} sigmas in the file are not geometric, and no other table of NCSNv2's is known here"
            )
        network = NCSNv2(shape, channels, *stages, sigmas=sigmas.tolist())  # to the last bit of those it was trained with
        data = levels_from(0.0)
    state = {key: value for key, value in (raw | ema if weights == "ema" else raw).items() if key != "sigmas"}
    network.load_state_dict(weights_of_ncsn(state, network))
    return network, ncsn(*table), Score(label="index"), data


def _states(content: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and their averages ({} without): the file is a state, or a list of state, optimizer, ..., and averages."""
    parts = list(content) if isinstance(content, (list, tuple)) else [content]
    states = [without_prefix(part) for part in parts if isinstance(part, Mapping) and "optimizer" not in part]
    states = [state for state in states if "begin_conv.weight" in state]
    return (states[0] if states else {}), (states[-1] if len(states) > 1 else {})


def _rounded(sigma: Tensor) -> float:
    """A number of at most six digits, from its value in float32."""
    return float(f"{float(sigma):.6g}")

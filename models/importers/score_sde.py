"""Import of networks of score_sde_pytorch, by the config that they were trained with.

Reference: Song et al., 2021, arXiv 2011.13456, and the released code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sde_lib import VESDE, VPSDE, Epsilon, Images, LinearSDE, Score, SubVPSDE, Tabulated
from sde_lib.parameterizations import Parameterization
from sde_lib.tabulated import ncsn

from ..ncsn import NCSN, NCSNv2
from ..ncsnpp import DDPM, NCSNpp
from .images import levels_from
from .ncsn import STAGES, weights_of_ncsn
from .order import fit, in_order, without_prefix

__all__ = ["averaged", "data_of", "holds", "model_of", "network_of", "process_of", "weights_of"]

WORDS = (
    "all_modules",
    "GroupNorm_0",
    "Conv_0",
    "Conv2d_0",
    "Dense_0",
    "GroupNorm_1",
    "Conv_1",
    "Conv_2",
    "NIN_0",
    "NIN_1",
    "NIN_2",
    "NIN_3",
    "weight",
    "W",
    "bias",
    "b",
)

Config = Mapping[str, Any]


def network_of(config: Config) -> nn.Module:
    """The network that a config describes, a mapping with the sections model and data.

    Raises:
        KeyError: when the config lacks a key.
        ValueError: when config.model.name is not known.
    """
    model, data = config["model"], config["data"]
    name, channels = model["name"], data.get("num_channels", data.get("channels", 3))
    size = data["image_size"]
    shape = (channels, size, size)
    table = (model["sigma_min"], model["sigma_max"], model["num_scales"])
    unit_range = not data["centered"]
    if name == "ncsn":
        return NCSN(shape, model["nf"], *STAGES["ncsnv2_64"], levels=model["num_scales"], unit_range=unit_range)
    if name in STAGES:
        return NCSNv2(shape, model["nf"], *STAGES[name], sigmas=table, unit_range=unit_range)
    multipliers = tuple(model["ch_mult"])
    common = {
        "channels": model["nf"],
        "multipliers": multipliers,
        "blocks": model["num_res_blocks"],
        "attention": tuple(i for i in range(len(multipliers)) if size // 2**i in model["attn_resolutions"]),
        "dropout": model["dropout"],
        "resample": "conv" if model["resamp_with_conv"] else "pool",
        "activation": model["nonlinearity"].lower(),
        "conditional": model["conditional"],
        "unit_range": unit_range,
    }
    if name == "ddpm":
        return DDPM(shape, **common, sigmas=table if model["scale_by_sigma"] else None)
    if name != "ncsnpp":
        raise ValueError(f"config.model.name is {name!r}: use one of ddpm, ncsnpp, ncsn, {', '.join(STAGES)}")
    positional = model["embedding_type"].lower() == "positional"
    return NCSNpp(
        shape,
        **common,
        embedding="positional" if positional else "fourier",
        fourier_scale=float(model.get("fourier_scale", 16)),
        block=model["resblock_type"].lower(),
        fir=tuple(model["fir_kernel"]) if model["fir"] else (),
        skip_rescale=model["skip_rescale"],
        progressive_input=model["progressive_input"].lower(),
        progressive_output=model["progressive"].lower(),
        combine=model["progressive_combine"].lower(),
        scale_by_sigma=model["scale_by_sigma"],
        sigmas=table if positional and model["scale_by_sigma"] else None,
    )


def process_of(config: Config) -> tuple[LinearSDE, Parameterization]:
    """The process, and what the network's output means.

    Raises:
        KeyError: when the config lacks a key.
        ValueError: when config.training.sde is not known.
    """
    model, training = config["model"], config["training"]
    kind, continuous = training["sde"].lower(), training["continuous"]
    if kind == "vesde":
        if continuous:
            return VESDE(model["sigma_min"], model["sigma_max"]), Score(label="sigma")
        return ncsn(model["sigma_min"], model["sigma_max"], model["num_scales"]), Score(label="index")
    low, high, steps = model["beta_min"], model["beta_max"], model["num_scales"]
    if kind == "subvpsde":
        return SubVPSDE(low, high), Epsilon(label="time")
    if kind != "vpsde":
        raise ValueError(f"config.training.sde is {kind!r}: use one of vpsde, subvpsde, vesde")
    if continuous:
        return VPSDE(low, high), Epsilon(label="time")
    return Tabulated.from_betas(torch.linspace(low / steps, high / steps, steps, dtype=torch.float64)), Epsilon(label="index")


def data_of(config: Config) -> Images:
    """The meaning of the states: 8-bit images in [-1, 1] or [0, 1], dequantized or not."""
    low = -1.0 if config["data"]["centered"] else 0.0
    return Images(256, low, 1.0) if config["data"].get("uniform_dequantization") else levels_from(low)


def weights_of(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state of score_sde_pytorch under our names.

    Raises:
        ValueError: when the weights do not fit the network.
    """
    state = {key: value for key, value in without_prefix(state).items() if key != "sigmas"}
    if not any(key.startswith("all_modules.") for key in state):
        return weights_of_ncsn(state, network)
    blocks: dict[str, dict[str, Tensor]] = {}
    for key, value in in_order(state, WORDS).items():
        _, number, *rest = key.split(".")
        blocks.setdefault(number, {})[".".join(rest)] = value
    return fit((tensor for block in blocks.values() for tensor in _tensors(block)), network)


def _tensors(block: dict[str, Tensor]) -> list[Tensor]:
    """The weights of one module in our form: NIN is a transposed linear map, and q, k and v of attention become one projection."""
    block = {key: value.T if key.startswith("NIN") and key.endswith("W") else value for key, value in block.items()}
    if "NIN_3.W" not in block:
        return list(block.values())
    q, k, v = ({leaf: block.pop(f"NIN_{i}.{leaf}") for leaf in "Wb"} for i in range(3))
    norm, out = list(block.values())[:2], list(block.values())[2:]
    return [*norm, *(torch.cat([q[leaf], k[leaf], v[leaf]]) for leaf in "Wb"), *out]


def holds(content: Any) -> bool:
    """Whether content looks like a file of score_sde_pytorch. Its NCSN and NCSNv2 have the names of their own projects."""
    if isinstance(content, Mapping) and {"model", "ema", "step"} <= content.keys():
        return True
    return isinstance(content, Mapping) and any(re.search(r"all_modules\.|begin_conv\.", str(key)) for key in content)


def model_of(content: Any, config: Config | None, weights: str) -> tuple[nn.Module, LinearSDE, Parameterization, Images]:
    """Network, process, parameterization and data of a file.

    Raises:
        ValueError: when there is no config, or it does not fit the weights.
    """
    if config is None:
        raise ValueError(
            "weights of score_sde do not show the process, the range of the data or how sums are scaled: give config, "
            "the one that they were trained with (get_config().to_dict(), or a JSON file of it)"
        )
    state = content.get("model", content)
    network = network_of(config)
    if weights == "ema" and "ema" in content:
        state = averaged(state, content["ema"]["shadow_params"])
    network.load_state_dict(weights_of(state, network))
    return network, *process_of(config), data_of(config)


def averaged(state: Mapping[str, Tensor], shadows: Sequence[Tensor]) -> dict[str, Tensor]:
    """The state with its trained weights replaced by their averages, a list without names in the order of the weights.

    The list lacks sigmas and the frequencies of a Fourier embedding, which are not trained.

    Raises:
        ValueError: when the numbers of weights or their shapes differ.
    """
    trained = [key for key in state if not re.fullmatch(r"(module\.)?(sigmas|all_modules\.0\.W)", key)]
    if [state[key].shape for key in trained] != [shadow.shape for shadow in shadows]:
        raise ValueError(
            f"the file averages {len(shadows)} weights, which are not the {len(trained)} that it holds, in their order: "
            "use weights='raw', or another copy"
        )
    return {**state, **dict(zip(trained, shadows, strict=True))}

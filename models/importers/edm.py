"""Import of EDM's networks, by their weights and the options that they were made with.

Reference: Karras, Aittala, Aila, Laine, 2022, arXiv 2206.00364, and the released code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from sde_lib import EDM, VESDE, VPSDE, Epsilon, Images, KarrasSDE, LinearSDE, ScaledScore, WithVariance
from sde_lib.parameterizations import Parameterization
from sde_lib.tabulated import ddpm

from ..edm import DhariwalUNet, SongUNet
from .images import levels_from
from .order import fit, heads_first, in_order

__all__ = ["holds", "model_of", "network_of", "weights_of"]

WORDS = (
    "map_noise",
    "map_layer0",
    "map_layer1",
    "map_label",
    "map_augment",
    "map_late",
    "enc",
    "dec",
    "conv",
    "in",
    "up",
    "down",
    "aux_skip",
    "aux_residual",
    "block",
    "aux_up",
    "aux_norm",
    "aux_conv",
    "out_norm",
    "out_conv",
    "norm0",
    "conv0",
    "affine",
    "norm1",
    "conv1",
    "skip",
    "norm2",
    "qkv",
    "proj",
    "freqs",
    "weight",
    "bias",
)
LARGEST = 1 << 20  # more than any resolution: on the way down the larger come first
ENCODERS: dict[str, Any] = {"standard": "none", "skip": "input_skip", "residual": "residual"}
DECODERS: dict[str, Any] = {"standard": "none", "skip": "output_skip"}


def network_of(config: Mapping[str, Any]) -> nn.Module:
    """The network of EDM's options: model_type, img_resolution, img_channels, label_dim, model_channels, ...

    Raises:
        ValueError: when model_type, encoder_type or decoder_type is not known.
        KeyError: when an option is missing.
    """
    kind, size = config["model_type"], config["img_resolution"]
    song = kind == "SongUNet"
    if not song and kind != "DhariwalUNet":
        raise ValueError(f"model_type={kind!r} is not known: 'SongUNet' or 'DhariwalUNet' was needed")
    defaults: dict[str, Any] = {"model_channels": 128, "channel_mult": [1, 2, 2, 2], "num_blocks": 4, "attn_resolutions": [16]}
    if not song:
        defaults = {"model_channels": 192, "channel_mult": [1, 2, 3, 4], "num_blocks": 3, "attn_resolutions": [32, 16, 8]}
    options = defaults | dict(config)
    multipliers = tuple(options["channel_mult"])
    arguments: dict[str, Any] = {
        "channels": options["model_channels"],
        "multipliers": multipliers,
        "blocks": options["num_blocks"],
        "attention": tuple(i for i in range(len(multipliers)) if size >> i in options["attn_resolutions"]),
        "dropout": options.get("dropout", 0.10),
        "condition": options.get("label_dim", 0),
        "condition_dropout": options.get("label_dropout", 0.0),
        "augment": options.get("augment_dim", 0),
        "outputs": 2 if _preconditioning(config) == "iDDPMPrecond" else 1,
    }
    shape = (options["img_channels"], size, size)
    if not song:
        return DhariwalUNet(shape, **arguments)
    encoder, decoder = options.get("encoder_type", "standard"), options.get("decoder_type", "standard")
    if encoder not in ENCODERS or decoder not in DECODERS:
        raise ValueError(
            f"encoder_type={encoder!r} and decoder_type={decoder!r}: use one of {', '.join(map(repr, ENCODERS))}, "
            f"and one of {', '.join(map(repr, DECODERS))}"
        )
    return SongUNet(
        shape,
        **arguments,
        embedding=options.get("embedding_type", "positional"),
        taps=tuple(options.get("resample_filter", (1, 1))),
        progressive_input=ENCODERS[encoder],
        progressive_output=DECODERS[decoder],
    )


def weights_of(state: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """A state of EDM, of the preconditioned model or of its network, under our names.

    Raises:
        ValueError: when the weights do not fit the network.
    """
    song = "head_channels" not in network.arguments
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        key = key.removeprefix("model.")
        if key.endswith("resample_filter"):
            continue
        if key == "map_label.weight" and song:  # it is given one-hot vectors of length sqrt(classes)
            value = value * value.shape[1] ** 0.5
        if key.startswith("map_label") and not song:
            key = key.replace("map_label", "map_late")
        if ".qkv." in key:
            C = len(value) // 3
            value = heads_first(value, 1 if song else C // network.arguments["head_channels"], (1, 2, 0))
        renamed[re.sub(r"^(enc|dec)\.(\d+)x\d+_([a-z_]+)(\d*)\.", _place, key)] = value
    return fit(in_order(renamed, WORDS).values(), network)


def _place(match: re.Match[str]) -> str:
    part, size, kind, number = match.groups()
    return f"{part}.{LARGEST - int(size) if part == 'enc' else size}.{kind}.{number or 0}."


def holds(content: Any) -> bool:
    """Whether content looks like a state of EDM."""
    return isinstance(content, Mapping) and any(str(key).removeprefix("model.") == "map_layer0.weight" for key in content)


def model_of(
    content: Any, config: Mapping[str, Any] | None, _weights: str
) -> tuple[nn.Module, LinearSDE, Parameterization, Images]:
    """Network, process, parameterization and data of a state. EDM keeps only averaged weights, whatever is asked for.

    config has the options of the network and of its preconditioning.
    class_name is "EDMPrecond" (the default), "VPPrecond", "VEPrecond", or "iDDPMPrecond" (the sigmas of 1000 cosine betas).

    Raises:
        ValueError: when there is no config, or the preconditioning is not known.
    """
    if config is None:
        raise ValueError("EDM's weights do not show how they are used: give config, the options that the network was made with")
    kind, network = _preconditioning(config), network_of(config)
    network.load_state_dict(weights_of(content, network))
    data = levels_from(-1.0)
    if kind == "EDMPrecond":
        return network, KarrasSDE(), EDM(sigma_data=config.get("sigma_data", 0.5)), data
    if kind == "VPPrecond" and config.get("M", 1000) == 1000:
        low = config.get("beta_min", 0.1)
        return network, VPSDE(low, low + config.get("beta_d", 19.9)), Epsilon(label="time"), data
    if kind == "VEPrecond":
        return network, VESDE(config.get("sigma_min", 0.02), config.get("sigma_max", 100.0)), ScaledScore("log_half_sigma"), data
    if kind == "iDDPMPrecond" and (config.get("C_1", 0.001), config.get("C_2", 0.008)) == (0.001, 0.008):
        return network, ddpm("cosine", config.get("M", 1000)), WithVariance(of=Epsilon(label="index")), data
    raise ValueError(
        f"class_name={kind!r}: 'EDMPrecond', 'VPPrecond' (with M=1000), 'VEPrecond' or 'iDDPMPrecond' (with its own C_1 and C_2) "
        "was needed"
    )


def _preconditioning(config: Mapping[str, Any]) -> str:
    return str(config.get("class_name", "EDMPrecond")).rpartition(".")[2]

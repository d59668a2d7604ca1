"""Import of folders of diffusers: UNet2DModel with its scheduler.

Reference: von Platen et al., 2022, github.com/huggingface/diffusers, version 0.42.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sde_lib import VESDE, VPSDE, Data, Epsilon, Images, LinearSDE, Score, Tabulated, V, WithVariance
from sde_lib.parameterizations import Parameterization
from sde_lib.tables import cosine_betas, quadratic_betas, sigmoid_betas

from ..adm import ADM
from ..ncsnpp import DDPM, NCSNpp
from .images import levels_from
from .order import fit, in_order
from .reading import read

__all__ = ["holds", "model_of", "network_of", "process_of", "read_folder", "weights_of"]

WORDS = (
    "time_proj",
    "time_embedding",
    "linear_1",
    "linear_2",
    "class_embedding",
    "conv_in",
    "down_blocks",
    "mid_block",
    "up_blocks",
    "conv_norm_out",
    "conv_out",
    "resnets",
    "attentions",
    "downsamplers",
    "resnet_down",
    "skip_norm",
    "skip_conv",
    "upsamplers",
    "resnet_up",
    "norm1",
    "conv1",
    "time_emb_proj",
    "norm2",
    "conv2",
    "conv_shortcut",
    "group_norm",
    "to_q",
    "to_k",
    "to_v",
    "to_out",
    "conv",
    "weight",
    "bias",
)
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # names before version 0.18
AFTER = 10_000  # what stands after all blocks of a level
# Defaults of UNet2DModel that a config.json of an older version may not name.
DEFAULTS: dict[str, Any] = {
    "time_embedding_type": "positional",
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "center_input_sample": False,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "attention_head_dim": 8,
    "resnet_time_scale_shift": "default",
    "num_class_embeds": None,
    "class_embed_type": None,
    "act_fn": "silu",
    "add_attention": True,
    "dropout": 0.0,
    "mid_block_scale_factor": 1,
}
BETAS: dict[str, Callable[[int, float, float], Tensor]] = {
    "linear": lambda n, low, high: torch.linspace(low, high, n, dtype=torch.float64),
    "scaled_linear": quadratic_betas,
    "squaredcos_cap_v2": lambda n, *_: cosine_betas(n),
    "sigmoid": sigmoid_betas,
}
READINGS: dict[str, Any] = {"epsilon": Epsilon, "sample": Data, "v_prediction": V}


def read_folder(path: Path) -> dict[str, Any]:
    """The configs and weights in a folder of a pipeline, or of a network alone.

    Raises:
        ValueError: when the folder has no config, or no weights.
    """
    home = path / "unet" if (path / "unet").is_dir() else path
    files = [home / f"diffusion_pytorch_model.{ending}" for ending in ("safetensors", "bin")]
    there = [file for file in files if file.is_file()]
    if not there or not (home / "config.json").is_file():
        raise ValueError(f"{path} holds no config.json with a diffusion_pytorch_model.safetensors or .bin: give diffusers' folder")
    schedulers = [p / "scheduler_config.json" for p in (path / "scheduler", path, path.parent / "scheduler")]
    return {
        "config": json.loads((home / "config.json").read_text()),
        "state": read(there[0]),
        "scheduler": next((json.loads(p.read_text()) for p in schedulers if p.is_file()), None),
    }


def holds(content: Any) -> bool:
    """Whether content was read from a folder of diffusers."""
    return isinstance(content, Mapping) and {"config", "state", "scheduler"} == content.keys()


def model_of(
    content: Any, config: Mapping[str, Any] | None, _weights: str
) -> tuple[nn.Module, LinearSDE, Parameterization, Images]:
    """Network, process, parameterization and data of a folder. The folder has one set of weights, whatever is asked for.

    Raises:
        ValueError: when the network or the scheduler is not known here, or there is no scheduler.
    """
    network = network_of(content["config"])
    network.load_state_dict(weights_of(content["state"], network))
    scheduler = content["scheduler"] or config
    if scheduler is None:
        raise ValueError("the folder has no scheduler_config.json, which says what the network was trained for: give it as config")
    sde, parameterization = process_of(scheduler)
    if network.arguments["outputs"] == 2:
        parameterization = WithVariance(parameterization)
    return network, sde, parameterization, levels_from(0.0 if content["config"].get("center_input_sample") else -1.0)


def network_of(config: Mapping[str, Any]) -> Any:
    """The network that a config.json describes.

    Raises:
        ValueError: when models has no such network.
    """
    c = DEFAULTS | dict(config)
    if c.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise ValueError(f"the folder holds a {c['_class_name']}, and UNet2DModel is the one that can be imported")
    sizes, size = c["block_out_channels"], c.get("sample_size") or 32
    space = (size, size) if isinstance(size, int) else tuple(size)
    channels, outputs = c["in_channels"], c["out_channels"] // c["in_channels"]
    shape = (channels, *space)
    down, up = c["down_block_types"], c["up_block_types"]
    common: dict[str, Any] = {
        "channels": sizes[0],
        "multipliers": tuple(n // sizes[0] for n in sizes),
        "blocks": c["layers_per_block"],
        "attention": tuple(i for i, kind in enumerate(down) if kind.startswith("Attn")),
        "dropout": float(c["dropout"]),
        "outputs": outputs,
    }
    wrong = [
        kind for kind in (*down, *up) if not re.fullmatch(r"(Attn)?(Skip)?(Down|Up)Block2D|Resnet(Down|Up)sampleBlock2D", kind)
    ]
    mirrored = [kind.startswith("Attn") for kind in down] == [kind.startswith("Attn") for kind in reversed(up)]
    if wrong or not mirrored or not c["add_attention"] or c["act_fn"] not in ("silu", "swish") or any(n % sizes[0] for n in sizes):
        raise ValueError(f"blocks {', '.join(down)} and {', '.join(up)} of sizes {sizes} make no network that is known here")
    if all("Skip" in kind for kind in (*down, *up)):
        expected = {"time_embedding_type": "fourier", "norm_eps": 1e-6, "attention_head_dim": None}
        _check(c, expected)
        narrow = [sizes[i] for i in common["attention"] if sizes[i] < 128]
        if narrow:  # whose attention has 32 groups, where all else has a fourth of the channels
            raise ValueError(f"attention over {narrow[0]} channels is normalised unlike NCSN++'s: 128 or more are known here")
        return NCSNpp(
            shape,
            **common,
            embedding="fourier",
            fir=(1, 3, 3, 1),
            skip_rescale=True,
            progressive_input="input_skip",
            progressive_output="output_skip",
            unit_range=c["center_input_sample"],
            scale_by_sigma=True,
        )
    plain = {"norm_num_groups": 32, "upsample_type": c["downsample_type"], "class_embed_type": None}
    plain |= {"center_input_sample": False, "time_embedding_type": "positional", "mid_block_scale_factor": 1}
    if not c["flip_sin_to_cos"]:
        expected = plain | {"freq_shift": 1, "norm_eps": 1e-6, "attention_head_dim": None, "downsample_padding": 0}
        expected |= {"downsample_type": "conv"}
        _check(c, expected | {"num_class_embeds": None, "resnet_time_scale_shift": "default"})
        return DDPM(shape, **common, attend_last=False)
    # With scale and shift, attention in the middle has no normalisation unless the config asks for it.
    scaled = c["resnet_time_scale_shift"] == "scale_shift"
    _check(c, plain | {"freq_shift": 0, "norm_eps": 1e-5, "downsample_padding": 1, "attn_norm_num_groups": 32 if scaled else None})
    within = {c["downsample_type"] == "resnet" if kind.startswith("Attn") else kind.startswith("Resnet") for kind in (*down, *up)}
    if len(within) > 1:
        raise ValueError(f"blocks {', '.join(down)} and {', '.join(up)} resample in two ways, and one or the other is known here")
    return ADM(
        shape,
        **common,
        head_channels=c["attention_head_dim"],
        modulation="scale_shift" if scaled else "add",
        resample="block" if any(within) else "conv",
        condition=c["num_class_embeds"] or 0,
    )


def _check(config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        if config[key] != value:
            raise ValueError(f"the network's config has {key}={config[key]!r}, and with its other options {value!r} is known here")


def weights_of(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state of diffusers under our names.

    Raises:
        ValueError: when the weights do not fit the network.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        for old, new in OLD.items():
            key = key.replace(f".{old}.", f".{new}.")
        alone = re.match(r"(up_blocks\.\d+\.)attentions\.0", key)
        if alone and not any(other.startswith(f"{alone[1]}attentions.1.") for other in state):  # after all blocks of its level
            key = key.replace("attentions.0", "attentions")
        key = re.sub(r"(resnets|attentions)\.(\d+)", r"\2.\1", key)
        key = re.sub(r"blocks\.(\d+)\.(?!\d)", rf"blocks.\1.{AFTER}.", key)
        renamed[key] = value
    tensors: dict[str, Tensor] = {}
    for key, value in in_order(renamed, WORDS).items():
        if "to_q" in key:  # followed by the keys and the values, of which ours are one
            value = torch.cat([renamed[key.replace("to_q", name)] for name in ("to_q", "to_k", "to_v")])
        elif "to_k" in key or "to_v" in key:
            continue
        tensors[key] = value.T if key == "class_embedding.weight" else value
    return fit(tensors.values(), network)


def process_of(scheduler: Mapping[str, Any]) -> tuple[LinearSDE, Parameterization]:
    """The process that a scheduler's config describes, and what the output means.

    Raises:
        ValueError: when the scheduler describes no process that is known here.
    """
    name, steps = scheduler.get("_class_name", "DDPMScheduler"), scheduler.get("num_train_timesteps", 1000)
    if name == "ScoreSdeVeScheduler":
        t_min = scheduler.get("sampling_eps", 1e-5)
        return VESDE(scheduler.get("sigma_min", 0.01), scheduler.get("sigma_max", 1348.0), t_min=t_min), Score(label="sigma")
    if name == "ScoreSdeVpScheduler":
        ends, t_min = (scheduler.get("beta_min", 0.1), float(scheduler.get("beta_max", 20))), scheduler.get("sampling_eps", 1e-3)
        return VPSDE(*ends, t_min=t_min), Epsilon(label="time")
    reading = scheduler.get("prediction_type", "epsilon")
    schedule = scheduler.get("beta_schedule", "linear" if name == "DDPMScheduler" else None)  # others may have no betas
    trained = scheduler.get("trained_betas")
    if reading not in READINGS or (trained is None and schedule not in BETAS) or scheduler.get("rescale_betas_zero_snr"):
        raise ValueError(
            f"a {name} with {reading=}, {schedule=} and zero_snr={bool(scheduler.get('rescale_betas_zero_snr'))} describes no "
            f"process that is known here: predictions {', '.join(READINGS)} and schedules {', '.join(BETAS)} are"
        )
    low, high = scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02)
    if trained is None:
        return Tabulated.from_betas(BETAS[schedule](steps, low, high)), READINGS[reading](label="index")
    try:
        betas = torch.tensor(trained, dtype=torch.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"the scheduler's trained_betas are {trained!r:.60}: a list of numbers between 0 and 1 is needed"
        ) from None
    return Tabulated.from_betas(betas), READINGS[reading](label="index")

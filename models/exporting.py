"""Export of models as folders that diffusers loads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sde_lib import VESDE, VPSDE, Images, ScoreModel, Tabulated, WithVariance

from .adm import ADM
from .files import write_atomically, write_tensors
from .importers.diffusers import BETAS, READINGS, network_of, process_of
from .importers.images import levels_from
from .ncsnpp import DDPM, NCSNpp

__all__ = ["export_diffusers"]

VERSION = "0.42.1"  # of diffusers, that the folders were tried with
# Names of our weights as diffusers', one rule after the other; a network with skips has some of its own.
NAMES = (
    (r"^embedding\.features\.frequencies", "time_proj.weight"),
    (r"^embedding\.first", "time_embedding.linear_1"),
    (r"^embedding\.second", "time_embedding.linear_2"),
    (r"^embedding\.late\.y\.linear", "class_embedding"),
    (r"^body\.last\.0", "conv_norm_out"),
    (r"^body\.last\.2", "conv_out"),
    (r"^body\.encoder\.first", "conv_in"),
    (r"^body\.encoder\.middle", "mid_block.blocks"),
    (r"^body\.encoder\.levels", "down_blocks"),
    (r"^body\.levels", "up_blocks"),
    (r"\.blocks\.(\d+)\.attention\.", r".attentions.\1."),
    (r"\.blocks\.(\d+)\.(block\.)?", r".resnets.\1."),
    (r"\.shrink\.\d+\.", ".downsamplers.0.conv."),
    (r"\.widen\.\d+\.", ".upsamplers.0.conv."),
    (r"\.join\.conv\.", ".skip_conv."),
    (r"\.emitter\.out\.0\.", ".skip_norm."),
    (r"\.emitter\.out\.2\.", ".skip_conv."),
    (r"\.modulated\.linear\.", ".time_emb_proj."),
    (r"\.modulated\.norm\.", ".norm2."),
    (r"\.skip\.", ".conv_shortcut."),
    (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(attentions\.\d+)\.out\.", r"\1.to_out.0."),
)
PLAIN = ((r"\.shrink\.", ".downsamplers.0."), (r"\.widen\.", ".upsamplers.0."))
SKIPS = (
    (r"\.shrink\.", ".resnet_down."),
    (r"\.widen\.", ".resnet_up."),
    (r"^(up_blocks\.\d+\.attentions)\.\d+", r"\1.0"),  # there is one, after the last block
)


def export_diffusers(model: ScoreModel, folder: str | Path) -> None:
    """Write a model as a folder that diffusers loads, as a whole or not at all; diffusers need not be installed.

    unet/ is for UNet2DModel.from_pretrained, and scheduler/ for the scheduler that its config names.
    The folder itself is for DDPMPipeline or ScoreSdeVePipeline.
    import_checkpoint(folder) gives bit-identical weights, the same process (a table to 1e-10) and the same parameterization.
    Its data have 256 levels, since diffusers does not store the number of levels.

    networks            DDPM (attend_last=False), ADM, NCSNpp with what NCSN++ has on church and FFHQ (fourier, input_skip, ...)
    processes           Tabulated from betas (DDPMScheduler), VESDE (ScoreSdeVeScheduler), VPSDE (ScoreSdeVpScheduler)
    parameterizations   tables: Epsilon, Data or V with label="index", also WithVariance; VE: Score(label="sigma");
                        VP: Epsilon(label="time")
    data                Images on [-1, 1], or [0, 1] for a network with unit_range; or None

    Raises:
        ValueError: when diffusers has no counterpart for a part of the model.
        FileExistsError: when folder exists already.

    Reference: von Platen et al., 2022, github.com/huggingface/diffusers.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"there is something at {folder} already: give the name of a folder that is not there yet")
    unet, scheduler = _config_of(model.network), _scheduler_of(model)
    _check_data(model, bool(unet.get("center_input_sample")))
    kind = scheduler["_class_name"]
    configs: dict[str, Any] = {"unet/config.json": unet, "scheduler/scheduler_config.json": scheduler}
    if kind != "ScoreSdeVpScheduler":  # for which diffusers has no pipeline
        configs["model_index.json"] = {
            "_class_name": kind.replace("Scheduler", "Pipeline"),
            "_diffusers_version": VERSION,
            "scheduler": ["diffusers", kind],
            "unet": ["diffusers", "UNet2DModel"],
        }
    weights = _weights_of(model.network)

    def write(home: Path) -> None:
        write_tensors(home / "unet" / "diffusion_pytorch_model.safetensors", weights, {"format": "pt"})
        for name, config in configs.items():
            write_atomically(home / name, partial(_write_json, config))

    write_atomically(folder, write)


def _write_json(config: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(config, indent=2) + "\n")


def _config_of(network: Any) -> dict[str, Any]:
    """The config.json of a network. A network that network_of does not rebuild equal from this config is refused."""
    name = type(network).__name__
    if type(network) not in CONFIGS:
        raise ValueError(f"diffusers has no counterpart for {name}: DDPM, ADM and NCSNpp can be exported")
    a = network.arguments
    config = _common(a) | CONFIGS[type(network)](a)
    groups = [(m.num_channels, m.num_groups) for m in network.modules() if isinstance(m, nn.GroupNorm)]
    theirs = config["norm_num_groups"]
    other = [f"{C} channels in {n} groups" for C, n in groups if n != (theirs or min(C // 4, 32))]
    try:
        with torch.device("meta"):
            back = network_of(config)
    except ValueError as error:
        raise ValueError(f"diffusers has no counterpart for this {name}: {error}") from None
    free = {"fourier_scale"} | ({"heads"} if a.get("head_channels") else set())  # what weights say, or nothing asks for
    told = a | {"attention": sorted(a["attention"])}
    different = [f"{key}={a[key]!r}" for key in a if key not in free and back.arguments[key] != told[key]]
    if len(a["shape"]) != 3:
        different = [f"shape={a['shape']!r}"]
    if different or other:
        raise ValueError(
            f"diffusers has no counterpart for {name} with {', '.join(different) or other[0]}: "
            "export a network without, or keep it with save"
        )
    return config


def _common(a: Mapping[str, Any]) -> dict[str, Any]:
    channels, *space = a["shape"]
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": VERSION,
        "sample_size": space[0] if len(set(space)) == 1 else space,
        "in_channels": channels,
        "out_channels": channels * a["outputs"],
        "block_out_channels": [a["channels"] * m for m in a["multipliers"]],
        "layers_per_block": a["blocks"],
        "dropout": a["dropout"],
        "norm_num_groups": 32,
    }


def _blocks(a: Mapping[str, Any], plain: str, attended: str) -> dict[str, list[str]]:
    """The block types of the levels, down and up; {} in a name stands for the direction."""
    kinds = [attended if level in a["attention"] else plain for level in range(len(a["multipliers"]))]
    down, up = ([kind.format(way) for kind in kinds] for way in ("Down", "Up"))
    return {"down_block_types": down, "up_block_types": up[::-1]}


def _of_ddpm(a: Mapping[str, Any]) -> dict[str, Any]:
    options = {"freq_shift": 1, "flip_sin_to_cos": False, "norm_eps": 1e-6, "attention_head_dim": None, "downsample_padding": 0}
    return options | _blocks(a, "{}Block2D", "Attn{}Block2D")


def _of_adm(a: Mapping[str, Any]) -> dict[str, Any]:
    scaled, within = a["modulation"] == "scale_shift", a["resample"] == "block"
    return {
        "attention_head_dim": a["head_channels"],
        "num_class_embeds": a["condition"] or None,
        "resnet_time_scale_shift": "scale_shift" if scaled else "default",
        "attn_norm_num_groups": 32 if scaled else None,
        "downsample_type": "resnet" if within else "conv",
        "upsample_type": "resnet" if within else "conv",
    } | _blocks(a, "Resnet{}sampleBlock2D" if within else "{}Block2D", "Attn{}Block2D")


def _of_ncsnpp(a: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "time_embedding_type": "fourier",
        "center_input_sample": a["unit_range"],
        "norm_eps": 1e-6,
        "norm_num_groups": None,
        "attention_head_dim": None,
        "mid_block_scale_factor": 2**0.5,
    } | _blocks(a, "Skip{}Block2D", "AttnSkip{}Block2D")


CONFIGS: dict[type, Callable[[Mapping[str, Any]], dict[str, Any]]] = {DDPM: _of_ddpm, ADM: _of_adm, NCSNpp: _of_ncsnpp}


def _weights_of(network: Any) -> dict[str, Tensor]:
    """The state of a network under diffusers' names. Each projection to queries, keys and values becomes three."""
    skips = network.arguments.get("progressive_output") == "output_skip"
    last = f"body.levels.{len(network.arguments['multipliers']) - 1}.emitter.out"  # which answers
    state: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        key = key.replace(last, "body.last")
        for pattern, becomes in (*NAMES, *(SKIPS if skips else PLAIN)):
            key = re.sub(pattern, becomes, key)
        if ".qkv." in key:
            state |= {key.replace("qkv", f"to_{which}"): part for which, part in zip("qkv", value.chunk(3), strict=True)}
        else:
            state[key] = value.T if key == "class_embedding.weight" else value
    return state


def _scheduler_of(model: ScoreModel) -> dict[str, Any]:
    """The scheduler's config of a process and a parameterization. Both are refused if process_of does not rebuild them equal."""
    sde, meant = model.sde, model.parameterization
    if type(sde) not in SCHEDULERS:
        raise ValueError(f"diffusers has no scheduler for {sde!r}: tables of betas, VESDE and VPSDE can be exported")
    mean, variance = (meant.of, meant.kind) if type(meant) is WithVariance else (meant, "fraction")
    word = {cls: word for word, cls in READINGS.items()}.get(type(mean), "epsilon")
    config = {"_diffusers_version": VERSION} | SCHEDULERS[type(sde)](sde)
    if config["_class_name"] == "DDPMScheduler":
        config |= {"prediction_type": word, "variance_type": "learned_range" if meant.outputs == 2 else "fixed_small"}
    back, reading = process_of(config)
    if not (back == sde or (config["_class_name"] == "DDPMScheduler" and _near(back, sde))):
        raise ValueError(
            f"diffusers' {config['_class_name']} cannot describe {sde!r}, and would take it for {back!r}: export a process with "
            "all of its levels, and with T as it is unless told"
        )
    if variance != "fraction" or mean != reading:
        raise ValueError(f"diffusers has no counterpart for {meant!r} under {sde!r}: its network would be asked for {reading!r}")
    return config


def _of_ve(sde: VESDE) -> dict[str, Any]:
    return {
        "_class_name": "ScoreSdeVeScheduler",
        "sigma_min": sde.sigma_min,
        "sigma_max": sde.sigma_max,
        "sampling_eps": sde.t_min,
    }


def _of_vp(sde: VPSDE) -> dict[str, Any]:
    ends = {name: getattr(sde.beta, name, 1.0) for name in ("beta_min", "beta_max")}  # of another beta, 1 is not what it was
    return {"_class_name": "ScoreSdeVpScheduler", **ends, "sampling_eps": sde.t_min}


def _of_table(sde: Tabulated) -> dict[str, Any]:
    """The schedule of betas by its name if it has one, else as a list of numbers.

    Raises:
        ValueError: when the table has no betas.
    """
    log_alpha2 = 2 * torch.tensor((0.0, *sde.log_alphas), dtype=torch.float64)
    betas = -torch.expm1(log_alpha2.diff())
    if not bool(((betas > 0) & (betas < 1)).all()):
        raise ValueError(f"diffusers has no scheduler for {sde!r}, whose alpha does not fall from level to level as with betas")
    config: dict[str, Any] = {"_class_name": "DDPMScheduler", "num_train_timesteps": len(betas)}
    found = tuple(float(f"{float(beta):.12g}") for beta in betas[[0, -1]])
    for name in BETAS:
        for start, end in (found, (1e-4, 0.02)):
            named = {"beta_schedule": name, "beta_start": start, "beta_end": end}
            if _near(process_of(config | named)[0], sde):
                return config | named
    return config | {"trained_betas": betas.tolist()}


SCHEDULERS: dict[type, Callable[[Any], dict[str, Any]]] = {VESDE: _of_ve, VPSDE: _of_vp, Tabulated: _of_table}


def _near(a: Any, b: Any) -> bool:
    """Whether two tables are equal up to rounding."""
    if (a.indices, a.full_length, a.t_min, a.T) != (b.indices, b.full_length, b.t_min, b.T):
        return False
    tables = [torch.tensor((t.log_alphas, t.log_sigmas), dtype=torch.float64) for t in (a, b)]
    return torch.allclose(tables[0], tables[1], rtol=1e-10, atol=1e-12)


def _check_data(model: ScoreModel, unit_range: bool) -> None:
    low, data = (0.0 if unit_range else -1.0), model.data
    if data is None or (data.levels is not None and data in (Images(data.levels, low, 1.0), levels_from(low, data.levels))):
        return
    raise ValueError(f"diffusers' pipelines show numbers in [{low:g}, 1], and the model's data are {data!r}: rescale them")

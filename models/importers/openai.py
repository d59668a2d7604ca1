"""Import of networks of improved-diffusion and guided-diffusion, whose weights show most of their architecture.

Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672; Dhariwal and Nichol, 2021, arXiv 2105.05233, and the released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from sde_lib import Data, Epsilon, Images, LinearSDE, WithVariance
from sde_lib.parameterizations import Parameterization
from sde_lib.tabulated import ddpm

from ..adm import ADM, ADMClassifier
from .images import levels_from
from .order import fit, heads_first, in_order, without_prefix

__all__ = ["holds", "model_of", "network_of", "weights_of"]

WORDS = (
    "time_embed",
    "label_emb",
    "input_blocks",
    "middle_block",
    "output_blocks",
    "out",
    "in_layers",
    "emb_layers",
    "out_layers",
    "skip_connection",
    "op",
    "conv",
    "norm",
    "qkv",
    "proj_out",
    "positional_embedding",
    "qkv_proj",
    "c_proj",
    "weight",
    "bias",
)
# INTEGERS and READ are the flags that are read here. OTHER are flags of both projects that weights show, or sampling ignores.
INTEGERS = (
    "image_size",
    "num_heads",
    "num_head_channels",
    "num_heads_upsample",
    "num_res_blocks",
    "classifier_depth",
    "diffusion_steps",
)
READ: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(INTEGERS, ((int,), "an integer")),
    **dict.fromkeys(("rescale_timesteps", "use_new_attention_order", "predict_xstart"), ((bool,), "true or false")),
    "dropout": ((int, float), "a number"),
    "noise_schedule": ((str,), "a word"),
}
OTHER = (
    "num_channels",
    "attention_resolutions",
    "channel_mult",
    "class_cond",
    "use_checkpoint",
    "use_fp16",
    "use_scale_shift_norm",
    "resblock_updown",
    "learn_sigma",
    "sigma_small",
    "timestep_respacing",
    "use_kl",
    "large_size",
    "small_size",
    "rescale_learned_sigmas",
    "classifier_use_fp16",
    "classifier_width",
    "classifier_attention_resolutions",
    "classifier_use_scale_shift_norm",
    "classifier_resblock_updown",
    "classifier_pool",
    "classifier_scale",
    "classifier_path",
    "data_dir",
    "val_data_dir",
    "schedule_sampler",
    "lr",
    "weight_decay",
    "lr_anneal_steps",
    "batch_size",
    "microbatch",
    "ema_rate",
    "log_interval",
    "save_interval",
    "eval_interval",
    "resume_checkpoint",
    "fp16_scale_growth",
    "clip_denoised",
    "num_samples",
    "use_ddim",
    "model_path",
    "base_samples",
    "noised",
    "iterations",
    "anneal_lr",
)
LEGACY, NEW = (1, 0, 2), (0, 1, 2)  # where queries/keys/values (0), heads (1) and their channels (2) stand in the rows


def network_of(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Any:
    """The network that has these weights. config: the flags that it was trained with, as far as weights do not show them.

    Raises:
        ValueError: when config has neither num_heads nor num_head_channels.
        ValueError: when config lacks num_res_blocks, and the weights do not show it.
        ValueError: when the decoder has another number of heads.
        ValueError: when a flag is misspelt, or of another type.
    """
    _check_flags(config)
    heads, head_channels = config.get("num_heads"), config.get("num_head_channels", -1)
    if heads is None and head_channels == -1:
        raise ValueError(
            "weights do not show how many heads attention has: give config={'num_heads': 4} or {'num_head_channels': 64}, "
            "with whatever else of the flags the network was trained with"
        )
    if head_channels == -1 and config.get("num_heads_upsample", -1) not in (-1, heads):
        raise ValueError(
            f"num_heads_upsample={config['num_heads_upsample']} with num_heads={heads}: attention with other heads on the way up "
            "is not known here, leave it out where they are the same"
        )
    first, blocks = state["input_blocks.0.0.weight"], _blocks(state, config)
    channels, inputs, dims = first.shape[0], first.shape[1], first.ndim - 2
    count, scaled = _count(state), state["input_blocks.1.0.emb_layers.1.bias"]
    tops = [f"input_blocks.{i}" for i in range(1, count, blocks + 1)]  # the first block of each level
    arguments: dict[str, Any] = {
        "channels": channels,
        "multipliers": tuple(len(state[f"{top}.0.in_layers.2.bias"]) // channels for top in tops),
        "blocks": blocks,
        "attention": tuple(i for i, top in enumerate(tops) if f"{top}.1.qkv.weight" in state),
        "heads": 1 if heads is None else heads,
        "head_channels": None if head_channels == -1 else head_channels,
        "dropout": float(config.get("dropout", 0.0)),
        "modulation": "scale_shift" if len(scaled) > len(state["input_blocks.1.0.in_layers.2.bias"]) else "add",
        "resample": _between(state, blocks),
    }
    if "out.2.positional_embedding" in state:
        places = state["out.2.positional_embedding"].shape[1] - 1
        size = round(places ** (1 / dims)) * 2 ** (len(tops) - 1)
        return ADMClassifier((inputs, *[size] * dims), classes=len(state["out.2.c_proj.bias"]), **arguments)
    size, answers = config["image_size"], len(state["out.2.bias"])
    above = inputs == 6 and answers in (3, 6)  # three channels, and those of a small image beside them
    own = inputs // 2 if above else inputs
    condition = len(state["label_emb.weight"]) if "label_emb.weight" in state else 0
    return ADM((own, *[size] * dims), **arguments, condition=condition, super_resolution=above, outputs=answers // own)


def weights_of(state: Mapping[str, Tensor], network: Any, new_order: bool = False) -> dict[str, Tensor]:
    """A state of these projects under our names; new_order is their flag use_new_attention_order.

    Raises:
        ValueError: when the weights do not fit the network.
    """
    arguments = network.arguments
    tensors = []
    for key, value in in_order(state, WORDS).items():
        if ".qkv." in key:
            C = len(value) // 3
            heads = C // arguments["head_channels"] if arguments["head_channels"] else arguments["heads"]
            value = heads_first(value, heads, NEW if new_order else LEGACY)
        tensors.append(value.T if key in ("label_emb.weight", "out.2.positional_embedding") else value)
    return fit(tensors, network)


def _check_flags(config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        near = [] if key in OTHER else get_close_matches(key, (*READ, *OTHER), n=1, cutoff=0.8)
        if near and near[0] != key:
            raise ValueError(f"the flag {key!r} is not known: write {near[0]!r}, or leave it out")
        kinds, needed = READ.get(key, ((), ""))
        if needed and type(value) not in kinds:  # True is an int, and no number of heads
            raise ValueError(f"the flag {key} is {value!r}: {needed} is needed, as the network was trained with")


def _count(state: Mapping[str, Tensor]) -> int:
    return 1 + max(int(key.split(".")[1]) for key in state if key.startswith("input_blocks."))


def _blocks(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> int:
    """The number of residual blocks of a level."""
    if "num_res_blocks" in config:
        return int(config["num_res_blocks"])
    count = _count(state)
    for i in range(1, count):
        if f"input_blocks.{i}.0.in_layers.0.weight" not in state:
            return i - 1
    for i in range(count):  # all are residual blocks, and on the way up those that double stand behind another
        if any(f"output_blocks.{i}.{j}.in_layers.0.weight" in state for j in (1, 2)):
            return i
    if "output_blocks.0.0.in_layers.0.weight" not in state:
        raise ValueError(
            "weights of a classifier do not show where its levels end: add num_res_blocks (classifier_depth) to config"
        )
    return count - 1


def _between(state: Mapping[str, Tensor], blocks: int) -> str:
    """The argument resample of the network: how its levels change size."""
    place = f"input_blocks.{blocks + 1}.0"
    return "conv" if f"{place}.op.weight" in state else "block" if f"{place}.in_layers.0.weight" in state else "pool"


def holds(content: Any) -> bool:
    """Whether content looks like a file of improved- or guided-diffusion."""
    return isinstance(content, Mapping) and "input_blocks.0.0.weight" in without_prefix(content)


def model_of(
    content: Any, config: Mapping[str, Any] | None, _weights: str
) -> tuple[nn.Module, LinearSDE, Parameterization, Images]:
    """Network, process, parameterization and data of a file. A file has one set of weights, whatever is asked for.

    Raises:
        ValueError: when the file holds a classifier.
        ValueError: when diffusion_steps is not 1000, and config lacks rescale_timesteps.
    """
    state, flags = without_prefix(content), dict(config or {})
    if not any(key.startswith("output_blocks.") for key in state):
        raise ValueError(
            "the file holds the weights of a classifier, not of a score network: use models.importers.import_classifier"
        )
    network = network_of(state, flags)
    network.load_state_dict(weights_of(state, network, flags.get("use_new_attention_order", False)))
    schedule, steps = flags["noise_schedule"], flags["diffusion_steps"]
    if steps != 1000 and "rescale_timesteps" not in flags:
        raise ValueError(f"with {steps} steps the noise labels depend on rescale_timesteps: add rescale_timesteps to config")
    label = "index_of_1000" if steps != 1000 and flags["rescale_timesteps"] else "index"
    parameterization: Parameterization = (Data if flags.get("predict_xstart") else Epsilon)(label=label)
    if network.arguments["outputs"] == 2:
        parameterization = WithVariance(parameterization)
    return network, ddpm(schedule, steps), parameterization, levels_from(-1.0)

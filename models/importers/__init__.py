"""Checkpoints of other projects as ScoreModels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from sde_lib import ScoreModel
from sde_lib.fields import check_choice

from ..adm import ADMClassifier
from . import diffusers, edm, ncsn, openai, score_sde
from .order import without_prefix
from .reading import as_config, read

__all__ = ["FAMILIES", "import_checkpoint", "import_classifier"]

Weights = Literal["ema", "raw"]

FAMILIES: dict[str, Any] = {
    "score_sde": score_sde,
    "ncsn": ncsn,
    "improved-diffusion": openai,
    "guided-diffusion": openai,
    "diffusers": diffusers,
    "edm": edm,
}
"""Modules by family. holds(content) is whether a file is of the family; model_of(content, config, weights) makes its model."""


def import_checkpoint(
    path: str | Path,
    family: str | None = None,
    config: Mapping[str, Any] | str | Path | None = None,
    weights: Weights = "ema",
) -> ScoreModel:
    """A ScoreModel, in evaluation mode, from another project's checkpoint: network, weights, process, and meaning of the data.

    path is a file that torch.save wrote, a .safetensors file, or a folder of diffusers.
    family is one of FAMILIES, or None to find it from the weights.
    config says what weights do not show, as a dictionary or a JSON file with the keys of that project:

    score_sde           the whole config (ml_collections too): sections model, data and training
    ncsn                image_size; NCSN sigma_begin and sigma_end too
    improved-diffusion  flags: image_size, num_heads or num_head_channels, noise_schedule, diffusion_steps,
    guided-diffusion        rescale_timesteps, use_new_attention_order, predict_xstart
    diffusers           none, but for a folder without its scheduler: that scheduler's config
    edm                 the options of the network, and of its preconditioning

    weights is "ema" or "raw"; the two are the same if the file has one set of weights.
    No code in a file is run: only tensors and numbers are read.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the family or the weights are not known.
        ValueError: when the file is damaged or could run code.
        ValueError: when config is missing, or does not fit the weights.
    """
    check_choice("import_checkpoint", "weights", weights, Weights)
    path, options = Path(path), as_config(config)
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint at {path}: give a file, or the folder of a diffusers model")
    content = diffusers.read_folder(path) if path.is_dir() else read(path)
    name = _family(path, content, options) if family is None else family
    if name not in FAMILIES:
        raise ValueError(f"family={name!r} is not known: use one of {', '.join(map(repr, FAMILIES))}")
    if not FAMILIES[name].holds(content):
        raise ValueError(f"{path} does not hold weights of {name}: pass another family, or none, for it to be found")
    model = _asking(name, lambda: FAMILIES[name].model_of(content, options, weights))
    return ScoreModel(*model).eval()


def import_classifier(path: str | Path, config: Mapping[str, Any] | str | Path) -> ADMClassifier:
    """guided-diffusion's noisy classifier, in evaluation mode. config is that of its networks, with num_res_blocks.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file holds no classifier, is damaged, could run code, or does not fit config.
    """
    content, options = read(Path(path)), as_config(config) or {}
    if not openai.holds(content):
        raise ValueError(f"{path} does not hold weights of guided-diffusion, whose classifiers can be imported: give another file")
    state = without_prefix(content)
    if any(key.startswith("output_blocks.") for key in state):
        raise ValueError(f"{path} holds the weights of a score network, not of a classifier: use import_checkpoint")
    network = _asking("guided-diffusion", lambda: openai.network_of(state, options))
    network.load_state_dict(openai.weights_of(state, network, options.get("use_new_attention_order", False)))
    return network.eval()


def _family(path: Path, content: Any, config: Mapping[str, Any] | None) -> str:
    found = [name for name, module in FAMILIES.items() if module.holds(content)]
    if not found:
        raise ValueError(f"the weights in {path} are of no family known here: pass family, one of {', '.join(map(repr, FAMILIES))}")
    if found[:2] == ["score_sde", "ncsn"] and "num_scales" not in (config or {}).get("model", {}):
        return "ncsn"  # both projects have this network, and the config is not score_sde's
    return found[0]


def _asking(family: str, make: Callable[[], Any]) -> Any:
    """make(), whose errors of missing keys and wrong types become sentences about the config or the file."""
    try:
        return make()
    except KeyError as error:
        raise ValueError(
            f"{error.args[0]!r} is missing for a network of {family}: give it in config, or the right family"
        ) from None
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"config or the file is not made as those of {family} are ({error}): give them as that project wrote them"
        ) from error  # which may be elsewhere: where it was raised is to be seen

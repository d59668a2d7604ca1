"""Another project's checkpoint as the folder of a run, which can be sampled and scored."""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import Any

import torch

from configs import default
from models import import_checkpoint, save
from models.checkpoint import FILE_NAME
from models.files import write_atomically
from score_sde.config.config import dump
from score_sde.errors import UsageError, first_line
from score_sde.runs.folders import new_run
from score_sde.training.faults import explain_writing
from score_sde.training.lock import passing_lock
from score_sde.training.store import CONFIG_NAME

__all__ = ["import_run", "options_of"]

SAMPLER = "pc(predictor=dpm_solver(order=2), times=log_snr(steps=30))"


def options_of(text: str | None) -> Any:
    """The value of --options: a JSON object, or the name of a file that holds one.

    Raises:
        UsageError: when a text that begins with { is not a JSON object.
    """
    if text is None or not text.lstrip().startswith("{"):
        return text
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise UsageError(f"--options {text!r} cannot be read ({error}): give a JSON object, or a file with one") from None


def import_run(source: Path, out: Path | None, family: str | None, options: Any) -> tuple[Path, str]:
    """Write the model of a checkpoint, with its raw and its averaged weights, into the folder of a run.

    The folder is a new one in runs/ unless out is given. The result is the folder and a description of the model.

    Raises:
        UsageError: when `import_checkpoint` refuses the checkpoint, or the folder has files in it.
    """
    try:
        model, averaged = (import_checkpoint(source, family, options, weights) for weights in ("raw", "ema"))
    except (FileNotFoundError, ValueError) as error:
        said = first_line(error)
        raise UsageError(f"--from {source}: {said}{'; give the config with --options' if 'config' in said else ''}") from error
    if out is not None:
        _require_empty(out)
    network: Any = model.network
    raw, ema = network.state_dict(), averaged.network.state_dict()
    shape = network.arguments["shape"]
    config = default.get_config()
    config.name, config.data = "".join(c if c.isalnum() or c in "-_" else "-" for c in source.stem), ""
    config.sde = type(model.sde).__name__
    config.sample.sampler = SAMPLER
    folder = new_run(f"imported-{config.name}", out)
    same = all(torch.equal(raw[name], ema[name]) for name in raw)
    refusal = f"another command is importing into {folder.resolve()}: name another --out"
    with explain_writing(folder.resolve()):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with passing_lock(folder.with_name(f".{folder.name}.lock"), refusal):
            _require_empty(folder)
            save(model, folder / FILE_NAME, ema=None if same else ema, shape=shape)
            write_atomically(folder / CONFIG_NAME, lambda path: path.write_text(dump(config)))
    arguments = ", ".join(f"{key}={reprlib.repr(value)}" for key, value in network.arguments.items())  # sigmas may be many
    lines = {
        "network": f"{type(network).__name__}({arguments}), {sum(p.numel() for p in network.parameters()):,} parameters",
        "weights": "one set" if same else "its own (raw), and their average (ema), which is used",
        "process": repr(model.sde),
        "output": repr(model.parameterization),
        "data": f"{tuple(shape)}, {model.data}",
        "folder": folder.resolve(),
    }
    return folder, "\n".join(f"{key:<10} {value}" for key, value in lines.items())


def _require_empty(out: Path) -> None:
    """Refuse a folder that has files in it.

    Raises:
        UsageError: when it has, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is there already: name a folder that is empty or not there")

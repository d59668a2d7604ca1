"""Training from Python, for example in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checkpoint import FILE_NAME
from score_sde.errors import UsageError, nearest
from score_sde.training.lock import exclusive_lock
from score_sde.training.settings import Settings
from score_sde.training.state import STATE_NAME
from score_sde.training.store import CONFIG_NAME
from score_sde.training.trainer import Progress, Trainer
from sde_lib import DenoisingScoreMatching, ImportanceTime, ScoreModel
from sde_lib.data import chunks

__all__ = ["fit"]

OF_RUNS = ("look_every", "tensorboard")  # settings of the program alone


def fit(
    model: ScoreModel,
    data: Tensor,
    *,
    test: Tensor | None = None,
    y: Tensor | None = None,
    test_y: Tensor | None = None,
    objective: Any = None,
    folder: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    callback: Callable[[Progress], object] | None = None,
    **settings: Any,
) -> ScoreModel:
    """Train a model on data, and return it with averaged weights, ready to be used.

    data (N, *shape) are integers or real numbers, as model.data says. objective is denoising score matching with the likelihood
    weighting unless given. settings are the keys of the section train of configs/default.py, such as steps=5000, batch_size=128
    or autocast="bf16". y and test_y are conditions of the rows, which the network gets as its argument y.

    callback gets a Progress after each step. Its loss is None except every log_every steps. An exception of the callback ends
    the training. test are rows that are not trained on. Their loss is in the Progress before a save, and the weights with the
    smallest one are saved as best.safetensors.

    With a folder, the model and the state of the training are saved there every save_every steps, and resume=True continues from
    them to the same weights. Without a folder nothing is saved. The result depends on the model, the data, the settings and the
    seed alone, and torch's random state is left as it was.

    Raises:
        TypeError: when a setting is not known, data are not a tensor, or the model has no data.
        ValueError: when a setting is out of range, or a row of the data is not finite or not in the levels. All rows are checked.
        RunError: when the loss diverges.
        UsageError: when the folder holds a run and resume is False; when that run is beyond these steps or was trained on other
            data; when another process is training in the folder.

    >>> from models import MLP
    >>> from sde_lib import Standardize, V, VPSDE
    >>> points = torch.arange(200.0).reshape(100, 2)
    >>> model = ScoreModel(MLP((2,), width=8, depth=1), VPSDE(), V(), Standardize.of(points))
    >>> losses = []
    >>> model = fit(model, points, steps=20, log_every=10, callback=lambda p: losses.append(p.loss))
    >>> len(losses), model(torch.zeros(1, 2), 0.5).shape
    (20, torch.Size([1, 2]))
    """
    if not isinstance(data, Tensor) or model.data is None:
        needed = "a tensor as data, and a ScoreModel that knows what they mean, such as ScoreModel(..., Standardize.of(data))"
        given = f"data of type {type(data).__name__}, and a model whose data are {model.data}"
        raise TypeError(f"fit got {given}: {needed}, were needed")
    chosen = _settings(settings)
    chosen.require_processes(1)
    where = None if folder is None else Path(folder).resolve()
    for rows in [data] if test is None else [data, test]:
        for part in chunks(rows):
            model.data.check(part)
    objective = objective or DenoisingScoreMatching("likelihood", ImportanceTime())
    device = next(model.parameters()).device
    with _random_state_of(device), ExitStack() as held:
        if where is not None:
            where.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive_lock(where))
            if not resume and any((where / name).exists() for name in (CONFIG_NAME, STATE_NAME, FILE_NAME)):
                raise UsageError(f"{where} holds a run: give resume=True to go on with it, or name another folder")
        trainer = Trainer(model, data, objective, chosen, seed, where, test, y=y, test_y=test_y)
        if resume:
            trainer.resume()
            if trainer.step > chosen.steps:
                raise UsageError(f"the run in {where} is at step {trainer.step}, and steps is {chosen.steps}: give more to go on")
            trainer.rewrite_checkpoint()
        for progress in trainer.run():
            if callback is not None:
                callback(progress)
    model.network.load_state_dict(trainer.average.module.state_dict())
    return model.eval()


def _settings(given: dict[str, Any]) -> Settings:
    known = [field.name for field in fields(Settings) if field.name not in OF_RUNS]
    for name in given:
        if name in OF_RUNS:
            raise TypeError(f"fit has no setting {name!r}, which belongs to runs of the program: use a callback")
        if name not in known:
            near = nearest(name, known)
            raise TypeError(
                f"fit has no setting {name!r}: {f'did you mean {near!r}?' if near else 'use one of ' + ', '.join(known)}"
            )
    return Settings.of(**given)


def _random_state_of(device: torch.device) -> AbstractContextManager[None]:
    """A context that restores torch's random state of the CPU and of one device. By default torch would save all devices."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device], device_type=device.type)

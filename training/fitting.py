"""Training from Python, in a notebook for instance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs import default
from models.checkpoint import FILE_NAME
from sde_lib import DenoisingScoreMatching, ImportanceTime, ScoreModel
from sde_lib.data import chunks
from training.config import nearest
from training.errors import Usage
from training.folders import CONFIG_NAME
from training.lock import alone_in
from training.settings import Settings
from training.state import STATE_NAME
from training.trainer import Progress, Trainer

__all__ = ["fit"]

OF_RUNS = ("look_every", "tensorboard")  # settings that run.py alone follows


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
    """Train a model on data, (N, *shape), integers or real numbers as its data say; give it back with averaged weights, to be used.

    objective is denoising score matching with the likelihood's weighting unless given. settings are those of the section train of
    configs/default.py, such as steps=5000, batch_size=128 or autocast="bf16". callback gets a Progress after each step, its
    loss None but every log_every steps; an exception of its own ends the training. With a folder the model and all that is
    needed to go on are kept there every save_every steps, and resume goes on from it, to the same weights; without, nothing is
    written. test are rows that are not trained on: their loss is in the Progress of a save, and the weights of the least are kept
    as best.safetensors. y and test_y are conditions of the rows, which the network gets by the name y. The result depends on the
    seed and the model alone, and torch's random state is left as it was.

    Raises TypeError for a setting that is not known and for data that are no tensor; ValueError for a setting that is out of range
    and for data of which a row, and all are looked at, is not finite or no levels; Failure when the loss diverges; Usage when the
    folder holds a run and resume is not asked for, when that run is beyond these steps or of other data, or when another process
    is training in it.

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
        raise TypeError(f"got data of type {type(data).__name__}, with {model.data} as the model's: {needed}, were needed")
    chosen = _settings(settings)
    chosen.require_processes(1)
    where = None if folder is None else Path(folder).resolve()
    for rows in (data, *(() if test is None else (test,))):
        for part in chunks(rows):
            model.data.check(part)
    objective = objective or DenoisingScoreMatching("likelihood", ImportanceTime())
    device = next(model.parameters()).device
    with _random_state_of(device), ExitStack() as held:
        if where is not None:
            where.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone_in(where))
            if not resume and any((where / name).exists() for name in (CONFIG_NAME, STATE_NAME, FILE_NAME)):
                raise Usage(f"{where} holds a run: give resume=True to go on with it, or name another folder")
        trainer = Trainer(model, data, objective, chosen, seed, where, test, y=y, test_y=test_y)
        if resume:
            trainer.resume()
            if trainer.step > chosen.steps:
                raise Usage(f"the run in {where} is at step {trainer.step}, and steps is {chosen.steps}: give more to go on")
            trainer.mend()
        for progress in trainer.run():
            if callback is not None:
                callback(progress)
    model.network.load_state_dict(trainer.average.module.state_dict())
    return model.eval()


def _settings(given: dict[str, Any]) -> Settings:
    known = [field.name for field in fields(Settings) if field.name not in OF_RUNS]
    for name in given:
        if name in OF_RUNS:
            raise TypeError(f"fit has no setting {name!r}, which is of runs of run.py: look at what a callback gets")
        if name not in known:
            near = nearest(name, known)
            raise TypeError(
                f"fit has no setting {name!r}: {f'did you mean {near!r}?' if near else 'use one of ' + ', '.join(known)}"
            )
    return Settings(**{**default.get_config().train.to_dict(), **given})


def _random_state_of(device: torch.device) -> AbstractContextManager[None]:
    """Puts torch's random state back at its end, of the CPU and of one device: left to itself torch warns of all the others."""
    if device.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[device], device_type=device.type)

"""Training from Python, in a notebook for instance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs import default
from sde_lib import DenoisingScoreMatching, ImportanceTime, ScoreModel
from training.lock import alone_in
from training.settings import Settings
from training.trainer import Progress, Trainer

__all__ = ["fit"]


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

    Raises TypeError for a setting that is not known, ValueError for one that is out of range, Failure when the loss diverges, Usage
    when another process is training in the folder.

    >>> from models import MLP
    >>> from sde_lib import Standardize, V, VPSDE
    >>> points = torch.arange(200.0).reshape(100, 2)
    >>> model = ScoreModel(MLP((2,), width=8, depth=1), VPSDE(), V(), Standardize.of(points))
    >>> losses = []
    >>> model = fit(model, points, steps=20, log_every=10, callback=lambda p: losses.append(p.loss))
    >>> len(losses), model(torch.zeros(1, 2), 0.5).shape
    (20, torch.Size([1, 2]))
    """
    chosen = Settings(**{**default.get_config().train.to_dict(), **settings})
    where = None if folder is None else Path(folder)
    model.data.check(data[:1000])
    objective = objective or DenoisingScoreMatching("likelihood", ImportanceTime())
    with torch.random.fork_rng(), ExitStack() as held:
        if where is not None:
            where.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone_in(where))
        trainer = Trainer(model, data, objective, chosen, seed, where, test, y=y, test_y=test_y)
        if resume:
            trainer.resume()
            trainer.mend()
        for progress in trainer.run():
            if callback is not None:
                callback(progress)
    model.network.load_state_dict(trainer.average.module.state_dict())
    return model.eval()

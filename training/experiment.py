"""Everything a config describes, built at once, so that a mistake is found before any work is done."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from ml_collections import ConfigDict

from sde_lib import ScoreModel
from training.build import build
from training.config import Reads
from training.errors import Usage
from training.trainer import Settings

__all__ = ["Experiment", "Sampling", "Scoring", "assemble"]


@dataclass(frozen=True)
class Sampling:
    """How to sample: the sampler, how many, and in batches of which size."""

    sampler: Any
    num: int
    batch_size: int


@dataclass(frozen=True)
class Scoring:
    """How to compute bits/dim."""

    divergence: Any
    dequantize: Any
    rtol: float
    atol: float
    batch_size: int
    estimator: str
    variance: str

    def __post_init__(self) -> None:
        if self.estimator not in ("flow", "bound") or self.variance not in ("small", "large"):
            raise ValueError(
                f"likelihood.estimator={self.estimator!r} and likelihood.variance={self.variance!r}: "
                "estimator 'flow' or 'bound', and variance 'small' or 'large', are needed"
            )


@dataclass(frozen=True, eq=False)
class Experiment:
    """The objects of a config."""

    name: str
    seed: int
    data: Any
    model: ScoreModel
    objective: Any
    settings: Settings
    sampling: Sampling
    scoring: Scoring

    def __str__(self) -> str:
        network, train = self.model.network, self.data.train
        arguments = ", ".join(f"{key}={value!r}" for key, value in getattr(network, "arguments", {}).items())
        parameters = sum(p.numel() for p in network.parameters()) if isinstance(network, torch.nn.Module) else 0
        lines = {
            "run": f"{self.name}, seed {self.seed}",
            "data": f"{len(train)} train, {len(self.data.test)} test, {tuple(train.shape[1:])}, {self.data.transform}",
            "process": repr(self.model.sde),
            "network": f"{type(network).__name__}({arguments}), {parameters:,} parameters",
            "output": repr(self.model.parameterization),
            "objective": repr(self.objective),
            "training": repr(self.settings),
            "sampling": repr(self.sampling),
            "scoring": repr(self.scoring),
        }
        return "\n".join(f"{key:<10} {value}" for key, value in lines.items())


def assemble(config: ConfigDict) -> Experiment:
    """Build the objects of a config. Raises Usage for a component that is refused, and for a key that nothing reads."""
    reads = Reads(config)
    data = build("data", reads.data)
    seed = reads.seed
    if not 0 <= seed < 2**32:
        raise Usage(f"seed is {seed}, and an integer from 0 to 2^32 - 1 was needed")
    torch.manual_seed(seed)  # the initial weights
    parameterization = build("parameterization", reads.parameterization)
    more = {"outputs": parameterization.outputs} if parameterization.outputs > 1 else {}
    network = build("network", reads.network, tuple(data.train.shape[1:]), **more)
    model = ScoreModel(network, build("sde", reads.sde), parameterization, data.transform)
    try:
        settings = Settings(**{field.name: getattr(reads.train, field.name) for field in fields(Settings)})
        scoring = Scoring(
            build("divergence", reads.likelihood.divergence),
            build("dequantize", reads.likelihood.dequantize),
            reads.likelihood.rtol,
            reads.likelihood.atol,
            reads.likelihood.batch_size,
            reads.likelihood.estimator,
            reads.likelihood.variance,
        )
    except ValueError as error:
        raise Usage(f"config.{error}") from None
    sampling = Sampling(build("sampler", reads.sample.sampler), reads.sample.num, reads.sample.batch_size)
    objective = build("objective", reads.objective)
    _refuse_mismatch(model, data, objective, settings, scoring)
    experiment = Experiment(
        name=f"{reads.sde.split('(')[0].split(':')[-1].lower()}-{reads.name}",
        seed=seed,
        data=data,
        model=model,
        objective=objective,
        settings=settings,
        sampling=sampling,
        scoring=scoring,
    )
    unread = reads.unread()
    if unread:
        raise Usage(f"config.{unread[0]} is read by nothing: remove it, or correct its name")
    return experiment


def _refuse_mismatch(model: ScoreModel, data: Any, objective: Any, settings: Settings, scoring: Scoring) -> None:
    """Refuse parts that do not fit together before any work is done: the loss of two data is computed."""
    if settings.dequantize and getattr(objective, "of_levels", False):
        raise Usage(f"{objective!r} is about integer data as they are: set train.dequantize=False")
    try:
        objective(model, data.transform.encode(data.train[:2]))
    except (ValueError, TypeError, RuntimeError) as error:
        raise Usage(f"these parts of the config do not fit together: {error}") from None
    if scoring.estimator == "bound" and not hasattr(model.sde, "before"):
        raise Usage(f"likelihood.estimator='bound' needs a process with levels, and got {model.sde!r}: use 'flow'")

"""Everything that a config describes, built and tried at once, so that a mistake is found before the training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from ml_collections import ConfigDict

from score_sde.config.component import build
from score_sde.config.config import Reads, flat, require
from score_sde.config.data_sets import data_set
from score_sde.data.data_set import DataSet
from score_sde.errors import UsageError, first_line
from score_sde.protocols import arguments_of, is_of_levels, streams, t_min_of
from score_sde.training.augmentation import Augmentation
from score_sde.training.settings import Settings
from sde_lib import LinearSDE, RowNoise, ScoreModel
from sde_lib.parameterizations import Parameterization

__all__ = ["Experiment", "Sampling", "Scoring", "assemble", "parts_of_model", "require_estimator", "try_sampler"]


@dataclass(frozen=True)
class Sampling:
    """How to sample: the sampler, the number of samples, and the size of a batch."""

    sampler: Any
    num: int
    batch_size: int

    def __post_init__(self) -> None:
        _require_positive("sample", num=self.num, batch_size=self.batch_size)

    @classmethod
    def of(cls, config: Any) -> Sampling:
        """The sampling that the section `sample` of a config describes.

        Raises:
            UsageError: when the sampler cannot be built, or a number is not positive.
        """
        try:
            return cls(build("sampler", config.sampler), config.num, config.batch_size)
        except ValueError as error:
            raise UsageError(f"config.{error}") from None


@dataclass(frozen=True)
class Scoring:
    """How to compute likelihoods: the estimator and its options.

    divergence, tolerance and method are options of the flow, variance of the bound on levels, and dequantize of all but that bound.
    """

    divergence: Any
    dequantize: Any
    tolerance: float
    method: Literal["dopri5", "dop853"]
    batch_size: int
    estimator: Literal["flow", "sde", "bound", "all"]
    variance: Literal["small", "large"]

    def __post_init__(self) -> None:
        if self.estimator not in ("flow", "sde", "bound", "all") or self.variance not in ("small", "large"):
            raise ValueError(
                f"likelihood.estimator={self.estimator!r} and likelihood.variance={self.variance!r}: "
                "estimator 'flow', 'sde', 'bound' or 'all', and variance 'small' or 'large', are needed"
            )
        _require_positive("likelihood", tolerance=self.tolerance, batch_size=self.batch_size)

    @classmethod
    def of(cls, config: Any) -> Scoring:
        """The scoring that the section `likelihood` of a config describes.

        Raises:
            UsageError: when a component cannot be built, or a value is out of range.
        """
        built = {kind: build(kind, getattr(config, kind)) for kind in ("divergence", "dequantize")}
        try:
            return cls(**built | {f.name: getattr(config, f.name) for f in fields(cls) if f.name not in built})
        except ValueError as error:
            raise UsageError(f"config.{error}") from None


@dataclass(frozen=True, eq=False)
class Experiment:
    """The objects that a config describes."""

    name: str
    seed: int
    data: DataSet
    model: ScoreModel
    objective: Any
    settings: Settings
    sampling: Sampling
    scoring: Scoring

    def __str__(self) -> str:
        network, train = self.model.network, self.data.train
        arguments = ", ".join(f"{key}={value!r}" for key, value in arguments_of(network).items())
        parameters = sum(p.numel() for p in network.parameters())
        count = self.data.classes
        names = self.data.class_names or map(str, range(count))
        classes = f", {count} classes: {', '.join(names)}" if count else ""
        lines = {
            "run": f"{self.name}, seed {self.seed}",
            "data": f"{len(train)} train, {len(self.data.test)} test, {tuple(train.shape[1:])}, {self.data.transform}{classes}",
            "process": repr(self.model.sde),
            "network": f"{type(network).__name__}({arguments}), {parameters:,} parameters",
            "output": repr(self.model.parameterization),
            "objective": repr(self.objective),
            "training": repr(self.settings),
            "sampling": repr(self.sampling),
            "scoring": repr(self.scoring),
        }
        return "\n".join(f"{key:<10} {value}" for key, value in lines.items())


def _require_positive(section: str, **values: float) -> None:
    for key, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{section}.{key} is {value}, and a positive number was needed")


def assemble(config: ConfigDict, trained: Callable[[int], tuple[ScoreModel, tuple[int, ...]]] | None = None) -> Experiment:
    """Build the objects of a config, and try them on one row of the data.

    trained(classes) loads the model of a run on data with so many classes, and gives it with the shape of a sample. Without it,
    the model is a new one.

    Raises:
        UsageError: when a component is refused or does not work with the others, nothing reads a key, or a trained model does not
            fit the data.
    """
    require(config)
    reads = Reads(config)
    if not reads.data:
        raise UsageError(f"{reads.name} was imported, and has no data of its own: give --data")
    data = data_set(reads.data)
    seed = reads.seed
    shape, classes = tuple(data.train.shape[1:]), _classes_of(data)
    torch.manual_seed(seed)  # the initial weights
    if trained is None:
        model = ScoreModel(*parts_of_model(reads, shape, classes), data.transform)
    else:
        model, known = trained(classes)
        if known != shape:
            raise UsageError(f"config.data is {reads.data!r}, of shape {shape}, and the run was trained on data of shape {known}")
    try:
        settings = Settings(**{field.name: getattr(reads.train, field.name) for field in fields(Settings)})
    except ValueError as error:
        raise UsageError(f"config.{error}") from None
    sampling, scoring = Sampling.of(reads.sample), Scoring.of(reads.likelihood)
    objective = build("objective", reads.objective)
    _refuse_misfits(model, data, objective, settings, scoring)
    if Path(f"-{reads.name}").name != f"-{reads.name}":
        raise UsageError(
            f"config.name is {reads.name!r}, and a name without a slash was needed: the run's folder is named after it"
        )
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
    if unread and trained is None:  # the config of a run has been checked
        raise UsageError(f"config.{unread[0]} is not used: remove it, or correct its name")
    _rehearse(experiment, flat(config))
    return experiment


def _refuse_misfits(model: ScoreModel, data: DataSet, objective: Any, settings: Settings, scoring: Scoring) -> None:
    """Refuse an objective, an estimator or an augmentation that the data or the model do not support.

    Raises:
        UsageError: when one of them does not fit.
    """
    if data.transform.levels is None and is_of_levels(objective):
        raise UsageError(f"{objective!r} is defined for integer data, and these data are real numbers: use dsm")
    require_estimator(scoring, model, classes=data.train_y is not None)
    if settings.dequantize and is_of_levels(objective):
        raise UsageError(f"{objective!r} is defined for integer data that are not dequantized: set train.dequantize=False")
    try:
        Augmentation(settings, tuple(data.train.shape[1:]), model.network)
    except ValueError as error:
        raise UsageError(str(error)) from None


def require_estimator(scoring: Scoring, model: ScoreModel, classes: bool) -> None:
    """Refuse an estimator that is not defined for a model's process or data. classes says whether the data have classes.

    Raises:
        UsageError: when the estimator needs levels, data without classes, or a process with a table of levels.
    """
    given = f"likelihood.estimator={scoring.estimator!r}"
    if scoring.estimator != "flow" and model.data.levels is None:
        raise UsageError(f"{given} gives bits/dim, and these data are real numbers: use 'flow'")
    if scoring.estimator != "flow" and classes:
        raise UsageError(f"{given} does not support classes, and these data have classes: use 'flow'")
    if scoring.estimator == "bound" and not model.sde.has_table:
        raise UsageError(f"{given} needs a process with levels, and got {model.sde!r}: use 'flow', 'sde' or 'all'")


def _classes_of(data: DataSet) -> int:
    """The number of classes of a data set.

    Raises:
        UsageError: when a test row has a class that no training row has.
    """
    classes = data.classes
    if data.test_y is not None and int(data.test_y.max()) >= classes:
        raise UsageError(
            f"the test rows have a class {int(data.test_y.max())}, and those to train on have {classes} classes, from 0: mix the "
            "rows, or give others for the test"
        )
    return classes


def parts_of_model(config: Any, shape: tuple[int, ...], classes: int = 0) -> tuple[torch.nn.Module, LinearSDE, Parameterization]:
    """The network, process and parameterization of a config, for data of a shape and a number of classes.

    Raises:
        UsageError: when one of them cannot be built.
    """
    parameterization = _build_as(Parameterization, "parameterization", config.parameterization)
    more = {"outputs": parameterization.outputs} if parameterization.outputs > 1 else {}
    more |= {"condition": classes} if classes else {}
    network = _build_as(torch.nn.Module, "network", config.network, shape, **more)
    return network, _build_as(LinearSDE, "sde", config.sde), parameterization


def _build_as(base: type, kind: str, text: str, *given: Any, **more: Any) -> Any:
    """Build a component, and refuse what is not an instance of a base class."""
    built = build(kind, text, *given, **more)
    if not isinstance(built, base):
        raise UsageError(f"config.{kind} is {text!r}, which makes a {type(built).__name__}, and a {base.__name__} was needed")
    return built


def try_sampler(model: ScoreModel, sampler: Any, shape: tuple[int, ...]) -> None:
    """Take the first steps of a sampler, so that it raises here what it would raise later.

    A user's sampler may have no `stream`. It is then tried no further than that it has a method `sample`.
    """
    model.sde.valid_t_min(t_min_of(sampler))
    if streams(sampler):
        device = next(model.parameters()).device
        for _ in islice(sampler.stream(model.sde, model, shape, device=device), 2):
            pass
    sampler.sample  # noqa: B018


@torch.no_grad()
def _rehearse(experiment: Experiment, config: dict[str, Any]) -> None:
    """Use each component once, on the first row of the data, or on zeros when there is none, so that a mistake shows early.

    Raises:
        UsageError: when a component fails.
    """
    was_training = experiment.model.training  # a trained model is to be used, without dropout
    model, sampler, scoring = experiment.model.eval(), experiment.sampling.sampler, experiment.scoring
    train = experiment.data.train
    codes = train[:1] if len(train) else train.new_zeros(1, *train.shape[1:])
    y = experiment.data.train_y
    cond = {} if y is None else {"y": y[:1]}
    bound: Any = model.bind(**cond) if cond else model
    noise, half = RowNoise(0, 1), torch.full((1,), 0.5, dtype=torch.float64)

    def lose() -> None:
        t = experiment.objective.times.sample(model.sde, half)
        x0 = model.data.dequantize(codes, torch.tensor(0.5))
        loss = copy.deepcopy(experiment.objective)(model, x0, t=t, z=noise(x0), **cond)
        if not bool(loss.isfinite().all()):
            raise ValueError(f"the loss is {loss.item()} at t = {t.item():g}, before any training")

    def differentiate() -> None:
        x = model.data.dequantize(codes, torch.tensor(0.5))
        scoring.divergence(lambda x: bound(x, model.sde.T), x, scoring.divergence.probe(noise, x))

    parts = {
        "network": lambda: bound.predict(model.data.dequantize(codes, torch.tensor(0.5)), model.sde.T),
        "objective": lose,
        "sample.sampler": lambda: try_sampler(model, sampler, codes.shape),
        "likelihood.dequantize": lambda: (
            model.data.levels is not None and scoring.dequantize.sample(model.data, codes, noise, model.sde.at(model.sde.t_min))
        ),
        "likelihood.divergence": differentiate,
    }
    for key, part in parts.items():
        try:
            part()
        except Exception as error:
            raise UsageError(f"config.{key} is {config[key]!r}, which does not work here: {first_line(error)}") from error
    model.train(was_training)

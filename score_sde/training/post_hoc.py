"""The average of a width that is chosen after training, from snapshots of averages of other widths."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models import load
from models.files import read_metadata, read_tensors, write_tensors
from score_sde.errors import UsageError, first_line
from score_sde.training.ema import exponent_of
from sde_lib import ScoreModel

__all__ = ["average_of_width", "mixture", "write_snapshot"]

FOLDER, PREFIX = "averages", "power_"


def write_snapshot(folder: Path, step: int, contents: Mapping[str, Tensor]) -> None:
    """Keep the power-function averages in a state's contents, if there are any, in the run's folder averages."""
    tensors = {key.replace("/module.", "/", 1): value for key, value in contents.items() if key.startswith(PREFIX)}
    if tensors:
        widths = {name: float(name.removeprefix(PREFIX)) for name in sorted({key.split("/")[0] for key in tensors})}
        write_tensors(folder / FOLDER / f"{step}.safetensors", tensors, {"step": str(step), "widths": json.dumps(widths)})


def mixture(steps: list[int], widths: list[float], step: int, width: float) -> np.ndarray:
    """The coefficients of averages (step_i, width_i) whose sum is nearest to the average of a width over the first steps.

    An average over n steps weighs step s by p(s) = (gamma + 1) s^gamma / n^(gamma + 1); nearest is in the mean square of the
    difference of these weights, int (sum_i c_i p_i - p)^2 ds, with coefficients that sum to 1.
    Reference: Karras et al., 2024, arXiv 2312.02696, section 3.2 and appendix C.

    >>> mixture([50, 100, 100], [0.1, 0.1, 0.2], 100, 0.2).round(6).tolist()[2]
    1.0
    """
    n = np.array([*steps, step], dtype=np.float64) / step
    gamma = np.array([exponent_of(w) for w in (*widths, width)])
    part = np.minimum(n / n[:, None], 1.0)  # of the first's length that the second has too
    powers = part ** gamma[:, None] * part.T**gamma
    products = np.outer(gamma + 1, gamma + 1) / (gamma[:, None] + gamma + 1) * powers / np.maximum(n[:, None], n)
    system = np.ones((len(n), len(n)))  # with a multiplier for the sum
    system[:-1, :-1], system[-1, -1] = products[:-1, :-1], 0.0
    return np.linalg.lstsq(system, np.append(products[:-1, -1], 1.0), rcond=1e-13)[0][:-1]


def average_of_width(folder: str | Path, width: float, step: int | None = None) -> ScoreModel:
    """The model of a run with its weights averaged by a power function of any width, as if they had been averaged so in training.

    The run has to have been trained with train.ema_widths, of two widths such as (0.05, 0.1) at best; step is that of its end,
    or of any save before. The more saves there were, the nearer this is.
    Raises UsageError for a run without snapshots, or without one of that step; ValueError for a width out of range.
    """
    folder = Path(folder)
    files = sorted((folder / FOLDER).glob("*.safetensors"), key=lambda path: int(path.stem))
    if not files:
        raise UsageError(f"{folder} has no snapshots of averages: train it with --config.train.ema_widths='(0.05, 0.1)'")
    step = int(files[-1].stem) if step is None else step
    if str(step) not in {path.stem for path in files}:
        raise UsageError(f"{folder} has no snapshot of step {step}: there are those of {', '.join(path.stem for path in files)}")
    files = [path for path in files if int(path.stem) <= step]
    named = [(path, name, w) for path in files for name, w in _widths(path).items()]
    parts = mixture([int(path.stem) for path, *_ in named], [w for *_, w in named], step, width)
    total: dict[str, Tensor] = {}
    for (path, name, _), part in zip(named, parts, strict=True):
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if key.startswith(f"{name}/")]  # noqa: SIM118
            for key, value in read_tensors(path, file, keys).items():
                key, last = key.removeprefix(f"{name}/"), path == files[-1]
                if value.is_floating_point():
                    total[key] = total.get(key, 0) + part * value.double()
                elif last:
                    total[key] = value
    model = load(folder)
    like = model.network.state_dict()
    model.network.load_state_dict({key: value.to(like[key].dtype) for key, value in total.items()})
    return model


def _widths(path: Path) -> dict[str, float]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads(read_metadata(path, file)["widths"]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({first_line(error)}): remove it, and the others are used") from None

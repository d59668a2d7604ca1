"""Post-hoc averages: averaged weights of any width after training, from snapshots of averages of other widths."""

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
    """Write the power-function averages of a state, if there are any, to the folder averages/ of the run."""
    tensors = {key.replace("/module.", "/", 1): value for key, value in contents.items() if key.startswith(PREFIX)}
    if tensors:
        widths = {name: float(name.removeprefix(PREFIX)) for name in sorted({key.split("/")[0] for key in tensors})}
        write_tensors(folder / FOLDER / f"{step}.safetensors", tensors, {"step": str(step), "widths": json.dumps(widths)})


def mixture(steps: list[int], widths: list[float], step: int, width: float) -> np.ndarray:
    """The coefficients c_i with which averages (step_i, width_i) add up to nearly the average of a width at a step.

    An average over n steps weighs step s by p(s) = (gamma + 1) s^gamma / n^(gamma + 1). The c_i sum to 1 and minimise
    int (sum_i c_i p_i - p)^2 ds.

    Reference: Karras et al., 2024, arXiv 2312.02696, section 3.2 and appendix C.

    >>> mixture([50, 100, 100], [0.1, 0.1, 0.2], 100, 0.2).round(6).tolist()[2]
    1.0
    """
    n = np.array([*steps, step], dtype=np.float64) / step
    gamma = np.array([exponent_of(w) for w in (*widths, width)])
    part = np.minimum(n / n[:, None], 1.0)  # [i, j]: the part of average i's steps that average j covers
    powers = part ** gamma[:, None] * part.T**gamma
    products = np.outer(gamma + 1, gamma + 1) / (gamma[:, None] + gamma + 1) * powers / np.maximum(n[:, None], n)
    system = np.ones((len(n), len(n)))  # the last row and column: a Lagrange multiplier for the sum
    system[:-1, :-1], system[-1, -1] = products[:-1, :-1], 0.0
    return np.linalg.lstsq(system, np.append(products[:-1, -1], 1.0), rcond=1e-13)[0][:-1]


def average_of_width(folder: str | Path, width: float, step: int | None = None) -> ScoreModel:
    """The model of a run with its weights averaged by a power function of any width, as training would have averaged them.

    The run must have been trained with train.ema_widths, best with two widths such as (0.05, 0.1). step is the step of a save,
    and the last one unless given. More saves give a smaller error.

    Raises:
        UsageError: when the run has no snapshots, or none of that step.
        ValueError: when the width is out of range.
    """
    folder = Path(folder)
    files = sorted((folder / FOLDER).glob("*.safetensors"), key=lambda path: int(path.stem))
    if not files:
        raise UsageError(f"{folder} has no snapshots of averages: train it with --config.train.ema_widths='(0.05, 0.1)'")
    step = int(files[-1].stem) if step is None else step
    if str(step) not in {path.stem for path in files}:
        raise UsageError(
            f"{folder} has no snapshot of step {step}: its snapshots are of steps {', '.join(path.stem for path in files)}"
        )
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

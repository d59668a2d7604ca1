"""The likelihoods of one model on the same data by several estimators, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from likelihood import BitsPerDim, SDEBits, VariationalBits
from likelihood.results import standard_error, with_error
from score_sde.evaluation.reals import LogDensity

__all__ = ["Result", "SideBySide", "summary"]

Result = BitsPerDim | SDEBits | VariationalBits | LogDensity

MEANINGS = {
    "flow": "law of the probability flow",
    "sde": "law of the reverse SDE, at most",
    "bound": "law of the chain of levels, at most",
}


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Results of estimators by their names. The flow comes first, and gives mean, standard_error and per_image.

    One score defines several laws, and each estimator is of one of them. For the true score all are the law of the data; for
    another score the flow may be above the bounds or below. The bound on levels is of the images themselves, and the other two
    are of dequantized images. So a model trained on the centres of bins (train.dequantize=False) is judged by the bound on
    levels, and other models by the other two.
    """

    results: Mapping[str, Result]

    @property
    def mean(self) -> float:
        """Mean of the flow's bits/dim."""
        return self.results["flow"].mean

    @property
    def standard_error(self) -> float:
        """Standard error of the flow's mean."""
        return self.results["flow"].standard_error

    @property
    def per_image(self) -> Tensor:
        """Bits/dim of each image by the flow, (N,)."""
        return self.results["flow"].per_image

    @property
    def nfe(self) -> int:
        """Network calls of all estimators."""
        return sum(result.nfe for result in self.results.values())

    def from_flow(self, name: str) -> tuple[float, float]:
        """Mean difference from the flow's bits/dim, and its standard error over the images.

        The error is smaller than that of either mean, because the estimators share the images.
        """
        difference = self.results[name].per_image - self.per_image.to(self.results[name].per_image)
        return difference.mean().item(), standard_error(difference).item()

    def record(self) -> dict[str, Any]:
        """The results as a record for JSON."""
        kept: dict[str, Any] = {}
        for name, result in self.results.items():
            mean, error = self.from_flow(name)
            kept[name] = {
                "bits_per_dim": result.mean,
                "standard_error": result.standard_error,
                "from_flow": mean,
                "from_flow_error": error,
                "network_calls": result.nfe,
                **result.record(),
            }
        return {"estimators": kept}

    def __str__(self) -> str:
        lines = [f"one model, the same {len(self.per_image)} images (and, behind |, how far from the flow's number):"]
        for name, result in self.results.items():
            mean, error = self.from_flow(name)
            beside = "" if name == "flow" else f"   | {'+' * (mean >= 0)}{with_error(mean, error)}"
            lines.append(f"  {with_error(result.mean, result.standard_error):>17}   {MEANINGS[name]}{beside}")
        lines += [f"{name}: {result}" for name, result in self.results.items()]
        return "\n  ".join(lines)


def summary(results: Mapping[str, Result]) -> Result | SideBySide:
    """The result of a single estimator, or several results side by side."""
    return SideBySide(results) if len(results) > 1 else next(iter(results.values()))

"""One model's bits/dim by every estimator that it has, on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from likelihood import BitsPerDim, SDEBits, VariationalBits
from likelihood.results import standard_error, with_error

__all__ = ["Estimate", "SideBySide"]

Estimate = BitsPerDim | SDEBits | VariationalBits

MEANINGS = {
    "flow": "law of the probability flow",
    "sde": "law of the reverse SDE, at most",
    "bound": "law of the chain of levels, at most",
}


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Results by the names of their estimators, the flow's first; it stands for all where one number is asked for.

    They are numbers of different laws that one score has: for the true score all are the data's, else the flow's may be above
    the bounds or below. The bound of levels is of the images as they are, the other two of dequantized ones: a model
    trained on centres of bins (train.dequantize=False) is to be judged by that bound, and others by the other two.
    """

    results: dict[str, Estimate]

    @property
    def mean(self) -> float:
        """Of the flow."""
        return self.results["flow"].mean

    @property
    def standard_error(self) -> float:
        """Of the flow."""
        return self.results["flow"].standard_error

    @property
    def per_image(self) -> Tensor:
        """Of the flow."""
        return self.results["flow"].per_image

    @property
    def nfe(self) -> int:
        """Network calls of all."""
        return sum(result.nfe for result in self.results.values())

    def from_flow(self, name: str) -> tuple[float, float]:
        """Mean difference from the flow's number over the images, and its standard error: image by image, much is in common."""
        difference = self.results[name].per_image - self.per_image.to(self.results[name].per_image)
        return difference.mean().item(), standard_error(difference).item()

    def record(self) -> dict[str, Any]:
        """Each result, as JSON can keep it."""
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
        return "\n  ".join([*lines, *(f"{name}: {result}" for name, result in self.results.items())])

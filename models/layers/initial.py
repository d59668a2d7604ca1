"""Initial weights."""

from __future__ import annotations

from torch import nn

__all__ = ["fan_average", "zero_init"]

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def zero_init(layer: nn.Module) -> nn.Module:
    """The layer itself, with all weights 0, so that its output is 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
        parameter.starts_at_zero = True  # type: ignore[attr-defined]
    return layer


def fan_average(network: nn.Module) -> None:
    """DDPM's initial weights: uniform with variance 2 / (inputs + outputs), biases 0. Layers of zero_init stay at 0.

    Reference: Glorot and Bengio, 2010, equation 16; Ho, Jain, Abbeel, 2020, arXiv 2006.11239, the released code.
    """
    for layer in network.modules():
        if isinstance(layer, WEIGHTED) and not hasattr(layer.weight, "starts_at_zero"):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

"""Weights of other projects' networks in the order of ours.

All these networks are one U-Net, and every project computes its layers in the same order.
So a list of the words in the names of weights, in the order of the computation, describes a family. No weight is listed singly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

__all__ = ["fit", "heads_first", "in_order", "without_prefix"]


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state without the prefix of names that torch.nn.DataParallel adds."""
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def in_order(state: Mapping[str, Tensor], words: Sequence[str]) -> dict[str, Tensor]:
    """The weights sorted by their names, part by part: numbers by size, words in the order of the argument words.

    Raises:
        ValueError: when a word is not listed.
    """
    ranks = {word: rank for rank, word in enumerate(words)}

    def place(key: str) -> list[int]:
        parts = key.split(".")
        for part in parts:
            if not part.isdecimal() and part not in ranks:
                raise ValueError(f"the weight {key!r} has no place in a network of this family: give the right family")
        return [int(part) if part.isdecimal() else ranks[part] for part in parts]

    return {key: state[key] for key in sorted(state, key=place)}


def heads_first(qkv: Tensor, heads: int, order: Sequence[int]) -> Tensor:
    """Rows of a projection (3 C, ...) sorted into queries, keys and values, each head by head.

    order is the order of the axes in the given rows: queries/keys/values (0), heads (1) and channels of a head (2).
    """
    C = len(qkv) // 3
    sizes = (3, heads, C // heads)
    there = qkv.reshape(*(sizes[axis] for axis in order), *qkv.shape[1:])
    return there.permute(*(list(order).index(axis) for axis in range(3)), *range(3, there.ndim)).reshape(qkv.shape)


def fit(tensors: Iterable[Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A state for network.load_state_dict from tensors in the order of its own state. Shapes may differ in axes of length 1.

    Raises:
        ValueError: when the numbers of weights or their shapes differ.
    """
    own, given = network.state_dict(), list(tensors)
    name = type(network).__name__
    if len(own) != len(given):
        raise ValueError(
            f"the file holds {len(given)} weights, and {name} has {len(own)}: give the config that it was trained with"
        )
    state = {}
    for (key, wanted), tensor in zip(own.items(), given, strict=True):
        if [n for n in tensor.shape if n > 1] != [n for n in wanted.shape if n > 1]:
            raise ValueError(
                f"a weight of shape {tuple(tensor.shape)} meets {key} of {name}, of shape {tuple(wanted.shape)}: "
                "give the config that the file was trained with"
            )
        state[key] = tensor.reshape(wanted.shape)
    return state

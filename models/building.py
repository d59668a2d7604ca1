"""Building a network that a file describes, without trusting the sizes that the file claims."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

__all__ = ["build_to_fit", "load_weights"]

TENSORS, MODULES = 4, 50  # the most that are made for each tensor in the file; our networks make up to 1 and 10
WEIGHTS = {"empty", "zeros", "ones", "full", "rand", "randn"}  # what makes new weights
TABLES = {"arange", "linspace", "logspace"}
DRAWS = {"uniform_", "normal_", "zero_", "fill_", "random_", "erfinv_", "clamp_"}  # operations that set a new weight
UNSAVED = 1 << 24  # entries of all tensors that a network computes and does not save, such as a table of noise levels


def build_to_fit(build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> nn.Module:
    """The network that build makes, once a copy of it without memory has been found to fit the weights.

    A class of the user's own that cannot be built on the meta device is built at once.

    Raises:
        ValueError: when the network does not fit the weights, or has far more parts than the file has tensors.
        Exception: what build raises.
    """
    try:
        with _few(len(weights)), _NoValues():
            sketch = build()
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error).lower():
            raise
        return _at_once(build)
    load_weights(sketch, weights, assign=True)
    unsaved = sum(buffer.numel() for name, buffer in sketch.named_buffers() if name not in weights)
    if unsaved > UNSAVED:
        raise ValueError(f"it computes {unsaved:,} numbers that the file does not hold, and at most {UNSAVED:,} were expected")
    return build()


class _NoValues(TorchFunctionMode):
    """Makes new weights on the meta device, and leaves out their initial values.

    Tables, such as the frequencies of an embedding, are computed, once their size is known: torch imports its compiler, for
    seconds, to compute on the meta device.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in DRAWS and args and args[0].is_meta:
            return args[0]
        if name in WEIGHTS and kwargs.get("device") is None:
            return func(*args, **kwargs | {"device": "meta"})
        if name in TABLES and func(*args, **kwargs | {"device": "meta"}).numel() > UNSAVED:
            raise ValueError(f"it computes a table of more than {UNSAVED:,} numbers, which the file does not hold")
        return func(*args, **kwargs)


def _at_once(build: Callable[[], nn.Module]) -> nn.Module:
    return build()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], assign: bool = False) -> None:
    """Copy weights into a network, or assign them.

    Raises:
        ValueError: when a weight is missing, unknown, or of another shape.
    """
    try:
        missing, unexpected = network.load_state_dict(dict(weights), strict=False, assign=assign)
    except RuntimeError as error:  # a weight of another shape
        raise ValueError(str(error).strip().splitlines()[-1].strip().rstrip(".")) from None
    if missing or unexpected:
        example = (missing + unexpected)[0]
        raise ValueError(f"{len(missing)} missing, {len(unexpected)} unknown, for example {example!r}")


@contextmanager
def _few(tensors: int) -> Iterator[None]:
    """A context in which this thread makes no more tensors and modules than fit a file with so many tensors."""
    made = {"tensors": 0, "modules": 0}
    most = {"tensors": TENSORS * tensors + 100, "modules": MODULES * tensors + 1000}
    own = threading.get_ident()

    def count(what: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if threading.get_ident() == own:
                made[what] += 1
                if made[what] > most[what]:
                    raise ValueError(f"it has more than {most[what]:,} {what}, and the file holds {tensors:,} tensors")

        return hook

    handles = [
        hooks.register_module_parameter_registration_hook(count("tensors")),
        hooks.register_module_buffer_registration_hook(count("tensors")),
        hooks.register_module_module_registration_hook(count("modules")),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

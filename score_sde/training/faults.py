"""Failures of the machine while a command writes or a run trains, each explained in one sentence."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from score_sde.errors import RunError, first_line

__all__ = ["WRITING", "explain_faults", "explain_writing"]

# Errors of a disk that is full or cannot be written.
WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextlib.contextmanager
def explain_writing(folder: Path, what: str = "the command", again: str = "give the same command again") -> Iterator[None]:
    """Turn errors of a full or read-only disk into a RunError. what has stopped, and again says how to go on.

    Raises:
        RunError: when the folder cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors errors of reading have been handled before
        if isinstance(error, OSError) and error.errno not in WRITING:
            raise
        raise RunError(
            f"{folder} cannot be written ({first_line(error)}), and {what} has stopped; what was saved before is kept: "
            f"make room, or make the folder writable, and {again}"
        ) from error


@contextlib.contextmanager
def explain_faults(folder: Path, config: Any) -> Iterator[None]:
    """Turn errors of a full or read-only disk and of too little memory into a RunError that says what to do.

    Raises:
        RunError: when the folder cannot be written, or there is not enough memory.
    """
    try:
        with explain_writing(folder, "training", "go on with --resume"):
            yield
    except (RuntimeError, MemoryError) as error:
        if not _is_of_memory(error):
            raise
        train = config.train
        fewer = max(1, (train.micro_batch or train.batch_size) // 4)
        raise RunError(
            f"there is not enough memory to train ({first_line(error)}): pass fewer of the {train.batch_size} rows at once with "
            f"--config.train.micro_batch={fewer}, which gives the same gradient; or store less of each row with "
            "--config.train.checkpointing=True or --config.train.autocast=bf16; or give another --device, "
            f"or a smaller network than {config.network!r}"
        ) from error


def _is_of_memory(error: Exception) -> bool:
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in str(error) for word in words)

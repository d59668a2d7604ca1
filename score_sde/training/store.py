"""The files of a training: the state from which it resumes, the checkpoint, and the best checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.checkpoint import FILE_NAME, read_header
from models.files import write_tensors
from score_sde.errors import RunError
from score_sde.training.kept import newest_readable, older_versions, replace_and_keep
from score_sde.training.post_hoc import write_snapshot
from score_sde.training.ranks import Ranks
from score_sde.training.sharding import local_shard
from score_sde.training.state import STATE_NAME, contents_of, read_state

__all__ = ["BEST_NAME", "CONFIG_NAME", "Store"]

BEST_NAME, CONFIG_NAME = "best.safetensors", "config.json"


class Store:
    """The folder of a training: the newest files under their own names, and keep - 1 older versions.

    parts are modules by name ("raw" is the network, and each average has its own name) and the optimizer. checkpoint writes a
    checkpoint to a path, from the result of `contents_of`. data is the fingerprint of the data. Rank 0 writes.
    """

    def __init__(
        self,
        folder: Path | None,
        keep: int,
        ranks: Ranks,
        parts: tuple[Mapping[str, nn.Module], Optimizer],
        checkpoint: Callable[[dict[str, Tensor], Path], object],
        data: str,
    ) -> None:
        self.data = data
        self.folder, self.keep, self.ranks = folder and folder.resolve(), keep, ranks
        self._parts, self._checkpoint = parts, checkpoint
        self._saved: int | None = None  # the step of the state in the folder

    def save(self, step: int, *, best: bool) -> None:
        """Write the state, the checkpoint and, if best, the best checkpoint, each atomically. Old versions are kept.

        The order makes every interruption safe: the best checkpoint is written before the state that records its loss, and the
        checkpoint after the state from which it can be rewritten.

        Raises:
            RunError: when the weights are not finite. They are not written.
        """
        parts = self._parts[0]
        weights = [local_shard(p).isfinite().all() for part in parts.values() for p in part.parameters()]
        memory = [~b.isnan().any() for b in parts["raw"].buffers()]
        if self.ranks.any(not bool(torch.stack(weights + memory).all())):
            raise RunError(f"the weights at step {step} are not finite, and were not saved; {self.kept()}")
        contents = {} if self.folder is None else contents_of(*self._parts)
        if self.ranks.rank > 0 or self.folder is None:
            return
        if best:
            self._checkpoint(contents, self.folder / BEST_NAME)
        write_snapshot(self.folder, step, contents)
        old = None if self._saved == step else self._saved
        facts = {"step": str(step), "data": self.data}
        replace_and_keep(self.folder / STATE_NAME, old, self.keep, lambda path: write_tensors(path, contents, facts))
        replace_and_keep(self.folder / FILE_NAME, old, self.keep, lambda path: self._checkpoint(contents, path))
        self._saved = step

    def resume(self) -> int:
        """Load the newest readable state of the folder, and return its step; 0 when the run stopped before its first save.

        A warning on stderr says what was missing or damaged.

        Raises:
            RunError: when no state can be read.
            UsageError: when the state is of other data.
        """
        if self.folder is None:
            raise RunError("there is no folder to resume from: give the folder of the interrupted training")
        path, checkpoint = self.folder / STATE_NAME, self.folder / FILE_NAME
        found: Path | None = path
        step = 0
        if self.ranks.rank == 0:
            if not any(p.exists() for p in (path, *older_versions(path), checkpoint)):
                print(f"nothing was saved in {self.folder} before the run was stopped: it begins anew", file=sys.stderr)
                found = None
            else:
                try:
                    found, step = newest_readable(path, lambda path: read_state(path, *self._parts, self.data))
                except ValueError as error:
                    raise RunError(f"{error}: train anew in another folder") from error
        found = self.ranks.broadcast(found)  # the other ranks read the file that rank 0 could read
        if self.ranks.rank > 0 and found is not None:
            step = read_state(found, *self._parts, self.data)
        self._saved = step if found == path else None
        return step

    def rewrite_checkpoint(self, step: int) -> None:
        """Write the checkpoint of the state from which the run resumed. The one in the folder may be older, or damaged."""
        if self._saved is None or self.folder is None:
            return
        contents = contents_of(*self._parts)
        if self.ranks.rank > 0:
            return
        try:
            there = read_header(self.folder)["step"]
        except (ValueError, FileNotFoundError):
            there = step
        replace_and_keep(
            self.folder / FILE_NAME, None if there == step else there, self.keep, lambda path: self._checkpoint(contents, path)
        )

    def kept(self) -> str:
        """A part of a sentence that names the last checkpoint, for error messages."""
        path = None if self.folder is None else self.folder / FILE_NAME
        return f"the last good checkpoint is {path}" if path is not None and path.exists() else "no checkpoint had been saved"

"""Progress bars for a terminal, and progress lines for a file or the log of a job."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

__all__ = ["progress_bar"]

EVERY = 60.0  # seconds between two lines where there is no terminal


class _Lines:
    """A stream for tqdm that writes each state of a bar on a new line. A terminal would overwrite the last state instead."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            print(line, file=sys.stderr, flush=True)

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    total: int,
    description: str,
    unit: str,
    initial: int = 0,
    disable: bool = False,
    leave: bool = True,
) -> Any:
    """A progress bar over items, or one that the caller updates. Without a terminal it writes a line a minute and one at the end.

    The time left follows from the mean speed since the bar began, because the speed of single steps jumps.

    >>> list(progress_bar("abc", total=3, description="letters", unit=" letters", disable=True))
    ['a', 'b', 'c']
    >>> bar = progress_bar(total=3, description="steps", unit=" steps", disable=True)
    >>> bar.update(3), bar.close()
    (None, None)
    """
    options: dict[str, Any] = {"total": total, "initial": initial, "desc": description, "unit": unit, "disable": disable}
    if sys.stderr.isatty():
        return tqdm(items, **options, leave=leave, smoothing=0, dynamic_ncols=True)
    return tqdm(items, **options, smoothing=0, file=_Lines(), ncols=100, ascii=True, mininterval=EVERY, maxinterval=EVERY)

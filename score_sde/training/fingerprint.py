"""Short texts that identify a data set or a model, so that a resumed job can detect another one."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import torch
from torch import Tensor

from sde_lib import ScoreModel

__all__ = ["digest", "fingerprint_of_data", "fingerprint_of_model"]

BYTES = 1 << 24  # about as many bytes enter the checksum


def fingerprint_of_data(data: Tensor, transform: Any, y: Tensor | None = None) -> str:
    """The number of rows (N, *shape), their type, the meaning of 0 and 1, and a CRC-32 of rows and of their conditions y.

    The checksum is of all rows of up to 16 MiB, and of evenly spaced rows of larger data. The meaning has six digits, because sums
    of real numbers differ between machines.

    >>> from sde_lib import Images
    >>> fingerprint_of_data(torch.zeros(20, 3, dtype=torch.uint8), Images(2)).split(", checksum")[0]
    '20 rows of (3,), uint8, 0 and 1 standing for -0.5 and 0.5'
    """
    size = max(1, data[:1].numel() * data.element_size())
    number = min(len(data), max(2, BYTES // size))
    chosen = torch.arange(number) * (len(data) - 1) // max(1, number - 1)
    checksum = 0
    for rows in (data,) if y is None else (data, y):
        part = rows[chosen.to(rows.device)].cpu().contiguous().reshape(-1)
        checksum = zlib.crc32(part.view(torch.uint8).numpy().data, checksum)
    low, high = (round(x, 6) + 0.0 for x in transform.dequantize(torch.arange(2), torch.tensor(0.5, dtype=torch.float64)).tolist())
    kind = str(data.dtype).removeprefix("torch.")
    means = f"0 and 1 standing for {low:.6g} and {high:.6g}"
    return f"{len(data)} rows of {tuple(data.shape[1:])}, {kind}, {means}, checksum {checksum:08x}"


def fingerprint_of_model(model: ScoreModel) -> str:
    """A checksum of a model: its process, parameterization and data, and all of its weights."""
    parts = repr((model.sde, model.parameterization, model.data))
    return digest(*model.network.state_dict().values(), text=parts)


def digest(*arrays: Tensor | None, text: str = "") -> str:
    """The SHA-256 of a text and the bytes of arrays. Arrays that are None are left out."""
    found = hashlib.sha256(text.encode())
    for value in arrays:
        if value is not None:
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()

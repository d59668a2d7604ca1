"""Folders of pictures."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from sde_lib import Images
from training.data.reading import as_tensor, cached

__all__ = ["Folder", "pictures"]

GREY = ("1", "L", "LA")
FEW = 256  # pictures that one process decodes sooner than others start


class Folder:
    """Pictures in a folder and those below it, of any format that Pillow reads, as uint8 (N, 3 or 1, height, width) of 256 levels.

    size, a number or (height, width): the picture is made small or large until it just covers that, and its middle is kept;
    without it all must have one size. They are grey if all files are, or with grey=True; what is transparent is shown on white.
    Without a folder test every tenth, in the order of their names, is a test picture. With classes=True each folder below is a
    class, in the order of their names, which are in class_names, and train_y and test_y are the number of each picture's. Decoded
    once, by several processes, into runs/data/, and mapped from there. Raises ValueError, naming the file, for a folder without
    pictures, files that are damaged or have 16 bits, and mixed sizes, and with classes=True for a picture in no folder of its
    own, or one in test that train lacks.

    >>> Folder("nowhere")
    Traceback (most recent call last):
    ...
    ValueError: there is no folder nowhere
    """

    def __init__(
        self,
        path: str,
        test: str | None = None,
        size: int | tuple[int, int] | None = None,
        grey: bool | None = None,
        low: float = -1.0,
        high: float = 1.0,
        classes: bool = False,
    ) -> None:
        self.transform = Images(256, low, high)
        data = pictures(path, size, grey)
        if classes:
            self.class_names = sorted({_class_of(path, file) for file in _files_of(path)})
            self.train_y = _classes(path, self.class_names)
        if test is None:
            if len(data) < 10:
                raise ValueError(f"{path} holds {len(data)} pictures, and at least ten were needed, or a folder of test pictures")
            held_out = np.arange(len(data)) % 10 == 9
            self.train, self.test = data[~held_out], data[held_out]
            if classes:
                self.train_y, self.test_y = self.train_y[~held_out], self.train_y[held_out]
        else:
            self.train, self.test = data, pictures(test, tuple(data.shape[2:]), data.shape[1] == 1)
            if classes:
                self.test_y = _classes(test, self.class_names)


def _class_of(path: str, file: Path) -> str:
    parts = file.relative_to(path).parts
    if len(parts) < 2:
        raise ValueError(f"{file} is in no folder of its own in {path}, and classes=True needs one for each class")
    return parts[0]


def _classes(path: str, names: list[str]) -> Tensor:
    """The number of each picture's class, in the order of the pictures."""
    found = [_class_of(path, file) for file in _files_of(path)]
    strange = sorted(set(found) - set(names))
    if strange:
        raise ValueError(f"{path} has a class {strange[0]!r}, and those to train on are {', '.join(names)}")
    return torch.tensor([names.index(name) for name in found])


def _files_of(path: str) -> list[Path]:
    """The pictures of a folder and those below it, in the order of their names. Raises ValueError where there are none."""
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"there is no folder {path}")
    known = Image.registered_extensions()
    shown = (file for file in root.rglob("*") if not any(part.startswith(".") for part in file.relative_to(root).parts))
    files = sorted(file for file in shown if file.suffix.lower() in known and file.is_file())
    if not files:
        raise ValueError(f"{path} holds no pictures of a format that Pillow reads")
    return files


def pictures(path: str, size: int | tuple[int, ...] | None = None, grey: bool | None = None) -> Tensor:
    """The pictures of a folder as Folder has them, in the order of their names."""
    files = _files_of(path)
    facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]

    def write(out: Path) -> None:
        with _mapper(len(files)) as each:
            heads = list(each(_head, files, "looking at pictures"))
            space = _space(path, heads, size)
            channels = 1 if grey or (grey is None and all(mode in GREY for mode, _ in heads)) else 3
            array = np.lib.format.open_memmap(out, "w+", np.uint8, (len(files), channels, *space))
            decode = partial(_decode, space=space, grey=channels == 1)
            for i, picture in enumerate(each(decode, files, "decoding pictures")):
                array[i] = picture
            array.flush()

    return as_tensor(cached([facts, size, grey, "cover"], write))


def _space(path: str, heads: list[Any], size: int | tuple[int, ...] | None) -> tuple[int, int]:
    """Height and width."""
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise ValueError(f"{size=}, and a positive number, or two, were needed")
        return height, width
    sizes = Counter(space for _, space in heads)
    if len(sizes) > 1:
        common = ", ".join(f"{h}x{w} ({n})" for (h, w), n in sizes.most_common(3))
        raise ValueError(
            f"{path} holds pictures of {len(sizes)} sizes, {common} and so on: say which, as in folder(path='{path}', size=64)"
        )
    return next(iter(sizes))


def _mapper(files: int) -> AbstractContextManager[Callable[..., Iterator[Any]]]:
    """each(function, files, what): its results in order, from several processes where that pays."""
    if files <= FEW:
        return nullcontext(lambda function, items, _: map(function, items))
    return _Processes()


class _Processes:
    def __enter__(self) -> Callable[..., Iterator[Any]]:
        self.pool = multiprocessing.get_context("spawn").Pool(os.cpu_count())
        return self._each

    def _each(self, function: Any, items: list[Path], what: str) -> Iterator[Any]:
        done = self.pool.imap(function, items, chunksize=64)
        return iter(tqdm(done, desc=what, total=len(items), unit=" pictures", leave=False))

    def __exit__(self, *_: object) -> None:
        self.pool.terminate()


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """A picture's head; what is found to be damaged on the way is told by name."""
    try:
        with open(file, "rb") as stream:
            picture = Image.open(stream)
            if picture.mode.startswith(("I", "F")) or ";16" in str(picture.tile):  # of colours Pillow drops the lower byte
                raise ValueError(
                    f"{file} has more than 8 bits (mode {picture.mode}): give such pictures as an array, with arrays(...)"
                )
            yield picture
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow's word for a broken PNG
        raise ValueError(f"{file} is damaged, or no picture that Pillow reads ({error})") from None


def _head(file: Path) -> tuple[str, tuple[int, int]]:
    """The mode of a picture, and its height and width, as it is to be seen."""
    with _opened(file) as picture:
        turned = picture.getexif().get(0x0112, 1) >= 5  # the tag of a camera that was held upright
        mode = "RGB" if picture.mode == "P" else picture.mode
        return mode, (picture.width, picture.height) if turned else (picture.height, picture.width)


def _decode(file: Path, space: tuple[int, int], grey: bool) -> np.ndarray:
    """A picture as uint8 (C, height, width), turned as the camera says, over white, covering space, its middle."""
    with _opened(file) as opened:
        picture = ImageOps.exif_transpose(opened)
        if "A" in picture.getbands() or "transparency" in picture.info:
            over = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
        picture = picture.convert("L" if grey else "RGB")
        height, width = space
        if picture.size != (width, height):
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    array = np.asarray(picture)
    return array[None] if grey else array.transpose(2, 0, 1)

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

from score_sde.data.reading import as_tensor, cached, new_array
from score_sde.progress import progress_bar
from sde_lib import Images

__all__ = ["Folder", "on_white", "sizes"]

# The formats that are read, as Pillow names them. Pillow reads others too: one starts Ghostscript (EPS), some are seldom tested.
FORMATS = {"AVIF", "BMP", "DDS", "DIB", "FITS", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "MSP", "PCX", "PNG"}
FORMATS |= {"PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM"}
GREY = ("1", "L", "LA")
DEEP = "I;16"
LEVELS = {"bool": 2, "uint8": 256, "int32": 65536}  # by the type in which pictures are stored
FEW = 256  # pictures that one process decodes in the time that further processes need to start


class Folder:
    """The pictures in a folder and its subfolders, of the formats in FORMATS: uint8 (N, 3 or 1, height, width), 256 levels.

    Pictures that are all bilevel, and not resized, have 2 levels, where white is 1. Pictures that are all greys of 16 bits have
    65,536 levels. Transparent pictures are placed on white. The pictures are decoded once, by several processes, into runs/data/,
    and mapped from there.

    test: a folder of test pictures. Without it, every tenth picture in the order of the names is a test picture.
    size: a number or (height, width). A picture is resized until it just covers that, and its middle is kept. Without a size,
        all pictures must have the same one.
    grey: True for one channel; unless given, there is one channel if all pictures are grey.
    low, high: the ends of the range of the levels, as in `Images`.
    classes: True takes each subfolder as a class, in the order of the names. Then class_names are their names, and train_y and
        test_y the number of each picture's class.

    Raises:
        ValueError: when a folder has no pictures; when a file is damaged, has colours of 16 bits, or has 16 bits and others do
            not; when sizes differ and no size is given; with classes=True, when a picture is in no subfolder, or only test
            pictures have a class. The message names the file.

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
        files = _files_of(path)
        if test is None and len(files) < 10:
            raise ValueError(f"{path} holds {len(files)} pictures, and at least ten were needed, or a folder of test pictures")
        held_out = [] if test is not None else files[9::10]
        kept = [file for i, file in enumerate(files) if test is not None or i % 10 != 9]
        found = pictures(path, kept + held_out, size, grey)
        data = as_tensor(found)
        self.train, self.test = data[: len(kept)], data[len(kept) :]
        if test is not None:
            held_out = _files_of(test)
            others = pictures(test, held_out, found.shape[2:], found.shape[1] == 1)
            if others.dtype != found.dtype:
                theirs, ours = LEVELS[others.dtype.name], LEVELS[found.dtype.name]
                raise ValueError(f"{test} holds pictures of {theirs} levels, and {path} of {ours}: make them alike")
            self.test = as_tensor(others)
        self.transform = Images(LEVELS[found.dtype.name], low, high)
        if classes:
            self.class_names = sorted({_class_of(path, file) for file in kept})
            self.train_y = _classes(path, kept, self.class_names)
            self.test_y = _classes(path if test is None else test, held_out, self.class_names)


def _class_of(path: str, file: Path) -> str:
    parts = file.relative_to(path).parts
    if len(parts) < 2:
        raise ValueError(f"{file} is in no subfolder of {path}, and classes=True takes each subfolder as a class")
    return parts[0]


def _classes(path: str, files: list[Path], names: list[str]) -> Tensor:
    """The number of each picture's class."""
    found = [_class_of(path, file) for file in files]
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(f"{path} has a class {unknown[0]!r}, and those to train on are {', '.join(names)}")
    return torch.tensor([names.index(name) for name in found])


def _files_of(path: str) -> list[Path]:
    """The pictures in a folder and its subfolders, in the order of their names.

    Raises:
        ValueError: when there is no such folder, or no picture in it.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"there is no folder {path}")
    known = _endings()
    shown = (file for file in root.rglob("*") if not any(part.startswith(".") for part in file.relative_to(root).parts))
    files = sorted(file for file in shown if file.suffix.lower() in known and file.is_file())
    if not files:
        raise ValueError(f"{path} holds no pictures of a format that Pillow reads")
    return files


def _endings() -> set[str]:
    """The endings of the formats that are read."""
    return {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}


def pictures(path: str, files: list[Path], size: int | tuple[int, ...] | None, grey: bool | None) -> np.ndarray:
    """The decoded pictures of a folder, (N, C, height, width), in a type of LEVELS, from the cache if they are in it."""
    facts = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]

    def write(out: Path) -> None:
        with _mapper(len(files)) as each:
            heads = list(each(_head, files, "looking at pictures"))
            space = _space(path, [space for _, space in heads], size)
            dtype = _type(files, heads, space, grey)
            channels = 1 if grey or (grey is None and all(mode in (*GREY, DEEP) for mode, _ in heads)) else 3
            array = new_array(out, dtype, (len(files), channels, *space))
            decode = partial(_decode, space=space, mode={"bool": "1", "int32": "I"}.get(dtype, "L" if channels == 1 else "RGB"))
            for i, picture in enumerate(each(decode, files, "decoding pictures")):
                array[i] = picture
            array.flush()

    return cached([facts, size, grey, "cover, with levels"], write)


def sizes(path: str) -> Counter[tuple[int, int]]:
    """The number of pictures of a folder by (height, width)."""
    files = _files_of(path)
    with _mapper(len(files)) as each:
        return Counter(space for _, space in each(_head, files, "looking at pictures"))


def _type(files: list[Path], heads: list[Any], space: tuple[int, int], grey: bool | None) -> str:
    """The type that holds the levels of all pictures."""
    modes = [mode for mode, _ in heads]
    if DEEP in modes and (grey is False or len(set(modes)) > 1):
        raise ValueError(
            f"{files[modes.index(DEEP)]} has more than 8 bits, and a folder of such greys alone can be read: convert it, or give "
            "the pictures as an array, with arrays(...)"
        )
    bilevel = grey is not False and set(modes) == {"1"} and all(own == space for _, own in heads)  # others are greys when resized
    return "int32" if DEEP in modes else "bool" if bilevel else "uint8"


def _space(path: str, own: list[tuple[int, int]], size: int | tuple[int, ...] | None) -> tuple[int, int]:
    """The height and width of the decoded pictures."""
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise ValueError(f"{size=}, and a positive number, or two, were needed")
        return height, width
    found = Counter(own)
    if len(found) > 1:
        common = ", ".join(f"{h}x{w} ({n})" for (h, w), n in found.most_common(3))
        raise ValueError(
            f"{path} holds pictures of {len(found)} sizes, {common} and so on: say which, as in folder(path='{path}', size=64)"
        )
    return next(iter(found))


def _mapper(files: int) -> AbstractContextManager[Callable[..., Iterator[Any]]]:
    """A context that gives each(function, files, what): the results in order, computed by several processes for many files."""
    if files <= FEW:
        return nullcontext(lambda function, items, _: map(function, items))
    return _Processes()


class _Processes:
    def __enter__(self) -> Callable[..., Iterator[Any]]:
        self.pool = multiprocessing.get_context("spawn").Pool(os.cpu_count())
        return self._each

    def _each(self, function: Any, items: list[Path], what: str) -> Iterator[Any]:
        done = self.pool.imap(function, items, chunksize=64)
        return iter(progress_bar(done, total=len(items), description=what, unit=" pictures", leave=False))

    def __exit__(self, *_: object) -> None:
        self.pool.terminate()


def _known() -> list[str]:
    """The formats of FORMATS that this build of Pillow has. MPO is opened as JPEG."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """An opened picture. Damage that is found while it is open becomes a ValueError that names the file."""
    try:
        with open(file, "rb") as stream:
            picture = Image.open(stream, formats=_known())
            deep = picture.mode.startswith(("I", "F")) or ";16" in str(picture.tile)  # Pillow drops the lower byte of colours
            if deep and _mode(picture) != DEEP:
                raise ValueError(
                    f"{file} has more than 8 bits (mode {picture.mode}): give such pictures as an array, with arrays(...)"
                )
            yield picture
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise ValueError(f"{file} is damaged, or no picture that Pillow reads ({error})") from None


def _mode(picture: Image.Image) -> str:
    """Pillow's mode for the decoded picture: "1", a grey, DEEP for greys of 16 bits; any other mode is decoded to RGB."""
    if "transparency" in picture.info or picture.mode == "P":
        return "LA" if picture.mode in GREY else "RGB"
    return DEEP if picture.mode.startswith(DEEP) else picture.mode


def _head(file: Path) -> tuple[str, tuple[int, int]]:
    """The mode of a picture, and its height and width after the camera's rotation is applied."""
    with _opened(file) as picture:
        turned = picture.getexif().get(0x0112, 1) >= 5  # the Exif orientation of a camera that was turned by 90 degrees
        return _mode(picture), (picture.width, picture.height) if turned else (picture.height, picture.width)


def on_white(picture: Image.Image) -> Image.Image:
    """A picture, composited on white if it has transparent parts."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    over = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)


def _decode(file: Path, space: tuple[int, int], mode: str) -> np.ndarray:
    """A picture in a Pillow mode as an array (C, height, width), rotated by its Exif orientation, on white, fitted to space."""
    with _opened(file) as opened:
        picture = on_white(ImageOps.exif_transpose(opened)).convert(mode)
        height, width = space
        if picture.size != (width, height):
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    array = np.asarray(picture)
    if mode == "1":
        array = array != 0  # Pillow stores True as 255
    if mode == "I":
        array = array.clip(0, 65535)  # Lanczos overshoots
    return array.transpose(2, 0, 1) if mode == "RGB" else array[None]

"""CIFAR-10's archive from a stranger: whatever is not (N, 3072) bytes of the file is refused, and the process lives."""

import gzip
import pickle
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest

from score_sde.data import CIFAR10
from score_sde.data.cifar import NAMES

ROWS = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
BYTES = ROWS.tobytes()
CLASSES = [3, 1, 4, 1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()


def batches(content):
    for names in NAMES.values():
        for name in names:
            with open(f"own/{name}", "wb") as file:
                file.write(content)


def number(value):
    return pickle.BININT + struct.pack("<i", value)


def text(value):
    return pickle.BINSTRING + struct.pack("<i", len(value)) + value


def named(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def batch(shape=(4, 3072), code=b"u1", content=BYTES, columns=pickle.NEWFALSE, kind=("numpy", "ndarray"), classes=CLASSES):
    """A batch as Python 2 wrote those of the archive (protocol 2), whose array says of itself what is given."""
    dtype = named("numpy", "dtype") + text(code) + number(0) + number(1) + pickle.TUPLE3 + pickle.REDUCE
    dtype += pickle.MARK + number(3) + text(b"|") + 3 * pickle.NONE + 2 * number(-1) + number(0) + pickle.TUPLE + pickle.BUILD
    array = named("numpy.core.multiarray", "_reconstruct") + named(*kind) + number(0) + pickle.TUPLE1 + text(b"b")
    array += pickle.TUPLE3 + pickle.REDUCE + pickle.MARK + number(1) + pickle.MARK + b"".join(map(number, shape)) + pickle.TUPLE
    array += dtype + columns + content_of(content) + pickle.TUPLE + pickle.BUILD
    labels = pickle.EMPTY_LIST + pickle.MARK + b"".join(map(number, classes)) + pickle.APPENDS
    items = text(b"data") + array + text(b"labels") + labels
    return pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


def content_of(content):
    return text(content) if isinstance(content, bytes) else number(content)


def test_a_batch_as_python_2_wrote_it_is_read():
    batches(batch())
    data = CIFAR10("own", classes=True)
    assert np.array_equal(data.test.flatten(1).numpy(), ROWS) and data.test_y.tolist() == CLASSES


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_batch_as_numpy_writes_it_today_is_read(protocol, order):
    batches(pickle.dumps({b"data": np.asarray(ROWS, order=order), b"labels": CLASSES}, protocol))
    assert np.array_equal(CIFAR10("own").test.flatten(1).numpy(), ROWS)


BAD = {
    "objects, which would be pointers": batch(code=b"O"),
    "objects by another name": batch(code=b"O8"),
    "numbers of eight bytes": batch(code=b"f8"),
    "more rows than bytes": batch(shape=(5, 3072)),
    "rows of another length": batch(shape=(3072, 4)),
    "negative rows": batch(shape=(-4, 3072)),
    "rows without end": batch(shape=(2**31 - 1, 3072)),
    "three axes": batch(shape=(4, 3072, 1)),
    "a number in place of bytes": batch(content=7),
    "another class of array": batch(kind=("numpy", "dtype")),
    "numpy's own memmap": batch(kind=("numpy", "memmap")),
    "classes that there are not": batch(classes=[3, 1, 4, 10]),
    "a class too few": batch(classes=[3, 1, 4]),
    "changes to a function": named("numpy.core.multiarray", "_reconstruct") + pickle.EMPTY_DICT + pickle.BUILD + pickle.STOP,
    "changes to a class": named("numpy", "ndarray") + pickle.EMPTY_DICT + pickle.BUILD + pickle.STOP,
    "an array alone": named("numpy", "ndarray") + pickle.STOP,
    "memory for a text": pickle.BINUNICODE8 + struct.pack("<Q", 1 << 34) + b"x" + pickle.STOP,
    "memory for bytes": pickle.BINBYTES8 + struct.pack("<Q", 1 << 34) + b"x" + pickle.STOP,
    "memory for a byte array": pickle.PROTO + b"\x05" + pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 34) + b"x" + pickle.STOP,
    "memory for names": pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", 2**31) + pickle.STOP,
    "a frame without end": pickle.PROTO + b"\x04" + pickle.FRAME + struct.pack("<Q", 1 << 40) + pickle.STOP,
    "a text encoded again and again": pickle.BINUNICODE
    + struct.pack("<I", 100_000)
    + b"x" * 100_000
    + pickle.BINPUT
    + b"\x00"
    + (
        named("_codecs", "encode")
        + pickle.BINGET
        + b"\x00"
        + pickle.BINUNICODE
        + struct.pack("<I", 6)
        + b"latin1"
        + pickle.TUPLE2
        + pickle.REDUCE
    )
    * 2000
    + pickle.STOP,
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_no_batch_holds_is_refused_without_much_memory(content):
    """numpy's own classes build arrays of pointers out of bytes, and the pickle module of C takes memory before it reads."""
    batches(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="is missing, damaged, or no batch of CIFAR-10") as error:
            CIFAR10("own")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert str(error.value).startswith("own: data_batch_1 ")


def test_a_file_larger_than_any_batch_is_not_read():
    batches(b"")
    with open("own/test_batch", "r+b") as file:
        file.truncate(1 << 35)  # takes no disk
    with pytest.raises(ValueError, match="own/test_batch unpacks to 34,359,738,368 bytes or more"):
        CIFAR10("own")


@pytest.mark.parametrize(("name", "kind"), [("data_batch_1", tarfile.REGTYPE), ("big", tarfile.REGTYPE), ("pax", tarfile.XHDTYPE)])
def test_an_archive_that_claims_much_is_not_unpacked(name, kind):
    """As a batch, as a member to be passed over, and as a header, which tarfile reads whole."""
    info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
    info.size, info.type = 1 << 34, kind
    with gzip.open("claims.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    with pytest.raises(ValueError, match=r"claims.tar.gz unpacks to .* bytes or more"):
        CIFAR10("claims.tar.gz")

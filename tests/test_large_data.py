"""Data that are larger than the memory, and the files in which they are unpacked: made once, in parts, by one process."""

import errno
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import run
from models.files import clear_dead
from score_sde.data.reading import read_array
from score_sde.errors import RunError
from tests.test_data import RNG, write

CHILD = """
import resource, sys
import torch
import sde_lib.data
from score_sde.data import reading
reading.SMALL, sde_lib.data.CHUNK = 1 << 20, 1 << 18
held = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (held + (24 << 20), -1))
data = reading.read_array(sys.argv[1])
print(data.dtype, tuple(data.shape), int(data[-1].sum()))
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def in_a_child(code, *arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(Path(run.__file__).parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, text=True, **more)


@pytest.mark.quick("a.npy-uint16-*")
@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory that files do not count for is Linux's")
@pytest.mark.parametrize(
    ("name", "dtype", "said"),
    [
        ("a.npy", "uint16", "torch.int32 (4096, 4096) 12288"),
        ("a.npy", ">i4", "torch.int32 (4096, 4096) 12288"),
        ("a.npy", ">f4", "torch.float32 (4096, 4096) 12288"),
        ("a.npy", "bool", "torch.uint8 (4096, 4096) 4096"),
        ("a.npz", "int32", "torch.int32 (4096, 4096) 12288"),
        ("packed.h5", "uint8", "torch.uint8 (4096, 4096) 12288"),
    ],
)
def test_large_arrays_are_never_whole_in_memory(name, dtype, said):
    """16 to 64 MiB, in a process that may have no more than 24 MiB beyond what it has when it begins."""
    array = np.zeros((4096, 4096), dtype)
    array[-1] = 3
    write(name, array)
    if name == "a.npz":
        np.savez_compressed(name, some=array)
    with in_a_child(CHILD, name, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        out, error = child.communicate()
    assert out.strip() == said, out + error
    kept = [np.load(file, mmap_mode="r").shape for file in Path("runs/data").glob("[!.]*")]
    assert kept == ([] if dtype == "bool" else [(4096, 4096)])


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "bool", ">i2", ">f2", ">f8", "float16", "longdouble"])
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_arrays_unpacked_in_parts_have_the_same_numbers(monkeypatch, name, dtype):
    array = RNG.integers(0, 2 if dtype == "bool" else 200, (301, 2, 5)).astype(dtype)
    write(name, array)
    whole = read_array(name)
    monkeypatch.setattr("score_sde.data.reading.SMALL", 100)
    monkeypatch.setattr("sde_lib.data.CHUNK", 70)
    assert torch.equal(read_array(name), whole) and np.array_equal(whole.double().numpy(), array.astype(float))


def test_booleans_stored_as_255_are_booleans(monkeypatch):
    bits = RNG.integers(0, 2, (40, 3, 5)).astype(bool)
    np.save("a.npy", (bits * np.uint8(255)).view(bool))
    for small in (1 << 30, 100):
        monkeypatch.setattr("score_sde.data.reading.SMALL", small)
        assert torch.equal(read_array("a.npy"), torch.from_numpy(bits).byte())


def test_arrays_in_an_archive_that_are_stored_by_columns(monkeypatch):
    array = RNG.normal(size=(30, 4, 3))
    np.savez("a.npz", some=np.asfortranarray(array))
    assert np.array_equal(read_array("a.npz").numpy(), array)
    monkeypatch.setattr("score_sde.data.reading.SMALL", 100)
    with pytest.raises(ValueError, match="a.npz holds some.npy column by column, and rows were needed"):
        read_array("a.npz")


def test_columns_that_are_small_until_they_are_unpacked(monkeypatch):
    array = RNG.integers(0, 60_000, (30, 12)).astype(np.uint16)  # 720 bytes, and 1440 as int32
    np.savez("a.npz", some=np.asfortranarray(array))
    monkeypatch.setattr("score_sde.data.reading.SMALL", 1000)
    monkeypatch.setattr("sde_lib.data.CHUNK", 70)
    with pytest.raises(ValueError, match="a.npz holds some.npy column by column, and rows were needed"):
        read_array("a.npz")


def test_a_damaged_archive_is_noticed_while_it_is_unpacked(monkeypatch):
    monkeypatch.setattr("score_sde.data.reading.SMALL", 100)
    np.savez("a.npz", some=RNG.integers(0, 9, (500, 6)))
    content = bytearray(Path("a.npz").read_bytes())
    content[5000] ^= 1
    Path("a.npz").write_bytes(content)
    with pytest.raises(ValueError, match="a.npz is damaged"):
        read_array("a.npz")
    assert not list(Path("runs/data").glob("[!.]*")) and not list(Path("runs/data").glob(".*.tmp"))


DECODE = """
import sys, time
from pathlib import Path
import numpy as np
from score_sde.data.reading import cached

def write(path):
    with open("writers", "a") as file:
        file.write("w")
    time.sleep(float(sys.argv[1]))
    np.save(path, np.arange(12).reshape(3, 4))

print(cached(["what"], write).sum())
"""


@pytest.mark.slow
def test_two_processes_make_a_file_once():
    both = [in_a_child(DECODE, "2", stdout=subprocess.PIPE) for _ in range(2)]
    assert [child.communicate()[0].strip() for child in both] == ["66", "66"]
    assert Path("writers").read_text() == "w"


@pytest.mark.slow
def test_partial_files_of_a_killed_process_are_removed_when_another_begins():
    with in_a_child(DECODE, "60", stdout=subprocess.PIPE) as child:
        for _ in range(600):
            if list(Path("runs/data").glob(".*.tmp")) and Path("writers").exists():
                break
            time.sleep(0.1)
        left = list(Path("runs/data").glob(".*.tmp"))
        assert len(left) == 1 and f".{platform.node()}.{child.pid}." in left[0].name
        clear_dead(Path("runs/data"))
        assert left[0].exists()  # its maker is alive
        child.kill()
    elsewhere = left[0].with_name(f".some.npy.another-machine.{child.pid}.tmp")
    elsewhere.mkdir()
    with in_a_child(DECODE, "0", stdout=subprocess.PIPE) as child:
        assert child.communicate()[0].strip() == "66"
    assert list(Path("runs/data").glob(".*.tmp")) == [elsewhere]


def test_a_full_disk_for_the_data_is_reported(monkeypatch):
    monkeypatch.setattr("score_sde.data.reading.SMALL", 100)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    np.savez("a.npz", some=RNG.integers(0, 9, (500, 6)))
    with pytest.raises(RunError, match="runs/data cannot be written .*No space left.*and data are unpacked there: make room"):
        read_array("a.npz")
    assert run.main(["--mode", "inspect", "--data", "a.npz"]) == 1
    assert not list(Path("runs/data").glob(".*.tmp"))

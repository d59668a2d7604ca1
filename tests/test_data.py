"""Data from files: every format gives the same numbers, what they mean is found, and what cannot be used is told by name."""

import io
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import run
from score_sde.command_line import parser_of
from score_sde.config.data_sets import data_of, name_of
from score_sde.config.overrides import config_of
from score_sde.data import CIFAR10, Arrays, Folder, Toy
from score_sde.data.arrays import as_rows, levels_of, read_like
from score_sde.data.reading import read_array
from score_sde.evaluation.baselines import categorical, standard_normal
from score_sde.training.rows import Rows
from sde_lib import Images, Standardize

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path, array):
    if path.endswith(".npy"):
        np.save(path, array)
    elif path.endswith(".npz"):
        np.savez(path, some=array)
    elif path.endswith(".pt"):
        torch.save({"some": torch.from_numpy(array)}, path)
    elif path.endswith(".h5"):
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("some", data=array, **({"chunks": True, "compression": "gzip"} if "packed" in path else {}))
    else:
        import zarr

        zarr.save(path, array)


@pytest.mark.parametrize("path", ["a.npy", "a.npz", "a.pt", "a.h5", "packed.h5", "a.zarr"])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
def test_every_format_gives_the_numbers_that_were_written(path, dtype):
    array = (RNG.uniform(0, 200, (30, 2, 3)) - (100 if dtype[0] == "f" else 0)).astype(dtype)
    write(path, array)
    data = read_array(path)
    assert str(data.dtype) == f"torch.{dtype}" and torch.equal(data, torch.from_numpy(array))


@pytest.mark.parametrize("dtype", [">f4", ">i2", "uint16", "uint32", "bool", "float16"])
def test_types_that_torch_does_not_have_keep_their_values(dtype):
    array = (RNG.uniform(0, 200, (30, 4)) > 50).astype(dtype) * np.ones((), dtype=dtype)
    np.save("a.npy", array)
    assert np.array_equal(read_array("a.npy").double().numpy(), array.astype(float))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint16])
def test_tensors_in_a_file_may_be_of_any_type(dtype):
    numbers = torch.from_numpy(RNG.integers(0, 2, (20, 3)))
    torch.save(numbers.to(dtype), "a.pt")
    assert Arrays("a.pt").transform == Images(2) and torch.equal(read_array("a.pt").long(), numbers)


def test_arrays_in_groups_are_found():
    h5py = pytest.importorskip("h5py")
    with h5py.File("a.h5", "w") as file:
        file["images/train"], file["images/test"] = np.ones((20, 3)), np.zeros((20, 3))
    with pytest.raises(ValueError, match="holds images/test, images/train: say which"):
        read_array("a.h5")
    assert read_array("a.h5", "images/train").sum() == 60


def test_mapped_files_are_not_read(monkeypatch):
    """A sparse file of 40 GB, of which a few rows are asked for."""
    array = np.lib.format.open_memmap("large.npy", "w+", np.uint8, (1_000_000, 200, 200))
    array[123_456] = 7
    array.flush()
    data = read_array("large.npy")
    assert data.shape == (1_000_000, 200, 200) and int(data[torch.tensor([123_456])].sum()) == 7 * 40_000


def test_large_compressed_arrays_are_unpacked_once(monkeypatch):
    monkeypatch.setattr("score_sde.data.reading.SMALL", 100)
    array = RNG.integers(0, 9, (500, 6)).astype(">i4")
    write("packed.h5", array)
    first = read_array("packed.h5")
    kept = list(Path("runs/data").glob("[!.]*"))
    assert len(kept) == 1 and torch.equal(first, torch.from_numpy(array.astype("i4")))
    before = kept[0].stat().st_mtime_ns
    assert torch.equal(read_array("packed.h5"), first) and kept[0].stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("content", "path", "words"),
    [
        (None, "none.npy", "there is no file none.npy"),
        (b"nonsense", "a.npy", "a.npy is damaged, or holds no array"),
        (b"nonsense", "a.npz", "a.npz is damaged"),
        (b"PK\x03\x04 and no more", "a.npz", "a.npz is damaged"),
        (b"nonsense", "a.pt", "a.pt is damaged"),
        (b"nonsense", "a.h5", "a.h5 is damaged"),
        (b"nonsense", "a.csv", "a.csv has an unknown ending"),
    ],
)
def test_messages_on_unreadable_files_name_them(content, path, words):
    if content is not None:
        with open(path, "wb") as file:
            file.write(content)
    with pytest.raises(ValueError, match=words):
        read_array(path)


def test_one_of_several_arrays_is_asked_for_by_its_key():
    np.savez("two.npz", a=np.zeros((20, 2)), b=RNG.normal(size=(20, 3)))
    with pytest.raises(ValueError, match="holds a, b: say which"):
        read_array("two.npz")
    assert Arrays("two.npz", key="b").train.shape == (18, 3)


def test_code_in_a_pt_file_is_not_run():
    class Trap:
        def __reduce__(self):
            return open, ("sprung", "w")

    torch.save(Trap(), "trap.pt")
    with pytest.raises(ValueError, match="without running code"):
        read_array("trap.pt")
    assert not Path("sprung").exists()


def test_meaning_is_found_in_the_numbers():
    cases = [
        (np.uint8, 255, 256),
        (np.uint8, 16, 17),
        (np.uint8, 60, 61),
        (np.uint8, 1, 2),
        (np.int64, 60_000, 65_536),
        (np.int64, 999, 1000),
    ]
    for dtype, largest, levels in cases:
        np.save("a.npy", (np.arange(20 * 4).reshape(20, 4) % (largest + 1)).clip(0, largest).astype(dtype) * 0 + largest)
        assert Arrays("a.npy").transform == Images(levels), (dtype, largest)
        assert levels_of(largest, torch.uint8 if dtype is np.uint8 else torch.int64) == levels
    real = RNG.normal(5.0, 3.0, (4000, 2, 3))
    np.save("a.npy", real)
    transform = Arrays("a.npy").transform
    assert transform.mean == pytest.approx(real.mean(), rel=1e-9) and transform.std == pytest.approx(real.std(), rel=1e-9)


@pytest.mark.slow
def test_standardize_reads_large_data_in_parts(monkeypatch):
    raw = torch.from_numpy(RNG.normal(100.0, 1e-2, (3000, 7000)))  # 2.1e7 entries: two parts
    found = Standardize.of(raw)
    assert found.mean == pytest.approx(raw.mean().item(), rel=1e-12) and found.std == pytest.approx(raw.std().item(), rel=1e-6)


def test_channels():
    images = torch.zeros(5, 8, 9, 3, dtype=torch.uint8)
    assert as_rows(images).shape == (5, 3, 8, 9) and as_rows(images, "first").shape == (5, 8, 9, 3)
    assert as_rows(torch.zeros(5, 8, 9, dtype=torch.uint8)).shape == (5, 1, 8, 9)
    assert as_rows(torch.zeros(5, 7, 3)).shape == (5, 7, 3) and as_rows(torch.zeros(5, 100), "none").shape == (5, 1, 100)
    assert as_rows(torch.zeros(5, 8, 9, 3), "last").shape == (5, 3, 8, 9)
    with pytest.raises(ValueError, match="channels='middle' is not known"):
        as_rows(images, "middle")


def test_other_data_must_mean_what_the_model_s_do():
    np.save("a.npy", np.full((12, 4), 30))
    with pytest.raises(ValueError, match=r"a.npy: images have values from 30 to 30, and 0..16 was needed"):
        read_like("a.npy", Images(17), (4,))
    with pytest.raises(ValueError, match="a.npy: data has dtype torch.int64"):
        read_like("a.npy", Standardize(0.0, 1.0), (4,))


def picture(path, size=(10, 6), mode="RGB", colour=None):
    height, width = size[1], size[0]
    array = (
        RNG.integers(0, 256, (height, width, 3), dtype=np.uint8) if colour is None else np.full((height, width, 3), colour, "uint8")
    )
    Image.fromarray(array).convert(mode).save(path)
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def test_a_folder_of_pictures(tmp_path):
    (tmp_path / "photos/cats").mkdir(parents=True)
    (tmp_path / "photos/readme.txt").write_text("not a picture")
    written = [picture(f"photos/{'cats/' if i % 2 else ''}{i:02d}.png") for i in range(20)]
    data = Folder("photos")
    order = [*range(0, 20, 2), *range(1, 20, 2)]  # 00.png, 02.png, ... before cats/01.png, ...
    expected = torch.from_numpy(np.stack([written[i] for i in order]))
    held_out = torch.arange(20) % 10 == 9
    assert data.transform == Images(256) and data.train.dtype == torch.uint8
    assert torch.equal(data.train, expected[~held_out]) and torch.equal(data.test, expected[held_out])
    kept = list((tmp_path / "runs/data").iterdir())
    Folder("photos")
    assert list((tmp_path / "runs/data").iterdir()) == kept
    picture("photos/00.png", colour=9)
    assert int(Folder("photos").train[0].max()) == 9  # what has changed is decoded again


def test_pictures_of_several_sizes_and_kinds(tmp_path):
    (tmp_path / "p").mkdir()
    for i in range(11):
        picture(f"p/{i:02d}.png", size=(12, 8), colour=100, mode="L" if i else "P")
    picture("p/90.jpg", size=(9, 30), colour=100)
    with pytest.raises(
        ValueError, match=r"p holds pictures of 2 sizes, 8x12 \(11\), 30x9 \(1\) and so on: say which, as in folder"
    ):
        Folder("p")
    data = Folder("p", size=4)
    assert data.train.shape == (11, 3, 4, 4) and int((data.train.int() - 100).abs().max()) <= 2  # the palette has 102
    assert Folder("p", size=(4, 6), grey=True).train.shape == (11, 1, 4, 6)
    see_through = np.zeros((8, 12, 4), np.uint8)
    Image.fromarray(see_through).save("p/00.png")
    assert int(Folder("p", size=4).train[0].min()) == 255  # transparent is white


def test_the_middle_of_a_picture_is_kept(tmp_path):
    (tmp_path / "p").mkdir()
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, 4:8] = 200
    for i in range(10):
        Image.fromarray(wide).save(f"p/{i}.png")
    assert int(Folder("p", size=4).train.min()) == 200


@pytest.mark.slow
def test_many_pictures_are_decoded_by_several_processes_to_the_same_bytes(tmp_path, monkeypatch):
    (tmp_path / "p").mkdir()
    for i in range(40):
        picture(f"p/{i:02d}.bmp")
    alone = Folder("p").train.clone()
    for file in (tmp_path / "runs/data").iterdir():
        file.unlink()
    monkeypatch.setattr("score_sde.data.folder.FEW", 10)
    assert torch.equal(Folder("p").train, alone)


def deep(path):
    """A PNG of colours of 16 bits, which Pillow cannot write, and of which it reads the upper byte."""

    def part(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head, rows = struct.pack(">IIBBBBB", 10, 6, 16, 2, 0, 0, 0), zlib.compress((b"\0" + bytes(60)) * 6)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b""))


def test_hidden_files_are_no_pictures(tmp_path):
    (tmp_path / "p/.thumbnails").mkdir(parents=True)
    for i in range(12):
        picture(f"p/{i:02d}.png")
    (tmp_path / "p/._00.png").write_text("what a Mac keeps beside a file")
    picture("p/.thumbnails/00.png")
    data = Folder("p")
    assert len(data.train) + len(data.test) == 12


@pytest.mark.parametrize("how", ["truncated", "text", "16 bits", "16 bits of colour", "empty"])
def test_messages_on_unusable_pictures_name_them(tmp_path, how):
    (tmp_path / "p").mkdir()
    for i in range(0 if how == "empty" else 12):
        picture(f"p/{i:02d}.png")
    file = tmp_path / "p/03.png"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-60])
    elif how == "text":
        file.write_text("not a picture")
    elif how == "16 bits":
        Image.fromarray(np.zeros((6, 10), np.uint16)).save(file)
    elif how == "16 bits of colour":
        deep(file)
    words = {
        "truncated": "03.png is damaged",
        "text": "03.png is damaged",
        "16 bits": "more than 8 bits",
        "16 bits of colour": "more than 8 bits",
        "empty": "holds no pictures",
    }
    with pytest.raises(ValueError, match=words[how]):
        Folder("p")
    assert not list((tmp_path / "runs/data").glob("[!.]*"))


def test_files_that_pillow_does_not_read_are_no_pictures(tmp_path):
    (tmp_path / "p").mkdir()
    for i in range(12):
        picture(f"p/{i:02d}.png")
    for name in ("data.h5", "paper.pdf", "weather.grib", "film.mpg"):
        (tmp_path / "p" / name).write_bytes(b"something else")
    assert len(Folder("p").train) == 11


def test_a_folder_of_bits_has_two_levels(tmp_path):
    (tmp_path / "p").mkdir()
    bits = RNG.integers(0, 2, (12, 6, 10)).astype(bool)
    for i, array in enumerate(bits):
        Image.fromarray(array).save(f"p/{i:02d}.png")
    data = Folder("p")
    assert data.transform == Images(2) and data.train.dtype == torch.uint8
    assert np.array_equal(data.train[:, 0].numpy(), bits[[*range(9), 10, 11]]) and np.array_equal(data.test[0, 0].numpy(), bits[9])
    assert Folder("p", size=4).transform == Folder("p", grey=False).transform == Images(256)  # between the bits, and in colour
    (tmp_path / "greys").mkdir()
    picture("greys/0.png", mode="L")
    with pytest.raises(ValueError, match="greys holds pictures of 256 levels, and p of 2: make them alike"):
        Folder("p", test="greys")


def test_a_folder_of_greys_of_16_bits_has_all_their_levels(tmp_path):
    (tmp_path / "p").mkdir()
    greys = RNG.integers(0, 65536, (12, 6, 10), dtype=np.uint16)
    greys[0, :, :5], greys[0, :, 5:] = 0, 65535
    for i, array in enumerate(greys):
        Image.fromarray(array).save(f"p/{i:02d}.{'tif' if i % 2 else 'png'}")
    data = Folder("p")
    assert data.transform == Images(65536) and np.array_equal(data.train[:, 0].numpy(), greys[[*range(9), 10, 11]].astype(int))
    small = Folder("p", size=(12, 20)).train[0]
    assert small.shape == (1, 12, 20) and (int(small.min()), int(small.max())) == (0, 65535)  # Lanczos would go beyond


def cifar(path, damage=None):
    arrays = {f"data_batch_{i}": RNG.integers(0, 256, (3, 3072), dtype=np.uint8) for i in range(1, 6)}
    arrays["test_batch"] = RNG.integers(0, 256, (2, 3072), dtype=np.uint8)
    with tarfile.open(path, "w:gz") as archive:
        for name, array in arrays.items():
            raw = pickle.dumps({b"data": array, b"labels": [0] * len(array)}, protocol=2)
            raw = damage if damage is not None and name == "data_batch_3" else raw
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return arrays


def test_cifar_as_its_authors_pack_it(tmp_path):
    arrays = cifar("cifar-10-python.tar.gz")
    data = CIFAR10("cifar-10-python.tar.gz")
    assert data.train.shape == (15, 3, 32, 32) and np.array_equal(data.test.flatten(1).numpy(), arrays["test_batch"])
    with tarfile.open("cifar-10-python.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert torch.equal(CIFAR10(str(tmp_path)).train, data.train)
    assert (
        data_of(str(tmp_path / "cifar-10-batches-py")).startswith("cifar10(") and data_of("cifar-10-python.tar.gz")[:7] == "cifar10"
    )


def test_code_in_cifar_s_pickles_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, ("sprung", "w")

    cifar("cifar-10-python.tar.gz", damage=pickle.dumps({b"data": Trap()}, protocol=2))
    with pytest.raises(ValueError, match=r"data_batch_3 is missing, damaged.*io.open, which could run code"):
        CIFAR10("cifar-10-python.tar.gz")
    assert not (tmp_path / "sprung").exists()


def test_the_component_that_the_data_flag_names(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("mine.npy", "t10k-images-idx3-ubyte.gz"):
        (tmp_path / name).touch()
    assert data_of("photos") == "folder(path='photos')" and data_of("mine.npy") == "arrays(train='mine.npy')"
    assert data_of("t10k-images-idx3-ubyte.gz") == "idx(train='t10k-images-idx3-ubyte.gz')"
    assert data_of("toy(name=ring)") == "toy(name=ring)" and data_of("my:Data") == "my:Data"
    for name in ("train_idx.npy", "cifar-10-mine.npy"):
        (tmp_path / name).touch()
        assert data_of(name) == f"arrays(train='{name}')"
    assert name_of("photos/") == "photos" and name_of("a/mine.npy") == "mine"


def test_rows_are_the_same_read_ahead_or_not():
    data = torch.arange(50)[:, None]
    once = [Rows(data, 3, 8, "cpu").take(step) for step in range(20)]
    rows = Rows(data, 3, 8, "cpu")
    assert all(torch.equal(rows.take(step), expected) for step, expected in enumerate(once))
    assert torch.equal(rows.take(4), once[4])  # and out of order
    assert sorted(torch.cat([once[i] for i in range(7)]).flatten().tolist()[:50]) == list(range(50))


def test_toys_have_their_stated_density():
    for name in ("ring", "mixture"):
        data = Toy(name, rows=4000)
        line = torch.linspace(-4, 4, 401, dtype=torch.float64)
        grid = torch.cartesian_prod(line, line)
        assert data.truth.log_prob(grid).exp().sum().item() * (8 / 400) ** 2 == pytest.approx(1, abs=1e-3)


def test_flags_that_do_not_fit_the_data(capsys):
    np.save("real.npy", RNG.normal(size=(40, 3)))
    base = ["--mode", "train", "--dry-run", "--data", "real.npy", "--config.network=mlp"]
    for more, words in (
        (["--config.train.flip=True"], "mirrors pictures"),
        (["--config.likelihood.estimator=sde"], "these data are real numbers: use 'flow'"),
        (["--objective", "vlb"], "these data are real numbers: use dsm"),
        (["--data", "none.npy"], "--data none.npy: there is no such file"),
    ):
        assert run.main([*base, *more]) == 2
        assert words in capsys.readouterr().err


def drawn(path):
    with Image.open(path) as found:
        return found.size[0] > 50


def test_inspect_finds_what_is_wrong(capsys):
    rows = RNG.integers(0, 2, (60, 1, 4, 4)).astype(np.uint8) * 100
    rows[:, 0, 0, 0], rows[-3:] = 0, rows[:3]
    np.save("bad.npy", rows)
    assert run.main(["--mode", "inspect", "--sde", "ve(sigma_max=0.5)", "--data", "arrays(train='bad.npy', levels=256)"]) == 0
    out = capsys.readouterr().out
    for words in (
        "54 to train on, 6 for the test",
        "54 rows are few",
        "1 of 16 entries never change",
        "3 of 6 test rows are among the rows to train on",
        "raise sigma_max",
        "for binary data take levels=2",
    ):
        assert words in out, words
    assert drawn("inspect-arrays.png")


def test_inspect_says_what_it_can_of_data_that_are_refused(capsys, tmp_path):
    real = RNG.normal(size=(60, 4)).astype(np.float32).clip(-2, 2)
    real[7, 1], real[7, 2], real[41, 0] = np.nan, np.inf, np.nan
    real[0, :2] = -2, 2
    np.save("nan.npy", real)
    np.save("negative.npy", np.arange(-10, 30).reshape(20, 2))
    (tmp_path / "p").mkdir()
    for i in range(12):
        picture(f"p/{i:02d}.png", size=(12, 8) if i else (9, 30))
    for data, words in (
        (
            "nan.npy",
            ("60", "(4,), 4 entries, float32", "-2 to 2", "3 entries, NaN or infinite, in 2 of 60 rows: 7, 41", "warning: "),
        ),
        ("arrays(train='nan.npy', channels=none)", ("(1, 4), 4 entries",)),
        ("negative.npy", ("-10 to 29", "shift them to begin at 0")),
        ("p", ("pictures   12", "2: 8x12 (11), 30x9 (1)", "warning: ", "of 2 sizes")),
    ):
        assert run.main(["--mode", "inspect", "--data", data]) == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words), out
        assert run.main(["--mode", "train", "--data", data, "--config.network=mlp", "--dry-run"]) == 2
    for data, words in (
        ("arrays(train='gone.npy')", "there is no file gone.npy"),
        ("arrays(train='a' + b)", "which cannot be read"),
    ):
        assert run.main(["--mode", "inspect", "--data", data]) == 2
        assert words in capsys.readouterr().err


def test_inspect_asks_where_the_channels_are(capsys):
    real = RNG.normal(size=(30, 16, 16, 3))
    for channels, asked in (("auto", True), ("last", False)):
        np.save("a.npy", real)
        assert run.main(["--mode", "inspect", "--data", f"arrays(train='a.npy', channels={channels})"]) == 0
        assert ("the data have 16 channels of 16x3: channels=last?" in capsys.readouterr().out) == asked


def test_suggestions_read_a_limited_number_of_entries(monkeypatch, capsys):
    monkeypatch.setattr("score_sde.data.suggest.ENTRIES", 160)
    np.save("a.npy", np.concatenate([np.zeros((10, 16)), np.ones((50, 16))]))
    assert run.main(["--mode", "suggest", "--data", "a.npy"]) == 2
    assert "the first 10 rows are all equal" in capsys.readouterr().err
    np.save("a.npy", RNG.normal(size=(60, 16)))
    assert run.main(["--mode", "suggest", "--data", "a.npy"]) == 0
    assert "the first 10 of 54 data" in capsys.readouterr().out


def test_bytes_are_read_until_one_is_in_the_upper_half(monkeypatch):
    looked = []
    monkeypatch.setattr(
        "score_sde.data.arrays.chunks", lambda data: (looked.append(i) or part for i, part in enumerate(data.split(5)))
    )
    rows = np.zeros((60, 3), np.uint8)
    for at, count in ((12, 3), (None, 24)):  # else twelve parts to find the largest, and twelve to see that all are in range
        rows[:] = 0
        if at is not None:
            rows[at] = 128
        np.save("a.npy", rows)
        looked.clear()
        assert Arrays("a.npy").transform == Images(2 if at is None else 256) and len(looked) == count


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((20, 2), complex), "a.npy holds values of type complex128, and real numbers were needed"),
        (np.full((20, 2), "word"), "a.npy holds values of type <U4, and real numbers were needed"),
        (np.full((20, 2), None), "a.npy is damaged, or holds no array that can be read without running code$"),
    ],
)
def test_messages_on_arrays_of_other_types_name_the_type(array, words):
    np.save("a.npy", array)
    with pytest.raises(ValueError, match=words):
        read_array("a.npy")
    torch.save(torch.ones(20, 2, dtype=torch.complex64), "a.pt")
    with pytest.raises(ValueError, match="a.pt holds values of type complex64, and real numbers were needed"):
        read_array("a.pt")


def test_no_message_advises_to_run_the_code_in_a_file():
    Path("a.npy").write_text("1 2 3")
    with pytest.raises(ValueError, match="a.npy is damaged, or holds no array that can be read without running code$"):
        read_array("a.npy")


def test_integers_below_0_are_refused_with_the_advice_to_shift_them():
    np.save("a.npy", np.arange(-3, 37).reshape(20, 2))
    with pytest.raises(
        ValueError, match="have values from -3 to 36, and 0..36 was needed: shift them to begin at 0, or make them floats$"
    ):
        Arrays("a.npy")
    with pytest.raises(ValueError, match="set levels=9 or more, or rescale them$"):
        Images(4).check(torch.tensor([8]))


def test_files_of_data_are_stored_by_absolute_paths(tmp_path, capsys):
    np.save("a.npy", RNG.normal(size=(40, 3)))
    for data in ("a.npy", "arrays(train='a.npy')"):
        arguments = parser_of("train").parse_args(["--data", data])
        assert config_of(arguments, []).data == f"arrays(train={str(tmp_path / 'a.npy')!r})"
    assert run.main(["--mode", "inspect", "--data", "nope"]) == 2
    assert (
        "--data nope: there is no such file or folder, and no data set of that name: those are digits," in capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_density_on_the_plane_is_learned_to_its_truth(capsys):
    """The mean of log p on the test points, beside that of the mixture that they were drawn from; chance is Gaussian."""
    import json

    options = ["--config.network=mlp(width=64, depth=2)", "--config.train.steps=1500", "--config.train.batch_size=256"]
    assert run.main(["--mode", "train", "--data", "toy(name=mixture, rows=10000)", *options]) == 0
    record = json.loads(Path("runs/vp-toy/likelihood.json").read_text())
    truth, gaussian = (line["mean"] for line in record["baselines"])
    assert gaussian < -1.9 and truth - 0.15 < record["nats"] < truth + 0.03
    assert drawn("runs/vp-toy/samples.png") and "the truth" in capsys.readouterr().out


def test_baselines_read_large_sets_in_parts(monkeypatch):
    train, test, images = torch.randint(0, 9, (70, 2, 3)), torch.randint(0, 9, (20, 2, 3)), Images(9)
    whole = [categorical(train, test, images), standard_normal(test, images, 0)]
    monkeypatch.setattr("sde_lib.data.CHUNK", 40)
    for found, expected in zip((categorical(train, test, images), standard_normal(test, images, 0)), whole, strict=True):
        assert found.mean == pytest.approx(expected.mean, rel=1e-12)


def test_inspect_reads_a_part_of_large_data(monkeypatch, capsys):
    monkeypatch.setattr("score_sde.data.inspection.ENTRIES", 64)
    torch.save(torch.from_numpy(RNG.normal(size=(60, 1, 4, 4))).bfloat16(), "large.pt")
    assert run.main(["--mode", "inspect", "--data", "large.pt"]) == 0
    assert "(first 4 rows)" in capsys.readouterr().out

"""Pictures of formats for which Pillow starts another program are not read, whatever their names say."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from score_sde.data import Folder
from score_sde.data.folder import FORMATS, _endings

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def started(tmp_path, monkeypatch):
    """The programs that were started."""
    monkeypatch.chdir(tmp_path)
    words = []

    def note(command, *_, **__):
        words.append(command)
        raise OSError("it would have run")

    for name in ("check_call", "call", "run", "Popen"):
        monkeypatch.setattr(subprocess, name, note)
    (tmp_path / "p").mkdir()
    return words


@pytest.mark.parametrize("ending", [".eps", ".ps"])
def test_postscript_is_passed_over(ending, tmp_path, started):
    for i in range(12):
        PICTURE.save(tmp_path / "p" / f"{i:02d}{ending}", "EPS")
    with pytest.raises(ValueError, match="p holds no pictures"):
        Folder("p")
    assert started == []


def test_postscript_by_the_name_of_another_format_is_refused(tmp_path, started):
    for i in range(12):
        PICTURE.save(tmp_path / "p" / f"{i:02d}.png", "EPS" if i == 5 else "PNG")
    with pytest.raises(ValueError, match=r"p/05.png is damaged, or no picture"):
        Folder("p")
    assert started == []


@pytest.mark.parametrize("ending", [".png", ".jpg", ".gif", ".bmp", ".tif", ".webp", ".ppm", ".tga", ".pcx", ".sgi", ".jp2"])
def test_the_usual_formats_are_read(ending, tmp_path):
    for i in range(12):
        PICTURE.save(tmp_path / "p" / f"{i:02d}{ending}")
    assert Folder("p").train.shape == (11, 3, 8, 8)  # every tenth is held out


def test_the_formats_that_start_programs_or_need_a_plugin_are_not_among_them():
    """WMF is drawn by Windows; BUFR, GRIB, HDF5 and MPEG are read by plugins alone."""
    assert not {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"} & set(FORMATS)
    assert not {".eps", ".ps", ".wmf", ".emf", ".mpg", ".h5"} & _endings()

"""The examples run and say what they promise; the AUROC that one of them prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from evaluation.auroc import auroc

ROOT = Path(__file__).parent.parent


def test_auroc_of_two_normals_and_its_error():
    """Phi(shift / sqrt 2); and DeLong's variance is the actual one over 600 repetitions."""
    rng, shift = np.random.default_rng(0), 0.8
    results = [auroc(rng.normal(shift, 1, 60), rng.normal(0, 1, 40)) for _ in range(600)]
    values, errors = np.array(results).T
    assert abs(values.mean() - stats.norm.cdf(shift / 2**0.5)) < 4 * values.std() / 600**0.5
    assert (errors**2).mean() == pytest.approx(values.var(), rel=0.2)


def test_auroc_at_its_ends():
    low, high = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    assert auroc(high, low) == (1, 0) and auroc(low, high) == (0, 0) and auroc(low, low).value == 0.5
    for bad in (low[:1], np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="two or more"):
            auroc(bad, low)


def run(script, folder, *flags):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / script), *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_likelihood_example_is_near_the_truth_that_it_prints(tmp_path):
    out = run("likelihood.py", tmp_path, "--rows", "100")
    estimates = [(float(v), float(e)) for v, e in re.findall(r"by the .*?(-?\d+\.\d+) \+- (\d+\.\d+) (?:nats|bits)", out)]
    truths = [float(v) for v in re.findall(r"truth +(?:log p = )?(-?\d+\.\d+)", out)]
    assert len(estimates) == 4 and len(truths) == 2
    for (value, error), truth in zip(estimates, np.repeat(truths, 2), strict=True):
        assert abs(value - truth) < 4 * error


@pytest.mark.slow
def test_anomaly_example_trains_scores_and_draws(tmp_path):
    """After a few steps a model tells inverted digits already: most of a digit's pixels are black."""
    out = run("anomaly.py", tmp_path, "--steps", "40", "--images", "12", "--out", "drawn/it.png")
    rows = dict(re.findall(r"^(inverted|turned|faint|blank) .*? \+- +\d+\.\d+ +(\d\.\d+) \+-", out, re.MULTILINE))
    assert list(rows) == ["inverted", "turned", "faint", "blank"] and float(rows["inverted"]) > 0.9
    assert "The caveat" in out and (tmp_path / "drawn/it.png").stat().st_size > 10_000


def test_emoji_are_cut_from_their_sheet_and_skin_tones_stay_together(tmp_path):
    import json

    from PIL import Image

    folder = tmp_path / "package/img/google/sheets-clean"
    folder.mkdir(parents=True)
    sheet = np.zeros((34 * 4, 34 * 4, 4), np.uint8)
    emoji = []
    for i in range(12):
        places = [(i % 4, i // 4)] + ([(i % 4, 3)] if i == 9 else [])
        for x, y in places:
            sheet[34 * y + 1 : 34 * y + 33, 34 * x + 1 : 34 * x + 33] = (10 * i + (5 if y == 3 else 0), 0, 0, 255)
        own, *tones = [{"sheet_x": x, "sheet_y": y, "has_img_google": True} for x, y in places]
        emoji.append({**own, "skin_variations": {str(k): tone for k, tone in enumerate(tones)}} if tones else own)
    emoji[4]["has_img_google"] = False
    Image.fromarray(sheet).save(folder / "32.png")
    (tmp_path / "package/emoji.json").write_text(json.dumps(emoji))
    assert "emoji-test.npy: 2 pictures of 1 emoji" in run("emoji.py", tmp_path, "package")
    train, test = (np.load(tmp_path / f"emoji-{name}.npy") for name in ("train", "test"))
    assert train.shape == (10, 3, 32, 32) and train.dtype == np.uint8
    assert [int(picture[0].min()) for picture in test] == [90, 95] == [int(picture[0].max()) for picture in test]
    assert [int(picture[0].max()) for picture in train] == [0, 10, 20, 30, 50, 60, 70, 80, 100, 110] and not train[:, 1:].any()

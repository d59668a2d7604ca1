"""The examples run and say what they promise; the AUROC that one of them prints."""

import json
import os
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from models import export_diffusers, import_checkpoint
from score_sde.evaluation.auroc import auroc
from sde_lib import ScoreModel
from sde_lib.tabulated import ddpm
from tests.laws.test_exporting import EIGHT_BITS, INDEX, plain
from tests.laws.test_importers import CONFIG, TINY, told, weights_of

ROOT = Path(__file__).parent.parent


def test_auroc_of_two_normals_and_its_error():
    """Phi(shift / sqrt 2); and DeLong's variance is the actual one over 600 repetitions."""
    rng, shift = np.random.default_rng(0), 0.8
    results = [auroc(rng.normal(shift, 1, 60), rng.normal(0, 1, 40)) for _ in range(600)]
    values, errors, _ = np.array(results).T
    assert abs(values.mean() - stats.norm.cdf(shift / 2**0.5)) < 4 * values.std() / 600**0.5
    assert (errors**2).mean() == pytest.approx(values.var(), rel=0.2)


def test_auroc_at_its_ends():
    low, high = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    assert auroc(high, low) == (1, 0, 2) and auroc(low, high) == (0, 0, 2) and auroc(low, low).value == 0.5
    for bad in (low[:1], np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="two or more"):
            auroc(bad, low)


def test_sets_that_do_not_overlap_bound_the_auroc():
    """Of 8 pairs in one order the exact lower bound is that of 8 successes of 8; and it covers an area at which they are likely."""
    apart = auroc(np.arange(10.0, 18.0), np.arange(9.0))
    exact = stats.binomtest(8, 8, alternative="greater").proportion_ci(0.95, "exact").low
    assert apart.bound == pytest.approx(exact, rel=1e-12) == pytest.approx(0.688, abs=5e-4)
    assert str(apart) == "1.000 (>= 0.688)" and str(auroc(np.arange(8.0), np.arange(10.0, 18.0))) == "0.000 (<= 0.312)"
    assert auroc(np.arange(300.0, 600.0), np.arange(300.0)).bound == pytest.approx(1 - 3 / 300, abs=1e-4)  # the rule of three
    rng, area = np.random.default_rng(0), 0.6
    shift = 2**0.5 * stats.norm.ppf(area)
    found = [auroc(rng.normal(shift, 1, 4), rng.normal(0, 1, 4)) for _ in range(2000)]
    assert sum(result.value == 1 and result.bound > area for result in found) <= 0.05 * len(found)


EXAMPLE_MISTAKES = [
    (("anomaly.py", "--workdir", "runs/nope"), "there is no checkpoint at runs/nope"),
    (("anomaly.py", "--steps", "0"), "--steps: 0 were asked for, and at least 1 is needed"),
    (("likelihood.py", "--rows", "0"), "--rows: 0 were asked for, and at least 1 is needed"),
    (("import_diffusers.py", "nope"), "there is no checkpoint at nope"),
    (("import_diffusers.py", "nope", "--images", "0"), "--images: 0 were asked for, and at least 1 is needed"),
    (("import_ncsn.py", "nope.pth", "--moves", "0"), "--moves: 0 were asked for"),
    (("import_ncsn.py", "nope.pth"), "there is no checkpoint at nope.pth"),
    (("import_openai.py", "nope.pt", "{}"), "there is no checkpoint at nope.pt"),
    (("import_score_sde.py", "nope.pth", "config.json"), "there is no checkpoint at nope.pth"),
    (("import_score_sde.py", str(TINY), "nope.json"), "there is no config at nope.json"),
    (("import_edm.py", str(TINY), "nope.json"), "there is no config at nope.json"),
    (("convert_edm_pickle.py", "nope.pkl", "edm"), "there is no pickle at nope.pkl"),
    (("emoji.py", "nope"), "nope has no emoji.json"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), EXAMPLE_MISTAKES, ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else ""
)
def test_a_mistake_with_an_example_is_one_sentence(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setattr(sys, "argv", list(arguments))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples" / arguments[0]), run_name="__main__")
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and words in said[-1] and not any("Traceback" in line for line in said)


def test_one_row_has_no_standard_error(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setattr(sys, "argv", ["likelihood.py", "--rows", "1"])
    runpy.run_path(str(ROOT / "examples" / "likelihood.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "nan" not in said and said.count("which has no standard error") == 4


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
    rows = dict(re.findall(r"^(inverted|turned|faint|blank) .*? \+- +\d+\.\d+ +(\d\.\d+) (?:\+-|\()", out, re.MULTILINE))
    assert list(rows) == ["inverted", "turned", "faint", "blank"] and float(rows["inverted"]) > 0.9
    assert "The caveat" in out and (tmp_path / "drawn/it.png").stat().st_size > 10_000


def test_emoji_are_cut_from_their_sheet_and_skin_tones_stay_together(tmp_path):
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


def of_score_sde(folder):
    return "import_score_sde.py", TINY, CONFIG, "--weights", "raw"


def of_ncsnv2(folder):
    torch.save(weights_of("net_ncsnv2"), folder / "checkpoint.pth")
    return "import_ncsn.py", "checkpoint.pth", "--size", "8"


def of_ncsn(folder):
    torch.save([weights_of("ncsn_v1"), {"state": {}, "param_groups": []}], folder / "checkpoint.pth")
    return "import_ncsn.py", "checkpoint.pth", "--ncsn", "1.0", "0.01", "--size", "8", "--epsilon", "2e-5", "--moves", "2"


FEW = {"noise_schedule": "linear", "diffusion_steps": 40, "rescale_timesteps": True, "image_size": 8}


def of_openai(folder):
    torch.save(weights_of("net_improved_unet_ddpm"), folder / "model.pt")
    return "import_openai.py", "model.pt", json.dumps(FEW | {"num_heads": 1})


def of_guided(folder):
    torch.save(weights_of("net_guided_unet_adm"), folder / "model.pt")
    return "import_openai.py", "model.pt", json.dumps(FEW | {"num_head_channels": 16}), "--class", "1"


def of_diffusers(folder):
    network = plain()
    with torch.no_grad():
        network.body.last[2].weight.fill_(1e-3)  # otherwise its answer is 0
    export_diffusers(ScoreModel(network, ddpm(steps=50), INDEX, EIGHT_BITS), folder / "folder")
    return "import_diffusers.py", "folder", "--export", "copy"


def of_edm(folder):
    torch.save(weights_of("net_edm_ddpmpp_vp"), folder / "edm.pt")
    (folder / "edm.json").write_text(json.dumps(told("net_edm_ddpmpp_vp")))
    return "import_edm.py", "edm.pt", "edm.json"


@pytest.mark.slow
@pytest.mark.parametrize("make", [of_score_sde, of_ncsnv2, of_ncsn, of_openai, of_guided, of_diffusers, of_edm])
def test_examples_of_imports_sample_score_and_draw(make, tmp_path):
    script, *flags = make(tmp_path)
    out = run(script, tmp_path, *map(str, flags), "--images", "2", "--out", "drawn/it.png")
    assert "2 samples in" in out and (tmp_path / "drawn/it.png").stat().st_size > 100
    value, error = map(float, re.search(r"its own samples: (-?\d+\.\d+) \+- (\d+\.\d+) bits/dim", out).groups())
    assert np.isfinite(value) and np.isfinite(error)
    if (tmp_path / "copy").exists():
        assert import_checkpoint(tmp_path / "copy").sde == import_checkpoint(tmp_path / "folder").sde


STAND_IN = """
class SongUNet:
    pass

class VPPrecond:
    def __init__(self, weights, kwargs):
        self.weights, self.beta_d, self.beta_min = weights, 19.9, 0.1
        self.init_args, self.init_kwargs = (8, 1), {"label_dim": 0, "epsilon_t": 1e-5, "model_type": "SongUNet"} | kwargs
        self.model = SongUNet()
        self.model.init_args, self.model.init_kwargs = (), {"img_resolution": 8, "in_channels": 1} | kwargs

    def state_dict(self):
        return self.weights
"""


@pytest.mark.slow
def test_edm_s_pickle_becomes_what_can_be_imported(tmp_path, monkeypatch):
    """With the attributes that EDM's persistent classes have; its module is there for the example alone."""
    (tmp_path / "networks_of_edm.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    import networks_of_edm

    options = {
        k: v for k, v in told("net_edm_ddpmpp_vp").items() if k not in ("img_resolution", "img_channels", "label_dim", "model_type")
    }
    content = {"ema": networks_of_edm.VPPrecond(weights_of("net_edm_ddpmpp_vp"), options), "dataset_kwargs": {}}
    (tmp_path / "network.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="was not opened"):
        import_checkpoint(tmp_path / "network.pkl")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = run("convert_edm_pickle.py", tmp_path, "network.pkl", "edm")
    assert "running the code" in out and "VPPrecond of a SongUNet" in out
    model = import_checkpoint(tmp_path / "edm.pt", config=tmp_path / "edm.json")
    torch.save(weights_of("net_edm_ddpmpp_vp"), tmp_path / "known.pt")
    known = import_checkpoint(tmp_path / "known.pt", config=told("net_edm_ddpmpp_vp") | {"class_name": "VPPrecond"})
    assert (model.sde, model.parameterization) == (known.sde, known.parameterization)
    x, label = torch.ones(2, 1, 8, 8), torch.tensor([1.0, 500.0])
    assert torch.equal(model.network(x, label), known.network(x, label))

"""Published experiments as a person uses them: built, counted without images, trained on one's own, refused in one sentence."""

import json
import re
from functools import cache
from inspect import getdoc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import run
from configs import default
from configs.presets import PRESETS
from score_sde.config.component import Component, build
from score_sde.config.config import find_config, flat, require
from score_sde.config.experiment import assemble
from score_sde.data import Arrays
from sde_lib import Images
from sde_lib.ncsnv2 import langevin_step

ROOT = Path(__file__).parent.parent
QUICK = {
    *("ddpm_cifar10", "iddpm_cifar10_hybrid", "iddpm_cifar10_vlb", "ncsn_cifar10", "ncsnv2_cifar10", "ve_ncsnv2_cifar10"),
    *("ve_cifar10_ncsnpp", "ve_cifar10_ncsnpp_continuous", "ve_bedroom_ncsnpp_continuous", "ve_cifar10_ddpm"),
    *("vp_cifar10_ncsnpp", "vp_cifar10_ddpmpp_continuous", "vp_ddpm_cifar10_unconditional", "subvp_cifar10_ddpm_continuous"),
}
FIGURE = r"(?:FID \(ODE\) [\d.]+|FID [\d.]+(?: \(ODE [\d.]+\))?|IS [\d.]+|(?:at most )?[\d.]+ bits/dim)"
PUBLISHED = re.compile(rf"not known|samples only|{FIGURE}(?:, {FIGURE})*; [A-Z].*, 20\d\d, arXiv \d{{4}}\.\d{{5}}, .+")


@cache
def network_on_meta(text, shape, outputs):
    """At full size, without memory for its weights."""
    with torch.device("meta"):
        return build("network", text, shape, **({"outputs": outputs} if outputs > 1 else {}))


@cache
def built(name):
    """A preset's config, data, process, parameterization, and network on the meta device."""
    config = find_config(name, None)
    require(config)
    data, sde, parameterization = (build(kind, config[kind]) for kind in ("data", "sde", "parameterization"))
    network = network_on_meta(config.network, tuple(data.train.shape[1:]), parameterization.outputs)
    return config, data, sde, parameterization, network


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def about(name):
    """What a preset's docstring says it is, and what was published."""
    what, published = (getdoc(PRESETS[name]) or "").split("\n\n")
    return what.removesuffix("."), published.removeprefix("Published: ").removesuffix(".")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_small_differences_that_say_what_was_published_and_where(name):
    config, published = PRESETS[name](), about(name)[1]
    assert flat(config).keys() == flat(default.get_config()).keys()
    assert PUBLISHED.fullmatch(published), published
    assert PRESETS[name]() is not config  # two experiments never share what one of them changes


@pytest.mark.slow
def test_the_table_of_presets_is_what_they_are():
    """docs/presets.md: what a preset is, its weights, and what was published."""
    text = (ROOT / "docs" / "presets.md").read_text()
    rows = re.search(r"<!-- table -->\n.*?\n\|[-|]+\|\n(.*?)<!-- end -->", text, re.DOTALL).group(1).splitlines()
    expected = []
    for name in PRESETS:
        what, published = about(name)
        count = parameters(built(name)[-1])
        expected.append(f"| `{name}` | {what} | {count:,} | {'' if published == 'not known' else published} |")
    assert rows == expected


def small(name):
    """A preset with few channels, on images as small as its levels allow."""
    config, stages = find_config(name, None), len(built(name)[-1].arguments["multipliers"])
    size = max(8, 2 ** (stages - 1))
    config.network = str(Component.of("network", config.network).but(channels=4 if "ncsn" in config.network else 32))
    config.data = str(Component.of("data", config.data).but(shape=(3, size, size)))
    return config


@pytest.mark.quick(*QUICK)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_works_on_an_image(name):
    """Network, objective, sampler and scoring, each used once: nothing that a preset asks for is missing here."""
    assert assemble(small(name)).name.endswith(name)


def test_ncsnv2_s_steps_are_those_of_technique_4():
    """epsilon to its two digits, from sigmas and moves alone; but for churches, which the released settings do not have there."""
    for name in ("cifar10", "celeba", "bedroom", "tower", "ffhq"):
        config, _, sde, _, _ = built(f"ncsnv2_{name}")
        corrector = build("sampler", config.sample.sampler).corrector
        sigmas = torch.tensor(sde.log_sigmas, dtype=torch.float64).exp()
        gamma = float(sigmas[1] / sigmas[0])
        assert langevin_step(float(sigmas[0]), gamma, corrector.steps) == pytest.approx(corrector.epsilon, rel=0.02)


@pytest.mark.slow
def test_a_dry_run_builds_a_preset_at_full_size_without_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["--config", "ve_ncsnv2_cifar10", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "0 train, 0 test, (3, 32, 32)" in out and "29,694,083 parameters" in out
    assert not list(tmp_path.iterdir())


def test_a_preset_trains_on_images_of_one_s_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("own.npy", np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8)).astype(np.uint8))
    settings = ["--config.network=mlp(width=8, depth=1)", "--config.train.steps=2", "--config.train.batch_size=4"]
    settings += ["--config.data=arrays(shape=(3, 8, 8), low=-1.003921568627451, high=1.003921568627451)", "--config.sample.num=2"]
    settings += ["--config.likelihood.tolerance=0.1", "--predictor=ddim", "--times=respaced(levels=3)"]
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])
    assert run.main(["--config", "vp_ddpm_cifar10", "--data", "own.npy", *settings]) == 0, capsys.readouterr().err
    kept = json.loads((tmp_path / "runs" / "ddpm-vp_ddpm_cifar10" / "config.json").read_text())
    own = str(tmp_path / "own.npy")
    assert kept["data"] == f"arrays(train={own!r}, shape=(3, 8, 8), low=-1.003921568627451, high=1.003921568627451)"
    assert kept["train"]["learning_rate"] == 2e-4 and kept["sde"] == "ddpm"


MISTAKES = [
    (
        ["--config", "vp_ddpm_cifar10", "--config.network=mlp"],
        "has no data of its own: give --data, pictures or arrays (N, 3, 32, 32)",
    ),
    (["--config", "cifar10_ddpmpp_continuous"], "but there is vp_cifar10_ddpmpp_continuous: use one of ddpm_digits, default"),
    (["--config", "nothing"], "or a published experiment, of ddpm_bedroom, ddpm_bedroom_large, ddpm_cat"),
    (
        ["--config", "vp_ddpm_cifar10", "--dry-run", "--data", "few.npy"],
        "few.npy has data of shape (3, 8, 8), and (3, 32, 32) was needed",
    ),
    (["--config", "vp_ddpm_cifar10", "--data", "gone.npy"], "--data gone.npy: there is no such file or folder"),
    (
        ["--config", "vp_ddpm_cifar10", "--data", "pictures"],
        "--data pictures: there is no such file or folder, and no data set of that",
    ),
    (["--mode", "suggest", "--config", "vp_ddpm_cifar10", "--config.network=mlp"], "has no data of its own"),
    (["--mode", "describe", "--config", "vp_ddpm_cifar10", "--config.network=mlp"], "has no data of its own"),
    (["--resume", "--data", "few.npy"], "leave out --data"),
    (
        ["--mode", "sample", "--data", "few.npy"],
        "--data belongs to --mode describe, inspect, likelihood, suggest and train",
    ),
    (["--config.data=arrays"], "a file is needed: give train='mine.npy'"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_with_a_preset_is_one_sentence(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("few.npy", np.zeros((20, 8, 8, 3), dtype=np.uint8))
    assert run.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_data_of_the_command_line_are_arrays_or_a_data_set(tmp_path, monkeypatch, capsys):
    """A .npy file keeps the range and the shape that a config's arrays have; it takes the place of other data as it is."""
    monkeypatch.chdir(tmp_path)
    np.save("own.npy", np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32)).astype(np.uint8))
    network = "--config.network=mlp(width=8, depth=1)"
    for arguments, words in (
        (
            ["--config", "ve_cifar10_ncsnpp_continuous", "--data", "own.npy"],
            "18 train, 2 test, (3, 32, 32), Images(levels=256, low=-0.00196",
        ),
        (["--sde", "vp", "--data", "own.npy"], "18 train, 2 test, (3, 32, 32), Images(levels=256, low=-1.0"),
        (["--config", "ve_cifar10_ncsnpp_continuous", "--data", "digits"], "1437 train, 360 test, (1, 8, 8), Images(levels=17"),
    ):
        assert run.main([*arguments, network, "--dry-run"]) == 0, capsys.readouterr().err
        assert words in capsys.readouterr().out


def test_arrays_without_a_file_have_a_shape_and_a_meaning():
    data = Arrays(shape=(3, 4, 4), low=0.0, high=2.0)
    assert (data.train.shape, data.test.shape, data.transform) == ((0, 3, 4, 4), (0, 3, 4, 4), Images(256, 0.0, 2.0))


def test_a_folder_of_pictures_is_read_as_a_preset_asks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(12):
        Image.fromarray(np.full((40, 50, 3), 20 * i, np.uint8)).save(f"photos/{i:02d}.png")
    network = "--config.network=mlp(width=8, depth=1)"
    assert run.main(["--config", "ve_cifar10_ncsnpp_continuous", "--data", "photos", network, "--dry-run"]) == 0
    assert "11 train, 1 test, (3, 32, 32), Images(levels=256, low=-0.00196" in capsys.readouterr().out

"""Models as folders of diffusers: what comes back is what went in, and its own classes answer as ours do."""

import dataclasses
import json
import os

import pytest
import torch

from models import ADM, DDPM, MLP, NCSNpp, export_diffusers, import_checkpoint
from sde_lib import (
    VESDE,
    VPSDE,
    Data,
    Epsilon,
    Images,
    PreviousMean,
    Score,
    ScoreModel,
    Standardize,
    SubVPSDE,
    Tabulated,
    V,
    WithVariance,
)
from sde_lib.tables import quadratic_betas, sigmoid_betas
from sde_lib.tabulated import ddpm, ncsn
from tests.laws.test_importers import diffusers  # noqa: F401
from tests.laws.test_parity_networks import assert_near

SMALL = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "dropout": 0.0}
CHURCH = {"embedding": "fourier", "fir": (1, 3, 3, 1), "progressive_input": "input_skip", "progressive_output": "output_skip"}
EIGHT_BITS = Images(256, -1 - 1 / 255, 1 + 1 / 255)
INDEX = Epsilon(label="index")


def plain(**options):
    return DDPM((3, 16, 16), **(SMALL | {"attend_last": False} | options))


def church(**options):
    options = SMALL | CHURCH | {"multipliers": (1, 4), "scale_by_sigma": True, "unit_range": True} | options
    return NCSNpp((3, 16, 16), **options)


MODELS = {
    "ddpm": lambda: (plain(), ddpm(), INDEX, EIGHT_BITS),
    "ddpm, oblong, grey": lambda: (DDPM((1, 8, 16), **SMALL, attend_last=False), ddpm("cosine"), V(label="index"), EIGHT_BITS),
    "adm with classes": lambda: (
        ADM((3, 16, 16), **SMALL, modulation="add", resample="conv", head_channels=None, condition=5),
        ddpm("quadratic"),
        Data(label="index"),
        EIGHT_BITS,
    ),
    "adm with a variance": lambda: (
        ADM((3, 16, 16), **SMALL, heads=4, head_channels=16, outputs=2),
        ddpm("sigmoid"),
        WithVariance(INDEX),
        EIGHT_BITS,
    ),
    "adm under vp": lambda: (ADM((3, 16, 16), **SMALL), VPSDE(0.2, 15.0), Epsilon(label="time"), EIGHT_BITS),
    "ncsnpp": lambda: (church(), VESDE(0.01, 380.0), Score(label="sigma"), Images(256, -0.5 / 255, 1 + 0.5 / 255)),
    "adm under vp, stopped earlier": lambda: (ADM((3, 16, 16), **SMALL), VPSDE(t_min=2e-3), Epsilon(label="time"), EIGHT_BITS),
    "ncsnpp, stopped earlier": lambda: (
        church(),
        VESDE(t_min=1e-3),
        Score(label="sigma"),
        Images(256, -0.5 / 255, 1 + 0.5 / 255),
    ),
}


def made(name):
    """A model whose weights are all different, also those that are 0 at the start of training."""
    torch.manual_seed(0)
    network, *rest = MODELS[name]()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return ScoreModel(network, *rest).eval()


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_comes_back(name, tmp_path):
    model = made(name)
    export_diffusers(model, tmp_path / "folder")
    back = import_checkpoint(tmp_path / "folder")
    assert (back.sde, back.parameterization, back.data) == (model.sde, model.parameterization, model.data)
    for key, value in model.network.state_dict().items():
        assert torch.equal(back.network.state_dict()[key], value), key
    x = torch.randn(2, *model.network.arguments["shape"])
    y = {"y": torch.tensor([1, 4])} if "classes" in name else {}
    assert torch.equal(back(x, 0.3, **y), model(x, 0.3, **y))


@pytest.mark.parametrize("name", MODELS)
def test_classes_of_diffusers_answer_as_the_exported_model(name, tmp_path, diffusers):  # noqa: F811
    model = made(name)
    export_diffusers(model, tmp_path / "folder")
    theirs, report = diffusers.UNet2DModel.from_pretrained(tmp_path / "folder/unet", output_loading_info=True)
    assert not any(report.values())  # no weight is missing, and none left over
    x = torch.randn(2, *model.network.arguments["shape"])
    label = torch.tensor([0.5, 7.0]) if name.startswith("ncsnpp") else torch.tensor([3, 977])
    y = torch.tensor([1, 4]) if "classes" in name else None
    with torch.no_grad():
        ours = model.network(x, label) if y is None else model.network(x, label, y=y)
        assert_near(theirs(x, label, class_labels=y).sample, ours.double(), 2e-5)


def test_pipelines_of_diffusers_load_and_sample(tmp_path, diffusers):  # noqa: F811
    for name, kind, size in (("ddpm", "DDPMPipeline", 1), ("ncsnpp", "ScoreSdeVePipeline", 1)):
        model = made(name)
        export_diffusers(model, tmp_path / name)
        pipeline = getattr(diffusers, kind).from_pretrained(tmp_path / name)
        pipeline.set_progress_bar_config(disable=True)
        assert pipeline(size, num_inference_steps=2, output_type="np").images.shape == (size, 16, 16, 3)
        assert type(diffusers.DiffusionPipeline.from_pretrained(tmp_path / name)).__name__ == kind
    export_diffusers(made("adm under vp"), tmp_path / "vp")
    assert diffusers.DDPMScheduler.from_pretrained(tmp_path / "ddpm/scheduler").config.beta_schedule == "linear"
    from diffusers.schedulers.deprecated.scheduling_sde_vp import ScoreSdeVpScheduler

    vp = ScoreSdeVpScheduler.from_pretrained(tmp_path / "vp/scheduler").config
    assert (vp["beta_min"], vp["beta_max"], vp["sampling_eps"]) == (0.2, 15.0, 1e-5)
    assert not (tmp_path / "vp/model_index.json").exists()  # there is no pipeline for it


@pytest.mark.parametrize(
    ("sde", "name"),
    [
        (ddpm("linear", 300), "linear"),
        (ddpm("cosine", 50), "squaredcos_cap_v2"),
        (Tabulated.from_betas(quadratic_betas(40, 1e-3, 0.1)), "scaled_linear"),
        (ddpm("sigmoid", 77), "sigmoid"),
        (Tabulated.from_betas(sigmoid_betas(50, 1e-3, 0.1)), None),
        (Tabulated.from_betas([0.3, 1e-4, 0.999, 0.02]), None),
    ],
)
def test_tables_are_written_by_name_where_they_have_one(sde, name, tmp_path):
    model = ScoreModel(plain(), sde, INDEX)
    export_diffusers(model, tmp_path / "folder")
    scheduler = json.loads((tmp_path / "folder/scheduler/scheduler_config.json").read_text())
    assert scheduler.get("beta_schedule") == name and ("trained_betas" in scheduler) == (name is None)
    back = import_checkpoint(tmp_path / "folder").sde
    for ours, theirs in ((sde.log_alphas, back.log_alphas), (sde.log_sigmas, back.log_sigmas)):
        torch.testing.assert_close(torch.tensor(theirs), torch.tensor(ours), rtol=1e-10, atol=1e-12)


def test_betas_of_diffusers_are_those_of_the_table(tmp_path, diffusers):  # noqa: F811
    betas = torch.tensor([0.3, 1e-4, 0.5, 0.02], dtype=torch.float64)
    export_diffusers(ScoreModel(plain(), Tabulated.from_betas(betas), INDEX), tmp_path / "folder")
    theirs = diffusers.DDPMScheduler.from_pretrained(tmp_path / "folder/scheduler")
    torch.testing.assert_close(theirs.betas.double(), betas, rtol=1e-6, atol=0)


REFUSED = {
    "for MLP": lambda: (MLP((3, 16, 16)), ddpm(), INDEX),
    "attend_last=True": lambda: (plain(attend_last=True), ddpm(), INDEX),
    "activation='elu'": lambda: (plain(activation="elu"), ddpm(), INDEX),
    "multipliers=": lambda: (plain(multipliers=(2, 4)), ddpm(), INDEX),
    "make no network": lambda: (plain(multipliers=(2, 3)), ddpm(), INDEX),
    "48 channels in 24 groups": lambda: (plain(channels=48), ddpm(), INDEX),
    "shape=": lambda: (DDPM((3, 16), **SMALL, attend_last=False), ddpm(), INDEX),
    "super_resolution=True": lambda: (ADM((3, 16, 16), **SMALL, super_resolution=True), ddpm(), INDEX),
    "heads=4": lambda: (ADM((3, 16, 16), **SMALL, heads=4, head_channels=None), ddpm(), INDEX),
    "progressive_output='none'": lambda: (church(progressive_output="none"), VESDE(), Score(label="sigma")),
    "128 or more": lambda: (church(multipliers=(1, 2)), VESDE(), Score(label="sigma")),
    "no scheduler for SubVPSDE": lambda: (plain(), SubVPSDE(), Epsilon(label="time")),
    "whose alpha does not fall": lambda: (plain(), ncsn(), Score(label="index")),
    "all of its levels": lambda: (plain(), ddpm().respace(50), INDEX),
    "would be asked for": lambda: (plain(), ddpm(), Epsilon(label="time")),
    "counterpart for PreviousMean": lambda: (plain(), ddpm(), PreviousMean(label="index")),
    "kind='log'": lambda: (plain(outputs=2), ddpm(), WithVariance(INDEX, kind="log")),
    r"in \[-1, 1\]": lambda: (plain(), ddpm(), INDEX, Standardize(0.5, 0.2)),
    r"in \[0, 1\]": lambda: (church(), VESDE(), Score(label="sigma"), EIGHT_BITS),
}


@pytest.mark.parametrize("words", REFUSED)
def test_models_that_diffusers_does_not_have_are_refused(words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export_diffusers(ScoreModel(*REFUSED[words]()), tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    model = ScoreModel(plain(), ddpm(), INDEX, dataclasses.replace(EIGHT_BITS, levels=17, low=-1.0, high=1.0))
    with monkeypatch.context() as patched:
        replaced = os.replace

        def full(source, target):
            if str(target).endswith("model_index.json"):
                raise OSError(28, "No space left on device")
            replaced(source, target)

        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            export_diffusers(model, tmp_path / "folder")
    assert not list(tmp_path.iterdir())
    export_diffusers(model, tmp_path / "folder")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == [
        "folder/model_index.json",
        "folder/scheduler/scheduler_config.json",
        "folder/unet/config.json",
        "folder/unet/diffusion_pytorch_model.safetensors",
    ]
    with pytest.raises(FileExistsError, match="give the name of a folder"):
        export_diffusers(model, tmp_path / "folder")

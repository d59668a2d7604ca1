"""Other people's files: each gives the recorded outputs, says what it does not know, and runs nothing."""

import io
import json
import os
import pickle
import warnings

import numpy as np
import pytest
import torch

from likelihood import Hutchinson, bits_per_dim
from models import NCSNpp, import_checkpoint, import_classifier, load, save
from models.importers import openai
from samplers import DPMSolver, LogSNR, Sampler
from sde_lib import EDM, VESDE, VPSDE, Data, Epsilon, Images, KarrasSDE, Score, V, WithVariance
from sde_lib.tabulated import ddpm, ncsn
from tests.laws.test_parity_networks import FOLDER, assert_near, weights_in
from tests.recorded import load as recorded

TINY, CONFIG = FOLDER / "tiny_ncsnpp.pth", FOLDER / "tiny_ncsnpp.json"


def told(name):
    """The options that a network was recorded with."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return json.loads(str(arrays["__meta__"]))["config"]


def weights_of(name):
    return {key: value.float() for key, value in weights_in(recorded(f"networks/{name}")).items()}


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_a_checkpoint_of_score_sde_gives_its_recorded_outputs(weights, tmp_path):
    golden, model = recorded("networks/tiny_ncsnpp"), import_checkpoint(TINY, config=CONFIG, weights=weights)
    out = model.network(golden["probe_x"].float(), golden["probe_labels"].float())
    assert_near(out.detach(), golden[f"out_{weights}"], 2e-5)
    assert (model.sde, model.parameterization) == (VESDE(0.01, 50), Score(label="sigma"))
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(x, 0.5), model.network(x, model.sde.at(0.5).sigma.float().expand(2)))
    save(model, tmp_path / "own.safetensors")
    assert torch.equal(load(tmp_path / "own.safetensors")(x, 0.5), model(x, 0.5))


@pytest.mark.slow
def test_what_was_imported_samples_and_has_a_likelihood():
    model = import_checkpoint(TINY, config=CONFIG)
    samples = Sampler(DPMSolver(order=2), times=LogSNR(5)).sample(model.sde, model, (2, 3, 8, 8), seed=0)
    assert samples.x.shape == (2, 3, 8, 8) and samples.x.isfinite().all()
    codes = torch.randint(256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    result = bits_per_dim(model.sde, model, codes, images=model.data, divergence=Hutchinson(), tolerance=1e-2)
    assert torch.isfinite(torch.as_tensor(result.mean))


def test_averages_without_names_must_be_as_many_as_the_weights(tmp_path):
    content = torch.load(TINY, weights_only=False)
    assert isinstance(content["optimizer"]["param_groups"][0]["lr"], np.floating)  # what weights_only=True refuses
    content["ema"]["shadow_params"].pop()
    torch.save(content, tmp_path / "short.pth")
    with pytest.raises(ValueError, match="averages 155 weights, which are not the 156"):
        import_checkpoint(tmp_path / "short.pth", config=CONFIG)
    assert isinstance(import_checkpoint(tmp_path / "short.pth", config=CONFIG, weights="raw").network, NCSNpp)


def test_a_config_as_an_object_and_processes_of_every_kind(tmp_path):
    config = json.loads(CONFIG.read_text())
    for kind, continuous, sde, parameterization in (
        ("vpsde", True, VPSDE(0.1, 20.0), Epsilon(label="time")),
        ("vesde", False, ncsn(0.01, 50, 1000), Score(label="index")),
    ):
        config["training"] |= {"sde": kind, "continuous": continuous}
        config["model"]["scale_by_sigma"] = False
        model = import_checkpoint(TINY, config=type("Config", (), {"to_dict": lambda self: config})())
        assert (model.sde, model.parameterization) == (sde, parameterization)
    assert model.data.encode(torch.tensor([0, 255])).tolist() == pytest.approx([0.0, 1.0])
    config["training"] |= {"sde": "vpsde"}
    table = import_checkpoint(TINY, config=config).sde
    assert table.log_alphas[0] == pytest.approx(0.5 * np.log1p(-0.1 / 1000))
    config["training"]["sde"] = "ddim"
    with pytest.raises(ValueError, match="use one of vpsde, subvpsde, vesde"):
        import_checkpoint(TINY, config=config)


FLAGS = {"image_size": 8, "noise_schedule": "linear", "diffusion_steps": 1000}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_improved_and_guided_diffusion_give_their_recorded_outputs(prefix, tmp_path):
    for name, order, out, heads, parameterization in (
        ("net_improved_unet_ddpm", False, "out", {"num_heads": 1}, Epsilon(label="index")),
        ("net_guided_unet_adm", False, "out", {"num_head_channels": 16}, WithVariance(Epsilon(label="index"))),
        ("net_guided_unet_adm", True, "out_new_attention_order", {"num_head_channels": 16}, WithVariance(Epsilon(label="index"))),
    ):
        golden = recorded(f"networks/{name}")
        torch.save({prefix + key: value for key, value in weights_of(name).items()}, tmp_path / "model.pt")
        model = import_checkpoint(tmp_path / "model.pt", config=FLAGS | heads | {"use_new_attention_order": order})
        y = {"y": golden["y"]} if "y" in golden else {}
        assert_near(model.network(golden["x"].float(), golden["t"].float(), **y).detach(), golden[out], 2e-5)
        assert (model.sde, model.parameterization) == (ddpm("linear", 1000), parameterization)


def test_guided_diffusion_s_classifier_gives_its_recorded_logits_and_gradient(tmp_path):
    golden = recorded("networks/net_guided_classifier")
    torch.save(weights_of("net_guided_classifier"), tmp_path / "classifier.pt")
    with pytest.raises(ValueError, match="add num_res_blocks"):
        import_classifier(tmp_path / "classifier.pt", {"num_head_channels": 16})
    with pytest.raises(ValueError, match="import_classifier"):
        import_checkpoint(tmp_path / "classifier.pt", config=FLAGS | {"num_head_channels": 16})
    classifier = import_classifier(tmp_path / "classifier.pt", {"num_head_channels": 16, "num_res_blocks": 1})
    x = golden["x"].float().requires_grad_()
    logits = classifier(x, golden["t"].float())
    assert_near(logits.detach(), golden["out"], 2e-5)
    chosen = logits.log_softmax(dim=1).gather(1, golden["y"][:, None]).sum()
    assert_near(torch.autograd.grad(chosen, x)[0], golden["grad_logp_y"], 2e-5)


def test_labels_of_improved_diffusion_are_those_of_its_training(tmp_path):
    torch.save(weights_of("net_improved_unet_ddpm"), tmp_path / "model.pt")
    config = {"image_size": 8, "num_heads": 1, "noise_schedule": "cosine", "diffusion_steps": 4000}
    with pytest.raises(ValueError, match="add rescale_timesteps"):
        import_checkpoint(tmp_path / "model.pt", config=config)
    for rescale, label in ((True, "index_of_1000"), (False, "index")):
        model = import_checkpoint(tmp_path / "model.pt", config=config | {"rescale_timesteps": rescale})
        assert (model.sde, model.parameterization) == (ddpm("cosine", 4000), Epsilon(label=label))


def test_ncsnv2_gives_its_recorded_outputs_and_knows_its_sigmas(tmp_path):
    golden = recorded("networks/net_ncsnv2")
    raw = weights_of("net_ncsnv2")
    ema = {key: value for key, value in raw.items() if key != "sigmas"}
    spoiled = {f"module.{key}": value + (key == "end_conv.bias") for key, value in raw.items()}
    torch.save([spoiled, {"state": {}, "param_groups": []}, 3, 7, ema], tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match="'image_size' is missing"):
        import_checkpoint(tmp_path / "checkpoint.pth")
    model = import_checkpoint(tmp_path / "checkpoint.pth", config={"image_size": 8})
    assert (model.sde, model.parameterization) == (ncsn(0.1, 10.0, 12), Score(label="index"))
    assert_near(model.network(golden["x"].float(), golden["y"]).detach(), golden["out"], 2e-5)
    save(model, tmp_path / "ours.safetensors")
    for network in (model.network, load(tmp_path / "ours.safetensors").network):  # whose sigmas, in the file, are float32
        assert_near(network.double()(golden["x"], golden["y"]).detach(), golden["out_f64"], 1e-9)
    other = import_checkpoint(tmp_path / "checkpoint.pth", config={"image_size": 8}, weights="raw").network(
        golden["x"].float(), golden["y"]
    )
    assert (other - golden["out"]).abs().max() > 1


def test_ncsn_asks_for_its_sigmas(tmp_path):
    golden = recorded("networks/ncsn_v1")
    torch.save([weights_of("ncsn_v1"), {"state": {}, "param_groups": []}], tmp_path / "checkpoint.pth")
    with pytest.raises(ValueError, match="'sigma_end' is missing"):
        import_checkpoint(tmp_path / "checkpoint.pth", config={"image_size": 8})
    model = import_checkpoint(tmp_path / "checkpoint.pth", config={"image_size": 8, "sigma_begin": 1.0, "sigma_end": 0.01})
    assert model.sde == ncsn(0.01, 1.0, 10)
    assert_near(model.network(golden["x"].float(), golden["labels"]).detach(), golden["out"], 2e-5)


@pytest.mark.parametrize("sort", [False, True])
def test_edm_s_network_and_denoiser_are_the_recorded_ones(sort, tmp_path):
    """Also where a file has its names in the order of the alphabet, as safetensors keeps them."""
    golden, options = recorded("networks/net_edm_ddpmpp_vp"), told("net_edm_ddpmpp_vp")
    state = weights_of("net_edm_ddpmpp_vp")
    torch.save({key: state[key] for key in sorted(state)} if sort else state, tmp_path / "edm.pt")
    model = import_checkpoint(tmp_path / "edm.pt", config=options | {"class_name": "training.networks.VPPrecond"})
    out = model.network(golden["F_in"].float(), golden["c_noise"].float())
    assert_near(out.detach(), golden["F_out"], 2e-5)
    assert (model.sde, model.parameterization) == (VPSDE(0.1, 20.0), Epsilon(label="time"))
    log_snr = -2 * golden["sigma"].log()
    t, alpha = model.sde.t_of_log_snr(log_snr), (1 + golden["sigma"] ** 2).rsqrt()
    denoised = model.predict((alpha[:, None, None, None] * golden["x"]).float(), t).x0
    assert_near(denoised.detach(), golden["D"], 1e-3)  # its c_noise is 1 % off at small sigma, in float32
    model = import_checkpoint(tmp_path / "edm.pt", config=options | {"sigma_data": 0.4})
    assert (model.sde, model.parameterization) == (KarrasSDE(), EDM(sigma_data=0.4))
    model = import_checkpoint(tmp_path / "edm.pt", config=options | {"class_name": "VEPrecond"})
    t = torch.tensor([0.3, 0.6], dtype=torch.float64)
    x, sigma = golden["x"][:2].float(), model.sde.at(t).sigma.float()
    denoised = x + sigma[:, None, None, None] * model.network(x, (sigma / 2).log())
    torch.testing.assert_close(model.predict(x, t).x0, denoised, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="'VEPrecond' or 'iDDPMPrecond' .* was needed"):
        import_checkpoint(tmp_path / "edm.pt", config=options | {"class_name": "LearnedPrecond"})
    doubled = {key: torch.cat([value, value]) if "aux_conv" in key else value for key, value in state.items()}
    torch.save(doubled, tmp_path / "two.pt")
    model = import_checkpoint(tmp_path / "two.pt", config=options | {"class_name": "iDDPMPrecond"})
    assert (model.sde, model.parameterization) == (ddpm("cosine"), WithVariance(of=Epsilon(label="index")))
    with pytest.raises(ValueError, match="the options that the network was made with"):
        import_checkpoint(tmp_path / "edm.pt")


DIFFUSERS = {
    "adm": {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "num_class_embeds": 5,
    },
    "adm resampling in blocks": {
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "resnet_time_scale_shift": "scale_shift",
        "attn_norm_num_groups": 32,
        "out_channels": 6,
    },
    "ddpm": {
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "freq_shift": 1,
        "flip_sin_to_cos": False,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
        "downsample_padding": 0,
    },
    "ncsnpp": {
        "block_out_channels": (32, 128),
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        "time_embedding_type": "fourier",
        "center_input_sample": True,
        "norm_eps": 1e-6,
        "attention_head_dim": None,
        "norm_num_groups": None,
        "mid_block_scale_factor": 2**0.5,
    },
}


@pytest.fixture
def diffusers():
    with warnings.catch_warnings():  # whatever it says of its own dependencies
        warnings.simplefilter("ignore")
        return pytest.importorskip("diffusers")


@pytest.mark.parametrize("name", DIFFUSERS)
def test_networks_of_diffusers_answer_as_its_own_classes(name, tmp_path, diffusers):
    torch.manual_seed(0)
    options = {"block_out_channels": (64, 128), "layers_per_block": 2, "sample_size": 16} | DIFFUSERS[name]
    theirs = diffusers.UNet2DModel(**options).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter) if parameter.requires_grad else 0)
    scheduler = diffusers.ScoreSdeVeScheduler(sigma_max=380.0) if name == "ncsnpp" else diffusers.DDPMScheduler()
    theirs.save_pretrained(tmp_path / "unet", safe_serialization=name != "ddpm")
    scheduler.save_pretrained(tmp_path / "scheduler")
    model = import_checkpoint(tmp_path)
    x = torch.randn(2, 3, 16, 16)
    label = torch.tensor([0.5, 7.0]) if name == "ncsnpp" else torch.tensor([3, 977])
    y = torch.tensor([1, 4]) if name == "adm" else None
    with torch.no_grad():
        expected = theirs(x, label, class_labels=y).sample
        ours = model.network(x, label) if y is None else model.network(x, label, y=y)
    assert_near(ours, expected.double(), 2e-5)
    assert model.sde == (VESDE(0.01, 380.0) if name == "ncsnpp" else ddpm("linear", 1000))


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_schedules_of_diffusers(schedule, diffusers):
    from models.importers.diffusers import process_of

    for reading, cls in (("epsilon", Epsilon), ("sample", Data), ("v_prediction", V)):
        scheduler = diffusers.DDPMScheduler(beta_schedule=schedule, prediction_type=reading, beta_start=1e-4, beta_end=0.02)
        sde, parameterization = process_of(dict(scheduler.config))
        assert parameterization == cls(label="index")
    theirs = scheduler.alphas_cumprod.double()  # summed up in float32
    torch.testing.assert_close(2 * torch.tensor(sde.log_alphas).double(), theirs.log(), rtol=1e-4, atol=1e-6)


def test_folders_that_are_not_diffusers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="give diffusers' folder"):
        import_checkpoint(tmp_path)
    torch.save({"a": torch.zeros(2)}, tmp_path / "diffusion_pytorch_model.bin")
    for config, words in (
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DModel is the one"),
        ({"block_out_channels": [32, 64], "down_block_types": ["CrossAttnDownBlock2D"]}, "'up_block_types' is missing"),
    ):
        config = {"in_channels": 3, "out_channels": 3, "layers_per_block": 1} | config
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=words):
            import_checkpoint(tmp_path)


class Malicious:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def zipped(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def legacy(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("write", [zipped, legacy, pickle.dumps])
@pytest.mark.parametrize("content", [Malicious(), {"model": {}, "ema": Malicious(), "step": 1}])
def test_a_malicious_file_is_refused_and_runs_nothing(write, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for name in ("model.pth", "model.pt", "network.pkl"):
        (tmp_path / name).write_bytes(write(content))
        with pytest.raises(ValueError, match="was not opened"):
            import_checkpoint(tmp_path / name, config=CONFIG)
    (tmp_path / "model.safetensors").write_bytes(write(content))
    with pytest.raises(ValueError, match="damaged"):
        import_checkpoint(tmp_path / "model.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "diffusion_pytorch_model.bin").write_bytes(write(content))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="was not opened"):
        import_checkpoint(folder)
    assert not (tmp_path / "ran").exists() and not (folder / "ran").exists()


def test_missing_settings_are_asked_for(tmp_path):
    weights = weights_of("net_improved_unet_ddpm")
    torch.save(weights, tmp_path / "model.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    cases = [
        (lambda: import_checkpoint(TINY), "give config, the one that they were trained with"),
        (lambda: import_checkpoint(TINY, config={"model": {}}), "'data' is missing"),
        (lambda: import_checkpoint(TINY, config=CONFIG, weights="best"), "use one of 'ema', 'raw'"),
        (lambda: import_checkpoint(TINY, family="gan", config=CONFIG), "use one of 'score_sde'"),
        (
            lambda: import_checkpoint(TINY, family="guided-diffusion", config=FLAGS | {"num_heads": 1}),
            "does not hold weights of guided-diffusion",
        ),
        (lambda: import_checkpoint(tmp_path / "other.pt"), "pass family"),
        (lambda: import_checkpoint(tmp_path / "model.pt"), "how many heads"),
        (lambda: import_checkpoint(tmp_path / "model.pt", config={"image_size": 8, "num_heads": 1}), "'noise_schedule' is missing"),
        (lambda: import_checkpoint(tmp_path / "model.pt", family="diffusers"), "does not hold weights of diffusers"),
    ]
    for make, words in cases:
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(FileNotFoundError, match=r"there is no config at nowhere.json"):
        import_checkpoint(TINY, config="nowhere.json")
    with pytest.raises(FileNotFoundError, match="give a file, or the folder"):
        import_checkpoint(tmp_path / "nothing.pth")
    del weights["middle_block.0.in_layers.0.weight"]
    with pytest.raises(ValueError, match="the file holds"):
        openai.weights_of(weights, openai.network_of(weights, {"image_size": 8, "num_heads": 1}))


def test_a_weight_of_another_shape_is_named():
    weights = weights_of("net_improved_unet_ddpm")
    network = openai.network_of(weights, {"image_size": 8, "num_heads": 1})
    weights["middle_block.0.in_layers.0.weight"] = torch.zeros(31)
    with pytest.raises(ValueError, match=r"shape \(31,\) meets body.encoder.middle.0.block.norm1.weight of ADM, of shape \(32,\)"):
        openai.weights_of(weights, network)


def test_images_have_the_scale_that_the_network_was_trained_with():
    """The ends of the range of 8-bit images are those of the family: x / 127.5 - 1, or x / 255."""
    assert import_checkpoint(TINY, config=CONFIG).data == Images(256, -0.5 / 255, 1 + 0.5 / 255)

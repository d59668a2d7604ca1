"""Checks of imports: recorded networks are imported with their configs, and wrong files and configs are refused in one sentence."""

import json

import pytest
import torch

from models import import_checkpoint, import_classifier
from models.importers import openai
from models.importers.diffusers import process_of
from models.importers.score_sde import process_of as process_of_score_sde
from sde_lib import Data
from tests.laws.test_importers import CONFIG, FLAGS, TINY, told, weights_of
from tests.laws.test_parity_networks import CONFIGS, assert_near
from tests.recorded import load as recorded

OPENAI = FLAGS | {"num_heads": 1}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_recorded_network_of_score_sde_comes_in_with_its_config(name, tmp_path):
    """A state alone, with DataParallel's prefixes, and its config in a JSON file; no family is told."""
    golden = recorded(f"networks/{name}")
    torch.save(weights_of(name) or weights_of("vp_ddpm"), tmp_path / "weights.pth")
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]))
    for family in (None, "score_sde"):
        model = import_checkpoint(tmp_path / "weights.pth", family, tmp_path / "config.json")
        assert (model.sde, model.parameterization) == process_of_score_sde(CONFIGS[name])
    x, labels = golden["x"].float().requires_grad_(), golden["labels"]
    out = model.network(x, labels.float() if labels.is_floating_point() else labels)
    assert_near(out.detach(), golden["out"], 2e-5)
    assert_near(torch.autograd.grad(out, x, golden["v"].float())[0], golden["vjp"], 2e-5)


def saved(name, tmp_path):
    torch.save(weights_of(name), tmp_path / f"{name}.pt")
    return tmp_path / f"{name}.pt"


def test_sizes_that_weights_do_not_show_are_those_of_the_config(tmp_path):
    for name, config in (
        ("net_ncsnv2", {"image_size": 64}),
        ("ncsn_v1", {"image_size": 64, "sigma_begin": 1.0, "sigma_end": 0.01}),
        ("net_improved_unet_ddpm", OPENAI | {"image_size": 64}),
    ):
        assert import_checkpoint(saved(name, tmp_path), config=config).network.arguments["shape"][1:] == [64, 64]


def test_openai_networks_that_predict_the_data(tmp_path):
    path = saved("net_improved_unet_ddpm", tmp_path)
    assert import_checkpoint(path, config=OPENAI | {"predict_xstart": True}).parameterization == Data(label="index")


@pytest.mark.parametrize("name", ["KarrasVeScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_scheduler_without_betas_is_not_taken_for_ddpm_s(name):
    with pytest.raises(ValueError, match=f"a {name} with .* describes no process"):
        process_of({"_class_name": name, "num_train_timesteps": 1000})


@pytest.mark.parametrize("name", ["ScoreSdeVeScheduler", "ScoreSdeVpScheduler"])
def test_the_process_stops_where_the_scheduler_does(name):
    """Its sampling_eps, and where a config does not name it diffusers' own: 1e-5 for VE, 1e-3 for VP."""
    assert process_of({"_class_name": name, "sampling_eps": 0.02})[0].t_min == 0.02
    assert process_of({"_class_name": name})[0].t_min == (1e-5 if "Ve" in name else 1e-3)


@pytest.mark.parametrize("betas", ["cosine", [0.1, "x"], {"a": 1}, [[0.1], 0.2]])
def test_betas_that_are_no_numbers_are_refused(betas):
    with pytest.raises(ValueError, match="trained_betas are .* a list of numbers between 0 and 1"):
        process_of({"trained_betas": betas})


def test_an_error_in_another_number_does_not_blame_the_betas():
    with pytest.raises((TypeError, ValueError)) as told:
        process_of({"num_train_timesteps": "many"})
    assert "trained_betas" not in str(told.value)


def test_a_byte_that_flipped_is_found(tmp_path):
    """In the numbers of a weight, where nothing but the checksum can tell; and a file that is cut off is damaged, no danger."""
    path, weight = tmp_path / "model.pt", torch.full((1000,), 0.7310586)
    torch.save(weights_of("net_improved_unet_ddpm") | {"found": weight}, path)
    whole = path.read_bytes()
    place = whole.index(weight.numpy().tobytes()) + 123
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    assert torch.load(path, weights_only=True)["found"].unique().numel() == 2  # torch does not see it
    with pytest.raises(ValueError, match=r"model.pt is damaged: model/data/\d+ differs from its checksum"):
        import_checkpoint(path, config=OPENAI)
    for length in (len(whole) // 2, 100, 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is damaged") as told:
            import_checkpoint(path, config=OPENAI)
        assert "run code" not in str(told.value)
    for content in (b"", b"no checkpoint at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged, or no file that torch.save wrote"):
            import_checkpoint(path, config=OPENAI)


FLAG_MISTAKES = [
    ({"num_head": 4}, "the flag 'num_head' is not known: write 'num_heads'"),
    ({"rescale_timestep": True}, "write 'rescale_timesteps'"),
    ({"image_size": "x"}, "the flag image_size is 'x': an integer is needed"),
    ({"image_size": None}, "the flag image_size is None: an integer is needed"),
    ({"num_heads_upsample": 2}, "num_heads_upsample=2 with num_heads=1: attention with other heads on the way up is not known"),
    ({"num_heads": True}, "the flag num_heads is True: an integer"),
    ({"predict_xstart": "no"}, "true or false is needed"),
    ({"dropout": "0.1"}, "a number is needed"),
    ({"noise_schedule": 3}, "a word is needed"),
]


@pytest.mark.parametrize(("flags", "words"), FLAG_MISTAKES, ids=str)
def test_a_flag_that_is_mistyped_is_refused(flags, words, tmp_path):
    path = saved("net_improved_unet_ddpm", tmp_path)
    with pytest.raises(ValueError, match=words):
        import_checkpoint(path, config=OPENAI | flags)


def test_flags_of_the_weights_and_of_the_training_are_accepted(tmp_path):
    path = saved("net_improved_unet_ddpm", tmp_path)
    known = dict.fromkeys(openai.OTHER, "whatever") | {"seed": 3, "dropout": 0, "num_head_channels": -1, "num_heads_upsample": -1}
    assert import_checkpoint(path, config=OPENAI | known).network.arguments["heads"] == 1


@pytest.mark.parametrize("name", ["net_ncsnv2", "ncsn_v1"])
def test_a_label_beyond_the_levels_is_one_sentence(name, tmp_path):
    network = import_checkpoint(saved(name, tmp_path), config={"image_size": 8, "sigma_begin": 1.0, "sigma_end": 0.01}).network
    with pytest.raises(ValueError, match=r"the network has \d+ noise levels, 0 to \d+, and got a label outside of them"):
        network(torch.zeros(1, network.arguments["shape"][0], 8, 8), torch.tensor([999]))


def changed(**values):
    config = json.loads(CONFIG.read_text())
    return config | {"model": config["model"] | values}


MISMADE = [
    (lambda path: import_checkpoint(TINY, config=changed(nf="eight")), "not made as those of score_sde are"),
    (lambda path: import_checkpoint(TINY, config=changed(ch_mult=3)), "not made as those of score_sde are"),
    (lambda path: import_checkpoint(TINY, config=[1, 2]), "config is a list: give a dictionary"),
    (lambda path: import_checkpoint(TINY, config=path("[1, 2]")), "cannot be read"),
    (lambda path: import_checkpoint(path({1: torch.zeros(2)})), "of no family known here"),
    (
        lambda path: import_checkpoint(path({"model": 5, "ema": {"shadow_params": []}, "step": 1}), config=CONFIG),
        "not made as those of score_sde",
    ),
    (lambda path: import_classifier(path(weights_of("net_improved_unet_ddpm")), OPENAI), "use import_checkpoint"),
    (lambda path: import_classifier(path(weights_of("net_ncsnv2")), {"num_heads": 1}), "does not hold weights of guided-diffusion"),
    (lambda path: import_checkpoint(path(weights_of("net_ncsnv2")), config={"image_size": "64"}), "image_size is '64': an integer"),
    (
        lambda path: import_checkpoint(
            path(weights_of("net_edm_ddpmpp_vp")), config=told("net_edm_ddpmpp_vp") | {"class_name": "VPPrecond", "M": 4000}
        ),
        "'VPPrecond' .with M=1000.",
    ),
    (
        lambda path: import_checkpoint(
            path(weights_of("net_edm_ddpmpp_vp")), config=told("net_edm_ddpmpp_vp") | {"encoder_type": "unet"}
        ),
        "encoder_type='unet' .* use one of 'standard', 'skip', 'residual'",
    ),
]


@pytest.mark.parametrize(("load", "words"), MISMADE, ids=lambda value: value if isinstance(value, str) else "")
def test_malformed_files_are_refused_with_one_sentence(load, words, tmp_path):
    def path(content):
        place = tmp_path / "file"
        place.write_text(content) if isinstance(content, str) else torch.save(content, place)
        return place

    with pytest.raises(ValueError, match=words) as told:
        load(path)
    assert "\n" not in str(told.value)

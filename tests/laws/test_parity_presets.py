"""Published experiments against the settings and the weights that their authors' code has."""

import gzip
import json
import math

import pytest
import torch

from configs.presets import PRESETS
from models.importers.ncsn import STAGES
from models.importers.score_sde import data_of, network_of, process_of, weights_of
from score_sde.config.component import build
from score_sde.config.config import find_config
from sde_lib import Epsilon, Images, Score, Tabulated, VariationalBound, WithVariance
from sde_lib.tabulated import ddpm, ncsn
from tests.laws.test_parity_networks import FULL_SIZE, weights_in
from tests.recorded import GOLDEN, load
from tests.test_presets import built, parameters


def of_json(name):
    raw = (GOLDEN / name).read_bytes()
    return json.loads(gzip.decompress(raw) if name.endswith(".gz") else raw)


CONFIGS = of_json("score_sde_pytorch/configs.json.gz")
OF_SCORE_SDE = {name.replace("/", "_"): name for name in CONFIGS}
MISPRINTS = {  # what two of the configs mean, and do not say: `loss` stands for sde, and `continuouse` for continuous
    "ve/ncsn/celeba": {"sde": "vesde"},
    "ve/ncsnv2/bedroom": {"continuous": False},
}
PREDICTORS = {
    "euler_maruyama": "EulerMaruyama(eta=1.0)",
    "reverse_diffusion": "ReverseDiffusion(eta=1.0)",
    "ancestral_sampling": "Ancestral(variance='large')",
    "none": "None",
}
OF_NCSNV2 = of_json("ncsnv2/configs.json")
OF_IDDPM = of_json("improved_diffusion/flags.json")
IDDPM = {
    "iddpm_cifar10_hybrid": "cifar10_uncond_50M_500K",
    "iddpm_cifar10_vlb": "cifar10_uncond_vlb_50M_500K",
    "iddpm_imagenet64_conditional": "imagenet64_cond_270M_250K",
    "iddpm_imagenet64_hybrid": "imagenet64_uncond_100M_1500K",
    "iddpm_imagenet64_vlb": "imagenet64_uncond_vlb_100M_1500K",
    "iddpm_bedroom": "lsun_uncond_100M_1200K_bs128",
    "iddpm_bedroom_slow": "lsun_uncond_100M_2400K_bs64",
}
CENTRED, UNIT = Images(256, -1 - 1 / 255, 1 + 1 / 255), Images(256, -0.5 / 255, 1 + 0.5 / 255)


def recorded_shapes(name):
    entry = FULL_SIZE[name]
    return FULL_SIZE[entry["keys_same_as"]]["shapes"] if "keys_same_as" in entry else entry["shapes"]


def filled(network, shapes):
    """Give a network weights of these names and shapes, all of them, each its place; it must want no more."""
    with torch.device("meta"):
        network.load_state_dict(weights_of({key: torch.empty(shape) for key, shape in shapes.items()}, network), assign=True)


def same_process(one, other):
    """Equal; tables to round-off, as their numbers come from different formulas."""
    if not isinstance(one, Tabulated):
        return one == other
    tables = [torch.tensor([sde.log_alphas, sde.log_sigmas], dtype=torch.float64) for sde in (one, other)]
    return one.indices == other.indices and torch.allclose(*tables, rtol=1e-12, atol=1e-12)


def test_every_experiment_has_a_preset_and_every_preset_an_experiment():
    own = {f"ncsnv2_{name}" for name in OF_NCSNV2.keys() - {"ncsn_original"}} | {"ncsn_cifar10"}
    ho = {f"ddpm_{name}" for name in ("cifar10", "celebahq", "bedroom", "bedroom_large", "church", "cat")}
    assert PRESETS.keys() == OF_SCORE_SDE.keys() | own | ho | IDDPM.keys()
    assert set(IDDPM.values()) == OF_IDDPM.keys()
    assert (len(CONFIGS), len(FULL_SIZE), len(PRESETS)) == (39, 30, 59)  # as docs/presets.md says


@pytest.mark.parametrize("name", OF_SCORE_SDE)
def test_presets_are_the_recorded_configs(name):
    """Network, process, data, training and sampling, option by option."""
    config, data, sde, parameterization, network = built(name)
    theirs = json.loads(json.dumps(CONFIGS[OF_SCORE_SDE[name]]))
    theirs["training"] |= MISPRINTS.get(OF_SCORE_SDE[name], {})
    training, optim, sampling = theirs["training"], theirs["optim"], theirs["sampling"]
    with torch.device("meta"):
        assert network.arguments == network_of(theirs).arguments
    process, reading = process_of(theirs)
    assert same_process(sde, process) and parameterization == reading
    assert data.transform == data_of(theirs)
    assert tuple(data.train.shape) == (0, *[theirs["data"][key] for key in ("num_channels", "image_size", "image_size")])

    assert (optim["optimizer"], optim["beta1"], optim["eps"], optim["weight_decay"]) == ("Adam", 0.9, 1e-8, 0)
    assert (config.train.learning_rate, config.train.warmup) == (optim["lr"], optim["warmup"])
    assert config.train.clip == (optim["grad_clip"] if optim["grad_clip"] >= 0 else math.inf)
    assert (config.train.batch_size, config.train.steps + 1) == (training["batch_size"], training["n_iters"])
    assert config.train.ema == theirs["model"]["ema_rate"]
    assert config.train.dequantize == theirs["data"]["uniform_dequantization"]
    assert config.train.flip == theirs["data"]["random_flip"]
    assert build("objective", config.objective).weighting == "sigma2" and not training["likelihood_weighting"]

    sampler = build("sampler", config.sample.sampler)
    assert repr(sampler.predictor) == PREDICTORS[sampling["predictor"]]
    assert len(sampler.times(sde)) == theirs["model"]["num_scales"]
    assert (sampler.corrector is None) == (sampling["corrector"] == "none")
    if sampler.corrector is not None:
        assert (sampler.corrector.snr, sampler.corrector.steps) == (sampling["snr"], sampling["n_steps_each"])
        assert sampler.corrector.step == {"langevin": "batch", "ald": "time"}[sampling["corrector"]]
    assert sampler.last == ("sample" if sampling["predictor"] == "none" else "denoise")  # without a predictor none is dropped
    if training["continuous"]:
        assert float(sampler.times(sde)[-1]) == (1e-5 if training["sde"] == "vesde" else 1e-3)
        first = build("objective", config.objective).times.sample(sde, torch.zeros(1, dtype=torch.float64))
        assert float(first) == 1e-5


@pytest.mark.parametrize("name", FULL_SIZE)
def test_presets_have_the_recorded_weights(name):
    """Every recorded name has its place, with its shape, and nothing is left over."""
    network = built(name.replace("/", "_"))[-1]
    filled(network, recorded_shapes(name))
    assert parameters(network) == FULL_SIZE[name]["trainable"]


def test_an_unconditional_network_has_no_weights_of_the_embedding():
    """Its authors' code cannot build it: the recorded one less the two layers of the embedding and their way into each block."""
    shapes = recorded_shapes("vp/ddpm/cifar10")
    ways = ("all_modules.0.", "all_modules.1.")
    told = [key for key in shapes if ".Dense_0." in key or key.removeprefix("module.").startswith(ways)]
    assert len(told) == 2 * 22 + 4 and all(len(shapes[key]) <= 2 for key in told)
    less = sum(math.prod(shapes[key]) for key in told)
    network = built("vp_ddpm_cifar10_unconditional")[-1]
    assert parameters(network) == FULL_SIZE["vp/ddpm/cifar10"]["trainable"] - less


@pytest.mark.parametrize("name", [name for name in PRESETS if "ncsn_" in name])
def test_ncsn_at_full_size_is_the_recorded_small_one_with_more_channels(name):
    """A small one was recorded, of 4 channels and 10 levels: every multiple of 4 is so many times 128, and the 10 is the levels."""
    _, _, sde, _, network = built(name)
    sizes = {10: len(sde.log_alphas), 3: 3, 1: 1}
    small = {key: tuple(value.shape) for key, value in weights_in(load("networks/ncsn_v1")).items()}
    shapes = {key: tuple(sizes[n] if n in sizes else n * 32 for n in shape) for key, shape in small.items()}
    filled(network, shapes)
    assert parameters(network) == sum(math.prod(shape) for shape in shapes.values())


@pytest.mark.parametrize("theirs", OF_NCSNV2)
def test_presets_are_ncsnv2_s_released_settings(theirs):
    original, recorded = theirs == "ncsn_original", OF_NCSNV2[theirs]
    config, data, sde, parameterization, network = built("ncsn_cifar10" if original else f"ncsnv2_{theirs}")
    table = (recorded["sigma_end"], recorded["sigma_begin"], recorded["num_classes"])
    assert (sde, parameterization) == (ncsn(*table), Score(label="index"))
    assert data.transform == (Images(256, 0.0, 1.0) if recorded["uniform_dequantization"] else UNIT)
    assert tuple(data.train.shape) == (0, 3, recorded["image_size"], recorded["image_size"])
    train = config.train
    assert (train.batch_size, train.steps + 1) == (recorded["batch_size"], recorded["n_iters"])
    assert (train.learning_rate, train.ema, train.warmup, train.clip) == (recorded["lr"], recorded["ema_rate"], 0, math.inf)
    assert train.dequantize == recorded["uniform_dequantization"]
    sampler = build("sampler", config.sample.sampler)
    assert (sampler.predictor, sampler.last) == (None, "denoise" if recorded["denoise"] else "sample")
    assert (sampler.corrector.epsilon, sampler.corrector.steps) == (recorded["step_lr"], recorded["n_steps_each"])
    assert sampler.corrector.published == ("ncsn" if original else "ncsnv2") and len(sampler.times(sde)) == table[2]
    size = next(size for size in (64, 128, 256) if recorded["image_size"] <= size)
    multipliers, dilations = STAGES[f"ncsnv2_{size}"]
    assert (network.arguments["multipliers"], network.arguments["dilations"]) == (list(multipliers), list(dilations))
    assert network.arguments["channels"] == recorded["ngf"] and network.arguments["unit_range"] != recorded["rescaled"]
    assert original or network.arguments["sigmas"] == list(table)


@pytest.mark.parametrize("name", IDDPM)
def test_presets_are_improved_diffusion_s_released_flags(name):
    config, data, sde, parameterization, network = built(name)
    flags, steps = OF_IDDPM[IDDPM[name]], IDDPM[name].split("_")
    levels, size = flags["diffusion_steps"], flags["image_size"]
    label = "index_of_1000" if flags["rescale_timesteps"] else "index"
    assert (sde, parameterization) == (ddpm(flags["noise_schedule"], levels), WithVariance(Epsilon(label=label)))
    assert data.transform == CENTRED and tuple(data.train.shape) == (0, 3, size, size)
    train = config.train
    assert (train.learning_rate, train.batch_size, train.ema) == (flags["lr"], flags["batch_size"], float(flags["ema_rate"]))
    assert (train.warmup, train.clip, train.dequantize) == (0, math.inf, False)
    assert f"{train.steps // 1000}K" in steps
    objective = build("objective", config.objective)
    assert isinstance(objective, VariationalBound) == flags["use_kl"]
    if flags["schedule_sampler"] == "loss-second-moment":
        assert repr(objective.times) == f"LossAwareTime(levels={levels}, history=10, uniform=0.001)"
    theirs = {
        "channels": flags["num_channels"],
        "multipliers": {32: [1, 2, 2, 2], 64: [1, 2, 3, 4], 256: [1, 1, 2, 2, 4, 4]}[size],
        "blocks": flags["num_res_blocks"],
        "attention": sorted(int(math.log2(size // int(n))) for n in flags["attention_resolutions"].split(",")),
        "heads": flags["num_heads"],
        "head_channels": None,
        "dropout": flags["dropout"],
        "modulation": "scale_shift" if flags["use_scale_shift_norm"] else "add",
        "resample": "conv",
        "outputs": 2,
        "condition": 1000 if flags.get("class_cond") else 0,
    }
    assert theirs.items() <= network.arguments.items()
    sampler = build("sampler", config.sample.sampler)
    assert sampler.predictor.variance == "learned" and sampler.last == "denoise" and len(sampler.times(sde)) == levels


@pytest.mark.parametrize(("name", "published"), [("ddpm_cifar10", 35.7), ("ddpm_bedroom", 114), ("ddpm_bedroom_large", 256)])
def test_ddpm_has_as_many_weights_as_its_paper_says(name, published):
    """Appendix B, in millions. Its steps, in millions, too."""
    _, data, sde, parameterization, network = built(name)
    assert parameters(network) / 1e6 == pytest.approx(published, abs=0.05 if published == 35.7 else 0.5)
    assert (sde, parameterization, data.transform) == (ddpm("linear", 1000), Epsilon(label="index"), CENTRED)
    steps = {"cifar10": 0.8, "celebahq": 0.5, "bedroom": 2.4, "bedroom_large": 1.15, "cat": 1.8, "church": 1.2}
    for data, millions in steps.items():
        train = find_config(f"ddpm_{data}", None).train
        assert train.steps == round(millions * 1e6) and (train.warmup, train.clip, train.ema) == (5000, 1.0, 0.9999)
        assert (train.learning_rate, train.batch_size) == ((2e-4, 128) if data == "cifar10" else (2e-5, 64))


def of_diffusers(name, diffusers):
    """The same network as another implementation has it."""
    _, data, _, _, network = built(name)
    own = network.arguments
    down = ["AttnDownBlock2D" if i in own["attention"] else "DownBlock2D" for i in range(len(own["multipliers"]))]
    with torch.device("meta"):
        return diffusers.UNet2DModel(
            in_channels=3,
            out_channels=3 * own["outputs"],
            block_out_channels=[own["channels"] * m for m in own["multipliers"]],
            layers_per_block=own["blocks"],
            down_block_types=down,
            up_block_types=[kind.replace("Down", "Up") for kind in reversed(down)],
            resnet_time_scale_shift="scale_shift" if own.get("modulation") == "scale_shift" else "default",
            attn_norm_num_groups=32,
            sample_size=data.train.shape[-1],
            num_class_embeds=own.get("condition") or None,
        )


ELSEWHERE = ["ddpm_cifar10", "ddpm_church", "ddpm_bedroom_large", "iddpm_cifar10_vlb", "iddpm_bedroom"]
ELSEWHERE += ["iddpm_imagenet64_hybrid", "iddpm_imagenet64_conditional"]


@pytest.mark.quick("iddpm_*")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_presets_whose_weights_were_not_recorded_have_as_many_as_in_diffusers(name):
    diffusers = pytest.importorskip("diffusers")
    assert parameters(built(name)[-1]) == parameters(of_diffusers(name, diffusers))

"""Published experiments: each is built at full size, and is what its authors' code says it is."""

import gzip
import json
import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import run
from configs.presets import PRESETS
from models.importers.ncsn import STAGES
from models.importers.score_sde import data_of, network_of, process_of, weights_of
from sde_lib import Tabulated
from tests.laws.test_parity_networks import FULL_SIZE
from tests.recorded import GOLDEN
from tests.recorded import load as recorded
from training.build import build
from training.config import find_config, require
from training.experiment import Sampling, Scoring, assemble, parts_of_model
from training.trainer import Settings

ROOT = Path(__file__).parent.parent
CONFIGS = json.loads(gzip.decompress((GOLDEN / "score_sde_pytorch" / "configs.json.gz").read_bytes()))
OF_SCORE_SDE = {name.replace("/", "_"): name for name in CONFIGS}
MISPRINTS = {  # what the recorded configs mean, and do not say: the first has `loss`, the second `continuouse`
    "ve/ncsn/celeba": {"sde": "vesde"},
    "ve/ncsnv2/bedroom": {"continuous": False},
}
PREDICTORS = {
    "euler_maruyama": "EulerMaruyama(eta=1.0)",
    "reverse_diffusion": "ReverseDiffusion(eta=1.0)",
    "ancestral_sampling": "Ancestral(variance='large')",
    "none": "None",
}


def config_of(name):
    """What was recorded, with its misprints put right."""
    config = json.loads(json.dumps(CONFIGS[name]))
    config["training"] |= MISPRINTS.get(name, {})
    return config


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
    return (
        config,
        data,
        sde,
        parameterization,
        network_on_meta(config.network, tuple(data.train.shape[1:]), parameterization.outputs),
    )


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def same_process(one, other):
    """Equal; tables to round-off, as their numbers come from different formulas."""
    if not isinstance(one, Tabulated):
        return one == other
    tables = [torch.tensor([sde.log_alphas, sde.log_sigmas], dtype=torch.float64) for sde in (one, other)]
    return one.indices == other.indices and torch.allclose(*tables, rtol=1e-12, atol=1e-12)


def test_every_recorded_experiment_has_a_preset():
    assert OF_SCORE_SDE.keys() <= PRESETS.keys()
    assert len(CONFIGS) == 39


@pytest.mark.parametrize("name", OF_SCORE_SDE)
def test_presets_are_the_recorded_configs(name):
    """Network, process, data, training and sampling, option by option."""
    config, data, sde, parameterization, network = built(name)
    theirs = config_of(OF_SCORE_SDE[name])
    training, optim, sampling = theirs["training"], theirs["optim"], theirs["sampling"]
    with torch.device("meta"):
        assert network.arguments == network_of(theirs).arguments
    process, reading = process_of(theirs)
    assert same_process(sde, process) and parameterization == reading
    assert data.transform == data_of(theirs)
    assert tuple(data.train.shape) == (0, *[theirs["data"][key] for key in ("num_channels", "image_size", "image_size")])

    assert (optim["optimizer"], optim["beta1"], optim["eps"], optim["weight_decay"]) == ("Adam", 0.9, 1e-8, 0)
    settings = config.train
    assert (settings.learning_rate, settings.warmup) == (optim["lr"], optim["warmup"])
    assert settings.clip == (optim["grad_clip"] if optim["grad_clip"] >= 0 else math.inf)
    assert (settings.batch_size, settings.steps + 1) == (training["batch_size"], training["n_iters"])
    assert settings.ema == theirs["model"]["ema_rate"]
    assert settings.dequantize == theirs["data"]["uniform_dequantization"]

    sampler = build("sampler", config.sample.sampler)
    assert repr(sampler.predictor) == PREDICTORS[sampling["predictor"]]
    assert len(sampler.times(sde)) == theirs["model"]["num_scales"]
    assert (sampler.corrector is None) == (sampling["corrector"] == "none")
    if sampler.corrector is not None:
        assert (sampler.corrector.snr, sampler.corrector.steps) == (sampling["snr"], sampling["n_steps_each"])
        assert sampler.corrector.step == {"langevin": "batch", "ald": "time"}[sampling["corrector"]]
    assert sampler.last == ("sample" if sampling["predictor"] == "none" else "denoise")  # nothing is denoised without a predictor
    if training["continuous"]:
        assert float(sampler.times(sde)[-1]) == (1e-5 if training["sde"] == "vesde" else 1e-3)
        objective = build("objective", config.objective)
        assert float(objective.times.sample(sde, torch.zeros(1, dtype=torch.float64))) == 1e-5


@pytest.mark.parametrize("name", FULL_SIZE)
def test_presets_have_the_recorded_weights(name):
    """Every recorded name has its place, with its shape, and nothing is left over."""
    entry, network = FULL_SIZE[name], built(name.replace("/", "_"))[-1]
    shapes = FULL_SIZE[entry["keys_same_as"]]["shapes"] if "keys_same_as" in entry else entry["shapes"]
    with torch.device("meta"):
        network.load_state_dict(weights_of({key: torch.empty(shape) for key, shape in shapes.items()}, network), assign=True)
    assert parameters(network) == entry["trainable"]

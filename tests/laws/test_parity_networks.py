"""Networks against recorded outputs, gradients and shapes of other implementations."""

import gzip
import json

import pytest
import torch

from models.importers.score_sde import network_of, weights_of
from tests.recorded import GOLDEN, load

FOLDER = GOLDEN / "networks"
CONFIGS = json.loads((FOLDER / "score_sde_configs.json").read_text())
FULL_SIZE = json.loads(gzip.decompress((FOLDER / "full_size.json.gz").read_bytes()))


def weights_in(arrays):
    """The weights among recorded arrays: float16 values, exact in any precision."""
    return {key.removeprefix("sd/"): value for key, value in arrays.items() if key.startswith("sd/")}


def assert_near(actual, expected, rtol):
    """Within rtol of the largest entry."""
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=rtol * float(expected.abs().max()))


@pytest.mark.parametrize("name", CONFIGS)
def test_score_sde_networks_and_their_gradients_are_the_recorded_ones(name):
    recorded = load(f"networks/{name}")
    weights = weights_in(recorded) or weights_in(load("networks/vp_ddpm"))
    network = network_of(CONFIGS[name]).double().eval()
    network.load_state_dict(weights_of(weights, network))
    x, labels = recorded["x"].requires_grad_(), recorded["labels"]
    out = network(x, labels)
    assert_near(out.detach(), recorded["out_f64"], 1e-9)
    (vjp,) = torch.autograd.grad(out, x, recorded["v"])
    assert_near(vjp, recorded["vjp"], 2e-5)  # recorded in float32
    network.float()
    labels = labels.float() if labels.is_floating_point() else labels
    single = network(x.detach().float(), labels)
    assert single.dtype == torch.float32
    assert_near(single.detach(), recorded["out"], 2e-5)


@pytest.mark.quick("vp/ddpm/cifar10", "vp/cifar10_ddpmpp", "ve/bedroom_ncsnpp_continuous", "ve/ncsnv2/bedroom")
@pytest.mark.parametrize("name", FULL_SIZE)
def test_networks_at_full_size_have_the_recorded_weights(name):
    """Every recorded name has its place, with its shape, and nothing is left over."""
    entry = FULL_SIZE[name]
    with torch.device("meta"):
        network = network_of(entry["config"])
        shapes = FULL_SIZE[entry["keys_same_as"]]["shapes"] if "keys_same_as" in entry else entry["shapes"]
        network.load_state_dict(weights_of({key: torch.empty(shape) for key, shape in shapes.items()}, network), assign=True)
    assert sum(p.numel() for p in network.parameters()) == entry["trainable"]

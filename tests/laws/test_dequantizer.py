"""A learned law in the bins: its density is that of its points, and training finds the best one where it is known."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from likelihood import Exact, UniformDequantizer, Variational, bits_per_dim
from models import MLP
from score_sde.training.dequantizer import fit, save_dequantizer, variational
from sde_lib import VPSDE, Epsilon, GaussianOracle, Images, RowNoise, ScoreModel

IMAGES, SDE, STD = Images(4), VPSDE(), 0.3


class Fixed(nn.Module):
    """The same m and s for every pixel of a level."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2, IMAGES.levels))

    def forward(self, x, label):
        return torch.cat([row[IMAGES.decode(x).long()] for row in self.table], dim=1)


def test_the_stated_density_is_that_of_the_points():
    """E[1 / q] over the bin is its width, for a law that is far from uniform; and the points are in their bins."""
    network = Fixed()
    network.table.data = torch.tensor([[0.5, -1.0, 0.0, 2.0], [0.3, 0.1, 0.2, -0.2]])
    codes = torch.arange(4).repeat(20_000)[:, None]
    with torch.no_grad():
        x, log_det = Variational(network).sample(IMAGES, codes, RowNoise(0, len(codes)), SDE.at(torch.tensor(1e-5)))
    assert torch.equal(IMAGES.decode(x).long(), codes)
    inverse = log_det.exp().reshape(-1, 4)
    expected = torch.full((4,), IMAGES.bin_width, dtype=torch.float64)
    assert ((inverse.mean(0) - expected).abs() < 5 * inverse.std(0) / 20_000**0.5).all()
    u = ((x[codes == 1] - IMAGES.low) / IMAGES.bin_width) % 1
    assert stats.kstest(torch.logit(u.double()).numpy(), stats.norm(-1.0, math.exp(0.1)).cdf).pvalue > 1e-4


class Exactly(nn.Module):
    """The network whose eps is that of Gaussian data."""

    def __init__(self):
        super().__init__()
        self.score = GaussianOracle(torch.zeros(2, dtype=torch.float64), STD).score(SDE)

    def forward(self, x, t):
        alpha, sigma, _ = SDE.at(t)
        return x * (sigma / (alpha**2 * STD**2 + sigma**2)).to(x)[:, None]


@pytest.mark.slow
def test_training_finds_more_than_uniform_points_do_and_no_more_than_there_is():
    """Data of a discretised Gaussian under the exact model: between -log2 P(k) and the bound of uniform points, near the former."""
    edges = torch.linspace(IMAGES.low, IMAGES.high, IMAGES.levels + 1, dtype=torch.float64)
    mass = torch.from_numpy(stats.norm(0, STD).cdf(edges.numpy())).diff()
    codes = torch.multinomial(mass, 4000, replacement=True, generator=torch.Generator().manual_seed(0)).reshape(-1, 2)
    network = Fixed()
    model = ScoreModel(Exactly(), SDE, Epsilon("time"), IMAGES)
    *_, last = fit(network, model, codes, 400, batch_size=256, learning_rate=0.05, seed=0)
    assert last.step == 400 and math.isfinite(last.bits)
    settings = {"images": IMAGES, "divergence": Exact(), "solver_images": 0, "tolerance": 1e-3}
    learned, uniform = (
        bits_per_dim(SDE, model.network.score, codes[:1000], dequantize=q, **settings).mean
        for q in (Variational(network.requires_grad_(False)), UniformDequantizer())
    )
    truth = -mass.log2()[codes[:1000]].mean().item()
    assert truth - 0.005 < learned < truth + 0.25 * (uniform - truth)


def test_a_dequantizer_is_saved_and_loaded(tmp_path):
    network, path = MLP((2,), width=8, depth=1, outputs=2), tmp_path / "d.safetensors"
    save_dequantizer(network, path)
    again = variational(str(path), draws=3)
    assert again.draws == 3 and str(path) in repr(again)
    codes, level = torch.tensor([[0, 3], [1, 2]]), SDE.at(torch.tensor(1e-5))
    one, other = (q.sample(IMAGES, codes, RowNoise(0, 2), level) for q in (again, Variational(network)))
    assert torch.equal(one[0], other[0].detach()) and torch.equal(one[1], other[1].detach())
    for content, words in ((path.read_bytes()[:100], "damaged"), (b"", "damaged")):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            variational(str(tmp_path / "bad"))
    with pytest.raises(ValueError, match="no dequantizer at"):
        variational(str(tmp_path / "nowhere"))

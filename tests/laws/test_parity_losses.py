"""Law 8, parity of the training loss with score_sde_pytorch, improved-diffusion and EDM, gradients too."""

import pytest
import torch

from sde_lib import (
    EDM,
    VESDE,
    VPSDE,
    DenoisingScoreMatching,
    Epsilon,
    Score,
    ScoreModel,
    SubVPSDE,
    Tabulated,
    UniformTime,
)
from tests.recorded import entry, load, same, with_clean_level

CONTINUOUS = {
    "vp": VPSDE(),
    "vp_b2": VPSDE(0.05, 12.0),
    "subvp": SubVPSDE(),
    "ve50": VESDE(),
    "ve90": VESDE(sigma_max=90.0),
}
# Their loss is the mean over entries (rm1), as ours, or half of the sum (rm0), which is dims / 2 times as much.
HALF_SUM = 0.5 * 3 * 8 * 8


class Toy(torch.nn.Module):
    """a x + b cos(0.01 label), and the labels that it was given."""

    def __init__(self, g, label=None):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(g[name].clone()) for name in "ab")
        self.label = label

    def forward(self, x, label):
        self.told = label
        label = label if self.label is None else self.label
        return self.a * x + self.b * torch.cos(0.01 * label.double()).reshape(-1, 1, 1, 1)


def assert_parity(g, key, network, loss):
    gradients = torch.autograd.grad(loss, (network.a, network.b))
    for reduction, factor in (("rm1", 1.0), ("rm0", HALF_SUM)):
        same(factor * loss.detach(), g[f"{key}/{reduction}/loss"])
        for name, gradient in zip("ab", gradients, strict=True):
            same(factor * gradient, g[f"{key}/{reduction}/grad_{name}"])


@pytest.mark.parametrize(("weighting", "key"), [("sigma2", "lw0"), ("likelihood", "lw1")])
@pytest.mark.parametrize("kind", CONTINUOUS)
def test_continuous_loss_is_score_sde_s(kind, weighting, key):
    g, sde = load("score_sde_pytorch/d_losses"), CONTINUOUS[kind]
    reading = Score(label="sigma") if kind.startswith("ve") else Epsilon(label="time")
    network = Toy(g)
    loss = DenoisingScoreMatching(weighting)(ScoreModel(network, sde, reading), g["batch"], t=g["t"], z=g["z"]).mean()
    same(UniformTime(t_min=1e-5).sample(sde, g["u"]), g["t"])
    same(network.told, g[f"cont/{kind}/labels"])
    assert_parity(g, f"cont/{kind}/{key}", network, loss)


@pytest.mark.parametrize(("kind", "ends"), [("vp", (0.1, 20.0)), ("vp_b2", (0.05, 12.0))])
def test_loss_on_a_table_of_betas_is_score_sde_s_ddpm_loss(kind, ends):
    g = load("score_sde_pytorch/d_losses")
    sde = Tabulated.from_betas(torch.linspace(ends[0] / 1000, ends[1] / 1000, 1000, dtype=torch.float64))
    network, t = Toy(g), entry(sde, g["ddpm/label_index"])
    model = ScoreModel(network, sde, Epsilon(label="index"))
    loss = DenoisingScoreMatching()(model, g["batch"], t=t, z=g["ddpm/z"]).mean()
    assert torch.equal(network.told, g["ddpm/label_index"])
    assert_parity(g, f"ddpm/{kind}", network, loss)


@pytest.mark.parametrize("kind", ["ve50", "ve90"])
def test_loss_at_the_table_of_sigmas_is_score_sde_s_smld_loss(kind):
    """Their label 0 is the largest sigma: time 1 - label / 999. The label itself is told to the network by hand."""
    g = load("score_sde_pytorch/d_losses")
    network, t = Toy(g, label=g["smld/label_index"]), 1 - g["smld/label_index"].double() / 999
    model = ScoreModel(network, CONTINUOUS[kind], Score())
    loss = DenoisingScoreMatching()(model, g["batch"], t=t, z=g["smld/z"]).mean()
    assert_parity(g, f"smld/{kind}", network, loss)


def test_loss_of_each_image_is_improved_diffusion_s_mse():
    g = load("improved_diffusion/idd_losses")
    sde = with_clean_level(g["betas"])
    model = ScoreModel(lambda x, label: g["out_mean"], sde, Epsilon(label="index"))
    x0 = g["codes"].double() / 127.5 - 1
    loss = DenoisingScoreMatching()(model, x0, t=entry(sde, g["t"] + 1), z=g["noise"])
    same(loss, g["loss/MSE/EPSILON/FIXED_SMALL/mse"])


def test_bound_on_the_prior_s_mismatch_holds_for_improved_diffusion_s_prior_bits():
    """Theirs is KL(q(x_T | x0) || N(0, 1)); ours is against N(0, sigma_T^2), an upper bound, in nats."""
    g = load("improved_diffusion/idd_losses")
    sde, x0 = Tabulated.from_betas(g["betas"]), g["codes"].double() / 127.5 - 1
    sigma = sde.at(1.0).sigma
    dims = x0[0].numel()
    # KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1) / 2 - log s, and the bound is m^2 / (2 s^2).
    kl = sde.prior_mismatch(x0) * sigma**2 + dims * (0.5 * (sigma**2 - 1) - sigma.log())
    same(kl / (dims * torch.log(torch.tensor(2.0, dtype=torch.float64))), g["prior_bpd"])


def denoiser(x, sigma):
    """What EDM's losses were recorded with: the exact one of N(0.3, 0.25)."""
    return 0.3 + 0.25 / (0.25 + sigma**2) * (x - 0.3)


def column(v):
    return v.reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("kind", ["vp", "ve"])
def test_loss_with_sigma2_is_edm_s_vp_and_ve_loss(kind):
    """|D - y|^2 / sigma^2 for x = y + sigma n is the squared error of eps. EDM divides the state of VP by alpha."""
    g = load("edm/edm_losses")
    u = g[f"{kind}/t_noise"].flatten()
    sde, t = (VPSDE(), 1 + u * (1e-5 - 1)) if kind == "vp" else (VESDE(0.02, 100.0), u)
    alpha, sigma, _ = sde.at(t)
    ratio = column(sigma / alpha)

    def network(x, label):
        x = x / column(alpha)
        return (x - denoiser(x, ratio)) / ratio

    loss = DenoisingScoreMatching()(ScoreModel(network, sde, Epsilon()), g["images"], t=t, z=g[f"{kind}/noise"])
    same(loss, g[f"{kind}/loss"].flatten(1).mean(1))


def test_loss_with_edm_preconditioning_is_edm_s_loss():
    """Weight (sigma^2 + sd^2) / (sigma sd)^2 on |D - y|^2, which is sigma^4 times the squared error of the score."""
    g, sd = load("edm/edm_losses"), 0.5
    sigma = (g["edm/t_noise"].flatten() * 1.2 - 1.2).exp()
    sde = VESDE(0.002, 80.0)
    norm = column((sigma**2 + sd**2).sqrt())

    def network(scaled, label):
        x = scaled * norm
        return (denoiser(x, column(sigma)) - (sd / norm) ** 2 * x) * norm / (column(sigma) * sd)

    def weighting(sde, t):
        return sigma**2 * (sigma**2 + sd**2) / sd**2

    model = ScoreModel(network, sde, EDM(sigma_data=sd))
    loss = DenoisingScoreMatching(weighting)(model, g["images"], t=sde.t_of_log_snr(-2 * sigma.log()), z=g["edm/noise"])
    same(loss, g["edm/loss"].flatten(1).mean(1))

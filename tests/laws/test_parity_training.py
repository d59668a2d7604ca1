"""Law 8, parity of training with score_sde_pytorch: three steps of a tiny NCSN++, and averages over forty.

Their loop differs from ours in three settings, which the tests take from them: the loss is half of the sum over entries, the rate
of step k is k / warmup of the full one, and after n updates min(rate, (n + 1) / (n + 10)) of an average is kept.
"""

import pytest
import torch

from models import import_checkpoint
from score_sde.training.ema import Average
from score_sde.training.settings import Settings
from score_sde.training.trainer import Trainer
from sde_lib import DenoisingScoreMatching, UniformTime
from tests.laws.test_importers import CONFIG
from tests.recorded import load, same

HALF_SUM = 0.5 * 3 * 8 * 8


def their_decay(rate):
    return lambda updates: min(rate, (updates + 2) / (updates + 11))


class TheirRate(Settings):
    def rate_at(self, step):
        return min(step / self.warmup, 1.0)


class HalfOfTheSum:
    """Our loss of a row, as half of the sum over its entries."""

    def __init__(self, times):
        self.loss, self.times = DenoisingScoreMatching(times=times), times

    def __call__(self, model, x0, **given):
        return HALF_SUM * self.loss(model, x0, **given)


class Recorded(Trainer):
    """Training on batches, times and noise that were recorded."""

    def _batch(self):
        x0, u, z = (self.recorded[name][self.step] for name in ("batches", "u", "z"))
        return x0, self.times.sample(self.model.sde, u), z, {}


def test_three_steps_of_training_are_score_sdes(tmp_path):
    g = {key: value.float() for key, value in load("score_sde_pytorch/e_train3").items()}
    torch.save({key.removeprefix("init/"): value for key, value in g.items() if key.startswith("init/")}, tmp_path / "init.pth")
    model = import_checkpoint(tmp_path / "init.pth", config=CONFIG, weights="raw").train()
    theirs = {"learning_rate": 2e-4, "warmup": 10, "clip": 1.0, "ema": 0.999, "dequantize": True}
    settings = TheirRate.of(steps=3, batch_size=4, log_every=1, save_every=100, held_out=0, **theirs)
    objective = HalfOfTheSum(UniformTime(t_min=1e-5))
    trainer = Recorded(model, torch.zeros(4, 3, 8, 8, dtype=torch.uint8), objective, settings, seed=0, folder=None)
    trainer.recorded = g
    trainer.averages["ema"]._decay = their_decay(0.999)
    norms = []
    clipped = trainer.guard.step

    def watched(optimizer, loss, clip):
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
        clipped(optimizer, loss, clip)

    trainer.guard.step = watched
    losses = [progress.loss for progress in trainer.run()]
    same(torch.tensor(losses), g["train_loss"], rtol=1e-4)
    same(torch.stack(norms), g["grad_norm_before_clip"], rtol=1e-4)
    x, labels = g["probe_x"], g["probe_labels"]
    for name, network in (("raw", model.network.eval()), ("ema", trainer.average.module.eval())):
        expected = g[f"out_{name}"]
        with torch.no_grad():
            torch.testing.assert_close(network(x, labels), expected, rtol=0, atol=2e-5 * expected.abs().max().item())
    averaged = trainer.averaged().eval()
    held_out = objective(averaged, g["batches"][3], t=objective.times.sample(model.sde, g["eval_u"]), z=g["eval_z"]).mean()
    same(held_out.detach(), g["eval_loss_ema"], rtol=1e-4)


@pytest.mark.parametrize("rate", [0.999, 0.9999, 0.5, 0.0])
@pytest.mark.parametrize("warm", [True, False])
def test_averages_are_score_sdes(rate, warm):
    g = load("score_sde_pytorch/f_ema")
    layer = torch.nn.Linear(3, 2, bias=False, dtype=torch.float64)
    layer.weight.data = g["params"][0].clone()
    average = Average(layer, their_decay(rate) if warm else lambda updates: rate)
    for n, weights in enumerate(g["params"][1:]):
        layer.weight.data.copy_(weights)
        average.update(n)
        expected = g[f"decay{rate}/num_updates{int(warm)}/shadow"][n + 1]
        torch.testing.assert_close(average.module.weight.data, expected, rtol=1e-12, atol=1e-14)

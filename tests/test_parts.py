"""Every process, objective and parameterization from the command line; describe and suggest; the bound as an estimator."""

import json
import math
from pathlib import Path

import pytest
import torch

import run
from likelihood import bits_per_dim, variational_bound
from models import MLP, load
from score_sde.config.component import Component, build
from score_sde.data import Digits
from score_sde.data.suggest import warnings_about
from score_sde.errors import UsageError
from score_sde.evaluation.fid import frechet, frechet_distance
from score_sde.training.trainer import Trainer
from sde_lib import (
    VESDE,
    VPSDE,
    Epsilon,
    GaussianOracle,
    Hybrid,
    Images,
    LossAwareTime,
    PointsOracle,
    ScoreModel,
    VariationalBound,
    WithVariance,
)
from sde_lib.tabulated import ddpm
from tests.test_cli import TINY
from tests.test_training import SETTINGS, weights_of

WITH_VARIANCE = "with_variance(of=epsilon(label='index'))"
TABLE = "ddpm(schedule=cosine, steps=12)"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])


@pytest.mark.quick("flow", "ddpm(schedule=cosine*")
@pytest.mark.parametrize("sde", ["flow", "karras", "geometric", "ncsn(levels=8)", TABLE, "ddpm(schedule=quadratic, steps=12)"])
def test_every_process_trains_samples_and_scores(sde, capsys):
    assert run.main(["--sde", sde, "--mode", "train", *TINY, "--config.sample.num=4"]) == 0
    name = sde.split("(")[0]
    record = json.loads(Path(f"runs/{name}-digits/likelihood.json").read_text())
    assert math.isfinite(record["bits_per_dim"]) and "this model" in capsys.readouterr().out
    assert run.main(["--sde", name, "--mode", "sample", "--num", "3"]) == 0
    assert run.main(["--sde", name, "--mode", "likelihood"]) == 0
    assert "bits/dim" in capsys.readouterr().out
    assert load(f"runs/{name}-digits")(torch.zeros(1, 1, 8, 8), 0.5).isfinite().all()


OBJECTIVES = [
    ["--objective", "vlb"],
    ["--objective", "vlb(variance='large', times=loss_aware(levels=12, history=2))"],
    ["--objective", "hybrid", "--parameterization", WITH_VARIANCE],
    ["--objective", "hybrid(weight=0.01, simple=dsm(weighting=min_snr(gamma=3.0)))", "--parameterization", WITH_VARIANCE],
    ["--weighting", "likelihood"],
    ["--weighting", "v", "--parameterization", "v", "--schedule", "sigmoid"],
    ["--weighting", "previous", "--parameterization", "previous"],
    ["--objective", "dsm(times=low_discrepancy(of=uniform))", "--parameterization", "data"],
]


@pytest.mark.quick("--objective vlb", "--objective hybrid --*", "--weighting v *")
@pytest.mark.parametrize("flags", OBJECTIVES, ids=lambda flags: " ".join(flags))
def test_every_objective_trains_on_levels(flags, capsys):
    steps = ["--config.train.steps=15", "--config.sample.num=2"]
    assert run.main(["--sde", TABLE, *flags, *TINY, *steps]) == 0, capsys.readouterr().err
    assert "by the variational bound" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sde", "vp", "--objective", "vlb"], "set train.dequantize=False"),
        (["--sde", "vp", "--objective", "vlb", "--config.train.dequantize=False"], "needs a process with a table"),
        (["--sde", "ddpm", "--objective", "hybrid"], "wrap it in WithVariance"),
        (["--sde", "ddpm", "--objective", "vlb(times=loss_aware(levels=7))"], "a table of 7 levels is needed"),
        (["--sde", "ddpm", "--objective", "dsm(times=importance)"], "use UniformTime or LossAwareTime"),
        (["--sde", "vp", "--parameterization", "previous"], "use Tabulated"),
        (["--sde", "vp", "--parameterization", "epsilon(label='index')"], "label='time'"),
        (["--sde", "vp", "--weighting", "nonsense"], "use one of sigma2, likelihood"),
        (["--sde", "ve", "--schedule", "cosine"], "--schedule cosine belongs to vp, subvp and ddpm"),
        (["--sde", "ddpm", "--schedule", "cubic"], "use one of linear, quadratic, sigmoid, cosine"),
        (["--sde", "vp", "--config.likelihood.estimator=bound"], "needs a process with levels"),
        (["--sde", "vp", "--config.likelihood.estimator=guess"], "estimator 'flow', 'sde', 'bound' or 'all'"),
        (["--mode", "sample", "--weighting", "v"], "--weighting belongs to --mode describe, inspect, suggest and train"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_the_reason(flags, words, capsys):
    assert run.main(flags) == 2
    assert words in capsys.readouterr().err.replace("\n", " ") and not Path("runs").exists()


@pytest.mark.slow
def test_describe_prints_and_draws(capsys):
    for sde in ("vp", "ve", "karras", TABLE):
        assert run.main(["--mode", "describe", "--sde", sde, "--out", "drawn/it"]) == 0
        out = capsys.readouterr().out
        assert "alpha" in out and "the network answers" in out and Path("drawn/it.png").stat().st_size > 10_000
    assert run.main(["--mode", "describe", "--sde", "ddpm", "--schedule", "quadratic", "--dry-run"]) == 0
    assert "DenoisingScoreMatching" in capsys.readouterr().out and not Path("describe-ddpm-digits.png").exists()


def test_suggest_reads_the_data_and_warns(capsys):
    assert run.main(["--mode", "suggest", "--sde", "ve(sigma_min=0.1, sigma_max=1.0)"]) == 0
    out = capsys.readouterr().out
    assert "edm(sigma_data=0.71)" in out and out.count("warning:") == 3
    proposed = next(line.split("--sde ")[1].strip("'") for line in out.splitlines() if line.startswith("ve "))
    assert run.main(["--mode", "suggest", "--sde", proposed]) == 0
    assert "fits these data" in capsys.readouterr().out


def test_binary_data_under_many_levels_are_told():
    codes = torch.randint(0, 2, (50, 1, 4, 4)) * 255
    assert any("levels=2" in text for text in warnings_about(VESDE(sigma_max=20.0), codes, Images(256)))


def test_arguments_are_set_inside_a_component():
    assert str(Component.of("sde", "vp(T=1.0)").but(beta="cosine")) == "vp(T=1.0, beta=cosine)"
    assert str(Component.of("objective", "dsm(weighting='v')").but(weighting="edm")) == "dsm(weighting=edm)"
    assert build("objective", "hybrid(simple=dsm(times=low_discrepancy(of=uniform(t_min=0.1))))").times.of.t_min == 0.1
    with pytest.raises(UsageError, match="key=value"):
        Component.of("sde", "vp(1.0)")


@pytest.mark.quick("23")
@pytest.mark.parametrize("stop", [1, 23])
def test_a_resumed_run_remembers_the_losses_of_the_levels(tmp_path, stop):
    """Bit for bit, with loss-aware times, whose memory is part of the state."""
    settings = SETTINGS.__class__(**{**vars(SETTINGS), "dequantize": False})

    def trainer(folder):
        torch.manual_seed(0)
        reading = WithVariance(Epsilon(label="index"))
        model = ScoreModel(MLP((1, 8, 8), width=16, depth=1, outputs=2), ddpm("cosine", 8), reading, Images(17))
        objective = VariationalBound(times=LossAwareTime(levels=8, history=2))
        return Trainer(model, Digits().train[:100], objective, settings, 0, folder)

    whole = trainer(tmp_path / "whole")
    for _ in whole.run():
        pass
    first = trainer(tmp_path / "part")
    for progress in first.run():
        if progress.step == stop:
            first.save()
            break
    second = trainer(tmp_path / "part")
    second.resume()
    for _ in second.run():
        pass
    assert torch.equal(weights_of(second), weights_of(whole))
    assert torch.equal(second.times.losses, whole.times.losses) and (whole.times.probabilities() - 1 / 8).abs().max() > 1e-3


@pytest.mark.slow
def test_the_bound_is_above_the_entropy_and_near_it():
    """Four levels with probabilities of their own, and their exact score: the bound is at least H, and little more."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    images, sde = Images(4), ddpm("cosine", 200)
    oracle = PointsOracle(images.encode(torch.arange(4))[:, None].double(), p)
    codes = torch.arange(4).repeat_interleave((p * 4000).round().long())[:, None]
    entropy = float(-(p * p.log2()).sum())
    result = variational_bound(sde, oracle.score(sde), codes.split(1500), images=images)
    assert entropy - 4 * result.standard_error < result.mean < entropy + 0.15  # what 200 levels cost
    torch.testing.assert_close(result.terms.sum().item() + result.prior, result.mean)
    again = variational_bound(sde, oracle.score(sde), codes[1000:1010], images=images, index=1000)
    torch.testing.assert_close(again.per_image, result.per_image[1000:1010], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_bound_and_flow_agree_on_gaussian_data():
    """The bound of a fine table is above the flow's number, by the little that the steps cost.

    Levels as fine as the table's first noise: coarser ones, known to be centres of bins, would cost the smooth score more.
    """
    images, g = Images(256, -4.0, 4.0), torch.Generator().manual_seed(0)
    oracle = GaussianOracle(torch.zeros(2), 1.0)
    codes = images.decode(torch.randn(4000, 2, generator=g)).long()
    table = ddpm("linear", 1000)
    bound = variational_bound(table, oracle.score(table), codes, images=images, variance="large")
    flow = bits_per_dim(VPSDE(), oracle.score(VPSDE()), codes, images=images)
    assert flow.mean - 0.02 < bound.mean < flow.mean + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("sde", ["vp", TABLE])
def test_estimators_side_by_side(sde, capsys):
    """Each number is what its estimator gives alone; differences are of the same images."""
    assert run.main(["--sde", sde, "--mode", "train", *TINY, "--config.sample.num=2", "--config.likelihood.estimator=all"]) == 0
    folder = next(Path("runs").iterdir())
    whole = json.loads((folder / "likelihood.json").read_text())
    out = capsys.readouterr().out
    names = ["flow", "sde"] if sde == "vp" else ["flow", "sde", "bound"]
    assert list(whole["estimators"]) == names and whole["bits_per_dim"] == whole["estimators"]["flow"]["bits_per_dim"]
    assert whole["network_calls"] == sum(one["network_calls"] for one in whole["estimators"].values())
    for name, one in whole["estimators"].items():
        assert f"{one['bits_per_dim']:7.4f} +- {one['standard_error']:.4f}" in out
        assert one["from_flow"] == pytest.approx(one["bits_per_dim"] - whole["bits_per_dim"], abs=1e-9)
        assert run.main(["--mode", "likelihood", "--workdir", str(folder), f"--config.likelihood.estimator={name}"]) == 0
        alone = json.loads((folder / "likelihood.json").read_text())
        assert (alone["bits_per_dim"], alone["standard_error"]) == (one["bits_per_dim"], one["standard_error"])
        assert alone["images"] == whole["images"] == 360


def test_bounds_that_cannot_be_had_are_refused():
    score = GaussianOracle(torch.zeros(2), 1.0).score(VPSDE())
    with pytest.raises(ValueError, match="process with a table"):
        variational_bound(VPSDE(), score, torch.zeros(2, 2, dtype=torch.long), images=Images(4))
    with pytest.raises(ValueError, match="batches is empty"):
        variational_bound(ddpm(), lambda x, t: -x, [], images=Images(4))


def test_one_pass_serves_both_halves_of_the_hybrid():
    calls = []
    network = lambda x, label: calls.append(1) or torch.cat([x, x], 1)
    Hybrid()(ScoreModel(network, ddpm(), WithVariance(), Images(4)), torch.zeros(3, 2))
    assert len(calls) == 1


def test_frechet_distance_is_the_closed_form():
    """Commuting covariances: |m|^2 + sum (s_a - s_b)^2; zero for equal sets; finite for singular ones."""
    a, b = torch.tensor([1.0, 4.0]).diag().numpy(), torch.tensor([9.0, 0.0]).diag().numpy()
    assert frechet(torch.zeros(2).numpy(), a, torch.tensor([1.0, 2.0]).numpy(), b) == pytest.approx(5 + (1 - 3) ** 2 + 2**2)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).numpy()
    assert frechet_distance(x, x).value == pytest.approx(0, abs=1e-8)
    assert frechet_distance(x, x + 2).value == pytest.approx(12, rel=1e-5)
    with pytest.raises(ValueError, match="one width"):
        frechet_distance(x, x[:, :2])

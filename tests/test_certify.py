"""--mode certify: what is right passes, and what is wrong is found, in samplers of one's own too."""

import json
from pathlib import Path

import pytest

import run

OWN = """
from dataclasses import dataclass
import torch
from samplers import EulerMaruyama, Predictor, Step

@dataclass(frozen=True)
class Mine(EulerMaruyama):
    noise: float = 1.0
    score: float = 1.0
    late: bool = False
    frozen: bool = False

    def step(self, rsde, x, t, s, memory, noise):
        z = memory if self.frozen and memory is not None else noise(x)
        g, h = rsde.sde.diffusion(x, t), t - s
        mean = x - h * (rsde.sde.drift(x, t) - self.score * g**2 * rsde.score(x, s if self.late else t))
        return Step(mean + self.noise * g * h.sqrt() * z, mean, z)

@dataclass(frozen=True)
class Shared(EulerMaruyama):
    def step(self, rsde, x, t, s, memory, noise):
        pairs = torch.arange(len(x)) // 2 * 2
        return super().step(rsde, x, t, s, memory, lambda like: noise(like)[pairs])

@dataclass(frozen=True)
class Coupled(EulerMaruyama):
    def step(self, rsde, x, t, s, memory, noise):
        step = super().step(rsde, x, t, s, memory, noise)
        return step._replace(x=step.x + 1e-3 * x.mean(0))

@dataclass(frozen=True)
class Clipped(EulerMaruyama):
    def step(self, rsde, x, t, s, memory, noise):
        step = super().step(rsde, x, t, s, memory, noise)
        return step._replace(x=step.x.clamp(-50, 0.5))

@dataclass(frozen=True)
class Lost(EulerMaruyama):
    def step(self, rsde, x, t, s, memory, noise):
        raise KeyError("lost")

@dataclass(frozen=True)
class Overrated(EulerMaruyama):
    order = 2

@dataclass(frozen=True)
class Modest(Predictor):
    def step(self, rsde, x, t, s, memory, noise):
        return EulerMaruyama().step(rsde, x, t, s, memory, noise)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_steps.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


def certify(predictor, *more):
    return run.main(["--mode", "certify", "--predictor", predictor, *more])


@pytest.mark.quick("own_steps:Mine(noise=0.98)-*", "own_steps:Coupled-*", "own_steps:Lost-*")
@pytest.mark.parametrize(
    ("predictor", "words"),
    [
        ("own_steps:Mine(noise=0.98)", "its error falls with order -1.35"),
        ("own_steps:Mine(score=0.98)", "FAIL"),
        ("own_steps:Mine(score=0.5)", "and at most 0.0"),
        ("own_steps:Mine(late=True)", "VESDE            Mine                   100   200   1.2e-01    7.2e-02"),
        ("own_steps:Mine(frozen=True)", "FAIL"),
        ("own_steps:Coupled", "the result of a row depends on the other rows"),
        ("own_steps:Lost", "KeyError: 'lost'"),
        ("own_steps:Overrated", "and at most 0.005"),
    ],
)
def test_wrong_samplers_fail_by_the_exact_law(predictor, words, capsys, monkeypatch):
    monkeypatch.setattr("score_sde.evaluation.certification.certify_laws", lambda *_: iter(()))
    assert certify(predictor) == 1
    captured = capsys.readouterr()
    assert words in captured.out
    assert "of the rows above fail" in captured.err and captured.err.splitlines()[-1].count("score-sde:") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("predictor", "words"),
    [("own_steps:Shared", "in pairs"), ("own_steps:Clipped", "not affine"), ("own_steps:Mine(score=0.9)", "e-")],
)
def test_wrong_samplers_fail_by_their_samples(predictor, words, capsys):
    """Rows that share their draws; a step that bends, of which the exact law of Gaussian data says nothing."""
    assert certify(predictor, "--sde", "ve") == 1
    out = capsys.readouterr().out
    assert "FAIL: p = " in out and words in out


@pytest.mark.slow
@pytest.mark.parametrize("predictor", ["own_steps:Mine", "dpm_solver(order=3)"])
def test_right_samplers_pass(predictor, capsys):
    assert certify(predictor, "--out", "certificate.json") == 0
    out = capsys.readouterr().out
    assert "all pass" in out and "FAIL" not in out
    record = json.loads(Path("certificate.json").read_text())
    assert len(record["impulses"]) == 8 and len(record["laws"]) == 2 and min(record["laws"][0]["p"].values()) > 1e-4


@pytest.mark.slow
def test_with_a_corrector(capsys):
    assert certify("ddim", "--corrector", "langevin(snr=0.05)", "--sde", "vp") == 0
    assert "Langevin" in capsys.readouterr().out


def test_a_predictor_without_an_order_is_certified(capsys, monkeypatch):
    monkeypatch.setattr("score_sde.evaluation.certification.certify_laws", lambda *_: iter(()))
    assert certify("own_steps:Modest", "--sde", "vp") == 0
    assert "VPSDE            Modest " in capsys.readouterr().out


def test_mistakes(capsys):
    assert certify("leap") == 2
    assert "sampler.predictor 'leap' is not known" in capsys.readouterr().err
    assert certify("ddim", "--sde", "xp") == 2
    assert certify("ddim", "--num", "3") == 2


@pytest.mark.slow
def test_every_sampler_of_the_library_passes(capsys):
    assert run.main(["--mode", "certify"]) == 0
    out = capsys.readouterr().out
    assert "all pass" in out and "refused: AnnealedLangevin" in out

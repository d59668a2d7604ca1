"""Grids of times of one's own, and the precision of samples: what is wrong is refused before the first step."""

import pytest
import torch

from samplers import (
    DDIM,
    EulerMaruyama,
    FlowSampler,
    Langevin,
    LogSNR,
    Sampler,
    TorchSDE,
    Uniform,
    UniPC,
    impulse_response,
    interpolate,
    progressive,
)
from sde_lib import VESDE, VPSDE, Data, GaussianOracle, RectifiedFlow, ScoreModel, Tabulated
from tests.registry import PREDICTORS, name

WRONG = {
    "rising": ([0.01, 0.5, 1.0], "rises from 0.01 to 0.5"),
    "unsorted": ([1.0, 0.2, 0.5, 0.01], "rises from 0.2 to 0.5"),
    "one step back": ([1.0, 0.5, 0.5001, 0.01], "rises from 0.5 to 0.5001"),
    "beyond T": ([1.5, 0.5, 0.01], "goes from 1.5 to 0.01"),
    "indices for times": ([999.0, 500.0, 0.0], "goes from 999 to 0"),
    "below 0": ([1.0, 0.5, -0.01], "goes from 1 to -0.01"),
    "NaN": ([1.0, float("nan"), 0.01], "has 1 times that are NaN or infinite"),
    "infinite": ([float("inf"), 0.5, 0.01], "has 1 times that are NaN or infinite"),
    "empty": ([], r"has shape \(0,\)"),
    "two axes": ([[1.0, 0.5], [0.5, 0.01]], r"has shape \(2, 2\)"),
}
ORACLE = GaussianOracle(torch.zeros(2), 0.5)


def never(x, t):
    raise AssertionError("a score was asked for")


def doors(times, sde, score):
    sampler = Sampler(DDIM(), times=times)
    x = torch.ones(2, 2)
    return {
        "sample": lambda: sampler.sample(sde, score, (2, 2)),
        "stream, before the first frame is asked for": lambda: sampler.stream(sde, score, (2, 2)),
        "encode": lambda: sampler.encode(sde, score, x),
        "a corrector alone": lambda: Sampler(None, Langevin(), times=times).sample(sde, score, (2, 2)),
        "progressive": lambda: next(progressive(sampler, sde, score, (2, 2))),
        "interpolate": lambda: interpolate(sampler, sde, score, x, -x, 0.5, t=0.5),
        "impulse_response": lambda: impulse_response(sampler, sde),
    }


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_grid_is_refused_at_the_door(wrong):
    values, sentence = WRONG[wrong]
    for dtype in (torch.float32, torch.float64):
        grid = torch.tensor(values, dtype=dtype)
        for sde in (VPSDE(), VESDE(), RectifiedFlow(), Tabulated.from_betas(torch.linspace(1e-3, 0.3, 20))):
            for door, use in doors(lambda sde: grid, sde, never).items():
                if door in ("interpolate", "progressive") and wrong == "two axes":
                    continue  # which index the grid first
                with pytest.raises((ValueError, RuntimeError, IndexError), match=None if door == "interpolate" else sentence):
                    use()


def test_a_grid_in_float32_on_a_list_or_with_a_time_twice_gives_the_samples_of_its_times():
    sde = VPSDE()
    score = ORACLE.score(sde)
    values = [1.0, 0.75, 0.5, 0.25, 0.125]  # which float32 holds exactly
    exact = Sampler(EulerMaruyama(), times=lambda sde: torch.tensor(values, dtype=torch.float64))
    expected = exact.sample(sde, score, (3, 2), dtype=torch.float64).x
    single = Sampler(EulerMaruyama(), times=lambda sde: torch.tensor(values, dtype=torch.float32))
    listed = Sampler(EulerMaruyama(), times=lambda sde: values)
    for sampler in (single, listed):
        assert torch.equal(sampler.sample(sde, score, (3, 2), dtype=torch.float64).x, expected)
    twice = Sampler(DDIM(), times=lambda sde: torch.tensor([1.0, 0.5, 0.5, 0.125]))
    once = Sampler(DDIM(), times=lambda sde: torch.tensor([1.0, 0.5, 0.125]))
    torch.testing.assert_close(twice.sample(sde, score, (3, 2)).x, once.sample(sde, score, (3, 2)).x)
    rounded = 0.3  # whose float32 is larger
    short = VPSDE(T=rounded)
    grid = torch.linspace(rounded, 0.01, 4, dtype=torch.float32)
    assert grid[0].double() > rounded
    assert Sampler(DDIM(), times=lambda sde: grid).sample(short, ORACLE.score(short), (3, 2)).x.isfinite().all()


DTYPES = [torch.float32, torch.float64]


def in_precision(sde, dtype):
    """The exact score, answered in a precision of its own."""
    exact = ORACLE.score(sde)
    return lambda x, t: exact(x.double(), t).to(dtype)


@pytest.mark.parametrize("predictor", PREDICTORS, ids=name)
@pytest.mark.parametrize("given", DTYPES)
def test_the_precision_of_a_score_is_not_that_of_the_samples(predictor, given):
    sde = Tabulated.from_betas(torch.linspace(1e-3, 0.3, 20))
    for asked in DTYPES:
        for last in ("mean", "sample", "denoise"):
            sampler = Sampler(predictor, times=Uniform(5), last=last)
            got = sampler.sample(sde, in_precision(sde, given), (3, 2), dtype=asked).x
            assert got.dtype == asked
            if predictor != PREDICTORS[0]:
                continue
            expected = sampler.sample(sde, in_precision(sde, torch.float64), (3, 2), dtype=torch.float64).x
            torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", DTYPES)
@pytest.mark.parametrize("asked", DTYPES)
def test_the_precision_of_a_model_is_not_that_of_the_samples(asked, given):
    sde = VPSDE()
    score = in_precision(sde, given)
    model = ScoreModel(lambda x, label: (0.1 * x).to(given), sde, Data())
    for fn in (score, model):
        for sampler in (
            Sampler(UniPC(), times=LogSNR(5), last="denoise"),
            Sampler(EulerMaruyama(), Langevin(), times=LogSNR(5)),
            FlowSampler(last="denoise"),
            TorchSDE(method="euler", steps=5),
        ):
            assert sampler.sample(sde, fn, (3, 2), dtype=asked).x.dtype == asked
        frames = list(progressive(Sampler(DDIM(), times=LogSNR(3)), sde, fn, (3, 2), dtype=asked))
        assert {frame.x0.dtype for frame in frames} == {frame.x.dtype for frame in frames} == {asked}
        assert Sampler(DDIM(), times=LogSNR(3)).encode(sde, fn, torch.ones(3, 2, dtype=asked)).x.dtype == asked

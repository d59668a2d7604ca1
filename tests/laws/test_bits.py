"""Bits/dim and the parts of their error against discrete laws whose entropy is known, down to how often the intervals hold."""

import math

import pytest
import torch
from scipy import stats

from likelihood import (
    BitsPerDim,
    Exact,
    Hutchinson,
    TruncatedNormal,
    UniformDequantizer,
    bits_per_dim,
    log_likelihood,
    sde_bits_per_dim,
    sde_bound,
)
from sde_lib import VPSDE, GaussianOracle, Images, PointsOracle, RowNoise
from tests.laws.common import drawn_codes
from tests.laws.test_densities import correlated
from tests.laws.test_known_bits import discretised

SDE = VPSDE()
COARSE = Images(4)
STD = 0.3  # of data that are not small beside a bin of 0.5


def gaussian(d):
    return GaussianOracle(torch.zeros(d, dtype=torch.float64), STD).score(SDE)


def expected_bits(images, std=STD):
    """-log2 P(k) of each level under the model, and the mean of -log2 of the density over the bin: both of one entry."""
    edges = torch.linspace(images.low, images.high, images.levels + 1, dtype=torch.float64)
    mass = torch.from_numpy(stats.norm(0, std).cdf(edges.numpy())).diff()
    second = (edges[1:] ** 3 - edges[:-1] ** 3) / (3 * images.bin_width)  # E x^2 over the bin
    nats = 0.5 * second / std**2 + math.log(std * math.sqrt(2 * math.pi)) - math.log(images.bin_width)
    return -mass.log2(), nats / math.log(2)


@pytest.mark.slow
def test_draws_close_the_gap_of_the_bound_when_the_density_is_exact():
    codes = torch.tensor([[0, 1, 2, 3], [1, 1, 2, 2]]).repeat(50, 1)
    truth, one_draw = expected_bits(COARSE)
    one, many = (
        bits_per_dim(SDE, gaussian(4), codes, images=COARSE, dequantize=UniformDequantizer(n), divergence=Exact()) for n in (1, 200)
    )
    assert one.mean == pytest.approx(one_draw[codes].mean().item(), abs=4 * one.per_image.std().item() / 10)
    assert many.mean == pytest.approx(truth[codes].mean().item(), abs=0.01)
    assert one.parts.dequantization is None and one.parts.noise is None and one.parts.probe == 0
    assert many.parts.dequantization == pytest.approx((one_draw - truth)[codes].mean().item(), abs=0.02)
    assert "bits/dim" in str(many) and "standard error" in str(many)


def test_noisy_densities_are_averaged_in_their_logarithms():
    """The mean is that of one draw; the log of a mean of noisy densities is far below the truth."""
    d, images, n = 6, Images(64), 200
    oracle = correlated(d)
    codes = images.decode(oracle.sample(1, seed=1) / 4).long().expand(n, d)
    settings = {"images": images, "tolerance": 1e-3}
    noisy = bits_per_dim(SDE, oracle.score(SDE), codes, dequantize=UniformDequantizer(8), divergence=Hutchinson(), **settings)
    exact = bits_per_dim(SDE, oracle.score(SDE), codes, dequantize=UniformDequantizer(1), divergence=Exact(), **settings)
    spread = (noisy.standard_error**2 + exact.standard_error**2) ** 0.5
    assert abs(noisy.mean - exact.mean) < 4 * spread
    assert noisy.parts.dequantization is None
    # What the noise is said to be is what it is, image by image.
    assert noisy.noise_variance.mean().sqrt().item() == pytest.approx(noisy.per_image.std().item(), rel=0.15)


def test_each_draw_has_probes_of_its_own():
    oracle = correlated(6)
    codes = torch.full((400, 6), 32)
    one, four = (
        bits_per_dim(
            SDE,
            oracle.score(SDE),
            codes,
            images=Images(64),
            dequantize=UniformDequantizer(n),
            divergence=Hutchinson(),
            tolerance=1e-2,
        )
        for n in (1, 4)
    )
    assert one.per_image.std().item() / four.per_image.std().item() == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("levels", [2, 256])
def test_truncated_normal_loses_nothing_where_data_saturate(levels):
    """Black and white with equal odds: one bit. Uniform points lose what the stopping noise is of a bin: 0.177 at 256 levels."""
    images = Images(levels)
    centres = images.encode(torch.tensor([0, levels - 1])).double()
    score = PointsOracle(centres[:, None]).score(SDE)
    codes = torch.tensor([[0], [levels - 1]]).repeat(1000, 1)
    settings = {"images": images, "divergence": Exact(), "tolerance": 1e-5, "solver_images": 0}
    ours = bits_per_dim(SDE, score, codes, dequantize=TruncatedNormal(), **settings)
    # Mass outside the bin, 2 ndtr(-1 / (2 sigma_over_bin)), is what remains: 1.4e-4 bits at 256 levels.
    lost = -math.log2(1 - 2 * stats.norm.cdf(-0.5 / ours.sigma_over_bin))
    assert ours.mean == pytest.approx(1 + lost, abs=3e-4)
    if levels == 256:
        assert ours.sigma_over_bin == pytest.approx(0.128, abs=0.001)


def test_truncated_normal_gives_the_entropy_of_a_discretised_gaussian():
    """A model of the levels themselves, not of points spread over their bins (for which uniform points are right)."""
    images = Images(256)
    _, p = discretised(images, 0.1, 0.4)
    codes = torch.multinomial(p, 4000, replacement=True, generator=torch.Generator().manual_seed(0))[:, None]
    score = PointsOracle(images.encode(torch.arange(256)).double()[:, None], weights=p).score(SDE)
    result = bits_per_dim(SDE, score, codes, images=images, divergence=Exact(), dequantize=TruncatedNormal(), solver_images=0)
    own = -p[codes[:, 0]].log2()  # of these images
    assert result.mean == pytest.approx(own.mean().item(), abs=2e-3)  # the truth, 7.63 bits but for the draw


@pytest.mark.parametrize("dequantize", [UniformDequantizer(), TruncatedNormal()], ids=repr)
def test_points_lie_in_their_bins_with_the_stated_density(dequantize):
    """E[1 / q] over the bin is its width: the density that is stated is that of the draws."""
    images, level = Images(8), SDE.at(torch.tensor(1e-3, dtype=torch.float64))
    wide = level._replace(sigma=torch.tensor(0.1, dtype=torch.float64))
    codes = torch.arange(8).repeat(4000)[:, None]
    x, log_det = dequantize.sample(images, codes, RowNoise(0, len(codes)), wide)
    scale = 1.0 if isinstance(dequantize, UniformDequantizer) else wide.alpha.item()
    assert torch.equal(images.decode(x / scale).long(), codes)
    inverse = torch.as_tensor(log_det).double().exp().expand(len(codes))
    assert inverse.mean().item() == pytest.approx(
        scale * images.bin_width, rel=5 * (inverse.std() / inverse.mean() / 179).item() + 1e-6
    )
    assert torch.as_tensor(x).std() > 0


@pytest.mark.parametrize(("levels", "low", "high"), [(2, -1.0, 1.0), (16, 0.0, 1.0), (256, -1.0, 1.0), (65536, -1.0, 1.0)])
def test_uniform_codes_have_the_bits_of_their_levels(levels, low, high):
    """A score of zero keeps the density of the prior, here made flat by its width: log2(levels) bits at 1, 4, 8 and 16 bits."""
    from sde_lib import VESDE

    images, sde = Images(levels, low, high), VESDE(sigma_min=1e-3, sigma_max=1e4)
    codes = torch.randint(0, levels, (10, 3), generator=torch.Generator().manual_seed(0))
    flat = bits_per_dim(sde, lambda x, t: 0 * x, codes, images=images, divergence=Exact())
    per_entry = math.log2(1e4 * math.sqrt(2 * math.pi)) - math.log2(images.bin_width)
    assert flat.mean == pytest.approx(per_entry, abs=1e-6)
    assert per_entry - math.log2(1e4 * math.sqrt(2 * math.pi) / (high - low)) == pytest.approx(math.log2(levels), rel=1e-12)


def test_results_of_parts_are_the_result_of_the_whole():
    codes = torch.randint(0, 4, (30, 4), generator=torch.Generator().manual_seed(0))
    settings = {"images": COARSE, "dequantize": UniformDequantizer(2), "keep_latents": True}
    whole = bits_per_dim(SDE, gaussian(4), codes, **settings)
    first = bits_per_dim(SDE, gaussian(4), codes[:11], **settings)
    second = bits_per_dim(SDE, gaussian(4), codes[11:], index=11, solver_images=5, **settings)
    joined = BitsPerDim.join([first, second])
    torch.testing.assert_close(joined.per_image, whole.per_image, rtol=0, atol=1e-5)
    torch.testing.assert_close(joined.latents, whole.latents, rtol=0, atol=1e-4)
    assert joined.parts.solver == pytest.approx(whole.parts.solver, rel=0.05)
    assert joined.standard_error == pytest.approx(whole.standard_error, rel=1e-5)
    with pytest.raises(ValueError, match="no images"):
        BitsPerDim.join([])


def test_the_test_set_s_part_is_the_known_spread_of_images():
    """Of a mean over n: sqrt(var / n), var that of what an image costs on average over its points, entry by entry."""
    n, d, images = 4000, 4, COARSE
    _, p = discretised(images, 0.0, STD)
    _, one_draw = expected_bits(images)
    spread = ((p * one_draw**2).sum() - (p * one_draw).sum() ** 2).sqrt().item() / d**0.5
    codes = drawn_codes(p, n, d, 7)
    result = bits_per_dim(SDE, gaussian(d), codes, images=images, dequantize=UniformDequantizer(2), tolerance=1e-3)
    assert result.parts.test_set == pytest.approx(spread / n**0.5, rel=0.05)
    assert result.standard_error > 1.08 * spread / n**0.5  # which has the points' noise too
    alike = bits_per_dim(
        SDE, gaussian(d), codes[:1].expand(500, d), images=images, dequantize=UniformDequantizer(2), tolerance=1e-3
    )
    assert alike.parts.test_set < 0.5 * alike.parts.noise  # images that are all the same have none


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.1), (0.0, 0.3)])
def test_the_prior_s_part_is_the_known_mismatch_and_the_information_in_x_T(mean, std):
    """VP that ends at alpha^2 = 0.21. The cost is KL(p_T || prior), two Gaussians; the bound, which is of x_T given the image, has
    besides the information between the two, 1/2 log(v / sigma^2)."""
    images, sde, n, d = Images(256, -2.0, 2.0), VPSDE(0.1, 3.0), 4000, 2
    oracle = GaussianOracle(torch.full((d,), mean), std)
    codes = images.decode(oracle.sample(n, seed=5)).long()
    end = sde.at(sde.T)
    v = (end.alpha**2 * std**2 + end.sigma**2).item()
    noise, shift = end.sigma.item() ** 2, end.alpha.item() * mean
    mismatch = (0.5 * (v / noise - 1 - math.log(v / noise)) + shift**2 / (2 * noise)) / math.log(2)
    information = 0.5 * math.log2(v / noise)
    settings = {"images": images, "divergence": Exact(), "solver_images": 0}
    short, long = (bits_per_dim(process, oracle.score(process), codes, **settings) for process in (sde, VPSDE(0.1, 60.0)))
    cost = short.per_image - long.per_image  # of the same points: the prior's alone
    assert cost.mean().item() == pytest.approx(mismatch, abs=4 * cost.std().item() / n**0.5)
    assert long.parts.prior < 1e-10 < mismatch < short.parts.prior
    error = 4 * (short.prior.std().item() / n**0.5)
    assert short.parts.prior == pytest.approx(mismatch + information, abs=error + 1e-4)
    assert mean == 0 or short.parts.prior < 1.2 * mismatch


RUNS = 1000


@pytest.mark.slow
def test_confidence_intervals_have_their_coverage():
    """1,000 sets of 30 images of a known law: the 95 % interval of the mean holds its expectation in 93 to 97 %."""
    n, d = 30, 4
    images = Images(16)
    _, p = discretised(images, 0.0, STD)
    _, one_draw = expected_bits(images)
    truth = (p * one_draw).sum().item()
    g = torch.Generator().manual_seed(3)
    codes = torch.multinomial(p, RUNS * n * d, replacement=True, generator=g).reshape(-1, d)
    result = bits_per_dim(SDE, gaussian(d), codes, images=images, dequantize=UniformDequantizer(2), tolerance=1e-4)
    sets = result.per_image.reshape(RUNS, n)
    error = sets.std(1) / n**0.5
    held = ((sets.mean(1) - truth).abs() < stats.t(n - 1).ppf(0.975) * error).double().mean().item()
    assert 0.93 < held < 0.97, held
    # The noise of the draws alone, about the mean of the very same images.
    own = one_draw[codes].mean(1).reshape(RUNS, n).mean(1)
    noise = (result.noise_variance.reshape(RUNS, n).mean(1) / n) ** 0.5
    held = ((sets.mean(1) - own).abs() < stats.t(n).ppf(0.975) * noise).double().mean().item()
    assert 0.93 < held < 0.97, held


@pytest.mark.slow
def test_confidence_intervals_from_probes_have_their_coverage():
    """1,000 runs of 4 probes on 5 images: Student's interval about the exact value of the same images."""
    n, K = 5, 4
    oracle = correlated(6)
    x = oracle.sample(n, seed=2)
    exact = log_likelihood(SDE, oracle.score(SDE), x, tolerance=1e-4).log_prob.mean()
    noisy = log_likelihood(SDE, oracle.score(SDE), x.repeat(RUNS, 1), divergence=Hutchinson(K), tolerance=1e-4)
    means = noisy.log_prob.reshape(RUNS, n).mean(1)
    error = (noisy.probe_error.reshape(RUNS, n) ** 2).sum(1).sqrt() / n
    held = ((means - exact).abs() < stats.t(n * (K - 1)).ppf(0.975) * error).double().mean().item()
    assert 0.93 < held < 0.97, held


@pytest.mark.slow
def test_confidence_intervals_from_probes_have_their_coverage_on_a_discrete_law():
    """1,000 runs of 4 probes on 5 images of six, whose probabilities are known: Student's interval about their -log2.

    Points of a truncated normal have no noise of their own where images are far apart beside sigma: all that is left are probes.
    """
    n, K, images = 5, 4, Images(16)
    law = torch.tensor([[0, 3, 9, 15], [15, 12, 1, 4], [7, 8, 7, 6], [2, 2, 13, 11], [10, 0, 5, 9], [5, 14, 14, 1]])
    p = torch.tensor([0.05, 0.1, 0.15, 0.2, 0.2, 0.3], dtype=torch.float64)
    oracle = PointsOracle(images.encode(law).double(), weights=p)
    which = torch.multinomial(p, n, replacement=True, generator=torch.Generator().manual_seed(1))
    truth = -p[which].log2().mean() / law.shape[1]
    settings = {"images": images, "dequantize": TruncatedNormal(), "solver_images": 0}
    exact = bits_per_dim(SDE, oracle.score(SDE), law[which], divergence=Exact(), tolerance=1e-7, **settings)
    assert exact.mean == pytest.approx(truth.item(), abs=1e-4)
    codes = law[which].repeat(RUNS, 1)
    noisy = bits_per_dim(SDE, oracle.score(SDE), codes, divergence=Hutchinson(K), tolerance=1e-5, **settings)
    means = noisy.per_image.reshape(RUNS, n).mean(1)
    error = (noisy.probe_variance.reshape(RUNS, n).mean(1) / n).sqrt()
    assert means.std() > 100 * abs(exact.mean - truth)
    held = ((means - truth).abs() < stats.t(n * (K - 1)).ppf(0.975) * error).double().mean().item()
    assert 0.93 < held < 0.97, held
    one = bits_per_dim(SDE, oracle.score(SDE), codes[:n], divergence=Hutchinson(K), tolerance=1e-5, **settings)
    assert one.parts.probe == pytest.approx(error[0].item(), rel=1e-3)  # what is stated of a run is what is counted here


@pytest.mark.slow
def test_the_solvers_part_is_its_error():
    """Within a factor 2 of the change against a solution a thousand times finer, at tolerances from 1e-2 to 1e-4."""
    oracle = correlated(6)
    images = Images(64)
    codes = images.decode(oracle.sample(20, seed=2) / 3).long()
    settings = {"images": images, "divergence": Exact(), "solver_images": 20}
    fine = bits_per_dim(SDE, oracle.score(SDE), codes, tolerance=1e-8, **settings).per_image
    for tolerance in (1e-2, 1e-3, 1e-4):
        result = bits_per_dim(SDE, oracle.score(SDE), codes, tolerance=tolerance, **settings)
        assert 0.5 < result.parts.solver / (result.per_image - fine).abs().mean().item() < 2


def of_values(values, solver=0.0, prior=0.0):
    each, nan = torch.tensor(values, dtype=torch.float64), torch.full((len(values),), math.nan, dtype=torch.float64)
    parts = {"solver": torch.full_like(each, solver), "prior": torch.full_like(each, prior)}
    return BitsPerDim(each, nan, nan, nan, latents=None, sigma_over_bin=0.0, nfe=1, **parts)


def test_a_part_that_exceeds_the_standard_error_is_a_warning():
    """1, 2 and 3 have the standard error sqrt(1 / 3): what it does not contain and is larger is said at the end."""
    warning = "solver's part exceeds the standard error: tighten the tolerance"
    assert str(of_values([1, 2, 3], solver=0.58)).endswith(warning)
    assert str(of_values([1, 2, 3], prior=0.58)).endswith(
        "prior's part exceeds the standard error: take a process with more noise at T"
    )
    assert "exceeds" not in str(of_values([1, 2, 3], solver=0.57, prior=0.57)) and str(of_values([2, 2], solver=1e-9)).endswith(
        warning
    )


def test_one_image_has_no_standard_error():
    result, oracle, x = of_values([5.9796], solver=0.1), GaussianOracle(torch.zeros(2), 1.0), torch.zeros(1, 2)
    assert str(result).startswith("5.9796 bits/dim (1 image, which has no standard error;") and "exceeds" not in str(result)
    told = [log_likelihood(SDE, oracle.score(SDE), x), sde_bound(SDE, oracle.score(SDE), x)]
    told += [sde_bits_per_dim(SDE, oracle.score(SDE), torch.zeros(1, 2, dtype=torch.int64), images=COARSE)]
    for value in map(str, told):
        assert "nan" not in value and "which has no standard error" in value
    assert "(3 images, standard error;" in str(of_values([1, 2, 3]))

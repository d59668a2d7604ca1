"""Randomness: the generator against its authors' known answers, the laws of the draws, and what they depend on."""

import pytest
import torch
from scipy import stats

from sde_lib import RowNoise
from sde_lib.noise import Stream, philox


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers(counter, key, answer):
    """kat_vectors of the Random123 distribution, philox4x32 with 10 rounds."""
    words = philox(tuple(torch.tensor([c]) for c in counter), key)
    assert tuple(word.item() for word in words) == answer


def test_normal_draws_are_normal():
    z = RowNoise(1, 2000)(torch.empty(2000, 500, dtype=torch.float64)).flatten().numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(z.mean()) * len(z) ** 0.5 < 4
    assert abs(stats.skew(z)) * (len(z) / 6) ** 0.5 < 4 and abs(stats.kurtosis(z)) * (len(z) / 24) ** 0.5 < 4


def test_uniform_and_rademacher_draws_have_their_laws():
    noise = RowNoise(2, 1000)
    u = noise.uniform(torch.empty(1000, 300, dtype=torch.float64)).flatten()
    assert u.min() > 0 and u.max() < 1 and stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    r = noise.rademacher(torch.empty(1000, 300))
    assert set(r.unique().tolist()) == {-1.0, 1.0} and abs(r.mean().item()) * r.numel() ** 0.5 < 4


def test_rows_draws_streams_and_seeds_are_uncorrelated():
    like = torch.empty(64, 4000, dtype=torch.float64)
    noise = RowNoise(3, 64)
    base = noise(like)
    others = [noise(like), RowNoise(3, 64, Stream.STEP)(like), RowNoise(4, 64)(like), base.roll(1, 0), base.roll(1, 1)]
    for other in others:
        assert abs((base * other).mean().item()) * base.numel() ** 0.5 < 4.5
        assert abs((base**2 * other**2).mean().item() - 1) * base.numel() ** 0.5 / 8**0.5 < 4.5


@pytest.mark.parametrize("shape", [(2,), (3,), (1, 8, 8), (3, 32, 32), (0,), (5000,)], ids=str)
def test_a_row_depends_on_its_number_and_not_on_the_batch(shape):
    """To the bit: alone, permuted, taken, split, replayed, and drawn ahead or not."""
    rows = torch.tensor([5, 0, 2**40 + 7, 3])
    like = torch.empty(4, *shape)
    whole = RowNoise(9, rows)
    draws = [whole(like) for _ in range(20)]
    alone = RowNoise(9, rows[2:3])
    for draw in draws:
        assert torch.equal(alone(like[:1]), draw[2:3])
    replayed = RowNoise(9, rows.flip(0), draw=17)
    assert torch.equal(replayed(like), draws[17].flip(0))
    later = RowNoise(9, rows)
    later(like)
    assert torch.equal(later.take(torch.tensor([3, 1]))(like[:2]), draws[1][[3, 1]])


def test_dtype_rounds_the_same_numbers():
    single, double = (RowNoise(1, 3)(torch.empty(3, 7, dtype=dtype)) for dtype in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())


def test_a_shorter_row_is_the_beginning_of_a_longer_one():
    short, long = (RowNoise(1, 3)(torch.empty(3, n)) for n in (15, 16))
    assert torch.equal(short, long[:, :15])


def test_permutations_are_permutations():
    noise = RowNoise(1, 1, Stream.DATA)
    first, second = noise.permutation(100), noise.permutation(100)
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(100))
    assert not torch.equal(first, second)


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="seed"):
        RowNoise(-1, 3)
    with pytest.raises(ValueError, match="3 rows"):
        RowNoise(1, 3)(torch.empty(4, 2))

"""Symmetries of the grid: held to numpy's, to EDM's matrices, to the densities that are learned, and to a run that goes on."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import run
from models import MLP, SongUNet
from score_sde import fit
from score_sde.training.augmentation import Augmentation, mirrored, moved, turned
from score_sde.training.ranks import Ranks
from score_sde.training.trainer import Trainer
from sde_lib import VPSDE, Data, DenoisingScoreMatching, RowNoise, ScoreModel, Standardize
from tests.test_training import SETTINGS

PICTURES = torch.arange(6 * 2 * 5 * 5).reshape(6, 2, 5, 5)
AUGMENTED = dataclasses.replace(SETTINGS, steps=12, batch_size=16, dequantize=False, log_every=4)


def test_mirrors_turns_and_moves_are_numpys_in_each_row():
    quarters, which = torch.tensor([0, 1, 2, 3, 1, 0]), torch.tensor([True, False] * 3)
    by = torch.tensor([[0, 0], [1, -2], [-4, 3], [2, 2], [0, -1], [4, 4]])
    around, seen = moved(PICTURES, by, around=True), moved(PICTURES, by, around=False)
    for i, picture in enumerate(PICTURES.numpy()):
        np.testing.assert_array_equal(turned(PICTURES, quarters)[i], np.rot90(picture, int(quarters[i]), (1, 2)))
        np.testing.assert_array_equal(mirrored(PICTURES, which, -1)[i], picture[..., ::-1] if which[i] else picture)
        down, right = by[i].tolist()
        np.testing.assert_array_equal(around[i], np.roll(picture, (down, right), (1, 2)))
        wide = np.pad(picture, ((0, 0), (4, 4), (4, 4)), mode="reflect")
        np.testing.assert_array_equal(seen[i], wide[:, 4 - down : 9 - down, 4 - right : 9 - right])
    signals = torch.arange(12).reshape(2, 1, 6)
    assert moved(signals, torch.tensor([[2], [-1]]), around=True).tolist() == [[[4, 5, 0, 1, 2, 3]], [[7, 8, 9, 10, 11, 6]]]


class Told(nn.Module):
    """x0 as a function of what was done to it, and of nothing else."""

    def __init__(self, entries, width=128):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(9, width), nn.SiLU(), nn.Linear(width, entries))

    def forward(self, x, noise_label, augment=None):
        return self.layers(x.new_zeros(len(x), 9) if augment is None else augment).reshape(x.shape)


def trainer(folder=None, rows=PICTURES, **settings):
    torch.manual_seed(0)
    model = ScoreModel(Told(rows[0].numel()), VPSDE(), Data(), Standardize(0.0, 1.0))
    settings = dataclasses.replace(AUGMENTED, **settings)
    return Trainer(model, rows.float(), DenoisingScoreMatching(), settings, 3, folder)


def test_a_network_gets_edm_s_numbers():
    """What EDM's matrices make of them: after the mirrors, what is at d from the middle was at R(w) (d - move)."""
    rows = torch.arange(200 * 16 * 16).reshape(200, 1, 16, 16)
    settings = dataclasses.replace(AUGMENTED, augment=0.7)
    done, cond = Augmentation(settings, (1, 16, 16), Told(256))(rows, lambda stream: RowNoise(0, 200, stream))
    assert cond["augment"].shape == (200, 9) and cond["augment"].dtype == torch.float32
    centre = np.arange(16) - 7.5
    y, x = np.meshgrid(centre, centre, indexing="ij")
    for before, after, told in zip(rows[:, 0].numpy(), done[:, 0].numpy(), cond["augment"].double().numpy(), strict=True):
        in_x, in_y, scale, cos, sin, a, b, right, down = told
        assert scale == a == b == 0
        before = before[:, ::-1] if in_x else before
        before = before[::-1] if in_y else before
        u, v = x - right * 16 / 8, y - down * 16 / 8
        inside = (abs(u) <= 7.5) & (abs(v) <= 7.5)
        u, v = (1 + cos) * u - sin * v, sin * u + (1 + cos) * v
        place = np.rint(v + 7.5).astype(int), np.rint(u + 7.5).astype(int)
        assert inside.sum() >= 14 * 14
        np.testing.assert_array_equal(before[place[0][inside], place[1][inside]], after[inside])


def test_each_kind_happens_as_often_as_set_and_in_each_row_by_itself():
    n, p = 20_000, 0.4
    settings = dataclasses.replace(AUGMENTED, augment=p)
    done = Augmentation(settings, (1, 16, 16), Told(256))
    x = torch.zeros(n, 1, 16, 16)
    told = done(x, lambda stream: RowNoise(5, n, stream, draw=7))[1]["augment"]
    kinds = [told[:, 0] == 1, told[:, 1] == 1, told[:, 3] != 0, told[:, 4] == 1, told[:, 7].abs() == 1]
    shares = [p / 2, p / 2, 3 * p / 4, p / 4, p / 4]  # of moves by -2..2, uniform before rounding, the ends have 1/8 each
    for found, share in zip(kinds, shares, strict=True):
        assert found.double().mean().item() == pytest.approx(share, abs=5 * (share / n) ** 0.5)
    both = (kinds[0] & kinds[2]).double().mean().item()
    assert both == pytest.approx(3 * p**2 / 8, abs=0.01)
    some = torch.tensor([19_000, 4])
    again = done(x[:2], lambda stream: RowNoise(5, some, stream, draw=7))[1]["augment"]
    assert torch.equal(again, told[some])


@pytest.mark.slow
def test_unlabelled_augmentation_is_learned_as_a_mean_and_labelled_is_not_learned():
    """Of one picture: the best guess of x0 that sees nothing is the mean of its turns, or, when told of them, the picture."""
    picture = torch.tensor([[[0.0, 1.0, 2.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]]).repeat(64, 1, 1, 1)
    turns = torch.stack([picture[0].rot90(k, (1, 2)) for k in range(4)])
    options = {"steps": 500, "batch_size": 64, "learning_rate": 1e-2, "schedule": "cosine", "ema": 0.9, "flip": False}

    def guess(**more):
        torch.manual_seed(0)
        model = ScoreModel(Told(9), VPSDE(), Data(), Standardize(0.0, 1.0))
        found = fit(model, picture, objective=DenoisingScoreMatching("x0"), **options, **more)
        return found.predict(torch.zeros(1, 1, 3, 3), 0.5).x0.detach()[0]

    torch.testing.assert_close(guess(rotate=True), turns.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(guess(shift=1), torch.full((1, 3, 3), 1 / 3), rtol=0, atol=0.1)
    torch.testing.assert_close(guess(augment=0.5), picture[0], rtol=0, atol=0.1)
    assert (turns.mean(0) - picture[0]).abs().max() > 0.7


ALL = {"flip": True, "rotate": True, "shift": 2, "augment": 0.5}


def test_a_resumed_run_is_the_uninterrupted_one_with_every_symmetry(tmp_path):
    whole = trainer(tmp_path / "whole", **ALL)
    list(whole.run())
    first = trainer(tmp_path / "part", **ALL)
    next(progress for progress in first.run() if progress.step == 7)
    first.save()
    second = trainer(tmp_path / "part", **ALL)
    second.resume()
    list(second.run())
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
    plain = trainer(**ALL | {"augment": 0.0})
    list(plain.run())
    assert any(not torch.equal(value, plain.model.state_dict()[name]) for name, value in whole.model.state_dict().items())


def test_steps_differ_and_two_processes_augment_each_row_as_one_does():
    one, both = trainer(**ALL), [trainer(**ALL) for _ in range(2)]
    for rank, part in enumerate(both):
        part.ranks = part.rows.ranks = Ranks(rank, 2)
    whole, halves = one._batch(), [part._batch() for part in both]
    for i in (0, 2):
        assert torch.equal(torch.stack([half[i] for half in halves], 1).flatten(0, 1), whole[i])
    told = torch.stack([half[3]["augment"] for half in halves], 1).flatten(0, 1)
    assert torch.equal(told, whole[3]["augment"])
    one.step = 1
    assert not torch.equal(one._batch()[3]["augment"], told)


def test_micro_batches_get_the_labels_of_their_own_rows():
    whole, parts = trainer(**ALL), trainer(**ALL, micro_batch=4)
    for t in (whole, parts):
        list(t.run())
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_edm_s_network_takes_the_labels():
    model = ScoreModel(
        SongUNet((1, 8, 8), channels=8, multipliers=(1,), blocks=1, attention=(), augment=9), VPSDE(), Data(), Standardize(0.0, 1.0)
    )
    before = model.network.embedding.early["augment"].linear.weight.clone()
    fit(model, torch.randn(32, 1, 8, 8), steps=3, batch_size=8, warmup=0, ema=0.0, augment=1.0)
    assert not torch.equal(model.network.embedding.early["augment"].linear.weight, before)


REFUSED = [
    ((1, 8, 8), {"augment": 0.1}, "MLP was built without that input: use song_unet"),
    ((2,), {"flip": True}, "train.flip mirrors pictures"),
    ((1, 8, 6), {"rotate": True}, r"train.rotate turns square pictures, \(channels, n, n\), and the data are \(1, 8, 6\)"),
    ((1, 8, 6), {"augment": 0.1}, "train.augment turns square pictures"),
    ((2,), {"shift": 1}, "moves data"),
    ((1, 4, 8), {"shift": 4}, "train.shift=4 moves data .* by less than their size"),
    ((1, 8, 8), {"shift": -1}, "train.shift is -1"),
    ((1, 8, 8), {"augment": 1.5}, "train.augment is 1.5, and a probability, from 0 to 1"),
]


@pytest.mark.parametrize(("shape", "settings", "words"), REFUSED, ids=str)
def test_data_and_networks_without_the_symmetry_are_refused(shape, settings, words):
    model = ScoreModel(MLP(shape, width=8), VPSDE(), Data(), Standardize(0.0, 1.0))
    with pytest.raises(ValueError, match=words):
        fit(model, torch.randn(20, *shape), **settings)


def test_a_refused_augmentation_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["--config.train.augment=0.12"]) == 2
    error = capsys.readouterr().err
    assert "UNet was built without that input" in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
    small = "--config.network=song_unet(channels=8, multipliers=(1,), blocks=1, attention=(), augment=9)"
    assert run.main(["--dry-run", small, "--config.train.augment=0.12", "--config.train.rotate=True"]) == 0
    assert "rotate=True, shift=0, augment=0.12" in capsys.readouterr().out

"""The recipes of CONTRIBUTING for a command, a data source and a guidance rule, followed outside of the tree."""

import sys

import numpy as np
import pytest
import torch
from scipy.io import savemat

import run
from likelihood import Exact, log_likelihood
from samplers import DDIM, LogSNR, Sampler
from score_sde import commands
from sde_lib import VPSDE, GaussianOracle, ScoreModel, V

COMMAND = '''
"""Encode the test set of a run: the latents of its probability flow, as a .npy file."""

from pathlib import Path

import numpy as np

from samplers import FlowSampler
from score_sde.config.experiment import assemble
from score_sde.flags import add_process, add_workdir
from score_sde.runs.opened import config_of_run, open_run


def add_flags(parser):
    """The flags of this command."""
    add_process(parser)
    add_workdir(parser)
    parser.add_argument("--rows", type=int, default=4, help="how many rows")


def run(arguments, overrides):
    """Write the latents."""
    folder, config = config_of_run(arguments, overrides)
    model, _ = open_run(folder, config, "cpu")
    x0 = model.data.encode(assemble(config).data.test[: arguments.rows])
    latents = FlowSampler(rtol=1e-3, atol=1e-3).encode(model.sde, model, x0).x
    np.save(folder / "latents.npy", latents.numpy())
    print(f"latents of {len(latents)} rows: {folder / 'latents.npy'}")
'''

DATA = '''
"""House numbers, 3x32x32."""

from pathlib import Path

import torch
from scipy.io import loadmat

from sde_lib import Images


class SVHN:
    """The cropped digits of SVHN in the folder path: train_32x32.mat and test_32x32.mat."""

    def __init__(self, path, low=-1.0, high=1.0):
        self.train, self.test = (_images(Path(path) / f"{split}_32x32.mat") for split in ("train", "test"))
        self.transform = Images(256, low, high)


def _images(path):
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return torch.from_numpy(loadmat(path)["X"]).permute(3, 2, 0, 1).contiguous()
'''

GUIDANCE = '''
"""Classifier-free guidance."""

from sde_lib.prediction import Prediction
from sde_lib.score import ScoreFunction, prediction_of


class ClassifierFree(ScoreFunction):
    """score = unconditional + w (conditional - unconditional). Reference: Ho and Salimans, 2022, arXiv 2207.12598, equation 6."""

    def __init__(self, conditional, unconditional, guidance_scale):
        self.conditional, self.unconditional, self.guidance_scale = conditional, unconditional, guidance_scale
        self.sde = conditional.sde

    def predict(self, x, t):
        """The guided prediction of x0; two network calls."""
        with_y, without = (prediction_of(fn, self.sde, x, t) for fn in (self.conditional, self.unconditional))
        x0 = without.x0 + self.guidance_scale * (with_y.x0 - without.x0)
        return Prediction(x, x0, with_y.level, 1.0, 0.0)
'''

TINY = ["--config.train.steps=5", "--config.network=mlp(width=8, depth=1)", "--config.sample.num=2"]
TINY += ["--config.likelihood.tolerance=0.1", "--config.sample.sampler=pc(predictor=ddim, times=log_snr(steps=3))"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("score_sde.runs.report.baselines", lambda *_: [])
    yield tmp_path
    for name in ("my_house_numbers", "my_guidance", "score_sde.commands.encode"):
        sys.modules.pop(name, None)


def test_a_command_is_one_new_file(folder, monkeypatch, capsys):
    (folder / "my_commands").mkdir()
    (folder / "my_commands" / "encode.py").write_text(COMMAND)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(folder / "my_commands")])
    assert run.main(["--workdir", "mine", *TINY]) == 0
    assert run.main(["encode", "--workdir", "mine", "--rows", "3"]) == 0
    assert "latents of 3 rows" in capsys.readouterr().out and np.load("mine/latents.npy").shape == (3, 1, 8, 8)
    assert run.main(["--mode", "encode", "--workdir", "mine"]) == 0
    assert run.main(["sample", "--workdir", "mine", "--rows", "3"]) == 2
    assert "--rows belongs to --mode encode, and --mode sample has no use for it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run.main(["--help"])
    assert "encode       Encode the test set of a run" in capsys.readouterr().out


def test_a_data_source_is_one_class_in_a_package_of_ones_own(folder, capsys):
    (folder / "my_house_numbers.py").write_text(DATA)
    rng = np.random.default_rng(0)
    for split, rows in (("train", 40), ("test", 10)):
        savemat(folder / f"{split}_32x32.mat", {"X": rng.integers(0, 256, (32, 32, 3, rows), np.uint8)})
    data = "my_house_numbers:SVHN(path='.')"
    assert run.main(["inspect", "--data", data]) == 0
    out = capsys.readouterr().out
    assert "40 to train on, 10 for the test" in out and "(3, 32, 32)" in out and "40 rows are few" in out
    assert run.main(["--data", data, "--workdir", "mine", *TINY]) == 0
    assert np.load("mine/samples.npy").shape == (2, 3, 32, 32)
    assert run.main(["--data", "my_house_numbers:SVHN(path='nowhere')", "--dry-run"]) == 2
    assert "there is no file nowhere/train_32x32.mat" in capsys.readouterr().err


def test_a_guidance_rule_is_its_formula(folder):
    """Between Gaussians of one variance p, guidance moves the mean: to N(m0 + w (m1 - m0), p), at every time."""
    (folder / "my_guidance.py").write_text(GUIDANCE)
    from my_guidance import ClassifierFree

    sde, w, std = VPSDE(), 2.5, 0.4
    means = torch.tensor([0.3, -0.1], dtype=torch.float64), torch.tensor([-0.2, 0.2], dtype=torch.float64)
    without, with_y = (GaussianOracle(mean, std).score(sde) for mean in means)
    guided, law = ClassifierFree(with_y, without, w), GaussianOracle(torch.lerp(*means, w), std)
    x = law.sample(5, seed=0)
    found = log_likelihood(sde, guided, x, divergence=Exact(), tolerance=1e-6)
    by_law_at_T = found.log_prob - sde.prior(x).log_prob(found.latent) + law.log_prob(found.latent, sde, sde.T)
    torch.testing.assert_close(by_law_at_T, law.log_prob(x, sde, sde.t_min), rtol=0, atol=1e-4)
    samples = Sampler(DDIM(), times=LogSNR(200)).sample(sde, guided, (4000, 2), dtype=torch.float64).x
    assert ((samples.mean(0) - law.mean) / (std / 4000**0.5)).abs().max() < 5


def test_network_calls_are_counted_under_a_guidance_rule(folder):
    (folder / "my_guidance.py").write_text(GUIDANCE)
    from my_guidance import ClassifierFree

    model = ScoreModel(lambda x, label: 0.1 * x, VPSDE(), V())
    assert Sampler(DDIM(), times=LogSNR(10)).sample(model.sde, ClassifierFree(model, model, 2.0), (3, 2)).nfe == 20

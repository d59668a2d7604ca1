"""Trainings that go wrong when they are told to, for the tests of what a run survives."""

import dataclasses
import os
import sys
import warnings
from pathlib import Path

import torch

from models import MLP
from score_sde.data import Digits
from score_sde.training.trainer import Trainer
from sde_lib import VPSDE, DenoisingScoreMatching, Epsilon, Images, ScoreModel
from tests.test_training import SETTINGS

OFTEN = dataclasses.replace(SETTINGS, steps=30, save_every=5, log_every=7, keep=3, held_out=32)
STATE, CHECKPOINT = "state.safetensors", "checkpoint.safetensors"


class Broken:
    """An objective that goes wrong at some of its calls; what it takes part in is a step's, and the held-out loss stays out."""

    def __init__(self, wrong=lambda losses: losses * torch.nan, at=(), of=None):
        self.of = of or DenoisingScoreMatching()
        self.times, self.wrong, self.at, self.step = self.of.times, wrong, set(at), 0

    def __call__(self, model, x0, *, t, z):
        losses = self.of(model, x0, t=t, z=z)
        if not torch.is_grad_enabled():
            return losses
        self.step += 1
        return self.wrong(losses) if self.step in self.at else losses


def trainer(folder, settings=OFTEN, objective=None, begin=0):
    torch.manual_seed(0)
    model = ScoreModel(MLP((1, 8, 8), width=16, depth=1, dropout=0.2), VPSDE(), Epsilon(), Images(17))
    data = Digits()
    objective = objective or DenoisingScoreMatching()
    if isinstance(objective, Broken):
        objective.step = begin
    return Trainer(model, data.train[:100], objective, settings, 0, Path(folder), data.test[: settings.held_out])


def trained(folder, settings=OFTEN, objective=None):
    t = trainer(folder, settings, objective)
    rows = list(t.run())
    return t, rows


def stopped(folder, step):
    """A trainer that left its run after a step."""
    t = trainer(folder)
    next(progress for progress in t.run() if progress.step == step)
    return t


def in_a_child(work):
    """Run something that changes the process for good in a child; its exit code and what it wrote to stderr."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons say that pytest's threads do not go along
        pid = os.fork()
    if pid == 0:
        try:
            os.dup2(write, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else pytest's file, which has no more room either
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            code = work()
            sys.stderr.flush()
        except BaseException as error:
            os.write(2, repr(error).encode())
            code = 70
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said

"""Everything public of each kind, found in the packages: a class added later is tested by every law without being named.

A class of another package is tested in the same way. SCORE_SDE_TEST_PLUGINS names the modules, separated by commas:

    SCORE_SDE_TEST_PLUGINS=my_package.steps pytest tests/laws -k MyPredictor

Their public classes join those found here. A module may also have dictionaries SIZES, PAPERS and MORE, whose rows join those
of the same name in tests/laws/test_samplers.py, in tests/laws/test_papers.py and below.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable
from typing import Any

import torch

import likelihood
import models
import samplers
import sde_lib
from samplers.grids import Grid
from sde_lib.parameterizations import Parameterization
from sde_lib.tabulated import ddpm, ncsn

PLUGINS = [importlib.import_module(name) for name in os.environ.get("SCORE_SDE_TEST_PLUGINS", "").split(",") if name]


def plugged(table: str) -> dict[Any, Any]:
    """The rows of a table, such as SIZES, that the plug-ins bring."""
    return {key: row for plugin in PLUGINS for key, row in getattr(plugin, table, {}).items()}


def public_names(package: Any) -> list[str]:
    """__all__, or the public things that a module defines itself."""
    defined = [key for key, value in vars(package).items() if getattr(value, "__module__", None) == package.__name__]
    return list(getattr(package, "__all__", [key for key in defined if not key.startswith("_")]))


# Instances beyond, or instead of, the one that the constructor makes without arguments.
MORE: dict[str, list[Callable[[], Any]]] = {
    "VPSDE": [
        lambda: sde_lib.VPSDE(),
        lambda: sde_lib.VPSDE(beta=sde_lib.CosineBeta()),
        lambda: sde_lib.VPSDE(beta=cubic_beta),
    ],
    "SubVPSDE": [lambda: sde_lib.SubVPSDE(), lambda: sde_lib.SubVPSDE(beta=sde_lib.CosineBeta())],
    "Tabulated": [
        lambda: sde_lib.Tabulated.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)),
        lambda: ddpm("quadratic", 4000).respace("ddim1000"),
        lambda: ncsn(levels=1000),
    ],
    "LossAwareTime": [],
    "WithVariance": [],
    "Ancestral": [lambda: samplers.Ancestral(), lambda: samplers.Ancestral("large")],
    "EulerMaruyama": [lambda: samplers.EulerMaruyama(), lambda: samplers.EulerMaruyama(eta=0.0)],
    "ReverseDiffusion": [lambda: samplers.ReverseDiffusion(), lambda: samplers.ReverseDiffusion(eta=0.0)],
    "DDIM": [lambda: samplers.DDIM(), lambda: samplers.DDIM(eta=0.5), lambda: samplers.DDIM(eta=1.0)],
    "DPMSolver": [
        lambda: samplers.DPMSolver(order=1),
        lambda: samplers.DPMSolver(order=2),
        lambda: samplers.DPMSolver(order=2, data_prediction=False),
        lambda: samplers.DPMSolver(order=2, multistep=False),
        lambda: samplers.DPMSolver(order=3),
        lambda: samplers.DPMSolver(order=3, data_prediction=False),
        lambda: samplers.DPMSolver(order=3, multistep=False),
        lambda: samplers.DPMSolver(order=3, published=True),
    ],
    "Heun": [lambda: samplers.Heun(), lambda: samplers.Heun(churn=10.0)],
    "SDEDPMSolver": [lambda: samplers.SDEDPMSolver(), lambda: samplers.SDEDPMSolver(eta=0.5)],
    "UniPC": [lambda: samplers.UniPC(order=1), lambda: samplers.UniPC(order=2), lambda: samplers.UniPC(order=3)],
    "Langevin": [lambda: samplers.Langevin(), lambda: samplers.Langevin(snr=0.1, steps=2)],
    "AnnealedLangevin": [
        lambda: samplers.AnnealedLangevin(steps=2),
        lambda: samplers.AnnealedLangevin(2e-6, steps=1, published="ncsnv2"),
    ],
    "Karras": [lambda: samplers.Karras(steps=7), lambda: samplers.Karras(steps=7, rho=3.0)],
    "Uniform": [lambda: samplers.Uniform(steps=7)],
    "Quadratic": [lambda: samplers.Quadratic(steps=7)],
    "LogSNR": [lambda: samplers.LogSNR(steps=7)],
    **plugged("MORE"),
}


def cubic_beta(t: torch.Tensor) -> torch.Tensor:
    """A schedule that brings no integral of its own."""
    return 0.2 + 30 * t**3


def _public(package: Any, kind: type) -> list[Any]:
    found = []
    for module in (package, *PLUGINS):
        for name in public_names(module):
            cls = getattr(module, name)
            if inspect.isclass(cls) and issubclass(cls, kind) and not inspect.isabstract(cls):
                found += [make() for make in MORE.get(name, [cls])]
    return found


PROCESSES = _public(sde_lib, sde_lib.LinearSDE)
CONTINUOUS = [sde for sde in PROCESSES if not sde.has_table]
PARAMETERIZATIONS = _public(sde_lib, Parameterization)
PREDICTORS = _public(samplers, samplers.Predictor)
CORRECTORS = _public(samplers, samplers.Corrector)
GRIDS = _public(samplers, Grid)
PACKAGES = [sde_lib, samplers, likelihood, models, *PLUGINS]


def interior(sde: Any, n: int = 25) -> torch.Tensor:
    """Times that a process has, from t_min to T, closer together near t_min."""
    t = sde.t_min + (sde.T - sde.t_min) * torch.linspace(0, 1, n, dtype=torch.float64) ** 3
    return torch.unique(sde.snap(t))


def name(value: Any) -> str:
    """A short name for a parametrized test."""
    text = re.sub(r" at 0x\w+|T=\S+ |t_min=[\w.-]+(, )?|\b\w+=", "", repr(value))
    return text[:50]

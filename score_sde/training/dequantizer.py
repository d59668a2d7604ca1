"""A learned dequantizer for a trained model. It is fitted with the model fixed, and saved in a file of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from likelihood import Variational
from models import MLP, UNet
from models.building import build_to_fit
from models.files import read_metadata, read_tensors, write_tensors
from models.registry import NETWORKS
from score_sde.progress import progress_bar
from sde_lib import DenoisingScoreMatching, Images, ImportanceTime, RowNoise, ScoreModel
from sde_lib.noise import Stream

__all__ = ["FILE_NAME", "Fit", "fit", "fit_in_folder", "save_dequantizer", "variational"]

FILE_NAME = "dequantizer.safetensors"


class Fit(NamedTuple):
    """Progress: the steps taken, and the bound in bits/dim, up to a constant, averaged since the last report."""

    step: int
    bits: float


def fit(
    network: nn.Module, model: ScoreModel, data: Tensor, steps: int, *, batch_size: int, learning_rate: float, seed: int
) -> Iterator[Fit]:
    """Train the network of a Variational on integer images: minimise E[log q(x | k)] + (T - t_min)/2 L(x), in nats an entry.

    L is denoising score matching with the likelihood weighting, which bounds -log p(x) up to a constant. data are (N, *shape).
    A Fit is yielded every 50 steps.

    Reference: Song, Durkan, Murray, Ermon, 2021, arXiv 2101.09258, equation 8 and appendix C.
    """
    images, sde, times = model.data, model.sde, ImportanceTime()
    assert isinstance(images, Images)
    loss_of, law = DenoisingScoreMatching(weighting="likelihood", times=times), Variational(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    decay = CosineAnnealingLR(optimizer, steps)
    model.eval().requires_grad_(False)
    sources = {stream: RowNoise(seed, batch_size, stream) for stream in (Stream.DEQUANTIZE, Stream.TRAIN_TIME, Stream.TRAIN_NOISE)}
    rows = RowNoise(seed, 1, Stream.DATA)
    dims, total = data[0].numel(), torch.zeros((), device=data.device)
    for step in range(1, steps + 1):
        choice = rows.uniform(torch.empty(1, batch_size, dtype=torch.float64))[0]
        codes = data[(choice * len(data)).long().to(data.device)]
        x, entropy = law.sample(images, codes, sources[Stream.DEQUANTIZE], sde.at(sde.t_min))
        u = sources[Stream.TRAIN_TIME].uniform(torch.empty(batch_size, 1, dtype=torch.float64, device=data.device))[:, 0]
        bound = loss_of(model, x, t=times.sample(sde, u), z=sources[Stream.TRAIN_NOISE](x))
        loss = (0.5 * (sde.T - sde.t_min) * bound - entropy / dims).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        decay.step()
        total += loss.detach()
        if step % 50 == 0 or step == steps:
            yield Fit(step, total.item() / (step % 50 or 50) / torch.log(torch.tensor(2.0)).item())
            total.zero_()


def fit_in_folder(model: ScoreModel, codes: Tensor, folder: Path, steps: int, seed: int) -> Path:
    """Fit a small network to a run's model, write it to the run's folder, and give the path of the file."""
    shape = tuple(codes.shape[1:])
    torch.manual_seed(seed)  # the initial weights
    network: nn.Module = UNet(shape, channels=16, blocks=1, outputs=2) if len(shape) == 3 else MLP(shape, outputs=2)
    device = next(model.parameters()).device
    with progress_bar(total=steps, description="dequantizer", unit=" steps") as bar:
        for step, bits in fit(network.to(device), model, codes.to(device), steps, batch_size=128, learning_rate=1e-3, seed=seed):
            bar.update(step - bar.n)
            bar.set_postfix(bound=f"{bits:.4g}", refresh=False)
    save_dequantizer(network, folder / FILE_NAME)
    return folder / FILE_NAME


def save_dequantizer(network: nn.Module, path: Path) -> None:
    """Write the network of a Variational to a file that `variational` reads. It must be one of our networks."""
    described = {"name": type(network).__name__, "arguments": network.arguments}
    write_tensors(path, network.state_dict(), {"format": "sde-dequantizer", "network": json.dumps(described)})


def variational(file: str, draws: int = 1) -> Variational:
    """The Variational in a file that `save_dequantizer` wrote.

    Raises:
        ValueError: when there is no such file, or it is damaged.
    """
    if not Path(file).is_file():
        raise ValueError(f"there is no dequantizer at {file}: fit one with --mode dequantize")
    try:
        with safe_open(file, framework="pt") as opened:
            described = json.loads(read_metadata(file, opened)["network"])
            state = read_tensors(file, opened, opened.keys())
        network = build_to_fit(partial(NETWORKS[described["name"]], **described["arguments"]), state)
        network.load_state_dict(state)
    except (SafetensorError, ArithmeticError, AttributeError, LookupError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{file} is damaged, or holds no dequantizer ({type(error).__name__}): fit one again") from None
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]
    return Variational(network.eval().requires_grad_(False), f"{file}, {digest}", draws)

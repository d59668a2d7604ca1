"""The U-Nets of DDPM and of the Score-SDE paper: DDPM, DDPM++ and NCSN++."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sde_lib.fields import check_choice
from sde_lib.tables import geometric_sigmas
from sde_lib.tensors import by_row

from .backbone import Backbone, Plan, space_of
from .layers import Embedding, Fourier, LabelFeatures, Sinusoid, Style, conditions, fan_average, refuse_unknown
from .registry import network

__all__ = ["DDPM", "NCSNpp", "SigmaTable", "counted", "divided", "outside"]


class SigmaTable(nn.Module):
    """NCSN's sigmas: indices (B,), 0 for the largest sigma, to sigmas (B,).

    table is (sigma_min, sigma_max, levels), a geometric sequence, or a list of all sigmas from the largest.

    Raises:
        ValueError: when a list does not fall, or ends at 0 or below.
    """

    sigmas: Tensor

    def __init__(self, table: Sequence[float]) -> None:
        super().__init__()
        if len(table) == 3 and table[0] < table[1]:
            sigma_min, sigma_max, levels = table
            sigmas = geometric_sigmas(sigma_min, sigma_max, int(levels))
        else:
            if sorted(set(table), reverse=True) != list(table) or table[-1] <= 0:
                raise ValueError(
                    "sigmas do not fall from the largest to the smallest: sort them, or give (sigma_min, sigma_max, levels)"
                )
            sigmas = torch.tensor(table, dtype=torch.float64)
        self.register_buffer("sigmas", sigmas, persistent=False)

    def forward(self, label: Tensor) -> Tensor:
        """The sigma of each index.

        Raises:
            ValueError: when an index is not in the table; a GPU reports that later, with an error of its own.
        """
        try:
            return self.sigmas[counted(label)]
        except IndexError:
            raise ValueError(outside(len(self.sigmas))) from None


def counted(label: Tensor) -> Tensor:
    """The labels, which must be indices of noise levels.

    Raises:
        ValueError: when the labels are not integers.
    """
    if label.is_floating_point():
        raise ValueError(
            f"the network counts noise levels, and got labels of type {label.dtype}: "
            "use a process with a table, such as Tabulated, and a parameterization with label='index'"
        )
    return label


def outside(levels: int) -> str:
    """The message for a label beyond the last level. The failed look-up raises it, since a check beforehand would stall a GPU."""
    return (
        f"the network has {levels} noise levels, 0 to {levels - 1}, and got a label outside of them: "
        "use the process that it was trained with, which has as many"
    )


def divided(out: Tensor, sigma: Tensor) -> Tensor:
    """The output divided by sigma (B,), in the type of the output and at least in float32, as after every autocast network."""
    return out / by_row(sigma.to(torch.promote_types(out.dtype, torch.float32)), out)


@network("ddpm")
class DDPM(nn.Module):
    """The U-Net of DDPM: states (B, C, *space) and labels (B,), 0 to about 1000, to (B, C, *space).

    shape is (C, *space) of the data; only C and the number of axes matter.
    Level i has channels * multipliers[i] channels and blocks residual blocks. attention lists the levels with self-attention.
    attend_last: the decoder has attention after the last block of a level only (Score-SDE), else after each block (DDPM).
    resample: levels change size by convolutions ("conv"), or by means and repetitions ("pool").
    unit_range: the states are in [0, 1], and the network rescales them to 2 x - 1.
    conditional=False: the network does not read the label.
    sigmas = (sigma_min, sigma_max, levels): labels are indices into NCSN's table, and the output is divided by sigma.
    outputs is the number of outputs for each entry, along axis 1.
    condition is the size of y, classes (B,) or a vector (B, condition). Training drops y with probability condition_dropout.
    pad: the network pads sizes that cannot be halved with zeros, and crops its output.

    Raises:
        ValueError: when shape has no spatial axis, or more than three.
        ValueError: when there is less than one channel, block or level.
        ValueError: when condition is given with conditional=False.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, appendix B; Song et al., 2021, arXiv 2011.13456, appendix H.

    >>> import torch
    >>> DDPM((3, 32, 32), channels=8)(torch.zeros(2, 3, 32, 32), torch.tensor([0, 999])).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (1,),
        attend_last: bool = True,
        dropout: float = 0.1,
        resample: Literal["conv", "pool"] = "conv",
        activation: str = "swish",
        conditional: bool = True,
        unit_range: bool = False,
        sigmas: Sequence[float] | None = None,
        outputs: int = 1,
        condition: int = 0,
        condition_dropout: float = 0.0,
        pad: bool = False,
    ) -> None:
        super().__init__()
        width = 4 * channels if conditional else 0
        style = Style(width, space_of(shape), dropout, activation, least=1, eps=1e-6, ahead=True)
        plan = Plan(channels, tuple(multipliers), blocks, tuple(attention), attend_last, resample)
        self.unit_range = unit_range
        late = conditions(_told(condition, conditional), width, condition_dropout)
        self.embedding = Embedding(Sinusoid(channels), channels, width, style.act(), late=late) if conditional else None
        self.body = Backbone(shape[0], outputs * shape[0], plan, style, pad=pad)
        self.sigma = None if sigmas is None else SigmaTable(sigmas)
        fan_average(self)

    def forward(self, x: Tensor, noise_label: Tensor, y: Tensor | None = None) -> Tensor:
        """The output at states x (B, C, *space), labels (B,) and conditions y; None, or class -1 in a row, is no condition."""
        return _output(self, x, noise_label, y)


Block = Literal["biggan", "ddpm"]


@network("ncsnpp")
class NCSNpp(nn.Module):
    """NCSN++, and with the defaults DDPM++: states (B, C, *space) and labels (B,) to (B, C, *space).

    The arguments of DDPM, and these:
    embedding: "positional", of labels 0 to about 1000, or "fourier", of log sigma for labels that are sigma.
    fourier_scale: the standard deviation of the Fourier frequencies.
    block: "biggan" resamples inside residual blocks; "ddpm" resamples between them, as resample says.
    fir: the taps of the resampling filters, or () for none.
    skip_rescale: sums of two branches are divided by sqrt(2).
    progressive_input: "none", "input_skip" or "residual". combine: the image is added ("sum") or concatenated ("cat").
    progressive_output: "none", "output_skip" or "residual".
    scale_by_sigma: the output is divided by sigma. This is the label, or with embedding="positional" the label's entry of sigmas.

    Raises:
        ValueError: when a word is not known.
        ValueError: when scale_by_sigma with embedding="positional" has no sigmas.

    Published: fir=(1, 3, 3, 1) and progressive_input="residual" is NCSN++ on CIFAR-10, blocks=8 its deep variant.

    Reference: Song et al., 2021, arXiv 2011.13456, appendix H.

    >>> import torch
    >>> NCSNpp((3, 32, 32), channels=8, fir=(1, 3, 3, 1))(torch.zeros(2, 3, 32, 32), torch.tensor([0.0, 999.0])).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (1,),
        dropout: float = 0.1,
        embedding: LabelFeatures = "positional",
        fourier_scale: float = 16.0,
        block: Block = "biggan",
        resample: Literal["conv", "pool"] = "conv",
        fir: Sequence[int] = (),
        skip_rescale: bool = True,
        progressive_input: Literal["none", "input_skip", "residual"] = "none",
        progressive_output: Literal["none", "output_skip", "residual"] = "none",
        combine: Literal["sum", "cat"] = "sum",
        activation: str = "swish",
        conditional: bool = True,
        unit_range: bool = False,
        scale_by_sigma: bool = False,
        sigmas: Sequence[float] | None = None,
        outputs: int = 1,
        condition: int = 0,
        condition_dropout: float = 0.0,
        pad: bool = False,
    ) -> None:
        super().__init__()
        check_choice("NCSNpp", "embedding", embedding, LabelFeatures)
        check_choice("NCSNpp", "block", block, Block)
        width = 4 * channels
        style = Style(
            width if conditional else 0,
            space_of(shape),
            dropout,
            activation,
            eps=1e-6,
            rescale=skip_rescale,
            taps=tuple(fir),
            ahead=True,
            project=True,
        )
        between = "block" if block == "biggan" else resample
        plan = Plan(channels, tuple(multipliers), blocks, tuple(attention), attend_last=True, resample=between)
        self.unit_range = unit_range
        size = 2 * channels if embedding == "fourier" else channels
        waves = Fourier(size, fourier_scale) if embedding == "fourier" else Sinusoid(size)
        late = conditions(_told(condition, conditional), width, condition_dropout)
        self.embedding = Embedding(waves, size, width, style.act(), late=late) if conditional else None
        self.body = Backbone(shape[0], outputs * shape[0], plan, style, progressive_input, progressive_output, combine, pad=pad)
        self.sigma: nn.Module | None = None
        if scale_by_sigma:
            self.sigma = nn.Identity() if embedding == "fourier" else SigmaTable(_needed(sigmas))
        fan_average(self)

    def forward(self, x: Tensor, noise_label: Tensor, y: Tensor | None = None) -> Tensor:
        """The output at states x (B, C, *space), labels (B,) and conditions y; None, or class -1 in a row, is no condition."""
        return _output(self, x, noise_label, y)


def _output(network: DDPM | NCSNpp, x: Tensor, noise_label: Tensor, y: Tensor | None) -> Tensor:
    """The output of a network: its body's, divided by sigma where the network has a table of sigmas."""
    embedding = None
    if network.embedding is None:
        refuse_unknown({"y": y}, known=())
    else:
        embedding = network.embedding(noise_label, y=y)
    out: Tensor = network.body(2 * x - 1 if network.unit_range else x, embedding)
    return out if network.sigma is None else divided(out, network.sigma(noise_label))


def _told(condition: int, conditional: bool) -> int:
    if condition and not conditional:
        raise ValueError(f"condition={condition} with conditional=False: a network that does not read the label reads no condition")
    return condition


def _needed(sigmas: Sequence[float] | None) -> Sequence[float]:
    if sigmas is None:
        raise ValueError(
            "scale_by_sigma with a positional embedding needs the sigmas that labels count: "
            "give sigmas=(sigma_min, sigma_max, levels)"
        )
    return sigmas

"""The variational bound of a discrete process, term by term, and the objectives made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from sde_lib.data import Images
from sde_lib.fields import check_choices
from sde_lib.linear import posterior_coefficients
from sde_lib.losses import DenoisingScoreMatching, draw
from sde_lib.prediction import Prediction
from sde_lib.score import ScoreModel
from sde_lib.tabulated import Tabulated, require_table
from sde_lib.tensors import expand
from sde_lib.training_times import TimeLaw, UniformTime

__all__ = ["Hybrid", "LogVariances", "VariationalBound", "bound_term", "decoder_log_prob", "log_variances", "reverse_law"]

Variance = Literal["small", "large"]


class LogVariances(NamedTuple):
    """The two fixed choices for the log-variance of a step back, shaped like t: posterior given x0, and transition."""

    small: Tensor
    large: Tensor


def log_variances(sde: Tabulated, t: Tensor) -> LogVariances:
    """Log-variances of the step from t one level back: small, sigma_s^2 (1 - r), and large, sigma_t^2 (1 - r), r = SNR_t / SNR_s.

    DDPM's beta-tilde and beta. At the first level, where beta-tilde is 0, small is that of the second.
    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, section 3.2; Nichol and Dhariwal, 2021, arXiv 2102.09672, section 3.1.
    """
    second = (sde.place(t).clamp_min(1) + 1).to(torch.float64) / len(sde.log_alphas)

    def log_rest(t: Tensor) -> Tensor:
        return torch.log(-torch.expm1(sde.at(t).log_snr - sde.before(t).log_snr))

    small = 2 * sde.before(second).sigma.log() + log_rest(second)
    return LogVariances(small, 2 * sde.at(t).sigma.log() + log_rest(t))


def reverse_law(sde: Tabulated, prediction: Prediction, t: Tensor, variance: Variance = "small") -> tuple[Tensor, Tensor]:
    """Mean and log-variance of p(x_s | x_t), s one level before t: the posterior's mean at the predicted x0, and a variance.

    The variance is the learned one, or else the fixed one named. mean is shaped like x; log-variance is too, or broadcasts to it.
    At the first level s is the data themselves, the mean is x0, and both fixed variances are the small one.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equations 7 and 11; Nichol and Dhariwal, 2021, arXiv 2102.09672,
    equation 15.
    """
    x = prediction.x
    of_x, of_x0, _ = posterior_coefficients(sde.at(t), sde.before(t))
    mean = expand(of_x, x) * x + expand(of_x0, x) * prediction.x0
    if prediction.log_variance is not None:
        return mean, prediction.log_variance
    fixed = log_variances(sde, t)
    if prediction.variance_fraction is not None:
        small, large = (expand(value, x).to(x).expand_as(x) for value in fixed)
        return mean, torch.lerp(small, large, prediction.variance_fraction)
    chosen = fixed.small if variance == "small" else torch.where(sde.place(t) == 0, fixed.small, fixed.large)
    return mean, expand(chosen, x).to(x)


def decoder_log_prob(images: Images, codes: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log of the mass that N(mean, exp(log_variance)) puts into the bin of each level: nats, shaped like codes.

    The first and last bins are open. The normal CDFs are exact and in logarithms, so that the value is finite however far the
    mean is.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 13.
    """
    std = torch.exp(0.5 * log_variance)
    far = torch.full_like(mean, 1e4)
    lower = torch.where(codes == 0, -far, (images.low + images.bin_width * codes.to(mean) - mean) / std)
    upper = torch.where(codes == images.levels - 1, far, (images.low + images.bin_width * (codes.to(mean) + 1) - mean) / std)
    # The mass between a and b is that between -b and -a: where both are in the upper tail, look at them from below.
    flip = lower + upper > 0
    a, b = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    log_b = torch.special.log_ndtr(b)
    return log_b + torch.log(-torch.expm1(torch.special.log_ndtr(a) - log_b))


def bound_term(
    sde: Tabulated, prediction: Prediction, x0: Tensor, t: Tensor, images: Images | None, variance: Variance = "small"
) -> Tensor:
    """One term of the variational bound for each sample, in bits/dim, (B,): the cost of the step from t one level back.

    The term is KL(q(x_s | x_t, x0) || p(x_s | x_t)). At the first level it is -log P(x0 | x_t), x0 being centres of the bins of
    images.

    Raises:
        ValueError: when the first level is asked for without images.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 5.
    """
    mean, log_variance = reverse_law(sde, prediction, t, variance)
    truth, _ = reverse_law(sde, replace(prediction, output=x0, a=1.0, b=0.0, readings=None), t)
    excess = expand(log_variances(sde, t).small, x0) - log_variance
    nats = 0.5 * (torch.expm1(excess) - excess + (truth - mean) ** 2 * torch.exp(-log_variance))
    first = (sde.place(t).expand(len(x0)) == 0).nonzero().flatten().to(x0.device)
    if len(first):
        if images is None:
            raise ValueError("the first term of the bound needs the levels of the data: pass Images, or a model that carries them")
        own = log_variance.expand_as(mean)[first]
        nats = nats.index_copy(0, first, -decoder_log_prob(images, images.decode(x0[first]), mean[first], own))
    return nats.flatten(1).mean(1) / math.log(2)


@dataclass(frozen=True)
class VariationalBound:
    """The variational bound of a table from one of its N terms for each sample: N L_t in bits/dim.

    Its mean over t is the bound without L_T. Data are centres of the bins of the model's Images, not dequantized. variance is
    "small" or "large" where the model learned none. times is UniformTime() or LossAwareTime(N).

    Raises:
        ValueError: when variance is another word, or the model has no table or no Images.

    Reference: Ho, Jain, Abbeel, 2020, arXiv 2006.11239, equation 5; Nichol and Dhariwal, 2021, arXiv 2102.09672, equations 4 to 7.

    >>> from sde_lib import Epsilon, Images, ScoreModel, Tabulated
    >>> model = ScoreModel(lambda x, label: x, Tabulated.from_betas([0.1, 0.2]), Epsilon(label="index"), Images(levels=4))
    >>> VariationalBound()(model, model.data.encode(torch.zeros(3, 2, dtype=torch.uint8))).shape
    torch.Size([3])
    """

    variance: Variance = "small"
    times: TimeLaw = UniformTime()
    of_levels: ClassVar[bool] = True  # the data are centres of bins

    def __post_init__(self) -> None:
        check_choices(self)

    def __call__(self, model: ScoreModel, x0: Tensor, *, t: Tensor | None = None, z: Tensor | None = None, **cond: Any) -> Tensor:
        """Loss of each sample, (B,), in bits/dim; t, z and errors as in DenoisingScoreMatching."""
        self.require(model)
        t, z = draw(self.times, model.sde, x0, t, z)
        return self.of_prediction(model, model.predict(model.sde.kernel(x0, t).sample(z), t, **cond), x0, t)

    def require(self, model: ScoreModel) -> None:
        """Check that a model has a bound.

        Raises:
            ValueError: when its process has no table, or its data have no levels.
        """
        require_table(model.sde, "the variational bound")
        if model.data is None or model.data.levels is None:
            raise ValueError(f"the variational bound needs integer data, and the model's data are {model.data!r}: give it Images")

    def of_prediction(self, model: ScoreModel, prediction: Prediction, x0: Tensor, t: Tensor) -> Tensor:
        """Loss of each sample, (B,), from the network's prediction at x_t."""
        sde: Any = model.sde
        weight = len(sde.log_alphas) * self.times.weight(sde, t)
        term = bound_term(sde, prediction, x0, t, model.data, self.variance)
        return weight.to(term) * term


@dataclass(frozen=True)
class Hybrid:
    """L_simple + weight * L_vlb, where the bound teaches the variance alone: its mean is held fixed. One network pass.

    simple and bound share the times of simple.

    Raises:
        ValueError: when weight is negative, or the model has no table, no Images or no learned variance.

    Reference: Nichol and Dhariwal, 2021, arXiv 2102.09672, equation 16.

    >>> from sde_lib import Images, ScoreModel, Tabulated, WithVariance
    >>> sde, images = Tabulated.from_betas([0.1, 0.2]), Images(levels=4)
    >>> model = ScoreModel(lambda x, label: torch.cat([x, x], 1), sde, WithVariance(), images)
    >>> Hybrid()(model, images.encode(torch.zeros(3, 2, dtype=torch.uint8))).shape
    torch.Size([3])
    """

    weight: float = 0.001
    simple: DenoisingScoreMatching = DenoisingScoreMatching()
    of_levels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"{self!r}: weight must not be negative")

    @property
    def times(self) -> TimeLaw:
        """The law of the training times, which is that of simple."""
        return self.simple.times

    def __call__(self, model: ScoreModel, x0: Tensor, *, t: Tensor | None = None, z: Tensor | None = None, **cond: Any) -> Tensor:
        """Loss of each sample, (B,); t, z and errors as in DenoisingScoreMatching."""
        bound = VariationalBound(times=self.times)
        bound.require(model)
        t, z = draw(self.times, model.sde, x0, t, z)
        prediction = model.predict(model.sde.kernel(x0, t).sample(z), t, **cond)
        if prediction.log_variance is None and prediction.variance_fraction is None:
            raise ValueError(f"Hybrid trains a learned variance, and {model.parameterization!r} has none: wrap it in WithVariance")
        fixed_mean = replace(prediction, output=prediction.output.detach())
        return self.simple.of_prediction(model.sde, prediction, x0, t, z) + self.weight * bound.of_prediction(
            model, fixed_mean, x0, t
        )

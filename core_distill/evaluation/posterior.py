"""What a set says to a Bayesian: networks sampled from the posterior that it gives, and how good their joint prediction is.

Kim et al. (arXiv 2210.06205) judge pseudocoresets so. Their released code has the norm of the parameters where a normal prior
has its square, and the kinetic energy with the other sign in Metropolis' rule; here both are as in the textbooks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core_distill.data import ClassSampler
from core_distill.engine import (
    Engine,
    Tell,
    chosen,
    ignore,
    logits,
    parameters_of,
    running_on,
    training_session,
)
from core_distill.evaluation.samplers import Potential, Sampler, Sghmc
from core_distill.evaluation.train_from_scratch import Watch
from core_distill.networks import Architecture, ConvNet, network_factory
from core_distill.networks.norms import has_batch_statistics
from core_distill.randomness import derive_generator
from core_distill.types import Batch

_CHUNK = 1000
"""Test images that are normalised at once."""


class PosteriorScore(NamedTuple):
    """How good the mean prediction of sampled networks is.

    `accuracy` from 0 to 1; `nll`, the mean negative log-likelihood in nats; `ece`, the expected calibration error from 0 to
    1; `brier`, the mean squared distance of the probabilities to the one-hot label, from 0 to 2.
    """

    accuracy: float
    nll: float
    ece: float
    brier: float


@dataclass(frozen=True, kw_only=True)
class PosteriorProtocol:
    """How a set's posterior is sampled: `burn_in` draws are thrown away, `num_samples` predict together.

    One chain, which starts at a fresh network. `precision` is the prior's.
    """

    network: Architecture = ConvNet
    sampler: Sampler = field(default_factory=Sghmc)
    precision: float = 1.0
    burn_in: int = 50
    num_samples: int = 50

    def __post_init__(self) -> None:
        if self.burn_in < 0 or self.num_samples < 1 or not 0 <= self.precision < math.inf:
            raise ValueError(
                "burn_in and precision must be at least 0 and num_samples at least 1, "
                f"got {self.burn_in}, {self.precision} and {self.num_samples}"
            )


def evaluate_posterior(
    train: Batch,
    test: ClassSampler,
    protocol: PosteriorProtocol,
    *,
    seed: int,
    watch: Watch | None = None,
    engine: Engine | None = None,
    tell: Tell = ignore,
) -> PosteriorScore:
    """How well networks sampled from the posterior of the flat batch `train` (normalised) predict `test` together.

    Runs on the batch's device; `watch` hears of every draw, `tell` of compiling. Raises `ValueError` where images of the two
    differ in shape, for a network with batch norm, and where the step size is too large: a sampled network is no longer
    finite, or `Hmc` accepts no draw.
    """
    if train.images.shape[1:] != test.images.shape[1:]:
        shapes = f"{tuple(train.images.shape[1:])} and {test.image_shape}"
        raise ValueError(f"training and test images must be of one shape, got {shapes}")
    device = train.images.device
    test = test.to(device)
    generator = derive_generator(seed, "posterior", device=device)
    network = network_factory(protocol.network, test.image_shape, test.num_classes)(generator)
    if has_batch_statistics(network):
        raise ValueError(
            "a network that normalises over the batch has no posterior: its outputs depend on other images"
        )
    train = Batch(train.images.detach(), train.labels.detach())
    total = test.images.new_zeros(len(test), test.num_classes, dtype=torch.float32)
    potential = Potential(network, train, protocol.precision)
    seen = (protocol.burn_in + protocol.num_samples) * len(train.images)
    with running_on(training_session(chosen(engine), network, test.image_shape, seen, device, tell=tell)):
        start = tuple(value.clone() for value in parameters_of(network))
        draws = protocol.sampler(potential, start, generator)
        for number, draw in zip(range(protocol.burn_in + protocol.num_samples), draws, strict=False):
            if number >= protocol.burn_in:
                total += _probabilities(network, draw, test)
            if watch is not None:
                watch(number + 1)
    return score_probabilities(total / protocol.num_samples, test.labels)


def score_probabilities(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> PosteriorScore:
    """The scores of class probabilities `(n, c)` for class numbers `(n,)`.

    The calibration error (Guo et al., arXiv 1706.04599, equation 3) sorts predictions into `bins` of equal width by their
    confidence. Raises `ValueError` for numbers that are not finite.
    """
    if not torch.isfinite(probabilities).all():
        raise ValueError("a sampled network is no longer finite: lower the sampler's step_size")
    confidence, named = probabilities.max(1)
    right = (named == labels).to(probabilities.dtype)
    places = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=probabilities.dtype, device=probabilities.device)
    gaps.index_add_(0, places, right - confidence)
    one_hot = F.one_hot(labels, probabilities.shape[1])
    return PosteriorScore(
        accuracy=float(right.mean()),
        nll=float(F.nll_loss(probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log(), labels)),
        ece=float(gaps.abs().sum() / len(labels)),
        brier=float((probabilities - one_hot).square().sum(1).mean()),
    )


@torch.no_grad()
def _probabilities(network: nn.Module, parameters: Sequence[Tensor], test: ClassSampler) -> Tensor:
    """What the network says of `test` with these parameters, `(n, c)`."""
    for own, value in zip(network.parameters(), parameters, strict=True):
        own.copy_(value)
    network.eval()
    found = torch.cat([logits(network, chunk.images).softmax(-1) for chunk in test.all_chunks(_CHUNK)])
    network.train()
    return found

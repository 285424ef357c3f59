"""A network as a seed and a few coefficients: its parameters are a combination of pseudo-random networks (PRANC)."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from core_distill.engine import loss_gradient, parameters_of
from core_distill.networks import has_batch_statistics
from core_distill.networks.random_signs import random_signs
from core_distill.randomness import derive_generator
from core_distill.types import Batch, NetworkFactory

_CHUNK_VALUES = 1 << 20
"""Values of the basis that are made at a time. It is part of the format: other chunks would be other bits."""

_CHUNKS_KEPT = 64
"""Chunks kept from one pass to the next, as bytes; a larger basis is made anew in each."""


@final
@dataclass(frozen=True)
class Compressed:
    """A network in a random subspace: `coefficients (m,)` float32 and the seed that the rest is made of."""

    coefficients: Tensor
    seed: int

    @property
    def num_bytes(self) -> int:
        """What it takes to keep: the coefficients, and 8 bytes of seed."""
        return self.coefficients.nbytes + 8

    def restore(self, new_network: NetworkFactory) -> nn.Module:
        """The network, on the device of the coefficients; `new_network` makes networks of its kind."""
        network, subspace = _subspace_of(new_network, self.seed, self.coefficients)
        subspace.write_to(network, self.coefficients)
        return network


def compress(
    new_network: NetworkFactory,
    batch: Batch,
    *,
    num_coefficients: int,
    seed: int,
    epochs: int,
    learning_rate: float = 0.1,
    batch_size: int = 256,
) -> Compressed:
    """Train a network in a random subspace, by Adam on the cross-entropy of a flat batch (PRANC, arXiv 2206.08464).

    The parameters are `network_0 + sum_k coefficient_k * network_k`: a fresh network of the seed, and random signs at the
    scale that fresh weights have. Only the coefficients are trained, by `B g`, where the rows of `B` are the random
    networks and `g` is the gradient of the parameters; `B` is made again from the seed in chunks.

    The paper has no `network_0` (it can be read as one more random network, whose coefficient is fixed at 1): with it,
    coefficients of 0 are a network that can be trained at once. Its optimizer is Adam too, at rate 0.001.
    Raises `ValueError` for fewer than one coefficient or epoch, and for networks with batch statistics, which no
    coefficient says.
    """
    if num_coefficients < 1 or epochs < 1:
        raise ValueError(f"it takes at least 1 coefficient and 1 epoch, got {num_coefficients} and {epochs}")
    images, labels = batch.images.detach(), batch.labels.detach()
    coefficients = torch.zeros(num_coefficients, device=images.device)
    network, subspace = _subspace_of(new_network, seed, coefficients)
    optimizer = torch.optim.Adam([coefficients], lr=learning_rate)
    generator = derive_generator(seed, "order", device=images.device)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images), generator=generator, device=images.device).split(batch_size):
            subspace.write_to(network, coefficients)
            gradients = loss_gradient(network, parameters_of(network), Batch(images[chosen], labels[chosen]))
            coefficients.grad = subspace.project(gradients)
            optimizer.step()
    return Compressed(coefficients, seed)


def _subspace_of(new_network: NetworkFactory, seed: int, coefficients: Tensor) -> tuple[nn.Module, "_Subspace"]:
    """The fresh network of a seed and the subspace around it; drawn on the CPU, so that every device has the same."""
    network = new_network(derive_generator(seed, "network"))
    if has_batch_statistics(network):
        raise ValueError(
            "this network keeps statistics of its batches, which coefficients do not say: use norm=instance, group or none"
        )
    subspace = _Subspace(network, len(coefficients), seed, coefficients.device)
    return network.to(coefficients.device), subspace


class _Subspace:
    """A fresh network plus `m` random directions, rows of `B (m, p)`, which is never there as a whole."""

    def __init__(self, network: nn.Module, num_coefficients: int, seed: int, device: torch.device) -> None:
        self._origin = [value.detach().clone().to(device) for value in network.parameters()]
        self._size = sum(value.numel() for value in self._origin)
        scales = [value.new_full((value.numel(),), scale_of(value) / num_coefficients**0.5) for value in self._origin]
        self._scales = torch.cat(scales)
        self._count, self._seed, self._device = num_coefficients, seed, device
        self._rows = max(1, _CHUNK_VALUES // self._size)
        kept = functools.lru_cache(maxsize=None)
        self._chunk = kept(self._made) if -(-num_coefficients // self._rows) <= _CHUNKS_KEPT else self._made

    def _made(self, number: int) -> Tensor:
        rows = min(self._rows, self._count - number * self._rows)
        return random_signs(rows, self._size, self._seed, "basis", number).to(self._device)

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        for number, start in enumerate(range(0, self._count, self._rows)):
            signs = self._chunk(number).to(self._scales.dtype)
            yield slice(start, start + len(signs)), signs

    @torch.no_grad()
    def write_to(self, network: nn.Module, coefficients: Tensor) -> None:
        """Give `network` the parameters that the coefficients stand for."""
        total = torch.zeros_like(self._scales)
        for span, signs in self._chunks():
            total += coefficients[span] @ signs
        parts = (total * self._scales).split([value.numel() for value in self._origin])
        for parameter, origin, part in zip(network.parameters(), self._origin, parts, strict=True):
            parameter.copy_(origin + part.view_as(origin))

    @torch.no_grad()
    def project(self, gradients: Sequence[Tensor]) -> Tensor:
        """`B g`, `(m,)`: the gradient of the coefficients."""
        flat = torch.cat([gradient.flatten() for gradient in gradients]) * self._scales
        return torch.cat([signs @ flat for _, signs in self._chunks()])


def scale_of(parameter: Tensor) -> float:
    """The standard deviation that PyTorch gives fresh weights, `1 / sqrt(3 * fan_in)`; of vectors, 0.1."""
    return 1 / math.sqrt(3 * parameter[0].numel()) if parameter.dim() > 1 else 0.1

"""Acc-DD: another method, on networks that had a little training on real data and then a push into a random direction."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from core_distill.synthetic import SyntheticSet
from core_distill.training.experts import ExpertTrajectories
from core_distill.types import Method, NetworkFactory, Stateful


@dataclass(frozen=True, kw_only=True)
class EarlyStageMatching:
    """Acc-DD (arXiv 2212.06152): model augmentation by early-stage networks and perturbed weights, around IDC.

    Args:
        inner: the method whose networks these are: a dataclass with a `new_network`, of which nothing outlives an episode.
        new_network: the experts' architecture.
        experts: networks trained on the real data; every network starts as one of them.
        expert_epochs: how long the expert that a network starts as has trained.
        smallest_push, largest_push: how far weights go along each of two random directions, forth or back, in lengths of
            the weights.

    Raises `ValueError` for an inner method of another kind, more epochs than the experts have, and pushes that are negative
    or the wrong way round.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False

    inner: Method
    new_network: NetworkFactory
    experts: ExpertTrajectories
    expert_epochs: int = 2
    smallest_push: float = 0.01
    largest_push: float = 0.09

    def __post_init__(self) -> None:
        self.experts.check_span(1, self.expert_epochs)
        if isinstance(self.inner, Stateful):
            raise ValueError(
                f"{type(self.inner).__name__} keeps things from one episode to the next, so its networks cannot be replaced: "
                "take a method that starts each episode anew"
            )
        if not 0 <= self.smallest_push <= self.largest_push:
            raise ValueError(
                f"smallest_push and largest_push must ascend from 0, got {self.smallest_push} and {self.largest_push}"
            )

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """An episode of the method inside."""
        inner: Method = dataclasses.replace(self.inner, new_network=self.early_network)  # type: ignore[type-var]
        yield from inner.episode(synthetic, generator)

    @torch.no_grad()
    def early_network(self, generator: Generator) -> nn.Module:
        """A random expert, pushed: the method's `NetworkFactory`."""
        network = self.new_network(generator)
        trained = self.experts.draw_trained(generator, self.expert_epochs)
        span = self.largest_push - self.smallest_push
        drawn = torch.rand(2, 2, generator=generator, device=generator.device)
        pushes = (self.smallest_push + span * drawn[0]) * torch.where(drawn[1] < 0.5, -1.0, 1.0)
        for parameter, value in zip(network.parameters(), trained, strict=True):
            parameter.copy_(value)
            if value.dim() > 1:
                for push in pushes:
                    parameter.add_(push * random_direction(value, generator))
        return network


def random_direction(weights: Tensor, generator: Generator) -> Tensor:
    """Normal numbers, scaled so that every filter `direction[i]` is as long as `weights[i]` (arXiv 1712.09913, section 4)."""
    direction = torch.randn(weights.shape, generator=generator, device=weights.device, dtype=weights.dtype)
    lengths, own = (torch.linalg.vector_norm(value.flatten(1), dim=1) for value in (weights, direction))
    scaled: Tensor = direction * (lengths / (own + 1e-10)).view(-1, *[1] * (weights.dim() - 1))
    return scaled

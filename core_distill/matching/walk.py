"""Walking a training run backwards: what all optimizers have in common, a step's gradients carried on to what they saw."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core_distill.engine import ExampleLoss, Pulled, pull_back
from core_distill.types import Batch

Batches = Callable[[int, Tensor, Tensor], Batch]
"""`batch_at(step, images, labels) -> Batch`: the flat batch of a step.

Called twice a step, so it must give the same both times (a generator of its own, derived from the step), and
differentiable in images and float labels.
"""


class Trained(NamedTuple):
    """What a run trained, on what batches and by which loss."""

    network: nn.Module
    batch_at: Batches
    loss: ExampleLoss


class Walk:
    """What the loss feels of the parameters where the walk stands (`adjoint`), and of all that was met so far.

    Args:
        inputs: images, labels and step size of the run; `to_images`, `to_labels` and `to_step_size` sum up what is felt of
            those that are `wanted`, the others stay None.
        adjoint: what the loss feels of the parameters at the end.
    """

    def __init__(
        self,
        trained: Trained,
        inputs: tuple[Tensor, Tensor, Tensor],
        wanted: tuple[bool, bool, bool],
        adjoint: Sequence[Tensor],
    ) -> None:
        self._trained = trained
        self._images, self._labels, self.step_size = inputs
        self.adjoint = tuple(adjoint)
        felt = (torch.zeros_like(value) if want else None for value, want in zip(inputs, wanted, strict=True))
        self.to_images, self.to_labels, self.to_step_size = felt

    def feel_gradients(
        self, step: int, parameters: Sequence[Tensor], to_gradients: Sequence[Tensor], *, to_parameters: bool
    ) -> None:
        """Carry what is felt of a step's gradients on to images, labels and the `parameters` that it started at."""
        with torch.enable_grad():
            images = self._images.detach().requires_grad_(self.to_images is not None)
            labels = self._labels.detach().requires_grad_(self.to_labels is not None)
            batch = self._trained.batch_at(step, images, labels)
        felt: Pulled = pull_back(
            self._trained.network,
            parameters,
            batch,
            to_gradients,
            to_images=batch.images.requires_grad,
            to_labels=batch.labels.requires_grad,
            to_parameters=to_parameters,
            loss=self._trained.loss,
        )
        for total, leaf in ((self.to_images, images), (self.to_labels, labels)):
            if total is not None:
                total += _through(batch, felt, leaf)
        if felt.parameters is not None:
            self.adjoint = tuple(a + r for a, r in zip(self.adjoint, felt.parameters, strict=True))


def _through(batch: Batch, felt: Pulled, leaf: Tensor) -> Tensor:
    """What the batch's images and labels feel, carried back to what `batch_at` made them of."""
    pairs = [(batch.images, felt.images), (batch.labels, felt.labels)]
    values, cotangents = zip(*((value, feels) for value, feels in pairs if feels is not None), strict=True)
    return torch.autograd.grad(values, leaf, cotangents, retain_graph=True, materialize_grads=True)[0]

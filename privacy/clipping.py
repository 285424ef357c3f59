"""Bounding what one record can contribute: per-example targets, clipped together and summed class by class."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from core_distill.engine import current, running_on
from core_distill.types import Batch, Network, Signal


@contextmanager
def in_float32() -> Iterator[None]:
    """The engine around this call, in float32: for what is computed of single records.

    Which kernel a pass runs may depend on how many records share it, and with it how the targets of all of them are
    rounded: one record may change that, and the clipping norm does not bound it. In float32 it is nothing beside the
    noise (4e-7 of a target was seen, a record alone against a record in a batch); in bfloat16 it could be 4e-3.
    """
    around = current()
    engine = dataclasses.replace(around.engine, precision="float32")
    with running_on(dataclasses.replace(around, engine=engine)):
        yield


@torch.no_grad()
def clipped_sums(
    signal: Signal, network: nn.Module, batch: Batch, *, clip_norm: float, chunk: int = 64
) -> tuple[Tensor, ...]:
    """Sums over each class row of the examples' targets, each scaled to a joint L2 norm of at most `clip_norm`.

    NOT private: noise has to be added before the result goes anywhere. Adding or removing one record of one row moves
    all sums together by at most `clip_norm`. Values that are not finite count as 0. Runs in float32, see `in_float32`.

    Args:
        batch: grouped, `(k, n, *shape)`; examples of weight 0 are left out.
        chunk: examples whose targets are in memory at once.

    Returns one detached tensor `(k, ...)` for each of the signal's targets. Raises `ValueError` without weights.
    """
    if batch.weights is None:
        raise ValueError("private batches carry weights that mark their padding; draw them from PrivateData")
    with in_float32():
        return _summed(signal, network, batch, *batch.weights.nonzero(as_tuple=True), clip_norm=clip_norm, chunk=chunk)


def _summed(
    signal: Signal, network: nn.Module, batch: Batch, rows: Tensor, columns: Tensor, *, clip_norm: float, chunk: int
) -> tuple[Tensor, ...]:
    """`clipped_sums` over the examples at `rows` and `columns`."""
    if not len(rows):
        sizes = signal.per_example(network, Batch(batch.images[:1, :1], batch.labels[:1, :1]))
        return tuple(size.new_zeros(len(batch.images), *size.shape[2:]) for size in sizes)
    sums: list[Tensor] = []
    for row, column in zip(torch.split(rows, chunk), torch.split(columns, chunk), strict=True):
        piece = Batch(batch.images[row, column][None], batch.labels[row, column][None])
        targets = [target[0].nan_to_num(0, 0, 0) for target in signal.per_example(network, piece)]
        squares = torch.stack([target.flatten(1).square().sum(1) for target in targets])
        scale = clip_norm / squares.sum(0).sqrt().clamp(min=clip_norm)
        if not sums:
            sums = [target.new_zeros(len(batch.images), *target.shape[1:]) for target in targets]
        for total, target in zip(sums, targets, strict=True):
            total.index_add_(0, row, target * scale.view(-1, *[1] * (target.dim() - 1)))
    return tuple(sums)


class ClippedFeatures(nn.Module):
    """A network whose features have an L2 norm of at most `clip_norm`; its logits are those of the network inside.

    Distribution matching compares real with synthetic mean features. Clipping only the real ones would pull the
    synthetic set towards the wrong mean, so both sides see this network (as NDPDC of Zheng and Li does); the clipping
    of the private signal then changes nothing.
    """

    def __init__(self, network: nn.Module, *, clip_norm: float) -> None:
        super().__init__()
        self.network, self.clip_norm = network, clip_norm

    def features(self, images: Tensor) -> Tensor:
        """Features `(n, d)`, scaled down where their norm is larger than `clip_norm`."""
        features = cast(Network, self.network).features(images)
        norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        clipped: Tensor = features * (self.clip_norm / norms.clamp(min=self.clip_norm))
        return clipped

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

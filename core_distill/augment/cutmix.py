"""CutMix: a rectangle of each image comes from another one, and so does its share of the label."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from core_distill.types import Batch


def cutmix(batch: Batch, num_classes: int, generator: Generator, *, share: float = 0.5) -> Batch:
    """A flat batch `(n, c, h, w)` mixed with itself in another order; labels become probabilities `(n, num_classes)`.

    One rectangle for all images, with sides in proportion to theirs and a uniform share of the area, about a uniform pixel
    and cut off at the border (arXiv 1905.04899, with Beta(1, 1)). The batch is mixed with probability `share`, else left as
    it is. Nothing waits for a CUDA device. Raises `ValueError` for images of another shape and a share outside [0, 1].
    """
    images, labels, weights = batch
    if images.dim() != 4:
        raise ValueError(f"CutMix needs images (n, c, h, w), got {tuple(images.shape)}")
    if not 0 <= share <= 1:
        raise ValueError(f"the share of mixed batches must lie in [0, 1], got {share}")
    if not labels.is_floating_point():
        labels = F.one_hot(labels, num_classes).to(images.dtype)
    chance, area = torch.rand(2, generator=generator, device=images.device)
    order = torch.randperm(len(images), generator=generator, device=images.device)
    side = area.sqrt() * (chance < share)
    rows, columns = (_span(length, side, generator) for length in images.shape[2:])
    inside = rows[:, None] & columns
    mixed = torch.where(inside, images[order], images)
    taken = inside.sum() / inside.numel()
    return Batch(mixed, labels + taken * (labels[order] - labels), weights)


def _span(length: int, side: Tensor, generator: Generator) -> Tensor:
    """Which of `length` positions lie in the stretch of `side` times `length` about a random one, bool `(length,)`."""
    half = (side * length).floor().div(2, rounding_mode="floor")
    centre = torch.randint(length, (1,), generator=generator, device=side.device)
    positions = torch.arange(length, device=side.device)
    return (positions >= centre - half) & (positions < centre + half)

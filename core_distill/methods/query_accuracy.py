"""Accuracies on the host that decide how long something goes on: drawn, measured and brought over one at a time."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from core_distill.engine import logits
from core_distill.types import RealData


@torch.no_grad()
def query_accuracy(network: nn.Module, real: RealData, size: int, generator: Generator) -> float:
    """The fraction of `size` real images of each class, drawn anew, that `network` names rightly: a number on the host.

    One number crosses from a card for it, and the host waits for that alone.
    """
    images, labels, _ = real.by_class(size, generator)
    named = logits(network, images.flatten(0, 1)).argmax(-1)
    return _on_host((named == labels.flatten()).to(torch.float32).mean())


def spread(accuracies: Sequence[float], window: int) -> float | None:
    """The largest less the smallest of the last `window` accuracies; None before there are so many."""
    last = accuracies[-window:]
    return max(last) - min(last) if len(last) == window else None


def _on_host(number: Tensor) -> float:
    """Without waiting for what is queued on a card after `number`."""
    arrived = number.to("cpu", non_blocking=True)
    if number.is_cuda:
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(number.device))
        event.synchronize()
    return float(arrived)

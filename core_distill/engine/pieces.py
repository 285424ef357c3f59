"""How many images go through a network at once: as many as its largest map leaves in bounded memory."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from core_distill.engine.settings import Engine
from core_distill.engine.structure import structure_of
from core_distill.networks import has_batch_statistics

_PROCESSOR_BYTES = 64 << 20
"""What the largest map of a piece may take on a CPU: 128 images of ConvNet-3 (width 128, 28 x 28) in float32, or 256 in
bfloat16. A gradient took a tenth less time than with pieces of a quarter, on two cores with 32 MiB of shared cache; memory
grows with the piece."""

_CARD_SHARE = 1 / 60
"""The same on a card as a share of its memory, which alone bounds it: some twenty maps live at once."""

_UNKNOWN_CARD = 16 << 30
"""Bytes of a card that does not say."""


def piece_size(
    engine: Engine, network: nn.Module, shape: tuple[int, ...], count: int, device: torch.device, *, rows: int = 1
) -> int:
    """Images of `shape` that a piece of `count` takes: a divisor of `count` that fits, or as many as fit.

    A network that normalises over its batch gets the whole of it. Equal pieces share their compiled code. `rows` pieces
    run at once, as the classes of a grouped batch do on a card.
    """
    if has_batch_statistics(network):
        return count
    if engine.piece:
        return max(1, min(engine.piece // rows, count))
    width = 2 if engine.precision == "bfloat16" else 4
    room = _room(device)
    limit = max(1, min(count, room // (width * structure_of(network, shape).largest * rows)))
    divisors = (size for size in range(limit, math.ceil(limit / 2) - 1, -1) if count % size == 0)
    return next(divisors, limit)


def _room(device: torch.device) -> int:
    if device.type != "cuda":
        return _PROCESSOR_BYTES
    known = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(device).total_memory if known else _UNKNOWN_CARD
    return int(memory * _CARD_SHARE)


def spans(count: int, size: int) -> Iterator[slice]:
    """`count` positions in slices of `size`; the last may be shorter."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))

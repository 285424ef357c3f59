"""Work whose amount is known beforehand: what would be compiled on the way is compiled at once."""

import torch
from torch import nn

from core_distill.engine.settings import Engine, Session, Tell, ignore, worth_compiling
from core_distill.engine.structure import structure_of

_MARGIN = 4
"""How many times the work that makes compiling worth it there has to be."""


def training_session(
    engine: Engine,
    network: nn.Module,
    shape: tuple[int, ...],
    images: int,
    device: torch.device,
    *,
    tell: Tell = ignore,
) -> Session:
    """The session for training networks like `network` on `images` images of `shape` in all, each pass counted."""
    operations = 3 * images * structure_of(network, shape).operations
    return Session(engine, tell, long=operations > _MARGIN * worth_compiling(device.type))


def foresee(session: Session, *, share: float, device: torch.device) -> None:
    """Compile from now on what would be in the rest of a run of which `share` (in (0, 1]) is done, if it goes on like this.

    What was done once, such as preparing, is compiled only where it comes again.
    """
    enough = worth_compiling(device.type)
    for name, done in session.work.items():
        if done / share > _MARGIN * enough:
            session.work[name] = max(done, enough)

"""What commands say of a run's folder: where a stopped run goes on, and what its picture leaves out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from core_distill.cli.console import console

if TYPE_CHECKING:
    from torch import Tensor

    from core_distill.synthetic import SyntheticSet


def tell_steps_done(out: Path) -> None:
    """Say where a stopped run goes on; nothing of one that has not begun, or is finished."""
    from core_distill.checkpoint import steps_done
    from core_distill.run_folder import checkpoint_of, is_finished

    done = 0 if is_finished(out) else steps_done(checkpoint_of(out))
    if done:
        console().print(f"going on after step {done:,}, which {out} holds", markup=False)


def tell_not_shown(
    file: str,
    synthetic: "SyntheticSet",
    *,
    columns: int | None = None,
    unwhiten: "Callable[[Tensor], Tensor] | None" = None,
) -> None:
    """Say what the picture in `file` leaves out of the set; the arguments are those that it was drawn with."""
    from core_distill.synthetic.picture import COLUMNS, not_shown

    for what in not_shown(synthetic, columns=columns or COLUMNS, unwhiten=unwhiten):
        console().print(f"{file} shows {what}", markup=False)

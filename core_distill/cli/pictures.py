"""What the command line says of a picture that it wrote."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from core_distill.cli.console import console

if TYPE_CHECKING:
    from torch import Tensor

    from core_distill.synthetic import SyntheticSet


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

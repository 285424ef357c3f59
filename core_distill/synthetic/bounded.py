"""What lets a server take a set from others: how many images it can show is known before one of them is made."""

from collections.abc import Callable
from typing import Any

from core_distill.partials import built
from core_distill.synthetic.addressable_memory import AddressableMemory
from core_distill.synthetic.hallucinated_bases import HallucinatedBases
from core_distill.synthetic.low_rank import LowRank
from core_distill.synthetic.multi_formation import MultiFormation
from core_distill.synthetic.pixels import Pixels
from core_distill.synthetic.random_basis import RandomBasis
from core_distill.synthetic.shared_decoders import SharedDecoders

BOUNDED: dict[str, Callable[..., int]] = {
    "addressable-memory": AddressableMemory.shown_per_image,
    "hallucinated-bases": HallucinatedBases.shown_per_image,
    "low-rank": LowRank.shown_per_image,
    "multi-formation": MultiFormation.shown_per_image,
    "pixels": Pixels.shown_per_image,
    "random-basis": RandomBasis.shown_per_image,
    "shared-decoders": SharedDecoders.shown_per_image,
}
"""Of parametrisations that know it: the most images shown in place of each real one of a budget, by the names of
`PARAMETRISATIONS`.

Called with `image_shape` and a recipe's values. It holds whatever classes there are: as if what slots share cost nothing.
Raises `ValueError` for values that do not fit the shape.
"""


def shown_per_image(name: str, image_shape: tuple[int, ...], **values: Any) -> int:
    """What `BOUNDED` says of the parametrisation called `name`, by those of a recipe's values that it takes."""
    count: int = built(BOUNDED[name], image_shape=image_shape, **values)
    return count

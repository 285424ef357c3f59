"""Several operations on one image: IDC and its followers apply all that they name, where DSA takes one at a time.

Of crop, scale and rotate IDC's released code takes one at random where several are named, which no published schedule has.
"""

from dataclasses import dataclass
from typing import final

from torch import Generator, Tensor

from core_distill.augment.siamese import Dsa
from core_distill.types import Batch


@final
@dataclass(frozen=True)
class Successive:
    """Every one of `operations`, in their order, with the parameters that DSA draws (IDC, arXiv 2205.14959, released code).

    A `SiameseAugment` with the shapes, draws and errors of `Dsa`: each class of a grouped batch, or a flat batch, has one
    draw of each operation. Raises `ValueError` for an unknown operation.
    """

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        Dsa(self.operations)

    def __call__(self, real: Batch, synthetic: Batch, generator: Generator) -> tuple[Batch, Batch]:
        """Both batches with new images of the same shapes; labels and weights stay."""
        for name in self.operations:
            real, synthetic = Dsa((name,))(real, synthetic, generator)
        return real, synthetic

    def per_image(self, images: Tensor, generator: Generator) -> Tensor:
        """`images (n, c, h, w)`, each with draws of its own."""
        for name in self.operations:
            images = Dsa((name,)).per_image(images, generator)
        return images

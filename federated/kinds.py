"""Which kinds of images and labels clients may send, and how many images their bytes may be decoded to.

The server decodes what it has not made. For each kind it is known beforehand how many images can stand in place of a real
one, so that a message of more is refused before an image of it is made.
"""

import contextlib

from torch import Tensor

from core_distill.data import ClassSampler
from core_distill.networks import network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import LABEL_MODES, Recipe
from core_distill.recipes.new_method import check_method
from core_distill.recipes.values import keywords
from core_distill.synthetic.bounded import BOUNDED, shown_per_image
from core_distill.synthetic.kinds import PARAMETRISATIONS
from core_distill.synthetic.start import Start

REFUSED = {"latents": "whose generator travels with them, in more bytes than the images have"}
"""Of kinds that may not be sent: why."""


def check_image_kind(name: str) -> None:
    """Raise `ValueError`, listing those that may, where clients may not send images of the kind `name`."""
    if name in BOUNDED:
        return
    reason = REFUSED.get(name, "which the server would not know how to bound" if name in PARAMETRISATIONS else "")
    said = f"images={name}, {reason}" if reason else f"images={name!r}"
    raise ValueError(f"clients cannot send {said}: set images to one of {', '.join(BOUNDED)}")


def image_kind(recipe: Recipe) -> str:
    """The name in `PARAMETRISATIONS` of what the recipe's images are; `ValueError` where clients may not send it."""
    name = str(recipe.values()["images"])
    check_image_kind(name)
    return name


def label_kind(recipe: Recipe) -> str:
    """The name in `core_distill.synthetic.kinds.LABELS` of what the recipe's labels are stored as.

    Raises `ValueError` for a start of labels that is none of `LABEL_MODES`.
    """
    name = str(recipe.values()["labels"])
    if name not in LABEL_MODES:
        raise ValueError(f"clients cannot send labels={name!r}: set labels to one of {', '.join(LABEL_MODES)}")
    return LABEL_MODES[name].kind


def decoded_per_image(recipe: Recipe, image_shape: tuple[int, ...]) -> int:
    """The most images that sets by the recipe show in place of each image of the budget, whatever classes a client has.

    1 for pixels, `factor ** 2` for multi-formation. Raises `ValueError` where clients may not send such images, or the
    recipe's values do not fit the shape.
    """
    return shown_per_image(image_kind(recipe), image_shape, **keywords(recipe.images))


def check_recipe(recipe: Recipe, image_shape: tuple[int, ...]) -> None:
    """Raise `ValueError` where clients could not read the recipe's values, or may not send what it makes."""
    label_kind(recipe)
    decoded_per_image(recipe, image_shape)
    recipe.with_values(recipe.values())


def check_start(real: ClassSampler, recipe: Recipe) -> None:
    """Raise `ValueError` where the budget does not pay for a set of the classes of `real`, or the recipe's method refuses its
    values; nothing is drawn or trained.

    What all classes share (bases, hallucinators, decoders) costs the same for few classes, whose budget is smaller.
    """
    check_recipe(recipe, real.image_shape)
    check_method(recipe, real)
    start = Start(
        real=real,
        images_per_class=recipe.images_per_class,
        initialise=_stop,
        new_network=network_factory(recipe.network, real.image_shape, real.num_classes),
        generator=derive_generator(0, device=real.device),
    )
    with contextlib.suppress(_EnoughError):
        recipe.images(start)


class _EnoughError(Exception):
    """The images were about to be drawn: the sizes fit."""


def _stop(start: Start, images_per_class: int) -> Tensor:
    raise _EnoughError

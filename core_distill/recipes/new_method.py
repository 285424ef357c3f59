"""A recipe's method on real data, made in one place: what a method may take, it is given by name."""

from core_distill.augment import Dsa
from core_distill.data import ClassSampler
from core_distill.networks import network_factory
from core_distill.partials import built
from core_distill.recipes.recipe import Recipe
from core_distill.training.experts import ExpertTrajectories
from core_distill.types import Method


def new_method(recipe: Recipe, real: ClassSampler, *, experts: ExpertTrajectories | None = None) -> Method:
    """The method of `recipe` on `real`; raises `ValueError` where it refuses the recipe's values."""
    new_network = network_factory(recipe.network, real.image_shape, real.num_classes)
    method: Method = built(
        recipe.method,
        real=recipe.batches(real, new_network),
        queries=real,
        new_network=new_network,
        augment=fitting_augment(recipe, real),
        experts=experts,
    )
    return method


def fitting_augment(recipe: Recipe, real: ClassSampler) -> Dsa:
    """The augmentation of `recipe`; raises `ValueError` where it has operations and `real` holds no images (c, h, w)."""
    if recipe.augment.operations and len(real.image_shape) != 3:
        told = f"recipe {recipe.name} augments images (c, h, w), and these examples are {real.image_shape}"
        raise ValueError(f"{told}: leave its operations out, by --set augment= for example")
    return recipe.augment


def check_method(recipe: Recipe, real: ClassSampler) -> None:
    """Raise what `new_method` would with trained experts, before any is trained."""
    epochs = recipe.experts.training_epochs if recipe.experts else None
    new_method(recipe, real, experts=None if epochs is None else ExpertTrajectories((), epochs=epochs))

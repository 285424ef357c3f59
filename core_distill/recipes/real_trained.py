"""IDC's, DREAM's and Acc-DD's values."""

import dataclasses
import functools
from typing import Any, NamedTuple

from core_distill.augment import Dsa
from core_distill.matching.gradient_distances import convolution_l1, convolution_squared
from core_distill.matching.gradients import Distance
from core_distill.methods.early_stage import EarlyStageMatching
from core_distill.methods.real_trained import RealTrainedMatching
from core_distill.recipes.batches import representative
from core_distill.recipes.pixel_rates import sgd_rate
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, told_of
from core_distill.synthetic import Pixels
from core_distill.synthetic.initialise import clustered_images, real_images
from core_distill.synthetic.multi_formation import MultiFormation
from core_distill.training.expert_settings import ExpertTraining

_OPERATIONS = ("color", "crop", "cutout")
_CUTMIX_SHARE = 0.5


class _Values(NamedTuple):
    """Of a data set, at 10 images a class; rates are for pixels from 0 to 1.

    `operations` and `cutmix_share` are those for several images in one; `network_images` the whole batches that the released
    code makes of 500 and 2,000.
    """

    distance: Distance
    rate: float
    early_rate: float
    network_images: int = 512
    num_classes: int = 10
    operations: tuple[str, ...] = _OPERATIONS
    cutmix_share: float = _CUTMIX_SHARE


_DIGITS = _Values(convolution_l1, 1e-4, 1e-4, operations=("color", "crop"), cutmix_share=0.0)
_PUBLISHED = {
    "cifar10": _Values(convolution_squared, 5e-3, 1e-2, network_images=2_048),
    "cifar100": _Values(convolution_squared, 5e-3, 1e-2, network_images=2_048, num_classes=100),
    "digits": _DIGITS,
    "fashion-mnist": _Values(convolution_l1, 1e-4 * (28 / 32) ** 2, 1e-4 * (28 / 32) ** 2),
    "mnist": _DIGITS,
    "svhn": _Values(convolution_squared, 5e-3, 5e-3),
}
_NEITHER = "; neither cutout nor CutMix, which the released code leaves out for MNIST with several images in one"
_SHRUNK = ", and first images shrunk by averaging, not by leaving pixels out"
_LOSSES = 100
_NETWORKS = 2_000
_EARLY_NETWORKS = 500
_EXPERTS = ExpertTraining(
    num_experts=5, training_epochs=2, training_rate=0.01, training_momentum=0.9, training_batch_size=64
)
_FASTER = 20.0
"""Times the published rate in the CPU schedule, which has a thousandth of the steps."""


def idc(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """IDC (arXiv 2205.14959): networks trained on real images; `data` chooses distance, rate and what networks see.

    The released code scales its rate by the square of the images' side over 32; for other data than the published it is not.
    """
    return _idc(images_per_class, data, _values(data), schedule)


def dream(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DREAM (arXiv 2302.14416): IDC on representative real images. `data` as for `idc`."""
    recipe = _representative(_paper(images_per_class, data, _values(data)))
    if is_paper(schedule):
        return recipe
    changed = _shortened(recipe, steps=240).with_values({"batch_size": 64, "network_batch_size": 64, "candidates": 256})
    return changed.because(
        f"{_shortened_source(changed)}, but batches of 64, chosen from 256 random images of each class"
    )


def idc_i(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """IDC-I (arXiv 2205.14959, section 5): IDC on plain images. `data` as for `idc`."""
    values = _values(data)._replace(operations=_OPERATIONS, cutmix_share=_CUTMIX_SHARE)
    recipe = _idc(images_per_class, data, values, schedule)
    source = recipe.source.replace("2 x 2 images in one, ", "").replace(_SHRUNK, "")
    return dataclasses.replace(recipe, name="idc-i", source=source, images=Pixels.starting_at)


def acc_dd(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """Acc-DD (arXiv 2212.06152): IDC on early-stage networks with perturbed weights. `data` as for `idc`."""
    recipe = _accelerated(_paper(images_per_class, data, _values(data)), data)
    if is_paper(schedule):
        return recipe
    changed = _shortened(recipe, steps=200).with_values({"training_images": 4_000})
    return changed.because(f"{_shortened_source(changed)}; 5 experts of 2 epochs of 4,000 images")


def _idc(images_per_class: int, data: str, values: _Values, schedule: Schedule) -> Recipe:
    recipe = _paper(images_per_class, data, values)
    if is_paper(schedule):
        return recipe
    changed = _shortened(recipe, steps=300)
    return changed.because(_shortened_source(changed))


def _paper(images_per_class: int, data: str, values: _Values) -> Recipe:
    return Recipe(
        name="idc",
        paper="Dataset Condensation via Efficient Synthetic-Data Parameterization, arXiv 2205.14959",
        source=f"{_told_of(data)}released code: 2 x 2 images in one, 2,000 networks of 100 losses a class, a class at a time "
        f"(of {values.num_classes} classes: other numbers need other steps), "
        f"batch 64, {values.network_images} real images between losses, SGD momentum 0.5, its rate of "
        f"{values.rate:.3g} for pixels from 0 to 1 and 10 images a class, brought to normalised pixels (divided by std squared); "
        f"pixels are not clamped{_SHRUNK}{'' if values.cutmix_share else _NEITHER}",
        method=functools.partial(
            RealTrainedMatching,
            distance=values.distance,
            classes_at_once=1,
            outer_steps=_LOSSES,
            network_images=values.network_images,
            cutmix_share=values.cutmix_share,
        ),
        images_per_class=images_per_class,
        steps=_NETWORKS * _LOSSES * values.num_classes,
        augment=Dsa(values.operations),
        images=MultiFormation.starting_at,
        initialise=real_images,
        image_learning_rate=_rate(values.rate, data, images_per_class),
    )


def _representative(recipe: Recipe) -> Recipe:
    return dataclasses.replace(
        recipe.with_values({"batch_size": 128, "network_batch_size": 128, "initialise": clustered_images}),
        name="dream",
        paper="DREAM: Efficient Dataset Distillation by Representative Matching, arXiv 2302.14416",
        source=f"{recipe.source.replace('batch 64', 'batch 128, also for networks')}; the real images nearest to 128 cluster "
        "centres of each class, "
        "chosen from all of it for 10 losses (released code, which has IDC's other values and as many networks; the paper says "
        "that an eighth of them is enough); images start at such real ones. Departs: features are those of a fresh network, not of "
        "the one that is matched on",
        batches=functools.partial(representative, refresh=10, candidates=0),
    )


def _accelerated(recipe: Recipe, data: str) -> Recipe:
    values = _values(data)
    inner: Any = recipe.method  # becomes a method before the one around it
    return dataclasses.replace(
        recipe,
        name="acc-dd",
        paper="Accelerating Dataset Distillation via Model Augmentation, arXiv 2212.06152",
        source=f"{_told_of(data)}IDC's values with those of the released code, which does not start as it is: 500 networks "
        f"(steps for {values.num_classes} classes), each one of 5 trained for 2 epochs, perturbed by 0.01 to 0.09, rate "
        f"{values.early_rate:.3g} for pixels from 0 to 1; "
        f"those 5 are trained without CutMix and weight decay and see one of {' and '.join(values.operations)} at a time, for "
        f"color and crop together; pixels are not clamped{_SHRUNK}{'' if values.cutmix_share else _NEITHER}",
        method=functools.partial(EarlyStageMatching, inner=inner, expert_epochs=_EXPERTS.training_epochs),
        steps=_EARLY_NETWORKS * _LOSSES * values.num_classes,
        image_learning_rate=_rate(values.early_rate, data, recipe.images_per_class),
        experts=_EXPERTS,
    )


def _shortened(recipe: Recipe, *, steps: int) -> Recipe:
    """All classes at once, in fewer and larger steps."""
    return recipe.with_values(
        {
            "steps": steps,
            "classes_at_once": 0,
            "outer_steps": 30,
            "network_images": 256,
            "image_learning_rate": float(f"{_FASTER * recipe.image_learning_rate:.3g}"),
        }
    )


def _shortened_source(recipe: Recipe) -> str:
    return (
        f"CPU schedule: {recipe.steps} steps of all classes at once, 30 a network, which trains on 256 real images between "
        f"them, SGD {recipe.image_learning_rate:g} ({_FASTER:g} times the published rate), untuned; else as published"
    )


def _rate(rate: float, data: str, images_per_class: int) -> float:
    """For normalised pixels: published rates grow with the images of a class."""
    return sgd_rate(rate * images_per_class / 10, data)


def _values(data: str) -> _Values:
    return _PUBLISHED.get(data, _PUBLISHED["cifar10"])


def _told_of(data: str) -> str:
    published = [name for name in _PUBLISHED if name != "digits"]
    return told_of(data, published, instead="MNIST" if data == "digits" else "CIFAR-10")

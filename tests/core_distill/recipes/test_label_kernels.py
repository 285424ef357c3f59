"""Labels that are solved for: by the kernel that is asked for, better than class numbers, refused where it cannot be."""

import functools

import pytest
import torch

from core_distill.matching.kernels import centred_labels, label_solve, nearest_probabilities, ridge_regression
from core_distill.matching.network_kernels import InfiniteWidthKernel
from core_distill.networks import MLP, ConvNet, network_factory
from core_distill.recipes import find_recipe, prepare
from core_distill.recipes.label_kernels import LABEL_KERNELS
from core_distill.recipes.labels import solved
from core_distill.synthetic.initialise import real_images
from core_distill.synthetic.start import Slots, Start


def slots_of(data, network, images_per_class=2):
    factory = network_factory(network, data.image_shape, data.num_classes)
    start = Start(
        real=data,
        images_per_class=images_per_class,
        initialise=real_images,
        new_network=factory,
        generator=torch.Generator().manual_seed(0),
    )
    targets = torch.arange(data.num_classes).repeat_interleave(images_per_class)
    return Slots(start=start, targets=targets, images=start.draw(images_per_class).unsqueeze(1))


def error(kernel, images, labels, real):
    found = ridge_regression(kernel(real.images, images), kernel(images, images), labels, regularisation=1e-3)
    return (found - centred_labels(real.labels, 10)).square().mean()


def test_by_the_tangent_kernel_it_is_label_solve_on_an_infinitely_wide_network(digits):
    slots = slots_of(digits.train, functools.partial(MLP, hidden=(8,)))
    again = slots_of(digits.train, functools.partial(MLP, hidden=(8,)))
    found = solved(slots, solve_kernel=LABEL_KERNELS["tangent"], solve_images=200)(torch.arange(20))
    images, real = slots.images[:, 0], again.start.real.batch(200, again.start.generator)
    kernel = InfiniteWidthKernel(again.start.new_network(again.start.generator))
    expected = nearest_probabilities(label_solve(kernel, images, real, num_classes=10, regularisation=1e-3))
    torch.testing.assert_close(found, expected)
    other = digits.train.batch(500, torch.Generator().manual_seed(9))
    hard = torch.eye(10)[slots.targets]
    assert error(kernel, images, centred_labels(found, 10), other) < error(kernel, images, hard - 0.1, other)


def test_kernels_of_networks_and_of_none_give_other_labels(digits):
    found = [
        solved(slots_of(digits.train, functools.partial(MLP, hidden=(8,))), solve_kernel=kernel, solve_images=100)(
            torch.arange(20)
        )
        for kernel in LABEL_KERNELS.values()
    ]
    assert not torch.allclose(*found)
    for labels in found:
        torch.testing.assert_close(labels.sum(1), torch.ones(20))


def test_a_network_without_a_closed_form_is_refused_and_says_which_have_one(digits):
    slots = slots_of(digits.train, functools.partial(ConvNet, width=4))
    with pytest.raises(
        ValueError, match=r"no closed form is known .*use network=mlp, or network=convnet with norm=none"
    ):
        solved(slots, solve_kernel=LABEL_KERNELS["tangent"], solve_images=10)


@pytest.mark.parametrize("name", ["solve_images", "solve_networks"])
def test_counts_below_one_are_refused(digits, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        solved(slots_of(digits.train, MLP), **{name: 0})


def test_a_recipe_names_the_kernel(digits):
    changes = {"labels": "solved", "solve_kernel": "tangent", "network": "mlp", "hidden": (8,), "solve_images": 50}
    recipe = find_recipe("dm", images_per_class=2, data="digits", schedule="cpu").with_values(changes)
    assert recipe.values()["solve_kernel"] == "tangent"
    labels = prepare(digits.train, recipe, seed=0).synthetic.batch().labels
    assert labels.is_floating_point()
    with pytest.raises(ValueError, match="solve_kernel must be one of features, tangent"):
        recipe.with_values({"solve_kernel": "gaussian"})


@pytest.mark.parametrize("images_per_class", [2, 30])
def test_labels_name_their_class_also_where_images_outnumber_features(images_per_class, digits):
    """300 images and 64 features: what is left of the kernel is the ridge, which float32 rounds away."""
    slots = slots_of(digits.train, functools.partial(MLP, hidden=(16,)), images_per_class)
    found = solved(slots, solve_images=1000)(torch.arange(10 * images_per_class))
    assert (found.argmax(1) == slots.targets).float().mean() > 0.75

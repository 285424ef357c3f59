"""Class numbers are names: every method's losses, and what images and labels feel, are the same under others."""

import copy

import pytest
import torch
from torch import nn

from core_distill.data import ClassSampler
from core_distill.matching import bayesian
from core_distill.methods import convexified
from core_distill.networks import FreshNetworks
from core_distill.recipes import RECIPES, prepare
from core_distill.recipes.new_method import new_method
from core_distill.training.experts import ExpertTrajectories
from core_distill.types import Batch
from tests.contract.test_every_combination import toy

pytestmark = pytest.mark.filterwarnings("ignore:the second player of HaBa has no effect")

RENAMED = torch.tensor([1, 2, 0])
"""Class c is called RENAMED[c]."""

BEFORE = RENAMED.argsort()
"""What the classes were called, in the order of their new names."""

LOSSES = 3

PLAIN = {
    "augment": "",
    "batches": "uniform",
    "cutmix_share": 0.0,
    "largest_push": 0.0,
    "smallest_push": 0.0,
}
"""Values without which no draw is a class's own. Batches of the set are all of it."""


class SameImages(ClassSampler):
    """Draws the first images of each class, whatever the class is called."""

    def by_class(self, size, generator):
        return self.take(torch.stack([self.of_class(number)[:size] for number in self.classes.tolist()]))

    def batch(self, size, generator):
        images, labels, _ = self.by_class(-(-size // len(self.classes)), generator)
        return Batch(images.flatten(0, 1), labels.flatten())


def sampler(names):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (36, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return SameImages(images, names[torch.arange(36) % 3], num_classes=3, mean=[0.5], std=[0.25])


@torch.no_grad()
def rename(parameters):
    """The last layer's outputs under their new names, in place; other parameters stay."""
    weight, bias = parameters[-2:]
    for value in (weight, bias):
        value.copy_(value[BEFORE])
    return parameters


def rename_network(network):
    head = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    rename([head.weight, head.bias])


def renamed_set(synthetic):
    """The set under the new names."""
    other = copy.deepcopy(synthetic)
    for name, value in other.named_parameters():
        with torch.no_grad():
            if name.startswith("images"):
                value.copy_(rows(value))
            if name.startswith("labels"):
                value.copy_(rows(value)[:, BEFORE])
    return other


def rows(values):
    """A row a slot, class after class, in the order of the new names."""
    return values.unflatten(0, (3, -1))[BEFORE].flatten(0, 1)


def renamed_experts(experts):
    def under(trajectory):
        return lambda epoch: rename([value.clone() for value in trajectory(epoch)])

    return experts and ExpertTrajectories([under(one) for one in experts._trajectories], epochs=experts.epochs)


def losses_of(method, synthetic):
    """The first losses of an episode, and the gradients of all that is learned, by name."""
    values, gradients = [], {}
    episode = method.episode(synthetic, torch.Generator().manual_seed(3))
    for _, loss in zip(range(LOSSES), episode, strict=False):
        loss.backward()
        values.append(loss.detach())
    for name, value in synthetic.named_parameters():
        if value.requires_grad:
            gradients[name] = value.grad
    return torch.stack(values), gradients


@pytest.fixture
def under_other_names(monkeypatch):
    """From now on networks and what is drawn for their last layer are made under the new names."""

    def begin():
        make, draw, around = FreshNetworks.__call__, convexified.draw_gaussian, bayesian.around

        def made(self, generator):
            network = make(self, generator)
            rename_network(network)
            return network

        def drawn(network, *arguments, **options):
            draw(network, *arguments, **options)
            rename_network(network)

        def noisy(centre, scale, generator):
            noise = around([torch.zeros_like(value) for value in centre], scale, generator)
            return tuple(value.detach() + one for value, one in zip(centre, rename(list(noise)), strict=True))

        monkeypatch.setattr(FreshNetworks, "__call__", made)
        monkeypatch.setattr(convexified, "draw_gaussian", drawn)
        monkeypatch.setattr(bayesian, "around", noisy)

    return begin


@pytest.mark.parametrize("name", RECIPES)
def test_losses_do_not_know_what_classes_are_called(name, under_other_names):
    recipe = toy(name, "pixels")
    known = recipe.values()
    whole = {key: 1_000 for key in ("batch_size", "base_batch_size") if key in known}
    recipe = recipe.with_values({key: value for key, value in (PLAIN | whole).items() if key in known})
    plan = prepare(sampler(torch.arange(3)), recipe, seed=1)
    synthetic, experts = renamed_set(plan.synthetic), renamed_experts(plan.experts)
    values, gradients = losses_of(plan.method, plan.synthetic)
    under_other_names()
    others, felt = losses_of(new_method(recipe, sampler(RENAMED), experts=experts), synthetic)
    torch.testing.assert_close(others, values, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == felt.keys()
    for key, gradient in gradients.items():
        moved = rows(gradient) if key.startswith(("images", "labels")) else gradient
        moved = moved[:, BEFORE] if key.startswith("labels") else moved
        scale = gradient.abs().max()
        assert scale > 0
        torch.testing.assert_close(felt[key] / scale, moved / scale, rtol=1e-3, atol=1e-3)

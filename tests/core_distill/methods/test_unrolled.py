"""DD and SLDD: the gradient is that of a plainly unrolled run, groups are dealt in order, networks start where they should."""

import functools

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from core_distill.augment import all_operations, no_augment
from core_distill.data import ClassSampler
from core_distill.distill import DivergedError, distill
from core_distill.methods import UnrolledTraining
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.synthetic import HardLabels, Pixels, SoftLabels, SyntheticSet
from core_distill.synthetic.synthetic_set import SMALLEST_STEP_SIZE


@pytest.fixture
def real():
    """Three classes of 8 images, in float64."""
    images = torch.randn(24, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return ClassSampler(images, torch.arange(24) % 3, num_classes=3, mean=[0.0], std=[1.0])


@pytest.fixture
def double_network(new_network):
    return lambda generator: new_network(generator).double()


class TwoViews(nn.Module):
    """Each slot gives its image and the negative."""

    views = 2

    def __init__(self, images):
        super().__init__()
        self.pixels = nn.Parameter(images)

    @property
    def num_slots(self):
        return len(self.pixels)

    def forward(self, slots, generator=None):
        return torch.stack([self.pixels[slots], -self.pixels[slots]], 1).flatten(0, 1)


def a_set(images_per_class=2, step_size=0.1, *, decoder=Pixels, labels=SoftLabels.starting_at):
    """Three classes in float64; the step size is learned."""
    count = 3 * images_per_class
    images = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    return SyntheticSet(
        decoder(images),
        labels(torch.arange(3).repeat_interleave(images_per_class), 3),
        classes=[0, 1, 2],
        num_classes=3,
        images_per_class=images_per_class,
        mean=[0.0],
        std=[1.0],
        step_size=step_size,
        learn_step_size=True,
    ).double()


def naive_loss(method, synthetic, groups, generator):
    """The whole run in one graph: `groups` lists the images of each class that the steps of a pass see."""
    network = method.new_network(generator)
    parameters = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    images, labels = synthetic.batch()[:2]
    per_class = len(images) // 3
    velocity = {name: torch.zeros_like(value) for name, value in parameters.items()}
    sizes = synthetic.step_size.expand(len(groups) * method.inner_epochs)
    for step, size in enumerate(sizes):
        seen = [number * per_class + place for number in range(3) for place in groups[step % len(groups)]]
        loss = F.cross_entropy(functional_call(network, parameters, images[seen]), labels[seen])
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            velocity[name] = method.inner_momentum * velocity[name] + gradient
            parameters[name] = parameters[name] - size * velocity[name]
    batch = method.real.batch(method.batch_size, generator)
    seen = method.augment.per_image(batch.images, generator)
    return F.cross_entropy(functional_call(network, parameters, seen), batch.labels)


def assert_same_loss_and_gradients(method, synthetic, groups):
    (loss,) = method.episode(synthetic, torch.Generator().manual_seed(5))
    expected = naive_loss(method, synthetic, groups, torch.Generator().manual_seed(5))
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    learned = dict(synthetic.named_parameters())
    ours = torch.autograd.grad(loss, list(learned.values()))
    theirs = torch.autograd.grad(expected, list(learned.values()))
    for name, found, wanted in zip(learned, ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
        assert wanted.abs().max() > 0


@pytest.mark.parametrize(
    ("images_per_class", "groups"),
    [(2, [[0, 1]]), (2, [[0], [1]]), (4, [[0, 1], [2, 3]]), (3, [[0], [1, 2]]), (5, [[0], [1, 2], [3, 4]])],
)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("each", [False, True])
def test_the_gradient_is_that_of_the_run_in_one_graph(each, momentum, images_per_class, groups, real, double_network):
    method = UnrolledTraining(
        real=real,
        new_network=double_network,
        batch_size=9,
        inner_steps=len(groups),
        inner_epochs=2,
        inner_momentum=momentum,
    )
    sizes = [0.05 * (step + 1) for step in range(2 * len(groups))] if each else 0.1
    assert_same_loss_and_gradients(method, a_set(images_per_class, sizes), groups)


def test_the_views_of_a_slot_stay_in_one_group(real, double_network):
    method = UnrolledTraining(real=real, new_network=double_network, batch_size=9, inner_steps=2, inner_epochs=1)
    assert_same_loss_and_gradients(method, a_set(2, decoder=TwoViews), [[0, 1], [2, 3]])


def test_real_images_are_augmented_on_request(real, double_network):
    method = UnrolledTraining(
        real=real, new_network=double_network, batch_size=9, inner_epochs=1, augment=all_operations
    )
    assert UnrolledTraining(real=real, new_network=double_network).augment == no_augment
    assert_same_loss_and_gradients(method, a_set(), [[0, 1]])


def test_hard_labels_are_class_numbers(real, double_network):
    method = UnrolledTraining(real=real, new_network=double_network, batch_size=9, inner_steps=2, inner_epochs=2)
    assert_same_loss_and_gradients(method, a_set(labels=HardLabels), [[0], [1]])


def starts_of(method, count=3):
    """The first weights of the networks that some episodes start at."""
    made = []
    new_network = method.new_network

    def recorded(generator):
        made.append(new_network(generator))
        return made[-1]

    object.__setattr__(method, "new_network", recorded)
    for number in range(count):
        list(method.episode(a_set(), derive_generator(0, "episode", number)))
    return [next(network.parameters()).detach() for network in made]


def test_a_fixed_network_is_the_same_in_each_episode(real, double_network):
    make = functools.partial(UnrolledTraining, real=real, new_network=double_network, inner_epochs=1, batch_size=4)
    first, *others = starts_of(make(network_seed=7))
    assert all(torch.equal(first, other) for other in others)
    (another,) = starts_of(make(network_seed=8), 1)
    assert not torch.equal(first, another)
    fresh = starts_of(make())
    assert not torch.equal(fresh[0], fresh[1])


@pytest.mark.parametrize(
    ("changes", "step_size", "message"),
    [
        ({"inner_steps": 3}, 0.1, r"inner_steps must lie in 1\.\.2, .* got 3; inner_epochs repeats them"),
        ({"inner_steps": 0}, 0.1, r"inner_steps must lie in 1\.\.2"),
        ({"inner_epochs": 0}, 0.1, "inner_epochs must be at least 1, got 0"),
        ({"inner_steps": 2, "inner_epochs": 2}, [0.1] * 3, r"scalar or of shape \(4,\), got shape \(3,\)"),
        ({"inner_momentum": 1.0}, 0.1, r"momentum must lie in \[0, 1\), got 1\.0"),
        ({"batch_size": 0}, 0.1, "at least 1 example, got size 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes, step_size, message, real, double_network):
    method = UnrolledTraining(real=real, new_network=double_network, **changes)
    with pytest.raises(ValueError, match=message):
        list(method.episode(a_set(step_size=step_size), torch.Generator()))


def test_a_network_that_normalises_over_the_batch_is_refused(real):
    make = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    with pytest.raises(ValueError, match="normalises over the batch"):
        list(UnrolledTraining(real=real, new_network=make).episode(a_set(), torch.Generator()))


def small(name, **changes):
    recipe = find_recipe(name, images_per_class=4, data="digits", schedule="cpu")
    return recipe.with_values({"steps": 3, "batch_size": 12, "width": 4, "depth": 2, "inner_steps": 2, **changes})


@pytest.mark.parametrize("step_sizes", ["each", "shared"])
def test_every_learned_step_size_moves(step_sizes, sampler):
    plan = prepare(sampler, small("dd", step_sizes=step_sizes), seed=0)
    assert plan.synthetic.step_size.shape == ((12,) if step_sizes == "each" else ())
    before = plan.synthetic.step_size.detach().clone()
    distill(plan.method, plan.synthetic, plan.optimizer, steps=3, seed=0)
    assert (plan.synthetic.step_size != before).all()


def test_learned_step_sizes_stay_above_zero(sampler):
    plan = prepare(sampler, small("dd", step_learning_rate=0.5), seed=0)
    seen = []
    distill(
        plan.method,
        plan.synthetic,
        plan.optimizer,
        steps=3,
        seed=0,
        observers=[lambda progress: seen.append(progress.synthetic.step_size.detach().clone())],
    )
    assert torch.stack(seen).min() == torch.tensor(SMALLEST_STEP_SIZE)


def test_a_run_trained_too_far_ends_in_an_error_that_says_so(sampler):
    plan = prepare(sampler, small("dd", step_size=1e30), seed=0)
    with pytest.raises(
        DivergedError, match=r"step_size, images\.pixels is not finite after step 3: lower the learning"
    ):
        distill(plan.method, plan.synthetic, plan.optimizer, steps=3, seed=0)


@pytest.mark.parametrize("name", ["dd", "sldd"])
def test_networks_trained_on_the_set_get_better(name, digits):
    """Loss of real images at the end of a run from the same fresh networks, before and after distilling."""
    values = {"steps": 25, "inner_epochs": 4, "batch_size": 128, "width": 8, "initialise": "noise"}
    plan = prepare(digits.train, small(name, **values, image_learning_rate=0.2, step_size=0.3), seed=0)

    def mean_loss():
        losses = [
            next(plan.method.episode(plan.synthetic, derive_generator(1, number))).detach() for number in range(4)
        ]
        return torch.stack(losses).mean()

    before = mean_loss()
    distill(plan.method, plan.synthetic, plan.optimizer, steps=25, seed=0, scheduler=plan.scheduler)
    assert mean_loss() < 0.9 * before

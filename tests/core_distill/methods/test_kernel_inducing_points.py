"""KIP: its loss written out, what its values change, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from core_distill.distill import distill
from core_distill.matching import InfiniteWidthKernel
from core_distill.methods import KernelInducingPoints
from core_distill.networks import MLP, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import condense, find_recipe, prepare

TOY = {"batch_size": 4, "steps": 3}


def toy(name="kip", **changes):
    recipe = find_recipe(name, images_per_class=2, data="digits", schedule="cpu")
    return recipe.with_values({**TOY, **changes})


def first_loss(plan):
    return next(plan.method.episode(plan.synthetic, derive_generator(4)))


def written_out(plan):
    """By the paper's equation 7, without the library's regression."""
    generator = derive_generator(4)
    network = plan.method.new_network(generator)
    real = plan.method.real.by_class(plan.method.batch_size, generator)
    kernel = InfiniteWidthKernel(network, plan.method.weight_std, plan.method.bias_std, plan.method.tangent)
    images, labels = plan.synthetic.batch()[:2]
    if not labels.is_floating_point():
        labels = F.one_hot(labels, 3)
    targets = real.images.flatten(0, 1)
    if plan.method.view > 1:
        images, targets = (F.avg_pool2d(batch, plan.method.view) for batch in (images, targets))
    own, n = kernel(images, images), len(images)
    ridge = own + plan.method.regularisation * own.trace() / n * torch.eye(n, dtype=torch.float64)
    predictions = kernel(targets, images) @ torch.linalg.inv(ridge) @ (labels.double() - 1 / 3)
    wanted = F.one_hot(real.labels.flatten(), 3) - 1 / 3
    return 0.5 * (predictions - wanted).square().sum() / wanted.numel()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("kip", {"labels": "hard"}),
        ("kip", {"labels": "soft", "tangent": False, "hidden": (4, 4)}),
        ("kip-conv", {"labels": "soft", "width": 4, "view": 2}),
        ("kip-conv", {"labels": "hard", "width": 4, "depth": 1}),
    ],
    ids=str,
)
def test_the_loss_and_its_gradients_are_the_papers(name, values, sampler):
    plans = [prepare(sampler, toy(name, regularisation=0.01, **values), seed=0) for _ in range(2)]
    ours, theirs = first_loss(plans[0]), written_out(plans[1])
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-5, atol=1e-6)
    ours.backward()
    theirs.backward()
    for one, other in zip(plans[0].synthetic.parameters(), plans[1].synthetic.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_loss_goes_down(labels, digits):
    losses = []
    recipe = toy(
        labels=labels, steps=40, batch_size=20, image_learning_rate=0.05, decay="constant", regularisation=1e-6
    )
    condense(digits.train, recipe, seed=0, observers=[lambda progress: losses.append(progress.loss.item())])
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_images_that_cannot_be_told_apart_are_refused(sampler):
    plan = prepare(sampler, toy(regularisation=0.0), seed=0)
    with torch.no_grad():
        plan.synthetic.images.pixels[:] = 1.0
    with pytest.raises(ValueError, match="not positive definite with regularisation 0: raise regularisation"):
        distill(plan.method, plan.synthetic, plan.optimizer, steps=1, seed=0)


def test_twins_are_solvable_with_a_little_regularisation(sampler):
    plan = prepare(sampler, toy(), seed=0)
    with torch.no_grad():
        plan.synthetic.images.pixels[1] = plan.synthetic.images.pixels[0]
    first_loss(plan).backward()
    assert plan.synthetic.images.pixels.grad.isfinite().all()


@pytest.mark.parametrize("view", [0, 3])
def test_a_view_that_does_not_fit_is_refused(view, sampler):
    with pytest.raises(ValueError, match="view must divide the sides"):
        first_loss(prepare(sampler, toy(view=view), seed=0))


def test_a_method_of_its_own(sampler):
    plan = prepare(sampler, toy(), seed=0)
    method = KernelInducingPoints(real=sampler, new_network=network_factory(MLP, (1, 8, 8), 3), batch_size=2)
    assert torch.isfinite(next(method.episode(plan.synthetic, derive_generator(0))))
    assert not method.private


def test_a_network_with_norm_says_what_to_use(sampler):
    with pytest.raises(ValueError, match="norm=none"):
        first_loss(prepare(sampler, toy("kip-conv", norm="instance"), seed=0))

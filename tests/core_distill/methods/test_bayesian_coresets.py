"""Bayesian pseudocoresets: a loss is the divergence of where two trainings end, and Wasserstein's is MTT's."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.augment import Dsa, no_augment
from core_distill.distill import distill
from core_distill.matching.bayesian import around, forward_kl, reverse_kl, wasserstein
from core_distill.methods import BayesianPseudocoreset, TrajectoryMatching
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.training.expert_settings import ExpertTraining
from core_distill.training.expert_training import train_experts

NAMES = ("bpc-forward-kl", "bpc-reverse-kl", "bpc-wasserstein")
TRAINING = ExpertTraining(num_experts=2, training_epochs=3, training_rate=0.05, training_batch_size=9)


@pytest.fixture
def experts(sampler, new_network):
    return train_experts(sampler, new_network, TRAINING, augment=no_augment)


@pytest.fixture
def make(sampler, new_network, experts):
    return functools.partial(
        BayesianPseudocoreset,
        real=sampler,
        new_network=new_network,
        experts=experts,
        inner_steps=2,
        max_start=2,
        samples=3,
        batch_size=7,
    )


@pytest.fixture
def synthetic(sampler):
    recipe = find_recipe("bpc-wasserstein", images_per_class=2, data="digits", schedule="cpu")
    small = {"width": 4, "depth": 2, "num_experts": 1, "training_epochs": 1, "max_start": 1}
    return prepare(sampler, recipe.with_values(small), seed=0).synthetic


def one_loss(method, synthetic, seed=5):
    (loss,) = method.episode(synthetic, derive_generator(seed))
    return loss


def equals(experts, posteriors, parameters, number, epoch):
    """Whether parameters are an expert's after an epoch."""
    network = experts.load(posteriors.network, number, epoch)
    return all(map(torch.equal, parameters, network.parameters()))


def test_the_divergence_gets_where_both_trainings_end(make, synthetic, experts):
    """Steps of plain gradient descent on the set, written out, from where the expert's stretch begins."""
    seen = []

    def look(posteriors, *, samples, scale, generator):
        seen.append((posteriors, samples, scale))
        return posteriors.coreset[0].sum()

    one_loss(make(divergence=look), synthetic)
    ((posteriors, samples, scale),) = seen
    assert (samples, scale) == (3, 0.01)
    spans = [(number, epoch) for number in (0, 1) for epoch in (0, 1)]
    assert [equals(experts, posteriors, posteriors.start, *span) for span in spans].count(True) == 1
    assert [equals(experts, posteriors, posteriors.expert, number, epoch + 1) for number, epoch in spans] == [
        equals(experts, posteriors, posteriors.start, *span) for span in spans
    ]
    images, labels = (value.detach() for value in synthetic.batch()[:2])
    parameters = [value.detach().clone() for value in posteriors.start]
    names = [name for name, _ in posteriors.network.named_parameters()]
    for _ in range(2):
        leaves = [value.clone().requires_grad_() for value in parameters]
        loss = F.cross_entropy(
            functional_call(posteriors.network, dict(zip(names, leaves, strict=True)), (images,)), labels
        )
        slopes = torch.autograd.grad(loss, leaves)
        parameters = [value - synthetic.step_size.detach() * slope for value, slope in zip(leaves, slopes, strict=True)]
    for found, wanted in zip(posteriors.coreset, parameters, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert torch.equal(posteriors.synthetic.images, synthetic.batch().images)
    assert len(posteriors.real.images) == 7


def test_wasserstein_is_mtt(make, synthetic, sampler, new_network, experts):
    mtt = TrajectoryMatching(
        real=sampler, new_network=new_network, experts=experts, inner_steps=2, expert_epochs=1, max_start=2
    )
    ours, theirs = one_loss(make(divergence=wasserstein), synthetic), one_loss(mtt, synthetic)
    torch.testing.assert_close(ours, theirs)
    learned = [synthetic.images.pixels, synthetic.step_size]
    for found, wanted in zip(*(torch.autograd.grad(loss, learned) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("divergence", [forward_kl, reverse_kl])
def test_the_kl_divergences_do_not_look_through_the_training(divergence, make, synthetic):
    loss = one_loss(make(divergence=divergence), synthetic)
    to_pixels, to_step_size = torch.autograd.grad(
        loss, [synthetic.images.pixels, synthetic.step_size], allow_unused=True
    )
    assert to_step_size is None
    assert to_pixels.abs().max() > 0


def test_real_and_synthetic_images_are_augmented_alike_in_a_loss_and_anew_in_each_step(make, synthetic):
    shapes = []

    class Watched(Dsa):
        def per_image(self, images, generator):
            shapes.append(("step", len(images), generator.initial_seed()))
            return super().per_image(images, generator)

        def __call__(self, real, synthetic, generator):
            shapes.append(("loss", len(real.images), len(synthetic.images)))
            return super().__call__(real, synthetic, generator)

    one_loss(make(divergence=reverse_kl, augment=Watched(("crop",))), synthetic)
    steps = [entry for entry in shapes if entry[0] == "step"]
    assert [entry[1] for entry in steps] == [6, 6]
    assert len({entry[2] for entry in steps}) == 2
    assert [entry for entry in shapes if entry[0] == "loss"] == [("loss", 7, 6)]


@pytest.mark.parametrize("name", NAMES)
def test_distilling_brings_the_posteriors_together(name, sampler):
    """The mean of the divergence over the same stretches and draws, before and after some steps."""
    recipe = find_recipe(name, images_per_class=2, data="digits", schedule="cpu")
    small = {"width": 8, "depth": 2, "num_experts": 2, "training_epochs": 4, "max_start": 2, "steps": 15, "samples": 8}
    more = {
        "inner_steps": 3,
        "augment": "",
        "noise": 0.05,
        "batch_size": 36,
        "training_images": 0,
        "training_batch_size": 12,
    }
    rates = {"bpc-forward-kl": 5.0, "bpc-reverse-kl": 1000.0, "bpc-wasserstein": 10.0}
    recipe = recipe.with_values(small | more | {"image_learning_rate": rates[name], "initialise": "noise"})
    plan = prepare(sampler, recipe, seed=0)

    def mean_divergence():
        losses = [next(plan.method.episode(plan.synthetic, derive_generator(7, number))) for number in range(4)]
        return torch.stack(losses).mean().detach()

    before = mean_divergence()
    distill(plan.method, plan.synthetic, plan.optimizer, steps=15, seed=0)
    assert mean_divergence() < before - 0.05 * abs(before)


def test_what_does_not_fit_is_refused(make, synthetic):
    with pytest.raises(ValueError, match=r"noise must be at least 0 and finite, got -1\.0"):
        make(noise=-1.0)
    with pytest.raises(ValueError, match="choose a max_start of at most 3"):
        make(max_start=4)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        one_loss(make(inner_steps=0), synthetic)
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        one_loss(make(divergence=reverse_kl, samples=1), synthetic)


def test_draws_lie_around_a_centre():
    centre = [torch.full((2000,), 3.0), torch.full((30, 40), -1.0)]
    draw = around(centre, 0.1, derive_generator(0))
    for value, middle in zip(draw, centre, strict=True):
        torch.testing.assert_close(value.mean(), middle.mean(), rtol=0, atol=0.02)
        torch.testing.assert_close((value - middle).std(), torch.tensor(0.1), rtol=0.1, atol=0)

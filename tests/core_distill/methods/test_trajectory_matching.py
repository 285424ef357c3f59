"""MTT and TESLA: the loss and its gradient against the graph of the whole run, the batches, and what is refused."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.augment import Dsa, no_augment
from core_distill.distill import distill
from core_distill.engine import Engine, parameters_of
from core_distill.methods import TrajectoryMatching
from core_distill.randomness import derive_generator
from core_distill.synthetic import HardLabels, Pixels, SoftLabels, SyntheticSet
from core_distill.training.expert_settings import ExpertTraining
from core_distill.training.expert_training import train_experts
from core_distill.training.experts import ExpertTrajectories, in_memory

TRAINING = ExpertTraining(num_experts=2, training_epochs=3, training_rate=0.1, training_batch_size=12)


@pytest.fixture
def experts(sampler, new_network):
    return train_experts(sampler, new_network, TRAINING, augment=no_augment)


@pytest.fixture
def matching(sampler, new_network, experts):
    values = {"real": sampler, "new_network": new_network, "experts": experts, "inner_steps": 3, "max_start": 2}
    return functools.partial(TrajectoryMatching, **values)


def synthetic_set(sampler, labels=HardLabels):
    batch = sampler.by_class(2, derive_generator(3))
    targets = batch.labels.flatten()
    make = labels if labels is HardLabels else SoftLabels.starting_at
    return SyntheticSet(
        Pixels(batch.images.flatten(0, 1)),
        make(targets, 3),
        classes=[0, 1, 2],
        num_classes=3,
        images_per_class=2,
        mean=[0.5],
        std=[0.25],
        step_size=0.1,
        learn_step_size=True,
    )


def naive_loss(method, synthetic, generator, batches):
    """The loss from a graph of the whole run; `batches(step)` are the slots and the augmentation of a step."""
    network = method.new_network(generator)
    start, target = method.experts.draw(generator, method.max_start, method.expert_epochs)
    names = [name for name, _ in network.named_parameters()]
    parameters = [value.clone().requires_grad_() for value in start]
    images, labels, _ = synthetic.batch()
    for step in range(method.inner_steps):
        chosen, change = batches(step)
        logits = functional_call(network, dict(zip(names, parameters, strict=True)), (change(images[chosen]),))
        loss = F.cross_entropy(logits, labels[chosen])
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        parameters = [p - synthetic.step_size * g for p, g in zip(parameters, gradients, strict=True)]
    far = sum((a - b).square().sum() for a, b in zip(parameters, target, strict=True))
    return far / sum((a - b).square().sum() for a, b in zip(start, target, strict=True))


def gradients(loss, synthetic):
    return torch.autograd.grad(loss, list(synthetic.parameters()))


@pytest.mark.parametrize("labels", [HardLabels, SoftLabels], ids=["hard", "soft"])
def test_loss_and_gradients_are_those_of_the_whole_graph(matching, sampler, labels):
    synthetic = synthetic_set(sampler, labels)
    method = matching(augment=Dsa())
    (ours,) = method.episode(synthetic, derive_generator(0, "e"))
    seed = derive_generator(0, "e").initial_seed()

    def batches(step):
        return slice(None), lambda images: Dsa().per_image(images, derive_generator(seed, "inner step", step))

    naive = naive_loss(method, synthetic, derive_generator(0, "e"), batches)
    torch.testing.assert_close(ours, naive)
    pairs = zip(gradients(ours, synthetic), gradients(naive, synthetic), strict=True)
    for found, wanted in pairs:
        assert wanted.abs().max() > 1e-6
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


def test_truncated_is_another_gradient_of_the_same_loss(matching, sampler):
    synthetic = synthetic_set(sampler)
    (exact,), (truncated,) = (
        matching(truncated=value).episode(synthetic, derive_generator(0)) for value in (False, True)
    )
    assert exact == truncated
    (a, *_), (b, *_) = gradients(exact, synthetic), gradients(truncated, synthetic)
    assert not torch.allclose(a, b, rtol=1e-2)
    assert F.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.5
    (exact,), (truncated,) = (
        matching(truncated=value, inner_steps=1).episode(synthetic, derive_generator(0)) for value in (False, True)
    )
    for a, b in zip(gradients(exact, synthetic), gradients(truncated, synthetic), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("batch_size", "sizes"), [(0, [6] * 5), (6, [6] * 5), (9, [6] * 5), (4, [4, 2, 4, 2, 4])])
def test_batches_go_through_the_set_order_after_order(matching, batch_size, sizes):
    batch_at = matching(batch_size=batch_size, inner_steps=5)._batches(6, derive_generator(1))
    numbers = torch.arange(6)
    seen = [batch_at(step, numbers, numbers).labels.tolist() for step in range(5)]
    assert [len(batch) for batch in seen] == sizes
    assert seen == [batch_at(step, numbers, numbers).labels.tolist() for step in range(5)]
    if batch_size == 4:
        first, second = sorted(seen[0] + seen[1]), sorted(seen[2] + seen[3])
        assert first == second == list(range(6))
        assert seen[0] != seen[2]


def test_a_set_that_trains_like_the_expert_has_no_loss(sampler, new_network):
    """An expert that took the synthetic steps itself is reached exactly."""
    synthetic = synthetic_set(sampler)
    network = new_network(derive_generator(2))
    epochs = [parameters_of(network)]
    batch = synthetic.batch()
    for _ in range(2):
        at = [value.clone().requires_grad_() for value in epochs[-1]]
        named = dict(zip(dict(network.named_parameters()), at, strict=True))
        loss = F.cross_entropy(functional_call(network, named, (batch.images.detach(),)), batch.labels)
        epochs.append(tuple(p.detach() - 0.1 * g for p, g in zip(at, torch.autograd.grad(loss, at), strict=True)))
    stacked = {str(i): torch.stack(values) for i, values in enumerate(zip(*epochs, strict=True))}
    expert = ExpertTrajectories([in_memory(stacked)], epochs=2)
    method = TrajectoryMatching(
        real=sampler, new_network=new_network, experts=expert, inner_steps=2, expert_epochs=2, max_start=1
    )
    (loss,) = method.episode(synthetic, derive_generator(0))
    assert loss < 1e-8


def test_distilling_brings_the_end_nearer_to_the_experts(matching, sampler):
    synthetic = synthetic_set(sampler)
    method = matching(max_start=1, expert_epochs=3, inner_steps=6)
    rates = [{"params": synthetic.images.parameters(), "lr": 1.0}, {"params": [synthetic.step_size], "lr": 1e-3}]
    losses = []
    distill(
        method,
        synthetic,
        torch.optim.SGD(rates),
        steps=40,
        seed=0,
        engine=Engine(compile=False),
        observers=[lambda progress: losses.append(progress.loss)],
    )
    assert torch.stack(losses[-10:]).mean() < 0.9 * torch.stack(losses[:10]).mean(), losses
    assert synthetic.step_size != 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner_steps": 0}, "inner_steps must be at least 1, got 0"),
        ({"batch_size": -1}, "batch_size and memory_limit must be at least 0, got -1 and 0"),
        ({"max_start": 3}, r"these have 3: choose a max_start of at most 2"),
        ({"expert_epochs": 4, "max_start": 1}, r"these have 3: match fewer epochs"),
    ],
)
def test_values_out_of_range(matching, values, message):
    with pytest.raises(ValueError, match=message):
        matching(**values)


def test_more_inner_steps_than_the_memory_asked_for_allows(matching, sampler):
    with pytest.raises(ValueError, match=r"3 steps keep 4 copies .* 0 steps fit"):
        next(matching(memory_limit=1000).episode(synthetic_set(sampler), derive_generator(0)))

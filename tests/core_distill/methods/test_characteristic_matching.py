"""NCFM: its loss written out, which networks it uses, and that the loss goes down."""

import pytest
import torch
import torch.nn.functional as F

from core_distill.augment.successive import Successive
from core_distill.matching.characteristic_functions import characteristic_distance
from core_distill.methods import CharacteristicMatching
from core_distill.randomness import derive_generator
from core_distill.recipes import condense, find_recipe, prepare
from core_distill.training.experts import ExpertTrajectories, in_memory
from core_distill.types import Batch


def toy(**changes):
    recipe = find_recipe("ncfm", images_per_class=2, data="digits", schedule="cpu")
    values = {"steps": 3, "batch_size": 5, "width": 4, "depth": 2, "num_frequencies": 6, "num_experts": 2}
    return recipe.with_values({**values, "images": "pixels", "training_epochs": 2, "training_images": 12, **changes})


def written_out(plan, generator, **weights):
    """The first loss, drawn in the method's order: network, expert, ratio, batch, augmentation, frequencies."""
    method = plan.method
    network = method.new_network(generator)
    start, trained = method.experts.draw(generator, 1, method.experts.epochs)
    ratio = torch.rand((), generator=generator)
    real = method.real.by_class(method.batch_size, generator)
    real, own = Successive(method.augment.operations)(real, plan.synthetic.by_class(), generator)
    names = [name for name, _ in network.named_parameters()]
    mixed = {name: ratio * a + (1 - ratio) * b for name, a, b in zip(names, start, trained, strict=True)}
    network.load_state_dict(mixed)
    size = network.classifier.in_features
    frequencies = torch.randn(method.num_frequencies, size, generator=generator)
    loss = method.match_weight * characteristic_distance(network, real, own, frequencies, **weights)
    network = method.new_network(derive_generator(0))
    network.load_state_dict(dict(zip(names, trained, strict=True)))
    for images, labels in zip(own.images, own.labels, strict=True):
        loss = loss + method.calibration_weight * F.cross_entropy(network(images), labels)
    return loss


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, {}),
        (
            {"match_weight": 2.0, "calibration_weight": 5.0, "augment": ""},
            {"amplitude_weight": 0.9, "phase_weight": 0.2},
        ),
    ],
)
def test_the_loss_and_its_gradients_are_those_written_out(labels, changes, weights, sampler):
    plans = [prepare(sampler, toy(labels=labels, **changes, **weights), seed=0) for _ in range(2)]
    ours = next(plans[0].method.episode(plans[0].synthetic, derive_generator(7)))
    theirs = written_out(plans[1], derive_generator(7), **weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    ours.backward()
    theirs.backward(inputs=list(plans[1].synthetic.parameters()))
    for one, other in zip(plans[0].synthetic.parameters(), plans[1].synthetic.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)
        assert one.grad.abs().sum() > 0


def test_networks_lie_between_the_first_and_the_last_parameters(sampler, new_network):
    """Experts whose numbers are all 0 before training, 1 in the middle and 4 at the end."""
    stacked = {
        name: torch.stack([value * 0, value * 0 + 1, value * 0 + 4])
        for name, value in new_network(derive_generator(0)).state_dict().items()
    }
    made = []

    def recorded(generator):
        made.append(new_network(generator))
        return made[-1]

    experts = ExpertTrajectories([in_memory(stacked)], epochs=2)
    method = CharacteristicMatching(
        real=sampler, new_network=recorded, experts=experts, batch_size=2, num_frequencies=2
    )
    synthetic = prepare(sampler, toy(), seed=0).synthetic
    for number in range(8):
        list(method.episode(synthetic, derive_generator(number)))
    numbers = [torch.cat([value.detach().flatten() for value in network.parameters()]) for network in made]
    assert all(torch.all(values == values[0]) for values in numbers)
    mixed = sorted(float(values[0]) for values in numbers)
    assert 0 < mixed[0] < mixed[-1] < 4
    assert mixed[-1] - mixed[0] > 1
    assert len(set(mixed)) == 8


def test_permuting_the_classes_changes_no_distance(sampler):
    """The same images under other class numbers, without the calibration, which knows the numbers."""
    plan = prepare(sampler, toy(augment="", calibration_weight=0.0), seed=0)
    order = torch.tensor([1, 2, 0])

    class Permuted:
        num_classes, classes = 3, sampler.classes

        def by_class(self, size, generator):
            batch = sampler.by_class(size, generator)
            return batch._replace(images=batch.images[order])

    expected = next(plan.method.episode(plan.synthetic, derive_generator(3)))
    with torch.no_grad():
        pixels = plan.synthetic.images.pixels
        pixels.copy_(pixels.unflatten(0, (3, -1))[order].flatten(0, 1))
    object.__setattr__(plan.method, "real", Permuted())
    torch.testing.assert_close(next(plan.method.episode(plan.synthetic, derive_generator(3))), expected)


def test_the_loss_goes_down(digits):
    values = {"image_learning_rate": 0.2, "training_images": 500, "initialise": "noise"}
    recipe = toy(steps=60, batch_size=32, width=8, num_frequencies=128, **values)
    losses = []
    condense(digits.train, recipe, seed=0, observers=[lambda progress: losses.append(progress.loss.item())])
    assert sum(losses[-8:]) < 0.75 * sum(losses[:8])


def test_trained_networks_come_to_know_the_images(digits):
    """The calibration alone, from noise."""
    values = {"image_learning_rate": 0.2, "training_images": 500, "initialise": "noise", "augment": ""}
    recipe = toy(steps=40, match_weight=0.0, width=8, batch_size=2, **values)
    plan = prepare(digits.train, recipe, seed=0)

    def known(synthetic):
        images, labels, _ = synthetic.batch()
        experts = plan.method.experts
        networks = [experts.load(plan.method.new_network(derive_generator(0)), number, 2) for number in range(2)]
        return sum((network(images).argmax(1) == labels).float().mean().item() for network in networks) / 2

    before = known(plan.synthetic)
    assert known(condense(digits.train, recipe, seed=0)) > max(0.9, before)


def test_it_is_not_private(sampler, new_network):
    experts = ExpertTrajectories((), epochs=3)
    method = CharacteristicMatching(real=sampler, new_network=new_network, experts=experts)
    assert (method.private, method.class_wise, method.uses_step_size) == (False,) * 3


def test_no_frequencies_are_refused(sampler):
    with pytest.raises(ValueError, match="num_frequencies must be at least 1, got 0"):
        prepare(sampler, toy(num_frequencies=0), seed=0)


def test_a_part_of_the_classes_is_enough(sampler):
    part = sampler.subset(torch.cat([sampler.of_class(0), sampler.of_class(2)]))
    synthetic = condense(part, toy(labels="soft"), seed=0)
    assert isinstance(synthetic.by_class(), Batch)
    assert synthetic.batch().labels.shape == (4, 3)

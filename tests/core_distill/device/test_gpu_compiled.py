"""On a real card: every step compiled beside the same step without, and networks that train together beside each alone."""

import functools

import pytest
import torch

from core_distill.distill import distill
from core_distill.engine import Engine, can_stack, compiled, current, running_on, settings
from core_distill.evaluation import Protocol, train_from_scratch
from core_distill.evaluation.train_from_scratch import trained_networks
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import RECIPES, prepare
from core_distill.training import fit_many

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.usefixtures("no_tf32"),
]
DEVICE = "cuda"


@pytest.fixture
def at_once(monkeypatch):
    """Everything is compiled at its first call, and forgotten afterwards."""
    monkeypatch.setattr(settings, "_WORTH_COMPILING", {"cpu": 0.0, "cuda": 0.0})
    monkeypatch.setattr(compiled, "_kept", {})


def steps_on(real, recipe, engine, felt):
    """The losses of two steps, the first gradient of what is learned, and which functions were compiled.

    Both engines start from the same experts, which train without compiling.
    """
    losses, gradients, told = [], [], []

    def look(progress):
        losses.append(progress.loss.item())
        gradients.append(felt(progress.synthetic))
        assert not current().uncompiled, "a form could not be compiled, or differed"

    plan = prepare(real, recipe, seed=0, device=DEVICE, engine=Engine(compile=False))
    distill(
        plan.method,
        plan.synthetic,
        plan.optimizer,
        steps=2,
        seed=0,
        observers=[look],
        engine=engine,
        tell=told.append,
    )
    return losses, gradients[0], {text for text in told if text.startswith("compiled ")}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RECIPES)
def test_compiled_steps_are_the_uncompiled_ones(name, precision, real, toy, felt, at_once):
    """To the engine's own tolerance; equal generators draw alike on one card, also for the augmentation."""
    tolerance = compiled._TOLERANCE[precision]
    recipe = toy(name)
    expected, expected_gradient, nothing = steps_on(real, recipe, Engine(precision=precision, compile=False), felt)
    losses, gradient, told = steps_on(real, recipe, Engine(precision=precision), felt)
    assert told
    assert not nothing
    assert losses == pytest.approx(expected, rel=tolerance)
    assert (gradient - expected_gradient).norm() <= tolerance * expected_gradient.norm()


@pytest.mark.parametrize("name", RECIPES)
def test_the_compiled_loop_never_waits(name, real, toy, at_once, run_unwaiting):
    """Once the first episodes have compiled everything: checking that waits."""
    plan = prepare(real, toy(name), seed=0, device=DEVICE, engine=Engine(compile=False))
    with running_on(Engine()):
        run_unwaiting(plan, range(4, 9))


SMALL = functools.partial(ConvNet, width=16, depth=2)


@pytest.mark.parametrize("compile_", [False, True])
def test_networks_trained_together_are_those_trained_alone(compile_, real, at_once):
    """Measured by how far training moved them."""
    train = real.to(DEVICE).batch(48, derive_generator(0, device=DEVICE))
    protocol = Protocol(network=SMALL, num_networks=3, epochs=4, batch_size=32)
    told = []
    with running_on(Engine(compile=compile_), tell=told.append):
        together = list(trained_networks(train, protocol, image_shape=real.image_shape, num_classes=10, seed=0))
    assert can_stack(together)
    assert any("compiled stacked gradient" in text for text in told) == compile_
    new_network = network_factory(SMALL, real.image_shape, 10)
    for number, network in enumerate(together):
        generator = derive_generator(0, "evaluate", number, device=DEVICE)
        alone = new_network(generator)
        start = torch.nn.utils.parameters_to_vector(alone.parameters()).detach().clone()
        with running_on(Engine(compile=False)):
            train_from_scratch(alone, train, protocol, generator=generator)
        ours, theirs = (torch.nn.utils.parameters_to_vector(one.parameters()).detach() for one in (network, alone))
        assert (ours - theirs).norm() <= compiled._TOLERANCE["float32"] * (theirs - start).norm()


def test_training_networks_together_never_waits(real, no_waiting):
    train = real.to(DEVICE).batch(48, derive_generator(0, device=DEVICE))
    new_network = network_factory(SMALL, real.image_shape, 10)
    generators = [derive_generator(0, number, device=DEVICE) for number in range(3)]
    networks = [new_network(generator) for generator in generators]
    for begin in (lambda: None, no_waiting):
        begin()
        fit_many(networks, train, epochs=2, learning_rate=0.01, batch_size=32, generators=generators)

"""The released average: its closed form, that it changes no step, and that a resumed run releases the same bits."""

import dataclasses

import pytest
import torch

from core_distill.averaging import Average
from core_distill.checkpoint import Checkpoint
from core_distill.distill import Progress
from core_distill.evaluation import Protocol
from core_distill.experiment import Experiment, run_experiment
from core_distill.recipes import condense, find_recipe, prepare
from core_distill.synthetic.storage import load_artefact

VALUES = {"steps": 6, "batch_size": 4, "width": 4, "depth": 2}
TRAJECTORIES = {"num_experts": 1, "training_epochs": 2, "max_start": 1, "inner_steps": 2}


@pytest.fixture
def recipe():
    recipe = find_recipe("mtt", images_per_class=2, data="digits", schedule="cpu")
    return recipe.with_values(VALUES | TRAJECTORIES | {"labels": "soft", "average": 0.7})


def learned(synthetic):
    return {name: value.detach().clone() for name, value in synthetic.named_parameters() if value.requires_grad}


def history(sampler, recipe, **options):
    """What is learned, before the first step and after each; and what is released."""
    seen = [learned(prepare(sampler, recipe, seed=0).synthetic)]
    released = condense(
        sampler, recipe, seed=0, observers=[lambda progress: seen.append(learned(progress.synthetic))], **options
    )
    return seen, released


def closed_form(values, decay):
    """`decay^n x_0 + (1 - decay) sum decay^(n - k) x_k`, in float64."""
    first, *others = [value.double() for value in values]
    total = decay ** len(others) * first
    for age, value in enumerate(reversed(others)):
        total = total + (1 - decay) * decay**age * value
    return total


def test_what_is_released_is_the_closed_form_of_everything_learned(sampler, recipe):
    seen, released = history(sampler, recipe)
    found = learned(released)
    assert found.keys() == {"images.pixels", "labels.logits", "step_size"}
    assert len(seen) == 7
    for name, value in found.items():
        wanted = closed_form([step[name] for step in seen], 0.7)
        torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-7)
        assert not torch.equal(value, seen[-1][name])


def test_the_steps_are_those_without_it(sampler, recipe):
    with_average, _ = history(sampler, recipe)
    without, released = history(sampler, recipe.with_values({"average": 0.0}))
    for ours, theirs in zip(with_average, without, strict=True):
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert all(torch.equal(value, without[-1][name]) for name, value in learned(released).items())


def test_what_is_not_learned_is_left_alone(sampler, recipe):
    fixed = recipe.with_values({"labels": "hard", "learn_step_size": False})
    synthetic = prepare(sampler, fixed, seed=0).synthetic
    average = Average(synthetic, decay=0.5)
    assert average.state_dict().keys() == {"images.pixels"}
    with torch.no_grad():
        synthetic.images.pixels.fill_(3.0)
        synthetic.step_size.fill_(2.0)
    average(Progress(1, 1, torch.tensor(0.0), synthetic))
    average.write_to(synthetic)
    assert synthetic.step_size == 2.0
    assert not synthetic.images.pixels.eq(3.0).any()


def test_a_decay_of_0_keeps_nothing(sampler, recipe):
    synthetic = prepare(sampler, recipe, seed=0).synthetic
    assert Average(synthetic, decay=0.0).state_dict() == {}


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range(decay, sampler, recipe):
    with pytest.raises(ValueError, match=rf"average, .* must lie in \[0, 1\), got {decay}"):
        dataclasses.replace(recipe, average=decay)
    with pytest.raises(ValueError, match="must lie in"):
        Average(prepare(sampler, recipe, seed=0).synthetic, decay=decay)


@pytest.mark.parametrize("killed_after", [1, 4, 6])
def test_a_killed_and_resumed_run_releases_the_same_bits(sampler, recipe, tmp_path, killed_after):
    whole = condense(sampler, recipe, seed=0).state_dict()
    path = tmp_path / "checkpoint.safetensors"

    def kill(progress):
        if progress.step == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        condense(sampler, recipe, seed=0, checkpoint=Checkpoint(path, identity={}, every_seconds=0), observers=[kill])
    for _ in range(2):  # the second finds the run finished
        resumed = condense(sampler, recipe, seed=0, checkpoint=Checkpoint(path, identity={}, every_seconds=0))
        assert all(torch.equal(value, whole[name]) for name, value in resumed.state_dict().items())


def test_an_experiment_releases_it(digits, tmp_path):
    recipe = find_recipe("dm", images_per_class=2, data="digits", schedule="cpu").with_values(VALUES | {"average": 0.7})
    protocol = Protocol(network=recipe.network, num_networks=1, epochs=1)
    experiment = Experiment(data=digits, recipe=recipe, protocol=protocol, baselines=(), precision="float32")
    run_experiment(experiment, tmp_path)
    artefact = tmp_path / "synthetic.safetensors"
    released = load_artefact(artefact).synthetic.state_dict()
    wanted = condense(digits.train, recipe, seed=0).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in released.items())
    assert not torch.equal(
        released["images.pixels"],
        condense(digits.train, recipe.with_values({"average": 0.0}), seed=0).state_dict()["images.pixels"],
    )
    data = artefact.read_bytes()
    run_experiment(experiment, tmp_path)
    assert artefact.read_bytes() == data

"""DATM: the growing range of start epochs, updates left out above the limit, and that a resumed run goes on growing."""

import functools

import pytest
import torch

from core_distill.augment import no_augment
from core_distill.checkpoint import Checkpoint
from core_distill.distill import DivergedError, distill
from core_distill.engine import Engine
from core_distill.methods import DifficultyAlignment, TrajectoryMatching
from core_distill.methods.difficulty_alignment import without_gradient_above
from core_distill.randomness import derive_generator
from core_distill.synthetic import Pixels, SoftLabels, SyntheticSet
from core_distill.training.expert_settings import ExpertTraining
from core_distill.training.expert_training import train_experts
from core_distill.training.experts import ExpertTrajectories

TRAINING = ExpertTraining(num_experts=2, training_epochs=6, training_rate=0.1, training_batch_size=12)
EAGER = Engine(compile=False)


@pytest.fixture
def inner(sampler, new_network):
    experts = train_experts(sampler, new_network, TRAINING, augment=no_augment)
    values = {"real": sampler, "new_network": new_network, "experts": experts, "inner_steps": 2}
    return TrajectoryMatching(**values, max_start=5)


@pytest.fixture
def aligned(inner):
    values = {"min_start": 1, "first_max_start": 2, "growth_steps": 6, "loss_limit": 100.0}
    return functools.partial(DifficultyAlignment, **{"inner": inner, **values})


@pytest.fixture
def starts(monkeypatch):
    """The bounds of every range drawn from, and the epochs drawn."""
    seen = []
    draw = ExpertTrajectories.draw

    def recorded(self, generator, max_start, span, *, min_start=0):
        epochs = []
        watching = [lambda epoch, of=of: epochs.append(epoch) or of(epoch) for of in self._trajectories]
        drawn = draw(ExpertTrajectories(watching, epochs=self.epochs), generator, max_start, span, min_start=min_start)
        seen.append((min_start, max_start, epochs[0]))
        return drawn

    monkeypatch.setattr(ExpertTrajectories, "draw", recorded)
    return seen


def synthetic_set(sampler, step_size=0.1):
    batch = sampler.by_class(2, derive_generator(3))
    return SyntheticSet(
        Pixels(batch.images.flatten(0, 1)),
        SoftLabels.starting_at(batch.labels.flatten(), 3),
        classes=[0, 1, 2],
        num_classes=3,
        images_per_class=2,
        mean=[0.5],
        std=[0.25],
        step_size=step_size,
        learn_step_size=True,
    )


def run(method, synthetic, steps, **options):
    rates = [{"params": list(synthetic.parameters()), "lr": 1e-3}]
    optimizer = torch.optim.SGD(rates, momentum=0.5)
    return distill(method, synthetic, optimizer, steps=steps, seed=0, engine=EAGER, **options)


def test_the_range_grows_as_in_the_released_code(aligned, sampler, starts):
    """`first + int((last - first) * step / growth)`, at most `last`."""
    run(aligned(), synthetic_set(sampler), 9)
    wanted = [min(5, 2 + int((5 - 2) * step / 6)) for step in range(9)]
    assert wanted == [2, 2, 3, 3, 4, 4, 5, 5, 5]
    assert [(low, high) for low, high, _ in starts] == [(1, high) for high in wanted]
    assert all(low <= epoch < high for low, high, epoch in starts)


def test_every_start_of_the_range_is_drawn(inner):
    def epoch_number(epoch):
        return (torch.tensor([float(epoch)]),)

    experts = ExpertTrajectories([epoch_number], epochs=9)
    generator = derive_generator(0)
    drawn = [experts.draw(generator, 7, 2, min_start=3) for _ in range(200)]
    assert {start.item() for (start,), _ in drawn} == {3.0, 4.0, 5.0, 6.0}
    assert all(target - start == 2 for (start,), (target,) in drawn)


def test_no_growth_is_the_whole_range_from_the_beginning(aligned, sampler, starts):
    run(aligned(growth_steps=0, first_max_start=99, min_start=0), synthetic_set(sampler), 3)
    assert [(low, high) for low, high, _ in starts] == [(0, 5)] * 3


@pytest.mark.parametrize("killed_after", [1, 4])
def test_a_resumed_run_goes_on_growing(aligned, sampler, starts, tmp_path, killed_after):
    whole = run(aligned(), synthetic_set(sampler), 7).state_dict()
    ranges = starts.copy()
    starts.clear()
    path = tmp_path / "checkpoint.safetensors"

    def kill(progress):
        if progress.step == killed_after:
            raise KeyboardInterrupt

    options = {"identity": {}, "every_seconds": 0}
    with pytest.raises(KeyboardInterrupt):
        run(aligned(), synthetic_set(sampler), 7, checkpoint=Checkpoint(path, **options), observers=[kill])
    starts.pop()  # which was not saved
    resumed = run(aligned(), synthetic_set(sampler), 7, checkpoint=Checkpoint(path, **options))
    assert starts == ranges
    assert all(torch.equal(value, whole[name]) for name, value in resumed.state_dict().items())


def gradients(loss, synthetic):
    return torch.autograd.grad(loss, list(synthetic.parameters()))


def test_below_the_limit_it_is_trajectory_matching(aligned, inner, sampler):
    synthetic = synthetic_set(sampler)
    (ours,) = aligned(growth_steps=0, min_start=0).episode(synthetic, derive_generator(1))
    (theirs,) = inner.episode(synthetic, derive_generator(1))
    assert ours == theirs
    for found, wanted in zip(gradients(ours, synthetic), gradients(theirs, synthetic), strict=True):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(found, wanted)


def test_above_the_limit_nothing_moves(aligned, sampler):
    synthetic = synthetic_set(sampler)
    before = {name: value.clone() for name, value in synthetic.state_dict().items()}
    losses = []
    run(aligned(loss_limit=1e-6), synthetic, 3, observers=[lambda progress: losses.append(progress.loss)])
    assert all(loss > 1e-6 for loss in losses)
    assert all(torch.equal(value, before[name]) for name, value in synthetic.state_dict().items())


def test_steps_that_diverge_end_the_run(aligned, sampler):
    with pytest.raises(DivergedError, match="is not finite after step 1"):
        run(aligned(), synthetic_set(sampler, step_size=1e30), 1)


class TestWithoutGradientAbove:
    @pytest.mark.parametrize(("limit", "share"), [(13.9, 0.0), (14.0, 1.0), (15.0, 1.0)])
    def test_value_and_gradient(self, limit, share):
        values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        loss = without_gradient_above(limit, values.square().sum(), [values])
        assert loss == 14.0
        (3 * loss).backward()
        assert torch.equal(values.grad, share * 6 * values.detach())

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_what_is_not_finite_passes(self, bad):
        values = torch.ones(2, requires_grad=True)
        without_gradient_above(1.0, (values * bad).sum(), [values]).backward()
        assert not values.grad.isfinite().any()

    def test_what_the_loss_does_not_feel_still_has_no_gradient(self):
        felt, other = (torch.ones(2, requires_grad=True) for _ in range(2))
        without_gradient_above(9.0, felt.sum(), [felt, other]).backward(inputs=[felt, other])
        assert felt.grad is not None
        assert other.grad is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"growth_steps": -1}, "growth_steps must be at least 0 and loss_limit above 0, got -1 and 100.0"),
        ({"loss_limit": 0.0}, "got 6 and 0.0"),
        ({"loss_limit": float("nan")}, "got 6 and nan"),
        ({"first_max_start": 1}, "first_max_start must lie above min_start, 1, and be max_start, 5, at most, got 1"),
        ({"first_max_start": 6}, "at most, got 6; growth_steps=0 does without it"),
        ({"min_start": 5, "growth_steps": 0}, r"min_start must lie in 0..4, below max_start 5, got 5"),
        ({"min_start": -1}, "min_start must lie in 0..4, below max_start 5, got -1"),
    ],
)
def test_values_out_of_range(aligned, values, message):
    with pytest.raises(ValueError, match=message):
        aligned(**values)


def test_it_is_not_private_since_the_experts_saw_the_data():
    assert DifficultyAlignment.private is False

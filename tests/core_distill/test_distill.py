"""The outer loop: what a method sees after a yield, resuming with the same bits, and what is refused."""

import dataclasses

import pytest
import torch

from core_distill.checkpoint import Checkpoint
from core_distill.distill import DivergedError, distill
from core_distill.engine import Engine, compiled, current, settings
from core_distill.recipes import condense, initial_set, prepare
from core_distill.synthetic import HardLabels, Pixels, SoftLabels, SyntheticSet


def a_set(value=1.0):
    return SyntheticSet(
        Pixels(torch.full((2, 1, 2, 2), value)),
        HardLabels(torch.tensor([0, 1]), 2),
        classes=[0, 1],
        num_classes=2,
        images_per_class=1,
        mean=[0.0],
        std=[1.0],
    )


@dataclasses.dataclass
class Shrink:
    """Half the sum of squares; remembers what it saw after each update."""

    losses_an_episode: int = 3

    def __post_init__(self):
        self.seen = []

    def episode(self, synthetic, generator):
        for _ in range(self.losses_an_episode):
            yield synthetic.images.pixels.square().sum() / 2
            self.seen.append(synthetic.images.pixels[0, 0, 0, 0].item())


def sgd(synthetic, lr=0.5):
    return torch.optim.SGD(synthetic.parameters(), lr=lr)


def test_a_method_sees_the_updated_set_after_each_yield():
    synthetic, method = a_set(), Shrink()
    distill(method, synthetic, sgd(synthetic), steps=3, seed=0)
    assert method.seen == [0.5, 0.25]
    assert synthetic.images.pixels[0, 0, 0, 0].item() == 0.125


def test_steps_count_losses_not_episodes_and_observers_see_each():
    synthetic, seen = a_set(), []
    distill(Shrink(2), synthetic, sgd(synthetic), steps=5, seed=0, observers=[lambda p: seen.append((p.step, p.steps))])
    assert seen == [(n, 5) for n in range(1, 6)]


def test_a_method_without_losses_is_refused_instead_of_running_for_ever():
    synthetic = a_set()
    with pytest.raises(ValueError, match="yielded no loss"):
        distill(Shrink(0), synthetic, sgd(synthetic), steps=1, seed=0)


@pytest.mark.parametrize(
    ("loss", "told"), [(lambda pixels: pixels.sum((1, 2, 3)), r"a tensor \(2,\)"), (lambda pixels: 0.5, "float")]
)
def test_a_loss_that_is_no_scalar_tensor_is_told(loss, told):
    class Odd:
        def episode(self, synthetic, generator):
            yield loss(synthetic.images.pixels)

    synthetic = a_set()
    with pytest.raises(ValueError, match=f"losses that are scalar tensors, got {told}"):
        distill(Odd(), synthetic, sgd(synthetic), steps=1, seed=0)


def test_steps_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        distill(Shrink(), a_set(), sgd(a_set()), steps=0, seed=0)


def test_divergence_ends_in_an_error_and_keeps_the_last_good_checkpoint(tmp_path):
    class Blow:
        def episode(self, synthetic, generator):
            yield synthetic.images.pixels.square().sum() * 1e30

    synthetic = a_set()
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={}, every_seconds=0)
    with pytest.raises(DivergedError, match=r"images\.pixels is not finite after step \d+: lower the learning rate"):
        distill(Blow(), synthetic, sgd(synthetic), steps=9, seed=0, checkpoint=checkpoint)
    fresh = a_set()
    checkpoint.resume({"synthetic": fresh, "optimizer": sgd(fresh)})
    assert torch.isfinite(fresh.images.pixels).all()


def test_what_no_gradient_reaches_is_named(sampler, tiny_recipe):
    class SeesImagesAlone:
        def episode(self, synthetic, generator):
            yield synthetic.batch(generator=generator).images.square().sum()

    synthetic = initial_set(sampler, tiny_recipe.with_values({"labels": "hard"}), seed=0)
    synthetic.labels = SoftLabels.starting_at(synthetic.batch().labels, 3)
    with pytest.raises(ValueError, match=r"no gradient to labels\.logits"):
        distill(SeesImagesAlone(), synthetic, torch.optim.SGD(synthetic.parameters(), lr=0.1), steps=1, seed=0)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("stop", range(1, 9))
def test_killed_at_any_step_and_resumed_gives_the_same_bits(stop, sampler, tiny_recipe, tmp_path):
    recipe = tiny_recipe.with_values({"steps": 8})
    expected = condense(sampler, recipe, seed=3).state_dict()

    def kill(progress):
        if progress.step == stop:
            raise KilledError

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        condense(sampler, recipe, seed=3, checkpoint=Checkpoint(path, identity={}, every_seconds=0), observers=[kill])
    resumed = condense(sampler, recipe, seed=3, checkpoint=Checkpoint(path, identity={}, every_seconds=0))
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("steps", [1_000, 30])
def test_what_a_long_run_would_compile_on_its_way_is_compiled_at_once(steps, sampler, tiny_recipe, monkeypatch):
    def work_of(progress):
        work.extend(current().work.values())

    def stop(progress):
        current().tell = said.append
        if said or progress.step == 3:
            raise KilledError

    work, said = [], []
    condense(sampler, tiny_recipe.with_values({"steps": 1}), seed=0, engine=Engine(), observers=[work_of])
    monkeypatch.setattr(compiled, "_kept", {})
    monkeypatch.setattr(settings, "_WORTH_COMPILING", {"cpu": 10 * max(work)})
    long = tiny_recipe.with_values({"steps": steps})
    with pytest.raises(KilledError):  # eager code would do for ten steps
        condense(sampler, long, seed=0, engine=Engine(), observers=[stop])
    assert bool(said) == (steps == 1_000)


def test_same_seed_same_bits_other_seed_other_bits(sampler, tiny_recipe):
    first, again, other = (condense(sampler, tiny_recipe, seed=seed).images.pixels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_generator_is_neither_read_nor_moved(sampler, tiny_recipe):
    before = torch.get_rng_state()
    first = condense(sampler, tiny_recipe, seed=0).images.pixels.clone()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(condense(sampler, tiny_recipe, seed=0).images.pixels, first)


def test_state_that_outlives_an_episode_is_saved_and_restored(tmp_path):
    class Counter:
        count = 0

        def state_dict(self):
            return {"count": self.count, "nested": {"t": torch.tensor([self.count]), 3: (1, [2.5, None, True, "x"])}}

        def load_state_dict(self, state):
            assert state["nested"][3] == (1, [2.5, None, True, "x"])
            assert state["nested"]["t"].item() == state["count"]
            self.count = state["count"]

    counter, synthetic = Counter(), a_set()
    counter.count = 7
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={"a": 1})
    distill(Shrink(1), synthetic, sgd(synthetic), steps=2, seed=0, checkpoint=checkpoint, state={"counter": counter})
    other, again = Counter(), a_set()
    distill(Shrink(1), again, sgd(again), steps=2, seed=0, checkpoint=checkpoint, state={"counter": other})
    assert other.count == 7
    assert torch.equal(again.images.pixels, synthetic.images.pixels)


class Remembers:
    """A method that outlives its episodes: it pulls towards the number of the episodes it has seen."""

    def __init__(self):
        self.episodes = 0

    def episode(self, synthetic, generator):
        self.episodes += 1
        for _ in range(2):
            yield (synthetic.images.pixels - self.episodes).square().sum() / 2

    def state_dict(self):
        return {"episodes": self.episodes}

    def load_state_dict(self, state):
        self.episodes = state["episodes"]


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_method_with_a_state_is_saved_without_being_named(stop, tmp_path):
    def run(checkpoint=None, observers=()):
        synthetic = a_set()
        optimizer = sgd(synthetic, lr=0.1)
        distill(Remembers(), synthetic, optimizer, steps=8, seed=0, checkpoint=checkpoint, observers=observers)
        return synthetic.images.pixels

    def kill(progress):
        if progress.step == stop:
            raise KilledError

    path = tmp_path / "c.safetensors"
    with pytest.raises(KilledError):
        run(Checkpoint(path, identity={}, every_seconds=0), [kill])
    assert torch.equal(run(Checkpoint(path, identity={}, every_seconds=0)), run())


def test_the_scheduler_steps_after_each_update():
    synthetic, rates = a_set(), []
    optimizer = sgd(synthetic, lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))

    def look(progress):
        rates.append(optimizer.param_groups[0]["lr"])

    distill(Shrink(2), synthetic, optimizer, steps=4, seed=0, scheduler=scheduler, observers=[look])
    assert rates == [1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert synthetic.images.pixels[0, 0, 0, 0].item() == 0.0


@pytest.mark.parametrize("stop", range(1, 8))
def test_adam_and_a_cosine_go_on_where_they_were_killed(stop, sampler, tiny_recipe, tmp_path):
    values = {"steps": 8, "optimizer": "adam", "decay": "cosine", "momentum": 0.9, "image_learning_rate": 0.1}
    recipe = tiny_recipe.with_values(values)
    expected = condense(sampler, recipe, seed=3).images.pixels

    def kill(progress):
        if progress.step == stop:
            raise KilledError

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        condense(sampler, recipe, seed=3, checkpoint=Checkpoint(path, identity={}, every_seconds=0), observers=[kill])
    resumed = condense(sampler, recipe, seed=3, checkpoint=Checkpoint(path, identity={}, every_seconds=0))
    assert torch.equal(resumed.images.pixels, expected)
    assert not torch.equal(condense(sampler, recipe.with_values({"decay": "constant"}), seed=3).images.pixels, expected)


def test_optimizer_momentum_survives(sampler, tiny_recipe, tmp_path):
    plan = prepare(sampler, tiny_recipe, seed=0)
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={})
    distill(plan.method, plan.synthetic, plan.optimizer, steps=2, seed=0, checkpoint=checkpoint)
    fresh = prepare(sampler, tiny_recipe, seed=0)
    checkpoint.resume({"synthetic": fresh.synthetic, "optimizer": fresh.optimizer})
    (old,), (new,) = plan.optimizer.state.values(), fresh.optimizer.state.values()
    assert torch.equal(old["momentum_buffer"], new["momentum_buffer"])

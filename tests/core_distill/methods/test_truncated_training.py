"""RaT-BPTT: the gradient is that of a plainly trained run whose last steps have a graph; windows end everywhere."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.augment import Dsa
from core_distill.data import ClassSampler
from core_distill.distill import distill
from core_distill.engine import parameters_of
from core_distill.matching.adam_unrolling import AdamState, train_by_adam
from core_distill.methods import TruncatedTraining, truncated_training
from core_distill.networks import MLP, ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.synthetic import Pixels, SoftLabels, SyntheticSet


@pytest.fixture
def real():
    """Three classes of 8 images, in float64."""
    images = torch.randn(24, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return ClassSampler(images, torch.arange(24) % 3, num_classes=3, mean=[0.0], std=[1.0])


@pytest.fixture
def double_network():
    make = network_factory(functools.partial(MLP, hidden=(6,)), (1, 8, 8), 3)
    return lambda generator: make(generator).double()


def a_set(images_per_class=2, step_size=0.05):
    count = 3 * images_per_class
    return SyntheticSet(
        Pixels(torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(4))),
        SoftLabels.starting_at(torch.arange(3).repeat_interleave(images_per_class), 3),
        classes=[0, 1, 2],
        num_classes=3,
        images_per_class=images_per_class,
        mean=[0.0],
        std=[1.0],
        step_size=step_size,
        learn_step_size=True,
    ).double()


def naive_loss(method, synthetic, generator, *, before, steps):
    """Adam as torch has it up to the window, then its formulas with a graph."""
    network = method.new_network(generator)
    images, labels = synthetic.batch()[:2]
    rate = synthetic.step_size
    adam = torch.optim.Adam(network.parameters(), lr=float(rate.detach()))
    for _ in range(before):
        adam.zero_grad()
        F.cross_entropy(network(images.detach()), labels.detach()).backward()
        adam.step()
    parameters = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    kept = {name: adam.state[value] for name, value in network.named_parameters()}
    first, second = (
        {name: kept[name][key] if before else torch.zeros_like(value) for name, value in parameters.items()}
        for key in ("exp_avg", "exp_avg_sq")
    )
    for step in range(before + 1, before + steps + 1):
        loss = F.cross_entropy(functional_call(network, parameters, images), labels)
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            corrected = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            parameters[name] = parameters[name] - rate * corrected[0] / (corrected[1].sqrt() + 1e-8)
    batch = method.real.batch(method.batch_size, generator)
    return F.cross_entropy(functional_call(network, parameters, batch.images), batch.labels)


@pytest.mark.parametrize("before", [0, 3])
def test_the_gradient_is_that_of_the_windows_graph(before, real, double_network, monkeypatch):
    asked = []

    def host_integers(high, *others):
        asked.append(high)
        return torch.tensor([before])

    monkeypatch.setattr(truncated_training, "host_integers", host_integers)
    method = TruncatedTraining(real=real, new_network=double_network, batch_size=9, inner_steps=6, window=3, clip=0.0)
    synthetic = a_set()
    (loss,) = method.episode(synthetic, derive_generator(5))
    assert asked == [4]
    expected = naive_loss(method, synthetic, derive_generator(5), before=before, steps=3)
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=0)
    learned = dict(synthetic.named_parameters())
    ours = torch.autograd.grad(loss, list(learned.values()))
    theirs = torch.autograd.grad(expected, list(learned.values()))
    for name, found, wanted in zip(learned, ours, theirs, strict=True):
        assert wanted.abs().max() > 1e-6
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


def starts_of(method, monkeypatch, count):
    """Steps before the window, for some episodes."""
    seen = []
    plain = truncated_training.train_by_adam

    def recorded(*arguments, steps, **options):
        seen.append(steps)
        return plain(*arguments, steps=steps, **options)

    monkeypatch.setattr(truncated_training, "train_by_adam", recorded)
    for number in range(count):
        list(method.episode(a_set(), derive_generator(0, "episode", number)))
    return seen


def test_windows_start_everywhere(real, double_network, monkeypatch):
    method = TruncatedTraining(real=real, new_network=double_network, batch_size=4, inner_steps=5, window=2)
    assert set(starts_of(method, monkeypatch, 30)) == {0, 1, 2, 3}


def test_a_window_longer_than_the_run_is_all_of_it(real, double_network, monkeypatch):
    method = TruncatedTraining(real=real, new_network=double_network, batch_size=4, inner_steps=2, window=60)
    assert starts_of(method, monkeypatch, 3) == [0, 0, 0]


class TwoViews(Pixels):
    """Each slot gives its image and the negative."""

    views = 2

    def forward(self, slots, generator=None):
        return torch.stack([self.pixels[slots], -self.pixels[slots]], 1).flatten(0, 1)


@pytest.mark.parametrize("decoder", [Pixels, TwoViews])
def test_a_step_sees_whole_slots_of_every_class_and_the_same_both_times(decoder, real, double_network):
    method = TruncatedTraining(
        real=real, new_network=double_network, slots_per_class=2, augment=Dsa(("rotate",)), batch_size=4
    )
    synthetic = a_set(5)
    synthetic.images = decoder(torch.arange(15.0).view(15, 1, 1, 1).expand(15, 1, 8, 8) + 1)
    batch_at = method._batches(synthetic, derive_generator(0))
    own = synthetic.by_class()
    seen = set()
    for step in range(8):
        batch = batch_at(step, own.images, own.labels)
        again = batch_at(step, own.images, own.labels)
        assert torch.equal(batch.images, again.images)
        values = batch.images[:, 0, 4, 4].round().int().view(3, -1, decoder.views)
        assert values.shape == (3, 2, decoder.views)
        slots = values[..., 0] - 1
        assert torch.equal(slots // 5, torch.arange(3).view(3, 1).expand(3, 2).int())
        assert (slots[:, 0] != slots[:, 1]).all()
        if decoder.views == 2:
            assert torch.equal(values[..., 1], -values[..., 0])
        assert torch.equal(batch.labels.argmax(-1), torch.arange(3).repeat_interleave(2 * decoder.views))
        seen.update(slots.flatten().tolist())
    assert seen == set(range(15))


def test_the_clip_is_saved_and_cuts_images_alone(real, double_network):
    """A first gradient is as long as usual; after shorter ones the same is cut."""
    make = functools.partial(TruncatedTraining, real=real, new_network=double_network, batch_size=9, inner_steps=1)
    clipped, plain = make(clip=2.0), make(clip=0.0)
    synthetic = a_set()

    def gradients(method):
        (loss,) = method.episode(synthetic, derive_generator(5))
        return torch.autograd.grad(loss, list(synthetic.parameters()))

    whole = gradients(plain)
    torch.testing.assert_close(gradients(clipped), whole)
    (saved,) = clipped.state_dict().values()
    wanted = dict(zip(dict(synthetic.named_parameters()), whole, strict=True))
    torch.testing.assert_close(saved, wanted["images.pixels"].norm())
    other = make(clip=2.0)
    other.load_state_dict({"usual": saved / 100})
    found = dict(zip(dict(synthetic.named_parameters()), gradients(other), strict=True))
    torch.testing.assert_close(
        found["images.pixels"], wanted["images.pixels"] * 2 * (0.9 / 100 + 0.1), rtol=1e-3, atol=1e-6
    )
    assert torch.equal(found["labels.logits"], wanted["labels.logits"])
    assert plain.state_dict() == {}


def test_every_learned_step_size_of_the_window_moves(sampler):
    recipe = find_recipe("rat-bptt", images_per_class=4, data="digits", schedule="cpu")
    values = {"steps": 3, "batch_size": 12, "width": 4, "depth": 2, "inner_steps": 3, "window": 3}
    recipe = recipe.with_values(values | {"learn_step_size": True, "step_sizes": "each"})
    plan = prepare(sampler, recipe, seed=0)
    before = plan.synthetic.step_size.detach().clone()
    assert before.shape == (3,)
    distill(plan.method, plan.synthetic, plan.optimizer, steps=3, seed=0)
    assert (plan.synthetic.step_size != before).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner_steps": 0}, "inner_steps must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"slots_per_class": -1}, "slots_per_class must be at least 0 and finite, got -1"),
        ({"clip": 0.5}, "more than 1 time its usual norm, got 0.5"),
    ],
)
def test_bad_values(changes, message, real, double_network):
    with pytest.raises(ValueError, match=message):
        TruncatedTraining(real=real, new_network=double_network, **changes)


def test_a_network_that_normalises_over_the_batch_is_refused(real):
    make = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    with pytest.raises(ValueError, match="normalises over the batch"):
        list(TruncatedTraining(real=real, new_network=make).episode(a_set(), derive_generator(0)))


@pytest.mark.parametrize("count", [11, 13])
def test_another_number_of_step_sizes_is_refused_whatever_the_draw(count, real, double_network):
    method = TruncatedTraining(real=real, new_network=double_network, inner_steps=12, window=2)
    for seed in range(6):
        with pytest.raises(ValueError, match=f"one for each of 12 inner steps, got {count}"):
            list(method.episode(a_set(step_size=[0.05] * count), derive_generator(seed)))


def test_steps_before_the_window_need_their_sizes_too(real, double_network):
    network = double_network(derive_generator(0))
    batch = real.batch(4, derive_generator(1))
    start = AdamState.at(parameters_of(network))
    with pytest.raises(ValueError, match="one number for each of 3 steps, got 2"):
        train_by_adam(
            network, start, *batch[:2], lambda *_: batch, steps=3, step_size=torch.full((2,), 0.1, dtype=torch.float64)
        )

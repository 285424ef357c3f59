"""The same steps on a real card: the same losses as on the CPU, in bfloat16 close to them, and no waiting in the loop."""

import contextlib

import pytest
import torch
from torch.overrides import TorchFunctionMode

from core_distill.augment import DSA_OPERATIONS
from core_distill.augment.operations import OPERATIONS
from core_distill.cli.main import _explained
from core_distill.distill import distill
from core_distill.engine import Engine, running_on
from core_distill.evaluation import Protocol, evaluate
from core_distill.matching import ridge_regression
from core_distill.randomness import derive_generator
from core_distill.recipes import RECIPES, prepare

pytestmark = pytest.mark.usefixtures("no_tf32")
DEVICE = "cuda"


def on_card(test):
    """A test that needs a card."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")(test))


class HostGenerator(torch.Generator):
    """A CPU generator that stands in for one of `device`; seeded alike, it draws the same numbers wherever it stands."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        made.place = torch.device(device)
        return made

    @property
    def device(self):
        return self.place

    def set_state(self, state):
        return self


class DrawOnHost(TorchFunctionMode):
    """Random numbers for a card come from the CPU generator that stands in for its own."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if not isinstance(kwargs.get("generator"), HostGenerator):
            return func(*args, **kwargs)
        place = kwargs["generator"].place
        if args and isinstance(args[0], torch.Tensor):
            drawn = func(torch.empty(args[0].shape, dtype=args[0].dtype), *args[1:], **kwargs)
            with torch.no_grad():
                return args[0].copy_(drawn)
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs).to(place)


def below(limit, generator):
    return int(torch.randint(limit, (), generator=generator))


def integers(high, count, generator, *path):
    return torch.randint(high, (count,), generator=generator)


CHOICES = {
    "core_distill.methods.convexified.host_integers": integers,
    "core_distill.methods.truncated_training.host_integers": integers,
    "core_distill.training.experts._below": below,
    "core_distill.training.pool.host_integers": integers,
}
"""Where a card's generator gives the host a number by another way than a CPU's, and the CPU's way."""


@contextlib.contextmanager
def host_draws(monkeypatch):
    """Inside, a run draws the same numbers on every device."""
    with monkeypatch.context() as patch:
        patch.setattr(torch, "Generator", HostGenerator)
        for name, choose in CHOICES.items():
            patch.setattr(name, choose)
        with DrawOnHost():
            yield


@pytest.fixture
def losses_and_gradient(felt, monkeypatch):
    """`losses_and_gradient(real, recipe, device, steps=)`: the losses of a run, and the first gradient of what is learned."""

    def run(real, recipe, device, *, steps):
        losses, gradients = [], []

        def look(progress):
            losses.append(progress.loss.item())
            gradients.append(felt(progress.synthetic).cpu())

        with host_draws(monkeypatch):
            plan = prepare(real, recipe, seed=0, device=device)
            distill(plan.method, plan.synthetic, plan.optimizer, steps=steps, seed=0, observers=[look])
        return losses, gradients[0]

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_compared_is_there(name, real, toy, losses_and_gradient):
    """The comparisons below, tried out on a CPU: the same losses and gradients twice, and something is felt."""
    runs = [losses_and_gradient(real, toy(name, augment=""), "cpu", steps=1) for _ in range(2)]
    (losses, gradient), (again, gradient_again) = runs
    assert losses == again
    assert gradient.norm() > 0
    assert torch.equal(gradient, gradient_again)


@on_card
@pytest.mark.parametrize("name", RECIPES)
def test_a_card_computes_what_a_cpu_computes(name, real, toy, losses_and_gradient):
    """Without augmentation, whose choices come from elsewhere on a card; each change of images is compared below."""
    recipe = toy(name, augment="")
    expected, expected_gradient = losses_and_gradient(real, recipe, "cpu", steps=2)
    losses, gradient = losses_and_gradient(real, recipe, DEVICE, steps=2)
    assert losses[0] == pytest.approx(expected[0], rel=1e-3)
    assert losses[1] == pytest.approx(expected[1], rel=1e-2)
    assert torch.cosine_similarity(gradient, expected_gradient, dim=0) > 0.999


@on_card
@pytest.mark.parametrize("name", RECIPES)
def test_bfloat16_stays_close_and_keeps_float32_where_it_counts(name, real, toy, losses_and_gradient):
    recipe = toy(name, augment="")
    expected, expected_gradient = losses_and_gradient(real, recipe, DEVICE, steps=1)
    with running_on(Engine(precision="bfloat16")):
        losses, gradient = losses_and_gradient(real, recipe, DEVICE, steps=1)
    assert losses[0] == pytest.approx(expected[0], rel=0.1)
    assert gradient.dtype == torch.float32
    assert torch.cosine_similarity(gradient, expected_gradient, dim=0) > 0.9


@on_card
@pytest.mark.parametrize("operation", DSA_OPERATIONS)
def test_a_card_changes_images_as_a_cpu_does(operation):
    draw, apply = OPERATIONS[operation]
    parameters = draw(4, 16, 16, derive_generator(0))
    images = torch.rand(4, 3, 2, 16, 16, generator=derive_generator(1))
    changed = apply(images.to(DEVICE), *(value.to(DEVICE) for value in parameters))
    torch.testing.assert_close(changed.cpu(), apply(images, *parameters), atol=1e-4, rtol=1e-4)


@on_card
@pytest.mark.parametrize("name", RECIPES)
def test_the_loop_never_waits(name, real, toy, run_unwaiting):
    """From the second loss on: the first one loads libraries and plans convolutions, which may wait."""
    run_unwaiting(prepare(real, toy(name), seed=0, device=DEVICE), range(2, 7))


@on_card
def test_networks_learn_on_a_card(real):
    train = real.to(DEVICE).batch(200, derive_generator(0, device=DEVICE))
    score = evaluate(train, real, Protocol(num_networks=2, epochs=20), seed=0)
    assert score.mean > 0.9


@on_card
def test_a_kernel_without_a_solution_is_nan_and_nothing_waits(no_waiting):
    kernel, targets = torch.ones(3, 3, device=DEVICE), torch.ones(3, 2, device=DEVICE)
    ridge_regression(kernel, 2 * kernel + torch.eye(3, device=DEVICE), targets, regularisation=0.0)
    no_waiting()
    found = ridge_regression(kernel, -kernel, targets, regularisation=0.0)
    torch.cuda.set_sync_debug_mode("default")
    assert found.isnan().all()


@on_card
def test_a_set_that_such_a_kernel_made_nan_names_the_regularisation(real, toy):
    plan = prepare(real, toy("frepo", pool_size=2), seed=0, device=DEVICE)
    with torch.no_grad():
        plan.synthetic.images.pixels[1] = torch.nan
    with pytest.raises(ValueError, match="raise regularisation"):
        distill(plan.method, plan.synthetic, plan.optimizer, steps=50, seed=0)


@on_card
def test_no_memory_on_a_card_is_told_in_one_line():
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(10**15, device=DEVICE)
    code, text = _explained(caught.value)
    assert code == 1
    assert text.startswith("out of memory (asked for ")

"""FRePo: its loss written out, what trains the pool, resuming, and what goes wrong with the last checkpoint kept."""

import functools

import pytest
import torch
import torch.nn.functional as F

from core_distill.checkpoint import Checkpoint
from core_distill.data import ClassSampler
from core_distill.distill import DivergedError, distill
from core_distill.engine import Engine, running_on
from core_distill.matching import kernels
from core_distill.methods import KernelRegression, kernel_regression
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import condense, find_recipe, prepare
from core_distill.training.pool import PooledNetwork
from core_distill.types import Method, Stateful

TOY = {"batch_size": 12, "width": 4, "depth": 2, "pool_size": 2, "max_age": 3, "network_rate": 0.01}


def toy(**changes):
    recipe = find_recipe("frepo", images_per_class=2, schedule="cpu")
    return recipe.with_values({**TOY, "steps": 12, **changes})


def first_loss(plan):
    return next(plan.method.episode(plan.synthetic, derive_generator(4)))


def written_out(plan, scale=1.0):
    """The first loss by the paper's formulas, without the engine: one network, then the batch, in that order."""
    generator = derive_generator(4)
    torch.randint(2, (), generator=generator)
    network = plan.method.new_network(generator)
    images, labels = plan.method.real.batch(plan.method.batch_size, generator)[:2]
    fake, fake_labels = plan.synthetic.batch()[:2]
    if not fake_labels.is_floating_point():
        fake_labels = F.one_hot(fake_labels, 3).float()
    f, g = network.features(fake).double(), network.features(images).detach().double()
    n, y = len(f), scale * (fake_labels.double() - 1 / 3)
    kernel = f @ f.T
    ridge = kernel + plan.method.regularisation * kernel.trace() / n * torch.eye(n, dtype=torch.float64)
    predictions = g @ f.T @ torch.linalg.inv(ridge) @ y
    best = y.sort(dim=1, descending=True).values
    margin = torch.minimum(best[:, 0] - best[:, 1], torch.tensor(1 / 3)).mean()
    return 0.5 * (predictions - (F.one_hot(labels, 3) - 1 / 3)).square().sum(1).mean() - margin


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_loss_and_its_gradients_are_the_papers(labels, scale, sampler):
    plans = [prepare(sampler, toy(labels=labels, label_scale=scale, regularisation=0.01), seed=0) for _ in range(2)]
    ours, theirs = first_loss(plans[0]), written_out(plans[1], scale)
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-5)
    ours.backward()
    theirs.backward()
    for one, other in zip(plans[0].synthetic.parameters(), plans[1].synthetic.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("engine", "tolerance", "cosine"),
    [(Engine(piece=5), 1e-4, 0.9999), (Engine(precision="bfloat16"), 0.05, 0.95)],
    ids=["pieces", "bfloat16"],
)
def test_the_engine_changes_the_speed_and_not_the_loss(engine, tolerance, cosine, sampler):
    plans = [prepare(sampler, toy(regularisation=0.01), seed=0) for _ in range(2)]
    with running_on(engine):
        found = first_loss(plans[0])
        found.backward()
    expected = first_loss(plans[1])
    expected.backward()
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)
    own, other = (plan.synthetic.images.pixels.grad.flatten() for plan in plans)
    assert torch.cosine_similarity(own, other, dim=0) > cosine


def test_a_network_trains_after_its_loss_on_the_updated_set(sampler):
    plan = prepare(sampler, toy(pool_size=1), seed=0)
    generator = derive_generator(0)
    episode = plan.method.episode(plan.synthetic, generator)
    next(episode)
    (before,) = plan.method.state_dict()["members"]
    with torch.no_grad():
        plan.synthetic.images.pixels.zero_()
    assert list(episode) == []
    (after,) = plan.method.state_dict()["members"]
    assert (before["age"], after["age"]) == (0, 1)
    name = "blocks.0.weight"
    assert torch.equal(before["network"][name], after["network"][name]), "zero images give the first layer no gradient"
    assert not torch.equal(before["network"]["classifier.bias"], after["network"]["classifier.bias"])


def test_a_network_trains_on_the_whole_set_with_the_targets_of_the_loss(sampler, monkeypatch):
    batches = []
    monkeypatch.setattr(PooledNetwork, "step", lambda member, batch: batches.append(batch))
    plan = prepare(sampler, toy(labels="hard", label_scale=3.0), seed=0)
    list(plan.method.episode(plan.synthetic, derive_generator(0)))
    ((images, targets, _),) = batches
    whole = plan.synthetic.batch()
    assert torch.equal(images, whole.images)
    torch.testing.assert_close(targets, 3.0 * F.one_hot(whole.labels, 3) - 1.0)


def test_it_is_a_method_with_a_state_and_private_it_is_not(sampler, new_network):
    method: Method = KernelRegression(real=sampler, new_network=new_network)
    assert isinstance(method, Stateful)
    assert not method.private
    assert method == KernelRegression(real=sampler, new_network=new_network)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("stop", [1, 2, 5, 8, 11])
def test_killed_and_resumed_ends_with_the_same_bits(stop, labels, sampler, tmp_path):
    recipe = toy(labels=labels)
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


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_loss_goes_down(labels, digits):
    """On real pictures and one network that stays as it is; 0.1 is the margin of ten classes."""
    recipe = toy(labels=labels, steps=40, batch_size=256, width=8, pool_size=1, max_age=1000, network_rate=0)
    losses = []
    condense(digits.train, recipe, seed=0, observers=[lambda progress: losses.append(progress.loss.item() + 0.1)])
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_images_that_cannot_be_told_apart_are_refused_and_the_last_checkpoint_stays(sampler, tmp_path):
    plan = prepare(sampler, toy(labels="hard", regularisation=0.0), seed=0)
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={}, every_seconds=0)

    def collapse(progress):
        if progress.step == 5:
            progress.synthetic.images.pixels.data[:] = 1.0

    with pytest.raises(ValueError, match=r"not positive definite with regularisation 0: raise regularisation"):
        distill(
            plan.method,
            plan.synthetic,
            plan.optimizer,
            steps=12,
            seed=0,
            scheduler=plan.scheduler,
            checkpoint=checkpoint,
            observers=[collapse],
        )
    again = prepare(sampler, toy(labels="hard"), seed=0)
    step, _ = checkpoint.resume({"synthetic": again.synthetic, "optimizer": again.optimizer, "method": again.method})
    assert step == 5


@pytest.mark.parametrize("every_seconds", [0, 1000])
def test_a_kernel_without_a_solution_names_the_regularisation_on_a_card_too(
    every_seconds, sampler, monkeypatch, tmp_path
):
    """There it is NaN, which spreads: a pool's network or the next checkpoint finds it. Here a CPU does as a card."""

    monkeypatch.setattr(kernels, "_cholesky", lambda kernel, regularisation: torch.nan * kernel)
    plan = prepare(sampler, toy(labels="hard", steps=50), seed=0)
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={}, every_seconds=every_seconds)
    steps = []
    with pytest.raises(ValueError, match=r"not finite.*lower the learning rate.*raise regularisation"):
        distill(
            plan.method,
            plan.synthetic,
            plan.optimizer,
            steps=50,
            seed=0,
            checkpoint=checkpoint,
            observers=[lambda progress: steps.append(progress.step)],
        )
    assert len(steps) < 20
    assert not checkpoint.path.exists()


def test_networks_that_diverge_end_in_an_error_and_the_last_checkpoint_stays(sampler, tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(ValueError, match=r"networks of the pool .* lower the networks' learning rate"):
        condense(
            sampler,
            toy(network_rate=1e37, max_age=50, steps=200),
            seed=0,
            checkpoint=Checkpoint(path, identity={}, every_seconds=0),
        )
    again = prepare(sampler, toy(max_age=50), seed=0)
    parts = {"synthetic": again.synthetic, "method": again.method}
    step, _ = Checkpoint(path, identity={}).resume(parts)
    assert step > 0
    assert all(value.isfinite().all() for value in again.synthetic.state_dict().values())


def test_images_that_diverge_end_in_an_error(sampler):
    with pytest.raises((DivergedError, ValueError), match="lower the learning rate"):
        condense(sampler, toy(image_learning_rate=1e30), seed=0)


def test_networks_with_batch_statistics_are_refused(sampler):
    new_network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    plan = prepare(sampler, toy(), seed=0)
    object.__setattr__(plan.method, "new_network", new_network)
    with pytest.raises(ValueError, match="normalises over the batch"):
        first_loss(plan)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf")])
def test_a_label_scale_of_nothing_is_refused(scale, sampler, new_network):
    with pytest.raises(ValueError, match="label_scale must be above 0, got"):
        KernelRegression(real=sampler, new_network=new_network, label_scale=scale)


def test_a_part_of_the_classes_is_enough(sampler):
    part = sampler.subset(torch.cat([sampler.of_class(0), sampler.of_class(2)]))
    assert isinstance(part, ClassSampler)
    synthetic = condense(part, toy(steps=2), seed=0)
    assert synthetic.batch().labels.shape == (4, 3)


@pytest.mark.parametrize("images", ["pixels", "multi-formation"])
def test_networks_train_on_so_many_images_at_most(images, sampler, monkeypatch):
    """However many a slot shows."""
    seen: list[int] = []
    monkeypatch.setattr(kernel_regression, "_TRAINING_SIZE", 4)
    monkeypatch.setattr(PooledNetwork, "step", lambda self, batch: seen.append(len(batch.images)))
    plan = prepare(sampler, toy(images=images), seed=0)
    distill(plan.method, plan.synthetic, plan.optimizer, steps=3, seed=0)
    assert seen == [4, 4]

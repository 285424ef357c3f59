"""The walk backwards through a training run against the graph of the whole run, kept by autograd, in float64."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.augment import Dsa
from core_distill.engine import Engine, parameters_of, running_on, squared_error
from core_distill.matching.unrolling import train_unrolled
from core_distill.networks import MLP, ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch

SHAPE, CLASSES, COUNT, STEPS = (1, 8, 8), 3, 6, 4
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(autouse=True)
def pieces_of_three():
    """Batches larger than a piece, as with real sizes."""
    with running_on(Engine(piece=3)):
        yield


@pytest.fixture
def network():
    architecture = functools.partial(ConvNet, width=4, depth=2)
    network = network_factory(architecture, SHAPE, CLASSES)(derive_generator(1))
    return network.double()


def draw(*shape, path):
    return torch.randn(*shape, generator=derive_generator(0, path), dtype=torch.float64)


def inputs(*, soft, step_size):
    images = draw(COUNT, *SHAPE, path="images").requires_grad_()
    probabilities = draw(COUNT, CLASSES, path="labels").softmax(-1).requires_grad_()
    labels = probabilities if soft else torch.arange(COUNT) % CLASSES
    return images, labels, torch.tensor(step_size, dtype=torch.float64, requires_grad=True)


def mini_batches(step, images, labels):
    chosen = torch.randperm(len(images), generator=derive_generator(3, step))[:4]
    seen = Dsa().per_image(images[chosen], derive_generator(4, step))
    return Batch(seen, labels[chosen])


def everything(step, images, labels):
    return Batch(images, labels)


def naive_unrolled(network, start, images, labels, batch_at, *, steps, step_size, momentum=0.0, truncated=False):
    """The graph of the whole run; `truncated` cuts it where a gradient is taken."""
    names = [name for name, _ in network.named_parameters()]
    parameters, velocities = list(start), [torch.zeros_like(value) for value in start]
    for step in range(steps):
        batch = batch_at(step, images, labels)
        at = [p if p.requires_grad and not truncated else p.detach().requires_grad_() for p in parameters]
        loss = F.cross_entropy(
            functional_call(network, dict(zip(names, at, strict=True)), (batch.images,)), batch.labels
        )
        gradients = torch.autograd.grad(loss, at, create_graph=True)
        velocities = [momentum * v + g for v, g in zip(velocities, gradients, strict=True)]
        rate = step_size if step_size.dim() == 0 else step_size[step]
        parameters = [p - rate * v for p, v in zip(parameters, velocities, strict=True)]
    return parameters


def gradients_of(ends, wanted):
    """Of a loss that weighs every parameter differently."""
    loss = sum((end * draw(*end.shape, path=f"weight-{i}")).sum() + end.square().sum() for i, end in enumerate(ends))
    return torch.autograd.grad(loss, wanted)


@pytest.mark.parametrize("truncated", [False, True], ids=["exact", "truncated"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("step_size", [0.3, [0.3, 0.0, 0.2, 0.5]], ids=["scalar", "per-step"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_equals_the_graph_of_the_whole_run(network, soft, step_size, momentum, truncated):
    images, labels, rate = inputs(soft=soft, step_size=step_size)
    start = [value.clone().requires_grad_() for value in parameters_of(network)]
    wanted = [images, rate, *start] + ([labels] if soft else [])
    options = {"steps": STEPS, "step_size": rate, "momentum": momentum, "truncated": truncated}
    ours = train_unrolled(network, start, images, labels, mini_batches, **options)
    naive = naive_unrolled(network, start, images, labels, mini_batches, **options)
    for a, b in zip(ours, naive, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    for a, b in zip(gradients_of(ours, wanted), gradients_of(naive, wanted), strict=True):
        assert b.abs().max() > 1e-6
        torch.testing.assert_close(a, b, **EXACT)


def test_a_step_size_of_zero_still_feels_the_loss(network):
    images, labels, rate = inputs(soft=False, step_size=0.0)
    start = parameters_of(network)
    ours = train_unrolled(network, start, images, labels, everything, steps=3, step_size=rate, momentum=0.5)
    naive = naive_unrolled(network, start, images, labels, everything, steps=3, step_size=rate, momentum=0.5)
    (a,), (b,) = gradients_of(ours, [rate]), gradients_of(naive, [rate])
    assert b.abs() > 1e-3
    torch.testing.assert_close(a, b, **EXACT)


def test_leaves_out_what_nobody_asks_for(network):
    """Images fixed, only the step size learned: nothing is asked of images, and the start stays as it was."""
    images, labels, rate = inputs(soft=False, step_size=0.1)
    start = parameters_of(network)
    before = [value.clone() for value in start]
    ends = train_unrolled(network, start, images.detach(), labels, everything, steps=2, step_size=rate)
    naive = naive_unrolled(network, start, images.detach(), labels, everything, steps=2, step_size=rate)
    torch.testing.assert_close(gradients_of(ends, [rate]), gradients_of(naive, [rate]), **EXACT)
    assert all(torch.equal(a, b) for a, b in zip(start, before, strict=True))
    assert all(value.grad is None for value in network.parameters())


def test_another_loss(network):
    images, labels, rate = inputs(soft=True, step_size=0.1)
    start = parameters_of(network)
    ends = train_unrolled(network, start, images, labels, everything, steps=1, step_size=rate, loss=squared_error)
    named = dict(zip(dict(network.named_parameters()), [v.requires_grad_() for v in start], strict=True))
    loss = squared_error(functional_call(network, named, (images,)), labels).mean()
    for end, before, gradient in zip(ends, start, torch.autograd.grad(loss, start), strict=True):
        torch.testing.assert_close(end, before - rate * gradient)


def image_gradients(network, steps, *, step_size=0.5):
    images, labels, rate = inputs(soft=False, step_size=step_size)
    start = parameters_of(network)
    found = []
    for truncated in (False, True):
        options = {"steps": steps, "step_size": rate, "truncated": truncated}
        found += gradients_of(train_unrolled(network, start, images, labels, everything, **options), [images])
    return found


def test_truncation_is_exact_for_one_step_and_only_close_for_three(network):
    exact, truncated = image_gradients(network, 1)
    torch.testing.assert_close(exact, truncated, **EXACT)
    exact, truncated = image_gradients(network, 3)
    cosine = F.cosine_similarity(exact.flatten(), truncated.flatten(), dim=0)
    assert 0.5 < cosine < 0.999, cosine


def test_memory_grows_by_one_copy_of_the_parameters_a_step():
    """What the graph holds on to, counted: tensors of the parameters' size, not maps of a hundred times that."""
    network = network_factory(functools.partial(ConvNet, width=4, depth=1), SHAPE, CLASSES)(derive_generator(1))
    start = parameters_of(network)
    held = []
    for steps in (2, 12):
        images = torch.zeros(50, *SHAPE, requires_grad=True)
        rate = torch.tensor(0.1)
        ends = train_unrolled(network, start, images, torch.arange(50) % 3, everything, steps=steps, step_size=rate)
        saved = ends[0].grad_fn.saved_tensors
        held.append(sum(value.numel() for value in saved))
    assert held[1] - held[0] == 10 * sum(value.numel() for value in start)


def test_more_steps_than_the_memory_allows_is_one_error_that_says_how_many_fit(network):
    images, labels, rate = inputs(soft=False, step_size=0.1)
    start = parameters_of(network)
    size = sum(value.numel() * value.element_size() for value in start)
    run = functools.partial(train_unrolled, network, start, images, labels, everything, step_size=rate)
    with pytest.raises(ValueError, match=rf"9 steps keep 10 copies of {size:,} bytes .* 4 steps fit"):
        run(steps=9, memory_limit=5 * size)
    run(steps=4, memory_limit=5 * size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"step_size": torch.ones(3)}, r"step_size must be a scalar or of shape \(2,\), got shape \(3,\)"),
    ],
)
def test_bad_input(network, changes, message):
    images, labels, rate = inputs(soft=False, step_size=0.1)
    options = {"steps": 2, "step_size": rate} | changes
    with pytest.raises(ValueError, match=message):
        train_unrolled(network, parameters_of(network), images, labels, everything, **options)


def test_networks_that_normalise_over_the_batch_are_refused():
    network = network_factory(functools.partial(ConvNet, width=4, norm=batch_norm), SHAPE, CLASSES)(derive_generator(0))
    images, labels, rate = inputs(soft=False, step_size=0.1)
    with pytest.raises(ValueError, match="normalises over the batch"):
        train_unrolled(network, parameters_of(network), images, labels, everything, steps=1, step_size=rate)


def test_vectors_too():
    network = network_factory(functools.partial(MLP, hidden=(5,)), (7,), 3)(derive_generator(0)).double()
    images, rate = draw(4, 7, path="v").requires_grad_(), torch.tensor(0.2, dtype=torch.float64)
    labels, start = torch.arange(4) % 3, parameters_of(network)
    ours = train_unrolled(network, start, images, labels, everything, steps=3, step_size=rate)
    naive = naive_unrolled(network, start, images, labels, everything, steps=3, step_size=rate)
    torch.testing.assert_close(gradients_of(ours, [images]), gradients_of(naive, [images]), **EXACT)


def test_parameters_of_another_network_are_refused(network):
    images, labels, rate = inputs(soft=False, step_size=0.1)
    other = network_factory(functools.partial(ConvNet, width=8, depth=1), SHAPE, CLASSES)(derive_generator(0)).double()
    with pytest.raises(ValueError, match="these are of another network"):
        train_unrolled(network, parameters_of(other), images, labels, everything, steps=1, step_size=rate)

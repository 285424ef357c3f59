"""A window of Adam walked backwards against the graph of the window, kept by autograd, in float64; and against torch's Adam."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.engine import Engine, parameters_of, running_on
from core_distill.matching.adam_unrolling import AdamState, train_by_adam, train_window
from core_distill.networks import MLP, ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch

SHAPE, CLASSES, COUNT = (1, 8, 8), 3, 6
EXACT = {"rtol": 1e-7, "atol": 1e-9}


@pytest.fixture(autouse=True)
def pieces_of_three():
    """Batches larger than a piece, as with real sizes."""
    with running_on(Engine(piece=3)):
        yield


@pytest.fixture
def network():
    return network_factory(functools.partial(MLP, hidden=(6,)), SHAPE, CLASSES)(derive_generator(1)).double()


def draw(*shape, path):
    return torch.randn(*shape, generator=derive_generator(0, path), dtype=torch.float64)


def inputs(*, soft, step_size):
    images = draw(COUNT, *SHAPE, path="images").requires_grad_()
    probabilities = draw(COUNT, CLASSES, path="labels").softmax(-1).requires_grad_()
    labels = probabilities if soft else torch.arange(COUNT) % CLASSES
    return images, labels, torch.tensor(step_size, dtype=torch.float64, requires_grad=True)


def mini_batches(step, images, labels):
    chosen = torch.randperm(len(images), generator=derive_generator(3, step))[:4]
    return Batch(images[chosen] * draw(*SHAPE, path=f"seen {step}"), labels[chosen])


def everything(step, images, labels):
    return Batch(images, labels)


def naive(network, images, labels, batch_at, *, before, steps, step_size):
    """The formulas of Adam, with a graph from step `before` on."""
    names = [name for name, _ in network.named_parameters()]
    parameters = [value.requires_grad_() for value in parameters_of(network)]
    first, second = ([torch.zeros_like(value) for value in parameters] for _ in range(2))
    for step in range(before + steps):
        batch = batch_at(step, images, labels)
        logits = functional_call(network, dict(zip(names, parameters, strict=True)), (batch.images,))
        gradients = torch.autograd.grad(F.cross_entropy(logits, batch.labels), parameters, create_graph=True)
        rate = step_size if step_size.dim() == 0 else step_size[step]
        for i, gradient in enumerate(gradients):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            corrected = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.999 ** (step + 1))
            parameters[i] = parameters[i] - rate * corrected[0] / (corrected[1].sqrt() + 1e-8)
        if step + 1 == before:
            parameters = [value.detach().requires_grad_() for value in parameters]
            first, second = ([value.detach() for value in moment] for moment in (first, second))
    return parameters


def gradients_of(ends, wanted):
    """Of a loss that weighs every parameter differently."""
    loss = sum((end * draw(*end.shape, path=f"weight-{i}")).sum() + end.square().sum() for i, end in enumerate(ends))
    return torch.autograd.grad(loss, wanted)


@pytest.mark.parametrize(("before", "steps"), [(0, 1), (0, 4), (3, 4)])
@pytest.mark.parametrize("each", [False, True], ids=["scalar", "per-step"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_equals_the_graph_of_the_window(network, soft, each, before, steps):
    sizes = [0.1 + 0.02 * step for step in range(before + steps)] if each else 0.1
    images, labels, rate = inputs(soft=soft, step_size=sizes)
    wanted = [images, rate] + ([labels] if soft else [])
    state = AdamState.at(parameters_of(network))
    state = train_by_adam(network, state, images, labels, mini_batches, steps=before, step_size=rate)
    ours = train_window(network, state, images, labels, mini_batches, steps=steps, step_size=rate)
    plain = naive(network, images, labels, mini_batches, before=before, steps=steps, step_size=rate)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    for a, b in zip(gradients_of(ours, wanted), gradients_of(plain, wanted), strict=True):
        assert b.abs().max() > 1e-6
        torch.testing.assert_close(a, b, **EXACT)


def test_convolutions_with_norms_too():
    make = network_factory(functools.partial(ConvNet, width=4, depth=2), SHAPE, CLASSES)
    network = make(derive_generator(1)).double()
    images, labels, rate = inputs(soft=True, step_size=0.01)
    state = AdamState.at(parameters_of(network))
    ours = train_window(network, state, images, labels, everything, steps=3, step_size=rate)
    plain = naive(network, images, labels, everything, before=0, steps=3, step_size=rate)
    for a, b in zip(gradients_of(ours, [images, labels]), gradients_of(plain, [images, labels]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_steps_are_those_of_torch(network):
    images, labels, _ = inputs(soft=False, step_size=0.1)
    twin = network_factory(functools.partial(MLP, hidden=(6,)), SHAPE, CLASSES)(derive_generator(1)).double()
    adam = torch.optim.Adam(twin.parameters(), lr=0.05)
    for step in range(5):
        batch = mini_batches(step, images.detach(), labels)
        adam.zero_grad()
        F.cross_entropy(twin(batch.images), batch.labels).backward()
        adam.step()
    state = AdamState.at(parameters_of(network))
    state = train_by_adam(network, state, images, labels, mini_batches, steps=5, step_size=torch.tensor(0.05).double())
    assert state.step == 5
    for a, b in zip(state.parameters, twin.parameters(), strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-6, atol=1e-7
        )  # sums in another order, times 1 / epsilon where both are 0


def test_training_in_two_parts_is_training_in_one(network):
    images, labels, rate = inputs(soft=False, step_size=0.1)
    start = AdamState.at(parameters_of(network))
    run = functools.partial(train_by_adam, network, step_size=rate, images=images, labels=labels, batch_at=mini_batches)
    whole = run(state=start, steps=5)
    parts = run(state=run(state=start, steps=2), steps=3)
    for a, b in zip(whole.parameters, parts.parameters, strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(start.parameters, parameters_of(network), strict=True))


def test_a_unit_that_never_fired_gives_finite_gradients(network):
    """Its gradients and moments are exactly 0, where the direction has no slope."""
    with torch.no_grad():
        network.layers[0].weight[0].zero_()
        network.layers[0].bias[0] = -1.0
    images, labels, rate = inputs(soft=True, step_size=0.1)
    state = AdamState.at(parameters_of(network))
    ends = train_window(network, state, images, labels, everything, steps=2, step_size=rate)
    found = gradients_of(ends, [images, labels, rate])
    assert all(torch.isfinite(value).all() and value.abs().max() > 0 for value in found)
    for a, b in zip(ends, parameters_of(network), strict=True):
        assert torch.equal(a[0], b[0]) == (a.shape in ((6, 64), (6,)))


def test_leaves_out_what_nobody_asks_for(network):
    images, labels, rate = inputs(soft=True, step_size=0.1)
    state = AdamState.at(parameters_of(network))
    ends = train_window(network, state, images.detach(), labels, everything, steps=2, step_size=rate.detach())
    plain = naive(network, images.detach(), labels, everything, before=0, steps=2, step_size=rate.detach())
    torch.testing.assert_close(gradients_of(ends, [labels]), gradients_of(plain, [labels]), **EXACT)
    assert all(value.grad is None for value in network.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"step_size": torch.ones(1)}, "one number for each of 2 steps, got 1"),
    ],
)
def test_bad_input(network, changes, message):
    images, labels, rate = inputs(soft=False, step_size=0.1)
    state = AdamState.at(parameters_of(network))
    with pytest.raises(ValueError, match=message):
        train_window(network, state, images, labels, everything, **({"steps": 2, "step_size": rate} | changes))


def test_unfit_networks_are_refused(network):
    images, labels, rate = inputs(soft=False, step_size=0.1)
    other = network_factory(functools.partial(ConvNet, width=4, norm=batch_norm), SHAPE, CLASSES)(derive_generator(0))
    options = {"steps": 2, "step_size": rate}
    with pytest.raises(ValueError, match="normalises over the batch"):
        train_window(other, AdamState.at(parameters_of(other)), images, labels, everything, **options)
    with pytest.raises(ValueError, match="these are of another network"):
        train_window(network, AdamState.at(parameters_of(network)[:1]), images, labels, everything, **options)

"""Units of work that end with a gradient on the synthetic pixels: one step of a matching method."""

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from core_distill.augment import all_operations, no_augment
from core_distill.benchmark.inputs import Inputs, Size
from core_distill.benchmark.twins import dc_step, dm_step, dsa_step, frepo_step, mtt_loss
from core_distill.benchmark.unit import Timed, counted, meta_batch, meta_network
from core_distill.engine import parameters_of
from core_distill.matching.trajectories import trajectory_distance
from core_distill.matching.unrolling import train_unrolled
from core_distill.methods import DistributionMatching, GradientMatching, KernelRegression
from core_distill.types import Batch, Method

TARGETS = 1024
"""Real images that a step of kernel regression predicts."""

STEP_SIZE = 0.01
"""The learning rate that a trajectory loss unrolls with."""


def fast_dc(inputs: Inputs) -> tuple[Timed, ...]:
    """One loss of DC through the library, and its backward pass."""
    return _one_loss(inputs, _gradient_matching(inputs, augment=no_augment))


def fast_dsa(inputs: Inputs) -> tuple[Timed, ...]:
    """One loss of DSA through the library, and its backward pass."""
    return _one_loss(inputs, _gradient_matching(inputs, augment=all_operations))


def fast_dm(inputs: Inputs) -> tuple[Timed, ...]:
    """One loss of DM through the library, and its backward pass."""
    method = DistributionMatching(
        real=inputs.real, new_network=inputs.new_network, augment=all_operations, batch_size=inputs.size.batch_real
    )
    return _one_loss(inputs, method)


def naive_dc(inputs: Inputs) -> tuple[Timed, ...]:
    """The same through the twin, real images drawn class by class."""
    return _naive(inputs, lambda network, real, synthetic, generator: dc_step(network, real, synthetic))


def naive_dsa(inputs: Inputs) -> tuple[Timed, ...]:
    """The same through the twin, each class augmented on its own."""
    return _naive(
        inputs,
        lambda network, real, synthetic, generator: dsa_step(network, real, synthetic, all_operations, generator),
    )


def naive_dm(inputs: Inputs) -> tuple[Timed, ...]:
    """The same through the twin, one class after another."""
    return _naive(
        inputs, lambda network, real, synthetic, generator: dm_step(network, real, synthetic, all_operations, generator)
    )


def dc_flops(size: Size) -> float:
    """Of one step; augmentation has no matrix products, so that DSA's are the same."""
    real, own = (meta_batch(size, size.num_classes, n) for n in (size.batch_real, size.images_per_class))
    return counted(lambda: dc_step(meta_network(size), real, own))


def dm_flops(size: Size) -> float:
    """Of one step, for networks whose parameters are constants."""
    real, own = (meta_batch(size, size.num_classes, n) for n in (size.batch_real, size.images_per_class))
    network = meta_network(size).requires_grad_(False)
    return counted(lambda: dm_step(network, real, own, no_augment, torch.Generator()))


def fast_mtt(inputs: Inputs) -> tuple[Timed, ...]:
    """One exact trajectory loss through the library, and its backward pass to pixels and step size."""
    network, start, target = trajectory(inputs)
    calls = itertools.count()
    size = torch.tensor(STEP_SIZE, device=inputs.device, requires_grad=True)

    def run() -> None:
        images, labels = inputs.synthetic.batch()[:2]
        batch_at = functools.partial(_augmented, inputs, next(calls))
        end = train_unrolled(network, start, images, labels, batch_at, steps=inputs.size.inner_steps, step_size=size)
        trajectory_distance(end, start, target).backward(inputs=[*inputs.learned, size])
        _forget([*inputs.learned, size])

    return (Timed(run),)


def naive_mtt(inputs: Inputs) -> tuple[Timed, ...]:
    """The same through a graph of all steps."""
    network, start, target = trajectory(inputs)
    synthetic, calls = inputs.flat_synthetic(), itertools.count()
    size = torch.tensor(STEP_SIZE, device=inputs.device)

    def run() -> None:
        batch_at = functools.partial(_augmented, inputs, next(calls))
        mtt_loss(network, start, target, synthetic, batch_at, steps=inputs.size.inner_steps, step_size=size)

    return (Timed(run),)


def mtt_flops(size: Size) -> float:
    """Of one loss through the graph of all steps."""
    network, synthetic = meta_network(size), meta_batch(size, size.synthetic_images)
    start = [parameter.detach() for parameter in network.parameters()]

    def run() -> None:
        mtt_loss(
            network, start, start, synthetic, _whole, steps=size.inner_steps, step_size=torch.empty((), device="meta")
        )

    return counted(run)


def fast_frepo(inputs: Inputs) -> tuple[Timed, ...]:
    """One loss of FRePo through the library, its backward pass, and the step of the pool."""
    method = KernelRegression(
        real=inputs.real, new_network=inputs.new_network, augment=all_operations, batch_size=TARGETS
    )
    return _one_loss(inputs, method)


def naive_frepo(inputs: Inputs) -> tuple[Timed, ...]:
    """The same through the twin."""
    network, calls = inputs.new_network(inputs.generator("pool")), itertools.count()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)

    def run() -> None:
        generator = inputs.generator("episode", next(calls))
        real = inputs.real.batch(TARGETS, generator)
        seen_real, seen = all_operations(real, inputs.synthetic.batch(), generator)
        frepo_step(network, optimizer, seen_real, seen, num_classes=inputs.size.num_classes)

    return (Timed(run),)


def frepo_flops(size: Size) -> float:
    """Of one loss and one step of the pool, without the solve."""
    network = meta_network(size)
    optimizer = torch.optim.Adam(network.parameters())
    target, own = meta_batch(size, TARGETS), meta_batch(size, size.synthetic_images)
    return counted(lambda: frepo_step(network, optimizer, target, own, num_classes=size.num_classes))


def _whole(step: int, images: Tensor, labels: Tensor) -> Batch:
    return Batch(images, labels)


def _augmented(inputs: Inputs, call: int, step: int, images: Tensor, labels: Tensor) -> Batch:
    return Batch(all_operations.per_image(images, inputs.generator("unrolled", call, step)), labels)


def trajectory(inputs: Inputs) -> tuple[torch.nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A network, its parameters, and parameters a little way off, as an expert would be two epochs later."""
    generator = inputs.generator("trajectory")
    network = inputs.new_network(generator)
    start, away = parameters_of(network), parameters_of(inputs.new_network(generator))
    return network, start, tuple(a + 0.1 * (b - a) for a, b in zip(start, away, strict=True))


def _gradient_matching(inputs: Inputs, **augmentation: object) -> Method:
    return GradientMatching(
        real=inputs.real,
        new_network=inputs.new_network,
        batch_size=inputs.size.batch_real,
        outer_steps=1,
        **augmentation,  # type: ignore[arg-type]
    )


def _one_loss(inputs: Inputs, method: Method) -> tuple[Timed, ...]:
    """An episode of one loss, with a network and a real batch of its own each time."""
    calls = itertools.count()

    def run() -> None:
        for loss in method.episode(inputs.synthetic, inputs.generator("episode", next(calls))):
            loss.backward(inputs=inputs.learned)
        _forget(inputs.learned)

    return (Timed(run),)


def _naive(inputs: Inputs, step: Callable[[torch.nn.Module, Batch, Batch, Generator], object]) -> tuple[Timed, ...]:
    calls = itertools.count()

    def run() -> None:
        generator = inputs.generator("episode", next(calls))
        network = inputs.new_network(generator)
        step(network, _drawn_by_class(inputs, generator), inputs.synthetic.by_class(generator), generator)

    return (Timed(run),)


def _drawn_by_class(inputs: Inputs, generator: Generator) -> Batch:
    """A grouped real batch, drawn and stacked class by class."""
    rows = []
    for number in range(inputs.size.num_classes):
        members = inputs.real.of_class(number)
        order = torch.randperm(len(members), generator=generator, device=inputs.device)
        rows.append(inputs.real.take(members[order[: inputs.size.batch_real]]))
    return Batch(torch.stack([row.images for row in rows]), torch.stack([row.labels for row in rows]))


def _forget(tensors: list[Tensor]) -> None:
    for tensor in tensors:
        tensor.grad = None

"""georgecazenavette/mtt-distillation as a runner: one trajectory loss through its flat-parameter module."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core_distill.benchmark.inputs import DEPTH, Inputs
from core_distill.benchmark.matching_work import STEP_SIZE, trajectory
from core_distill.benchmark.peer_condensation import STRATEGY, mended, undisturbed
from core_distill.benchmark.peer_modules import import_from
from core_distill.benchmark.unit import Timed


def _mtt(folder: Path, inputs: Inputs) -> tuple[Timed, ...]:
    """The graph of all steps kept: flat parameters, the gradient of each step with a graph, one backward pass."""
    modules = import_from(folder, ("networks", "reparam_module", "utils"))
    size, augment = inputs.size, mended(modules["utils"].DiffAugment)
    parameters = modules["utils"].ParamDiffAug()
    network = modules["networks"].ConvNet(
        size.channels, size.num_classes, size.width, DEPTH, "relu", "instancenorm", "avgpooling", (size.side, size.side)
    )
    student: Any = modules["reparam_module"].ReparamModule(network.to(inputs.device))
    student.train()
    start, target = (_flat(values) for values in trajectory(inputs)[1:])
    count = sum(parameter.numel() for parameter in student.parameters())
    if count != len(start):
        raise ValueError(f"{folder} has a ConvNet of {count:,} parameters, this library one of {len(start):,}")
    images, labels = inputs.flat_synthetic()[:2]
    images = images.clone().requires_grad_()
    rate = torch.tensor(STEP_SIZE, device=inputs.device, requires_grad=True)

    def run() -> None:
        with undisturbed(inputs):
            current = start.clone().requires_grad_()
            for _ in range(size.inner_steps):
                order = torch.randperm(len(images), device=inputs.device)
                seen = augment(images[order], STRATEGY, param=parameters)
                loss = F.cross_entropy(student(seen, flat_param=current), labels[order])
                (gradient,) = torch.autograd.grad(loss, current, create_graph=True)
                current = current - rate * gradient
            distance = F.mse_loss(current, target, reduction="sum") / F.mse_loss(start, target, reduction="sum")
            distance.backward()
        images.grad = rate.grad = None

    return (Timed(run),)


def _flat(values: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([value.flatten() for value in values])


TRAJECTORIES: Mapping[str, Callable[[Path, Inputs], tuple[Timed, ...]]] = {"mtt": _mtt}
"""What this code can run."""

"""Many networks of one kind at once: their parameters stacked, one batched pass where that pays."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import vmap

from core_distill.engine.compiled import run
from core_distill.engine.job import Job
from core_distill.engine.losses import ExampleLoss, cross_entropy
from core_distill.engine.pieces import piece_size, spans
from core_distill.engine.settings import current
from core_distill.engine.structure import compilable_kind
from core_distill.types import Batch


def can_stack(networks: Sequence[nn.Module]) -> bool:
    """Whether `network_gradients` may run them as one, and gains by it.

    On a card, where small networks wait for launches. On a CPU a pass of one network fills the cores already, and
    batched kernels become grouped convolutions, which take twice the time.
    """
    kinds = {compilable_kind(network) for network in networks}
    on_card = all(parameter.is_cuda for network in networks for parameter in network.parameters())
    return len(networks) > 1 and len(kinds) == 1 and None not in kinds and on_card


@torch.no_grad()
def network_gradients(
    network: nn.Module, parameters: Sequence[Tensor], batch: Batch, *, loss: ExampleLoss = cross_entropy
) -> tuple[Tensor, ...]:
    """Row `i`: the gradient of the mean loss of images `(i, n, *shape)` under parameters `(i, *parameter)`; no graph.

    `network` stands for the kind of all; its own parameters are not read.
    """
    job = Job(network, loss, current())
    images, labels, _ = batch
    rows, count = images.shape[:2]
    weights = images.new_full((rows, count), 1 / count)
    size = piece_size(job.session.engine, network, tuple(images.shape[2:]), count, images.device, rows=rows)
    batched = vmap(job.gradient, in_dims=(0, 0, 0, 0))
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    for span in spans(count, size):
        piece = (images[:, span], labels[:, span], weights[:, span])
        work = 3 * job.operations(piece[0])
        found = run(job.session, job.key("stacked gradient"), batched, batched, work, tuple(parameters), *piece)
        for total, gradient in zip(sums, found, strict=True):
            total += gradient
    return tuple(sums)

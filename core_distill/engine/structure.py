"""What the engine knows of a network without running it: its kind, the work of one image, its largest map."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

from core_distill.networks import FreshNetworks, kind_of


class Structure(NamedTuple):
    """Of one image through a network: numbers in the largest tensor on its way, and operations of the forward pass."""

    largest: int
    operations: float


_MAPS_OF_AN_IMAGE = 128
"""How much larger than an image the largest map of an unknown network is taken to be."""

_others: "WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Structure]]" = WeakKeyDictionary()


def structure_of(network: nn.Module, shape: tuple[int, ...]) -> Structure:
    """Found once for each kind of network, or each network of no known kind, by a pass on the meta device.

    Raises `ValueError` for a network that has a layer under two names.
    """
    kind = kind_of(network)
    if kind is not None:
        return _of_kind(kind, shape)
    known = _others.setdefault(network, {})
    if shape not in known:
        known[shape] = _measured(network, shape)
    return known[shape]


def compilable_kind(network: nn.Module) -> FreshNetworks | None:
    """The kind of a network whose compiled code serves all of its kind: nothing random in it, no running statistics."""
    kind = kind_of(network)
    if kind is None or any(True for _ in network.buffers()):
        return None
    if any(isinstance(layer, _DropoutNd) or layer._forward_hooks for layer in network.modules()):
        return None
    return kind


@functools.lru_cache(maxsize=256)
def _of_kind(kind: FreshNetworks, shape: tuple[int, ...]) -> Structure:
    with torch.device("meta"):
        return _measured(kind.architecture(kind.image_shape, kind.num_classes, **dict(kind.options)), shape)


def _measured(network: nn.Module, shape: tuple[int, ...]) -> Structure:
    from torch.utils.flop_counter import FlopCounterMode  # brings triton, which takes a moment

    _refuse_layers_of_two_names(network)
    state = {name: torch.empty_like(value, device="meta") for name, value in network.state_dict().items()}
    was_training = network.training
    network.eval()  # batch statistics of a single image would be refused
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter, _Largest() as seen:
            functional_call(network, state, (torch.empty(1, *shape, device="meta"),))
    except Exception:  # a network of the user's own may need real numbers; then it is taken for a wide one
        return Structure(_MAPS_OF_AN_IMAGE * torch.Size(shape).numel(), 0.0)
    finally:
        network.train(was_training)
    return Structure(max(1, seen.numbers), float(counter.get_total_flops()))


def _refuse_layers_of_two_names(network: nn.Module) -> None:
    """`functional_call` would leave tensors in the place of their parameters, which then no longer learn (torch 2.15)."""
    names: dict[nn.Module, str] = {}
    for name, layer in network.named_modules(remove_duplicate=False):
        first = names.setdefault(layer, name)
        if first != name and any(True for _ in layer.parameters()):
            raise ValueError(
                f"{type(network).__name__} has one layer as {first} and as {name}: keep one, and make the other a property"
            )


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.numel())
        return result

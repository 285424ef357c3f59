"""Fresh networks from an explicit generator: PyTorch's own initialisation reads the global one."""

import functools
import math
from dataclasses import dataclass
from typing import final
from weakref import WeakKeyDictionary

import torch
from torch import Generator, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

Architecture = type[nn.Module] | functools.partial[nn.Module]
"""A class taking `(image_shape, num_classes)`, or a `functools.partial` of one that fixes keyword arguments."""


def initialise(module: nn.Module, generator: Generator) -> None:
    """Draw every convolution, linear and norm layer of `module` anew, in place, from PyTorch's default distributions.

    Weights are uniform within `1 / sqrt(fan_in)` (He et al. with `a = sqrt(5)`), biases too; norm layers get scale 1,
    shift 0 and fresh running statistics. Layers are visited in `module.modules()` order, so that a network made in that
    order gets the same bits as PyTorch would draw from the same generator state.

    Raises `ValueError` for any other layer that holds parameters or buffers.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, (_ConvNd, nn.Linear)):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        elif isinstance(layer, (_NormBase, nn.GroupNorm, nn.LayerNorm)):
            layer.reset_parameters()
        elif any(True for _ in layer.parameters(recurse=False)) or any(True for _ in layer.buffers(recurse=False)):
            raise ValueError(
                f"cannot initialise layer {name!r} of type {type(layer).__name__}: only convolution, linear and norm "
                "layers are known; build the network from those, or pass your own `new_network(generator)`"
            )


@final
@dataclass(frozen=True)
class FreshNetworks:
    """A `NetworkFactory`: call it with a generator for a new network, on the generator's device and drawn from it.

    Equal when it makes the same kind of network. The global generator is neither read nor moved: the module is built
    without memory, then allocated and initialised.
    """

    architecture: type[nn.Module]
    image_shape: tuple[int, ...]
    num_classes: int
    options: tuple[tuple[str, object], ...] = ()

    def __call__(self, generator: Generator) -> nn.Module:
        """A new network in training mode; raises what the architecture and `initialise` raise."""
        with torch.device("meta"):
            network = self.architecture(self.image_shape, self.num_classes, **dict(self.options))
        network.to_empty(device=generator.device)
        initialise(network, generator)
        _kinds[network] = self
        return network

    @property
    def name(self) -> str:
        """The same text in every process for equal factories."""
        options = [f"{key}={getattr(value, '__qualname__', value)}" for key, value in self.options]
        arguments = ", ".join(map(str, (self.image_shape, self.num_classes, *options)))
        return f"{self.architecture.__module__}.{self.architecture.__qualname__}({arguments})"


_kinds: "WeakKeyDictionary[nn.Module, FreshNetworks]" = WeakKeyDictionary()


def kind_of(network: nn.Module) -> FreshNetworks | None:
    """The factory that made `network`, whose networks all compute alike; None for a network of other origin."""
    return _kinds.get(network)


def network_factory(architecture: Architecture, image_shape: tuple[int, ...], num_classes: int) -> FreshNetworks:
    """The factory of `architecture` for inputs `(n, *image_shape)` and `num_classes` classes.

    ```python
    new_network = network_factory(functools.partial(ConvNet, width=64), (1, 28, 28), 10)
    network = new_network(derive_generator(seed))
    ```
    A network that does not fit the shape raises `ValueError` when the first one is made. So does this function for a
    partial that fixes positional arguments, or a list where a tuple would do.
    """
    shape = tuple(image_shape)
    if not isinstance(architecture, functools.partial):
        return FreshNetworks(architecture, shape, num_classes)
    if architecture.args or not isinstance(architecture.func, type):
        raise ValueError(
            f"a partial architecture wraps a class and fixes keyword arguments only, got {architecture}: "
            "image_shape and num_classes are passed to it"
        )
    options = tuple(sorted(architecture.keywords.items()))
    unhashable = [name for name, value in options if type(value).__hash__ is None]
    if unhashable:
        raise ValueError(f"{', '.join(unhashable)} cannot be a list, set or dictionary; use a tuple")
    return FreshNetworks(architecture.func, shape, num_classes, options)

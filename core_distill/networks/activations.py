"""What a network's layers say on the way: for losses that compare more than its last features."""

from torch import Tensor, nn


def activations(layers: nn.Sequential, inputs: Tensor) -> tuple[Tensor, ...]:
    """What every ReLU among `layers` makes of `inputs`, in order, and what comes out at the end where that is another."""
    found: list[Tensor] = []
    after_activation = False
    for layer in layers:
        inputs = layer(inputs)
        after_activation = isinstance(layer, nn.ReLU)
        if after_activation:
            found.append(inputs)
    return tuple(found) if after_activation else (*found, inputs)

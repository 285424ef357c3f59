"""The vocabulary every package shares: batches, and the interfaces a user may implement."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from torch import Generator, Tensor, nn

if TYPE_CHECKING:
    from core_distill.synthetic import SyntheticSet


class Batch(NamedTuple):
    """Inputs with their labels, flat or grouped by class.

    Flat: `images (n, *shape)`; grouped: `images (k, n, *shape)`, one row a class. Images are normalised floats.
    `labels` have the images' leading dimensions: int64 class numbers, or one more dimension of float class
    probabilities. `weights`, where given, has the leading dimensions too: 0 marks padding (a row with fewer examples).
    """

    images: Tensor
    labels: Tensor
    weights: Tensor | None = None


class Network(Protocol):
    """A classifier with a feature extractor: `network(images (n, *shape)) -> logits (n, num_classes)`.

    `features(images) -> (n, d)` is the flattened input of the last layer; `embed` in the reference codes.
    """

    def __call__(self, images: Tensor) -> Tensor: ...

    def features(self, images: Tensor) -> Tensor: ...


class NetworkFactory(Protocol):
    """Makes a freshly initialised network; every random number comes from `generator`, on whose device it lives."""

    def __call__(self, generator: Generator) -> nn.Module: ...


class RealData(Protocol):
    """Where a method draws real batches from; `ClassSampler` is the ordinary one.

    Attributes: `classes` is the sorted int64 tensor `(k,)` of the class numbers present; `num_classes` counts all.
    """

    @property
    def classes(self) -> Tensor: ...

    @property
    def num_classes(self) -> int: ...

    def by_class(self, size: int, generator: Generator) -> Batch:
        """One grouped batch, `(k, size, *shape)`."""
        ...

    def batch(self, size: int, generator: Generator) -> Batch:
        """One flat batch over all classes, `(size, *shape)`."""
        ...


class Signal(Protocol):
    """What a loss may know of real data: grouped batch `(k, n, ...)` in, one target tensor `(k, ...)` each out.

    `per_example` gives the same targets for each example on its own, `(k, n, ...)`: their weighted mean over `n` is the
    signal. Privacy wraps exactly this.
    """

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]: ...

    def per_example(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]: ...


class SiameseAugment(Protocol):
    """Draws once and applies the same change to the real and the synthetic batch (both grouped or both flat)."""

    def __call__(self, real: Batch, synthetic: Batch, generator: Generator) -> tuple[Batch, Batch]: ...

    def per_image(self, images: Tensor, generator: Generator) -> Tensor:
        """The same operations with a draw an image, `(n, *shape)`, as for training networks."""
        ...


Augment = Callable[[Tensor, Generator], Tensor]
"""`augment(images (n, *shape), generator)`: each image its own draw, as for training and evaluating networks."""


class Method(Protocol):
    """A distillation method: `episode` yields losses, and after each `yield` sees the updated synthetic set.

    Its class may say what a recipe should know of it, each true where it is not said: `learns_images`, `learns_labels`
    (whether its loss has a gradient to them), `uses_step_size` (whether it trains by the set's), `draws_by_class` (whether
    the real batches of its loss are grouped by class); and false where it is not said: `private` (it sees real data through
    its `signal` alone), `class_wise` (its loss is a sum over classes).

    One that owns things which outlive an episode (a pool, a second player) is `Stateful` too, and is saved with the run.
    """

    def episode(self, synthetic: "SyntheticSet", generator: Generator) -> Iterator[Tensor]: ...


@runtime_checkable
class Stateful(Protocol):
    """Anything that outlives an episode and is saved with the checkpoint: optimizer, pool, second player, ledger."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...

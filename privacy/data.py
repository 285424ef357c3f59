"""Real data as a private method may draw it: Poisson samples that can be released once, and nothing else."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from core_distill.data import ClassSampler
from core_distill.types import Batch
from privacy.secret import SecretSeed


class Draw(NamedTuple):
    """What a release must know of the sample it sums: both numbers are public."""

    sampling_rate: float
    expected_class_size: int


class PrivateData:
    """A `RealData` whose batches are Poisson samples: every record enters on its own with probability `size /
    public_class_size`, freshly for every batch.

    Private are the images, and which and how many there are of each class. Public, and to be chosen without looking at
    the records, are the list of classes, the image shape, the normalisation constants and `public_class_size`.

    Args:
        real: the private records; each stands in one class.
        public_class_size: records a class as public knowledge has it (a round number will do). Too small or too large a
            value costs accuracy, never privacy.
        secret: where the sampling's randomness comes from.

    Raises `ValueError` for a public class size below 1.
    """

    def __init__(self, real: ClassSampler, *, public_class_size: int, secret: SecretSeed) -> None:
        if public_class_size < 1:
            raise ValueError(f"public_class_size must be at least 1, got {public_class_size}")
        self._real, self._secret = real, secret
        self.public_class_size = public_class_size
        self._num_draws = 0
        self._open: tuple[Tensor, Draw] | None = None

    @property
    def classes(self) -> Tensor:
        """The class numbers, int64 `(k,)`, ascending; public."""
        return self._real.classes

    @property
    def num_classes(self) -> int:
        """How many classes the whole task has; public."""
        return self._real.num_classes

    @property
    def num_draws(self) -> int:
        """How many samples were drawn; each should have been released."""
        return self._num_draws

    def by_class(self, size: int, generator: Generator) -> Batch:
        """One Poisson sample, `(k, n, *shape)` with n the largest class's draw and weights 0 on padding.

        `size` is the expected number of records a class; `generator` is not used, since its seed is published with the
        artefact. The sample can be released once; drawing again withdraws it. Raises `ValueError` for a size
        outside 1..public_class_size.
        """
        if not 1 <= size <= self.public_class_size:
            raise ValueError(
                f"the expected size must lie in 1..{self.public_class_size} (the public class size), got {size}; "
                "choose a smaller batch_size"
            )
        draw = Draw(size / self.public_class_size, size)
        own = self._secret.generator("sampling", self._num_draws, device=self._real.device)
        self._num_draws += 1
        chance = torch.rand(len(self._real), generator=own, dtype=torch.float64, device=self._real.device)
        batch = self._padded((chance < draw.sampling_rate).nonzero().flatten())
        assert batch.weights is not None
        self._open = (batch.weights, draw)
        return batch

    def batch(self, size: int, generator: Generator) -> Batch:
        """Refused: flat batches have no signal that clips and noises them."""
        raise ValueError(
            "private data gives only by_class batches: a flat batch would reach the loss without clipping and "
            "noise; use GradientMatching or DistributionMatching"
        )

    def close(self, batch: Batch) -> Draw:
        """What was drawn, for its one release; afterwards the sample is spent.

        The batch is recognised by its `weights` tensor, which augmentation hands on untouched. Raises `ValueError`
        for a sample that was released already or is not the last one drawn.
        """
        if self._open is None or batch.weights is not self._open[0]:
            raise ValueError(
                "this batch is not a fresh draw of the private data: each draw may be released once, because "
                "amplification by sampling counts on new randomness for each release; call by_class again, keep its "
                "weights tensor, and store the noisy result if it is needed twice"
            )
        draw = self._open[1]
        self._open = None
        return draw

    def state_dict(self) -> dict[str, object]:
        """How many samples were drawn: a resumed run goes on with new ones."""
        return {"num_draws": self._num_draws}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on after a saved number of draws. Raises `ValueError` where there is none."""
        num_draws = state_dict.get("num_draws")
        if not isinstance(num_draws, int):
            raise ValueError(f"the state of private data has a whole number `num_draws`, got {state_dict!r}")
        self._num_draws, self._open = num_draws, None

    def _padded(self, chosen: Tensor) -> Batch:
        """The chosen records, one row a class; at least one column, so that an empty sample passes every layer."""
        images, labels, _ = self._real.take(chosen)
        classes = self.classes
        row = torch.searchsorted(classes, labels)
        counts = row.bincount(minlength=len(classes))
        column = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        shape = (len(classes), max(1, int(counts.max())))
        padded = images.new_zeros(*shape, *images.shape[1:])
        weights = images.new_zeros(shape)
        padded[row, column], weights[row, column] = images, 1
        return Batch(padded, classes.unsqueeze(1).expand(shape).contiguous(), weights)

"""The door for real data, with a price: a `Signal` that clips, sums, adds noise once and writes the ledger."""

import math

import torch
from torch import Tensor, nn

from core_distill.types import Batch, Signal
from privacy.accounting import Release
from privacy.clipping import clipped_sums
from privacy.data import PrivateData
from privacy.ledger import Ledger
from privacy.secret import SecretSeed


class PrivateSignal:
    """The private form of `signal` for batches of `data`; give it to a method as its `signal`.

    One call is one release by the Poisson-subsampled Gaussian mechanism: every example's targets are clipped to a joint
    L2 norm of `clip_norm`, summed over each class row, and Gaussian noise of standard deviation `noise_multiplier *
    clip_norm` is added once to the sums of all classes. Since a record stands in one row, `clip_norm` bounds what it
    can change in all of them together. Sums become means by the expected, never the realised, class size. What a
    method does with the result is post-processing.

    Args:
        chunk: examples whose targets are in memory at once.

    Raises `ValueError` for a clipping norm or a noise multiplier that is not above 0 and finite.
    """

    def __init__(
        self,
        signal: Signal,
        *,
        data: PrivateData,
        clip_norm: float,
        noise_multiplier: float,
        ledger: Ledger,
        secret: SecretSeed,
        chunk: int = 64,
    ) -> None:
        if not (math.isfinite(clip_norm) and clip_norm > 0):
            raise ValueError(
                f"clip_norm must be above 0 and finite, got {clip_norm}; take a typical norm of one example's target"
            )
        # Refuses a mechanism without noise before any draw.
        Release(noise_multiplier=noise_multiplier, sampling_rate=1.0)
        self._signal, self._data, self._ledger, self._secret = signal, data, ledger, secret
        self.clip_norm, self.noise_multiplier, self._chunk = clip_norm, noise_multiplier, chunk

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """Noisy class means of a fresh draw of the private data, `(k, ...)` each; charged to the ledger.

        The batch may have been augmented example by example. Raises `ValueError` for a draw that was used already.
        """
        draw = self._data.close(batch)
        sums = clipped_sums(self._signal, network, batch, clip_norm=self.clip_norm, chunk=self._chunk)
        generator = self._secret.generator("noise", self._ledger.num_releases, device=batch.images.device)
        self._ledger.charge(Release(noise_multiplier=self.noise_multiplier, sampling_rate=draw.sampling_rate))
        deviation = self.noise_multiplier * self.clip_norm
        return tuple(
            (total + deviation * torch.randn(total.shape, generator=generator, dtype=total.dtype, device=total.device))
            / draw.expected_class_size
            for total in sums
        )

    def per_example(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """Refused: targets of single examples are what the signal protects."""
        raise ValueError("a private signal has no per-example targets: they would leave without noise; call the signal")

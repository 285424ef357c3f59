"""The randomness nobody may know: whoever can repeat the noise can take it away.

The seed of a run stands in its artefact, so noise and sampling cannot come from it. They come from a second seed, drawn
from the operating system, that is never published; it travels only with the checkpoint, so that a killed run still ends
with the same bytes.
"""

import secrets

import torch

from core_distill.randomness import derive_generator


class SecretSeed:
    """Source of the generators for Poisson sampling and noise; `Stateful`.

    Args:
        seed: leave it out for a new one from the operating system. A given one makes a run repeatable, for research;
            then the guarantee holds only against those who do not know it, and not where two runs share it.

    The generators are those of PyTorch, which are not cryptographic, and noise is drawn in floating point (Mironov,
    2012): good for research and for releases to people who do not attack the random numbers.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.known = seed is not None
        self._seed = secrets.randbits(128) if seed is None else seed

    def generator(self, *path: int | str, device: torch.device | str = "cpu") -> torch.Generator:
        """The generator for `path`; the same path gives the same numbers. Raises `ValueError` for a negative seed."""
        return derive_generator(self._seed, *path, device=device)

    def state_dict(self) -> dict[str, object]:
        """The seed itself: keep the checkpoint as private as the data, and delete it after the run."""
        return {"seed": self._seed, "known": self.known}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on with a saved seed. Raises `ValueError` where there is none."""
        seed, known = state_dict.get("seed"), state_dict.get("known")
        if not isinstance(seed, int) or not isinstance(known, bool):
            raise ValueError("a secret seed's state has a whole number `seed` and a truth value `known`")
        self._seed, self.known = seed, known

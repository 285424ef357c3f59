"""Lending Avalanche seeded global generators, because its loaders and buffers know no other, and giving them back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from core_distill.randomness import derive_generator


@contextmanager
def seeded_global_generators(seed: int, *path: int | str) -> Iterator[None]:
    """Inside, the global generators of torch (CPU), numpy and Python start from `(seed, *path)`; afterwards, as before.

    Avalanche shuffles with all three and takes no generator, so this is the only way to repeat one of its runs. Library
    code of ours never draws from them.
    """
    generator = derive_generator(seed, *path)
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.set_rng_state(generator.get_state())
    np.random.set_state(np.random.RandomState(generator.initial_seed() % 2**32).get_state())  # noqa: NPY002
    random.setstate(random.Random(generator.initial_seed()).getstate())
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])

"""How a recipe's method draws real images for its losses: at random, or representatives of their class."""

from collections.abc import Callable, Mapping

from core_distill.data import ClassSampler
from core_distill.data.representatives import RepresentativeSampler
from core_distill.types import NetworkFactory, RealData

NewBatches = Callable[[ClassSampler, NetworkFactory], RealData]
"""Makes what a method draws from; its keyword-only values are the recipe's."""


def uniform(real: ClassSampler, new_network: NetworkFactory) -> RealData:
    """Random images of each class: the sampler itself."""
    return real


def representative(
    real: ClassSampler, new_network: NetworkFactory, *, refresh: int = 10, candidates: int = 512
) -> RealData:
    """The images nearest to clusters of each class; see `RepresentativeSampler`.

    Args:
        refresh: losses of one episode that share a choice; methods of one loss an episode, such as dm, choose for each.
        candidates: random images of a class that representatives are chosen from; 0 is all.
    """
    return RepresentativeSampler(real, new_network, refresh=refresh, candidates=candidates)


BATCHES: Mapping[str, NewBatches] = {"representative": representative, "uniform": uniform}
"""The ways to draw by name."""

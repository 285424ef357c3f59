"""When it is compared: one frozen dataclass a method, whose `episode` reads like the paper's Algorithm 1."""

from core_distill.methods.distribution_matching import DistributionMatching
from core_distill.methods.gradient_matching import GradientMatching

__all__ = ["DistributionMatching", "GradientMatching"]

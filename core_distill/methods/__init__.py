"""When it is compared: one frozen dataclass a method, whose `episode` reads like the paper's Algorithm 1."""

from core_distill.methods.distribution_matching import DistributionMatching
from core_distill.methods.gradient_matching import GradientMatching
from core_distill.methods.kernel_regression import KernelRegression
from core_distill.methods.trajectory_matching import TrajectoryMatching
from core_distill.methods.unrolled import UnrolledTraining

__all__ = ["DistributionMatching", "GradientMatching", "KernelRegression", "TrajectoryMatching", "UnrolledTraining"]

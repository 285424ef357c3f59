"""When it is compared: one frozen dataclass a method, whose `episode` reads like the paper's Algorithm 1."""

from core_distill.methods.adversarial import Adversarial
from core_distill.methods.bayesian_coresets import BayesianPseudocoreset
from core_distill.methods.characteristic_matching import CharacteristicMatching
from core_distill.methods.class_summed import ClassSummedMatching
from core_distill.methods.convexified import ConvexifiedGradients
from core_distill.methods.difficulty_alignment import DifficultyAlignment
from core_distill.methods.distribution_matching import DistributionMatching
from core_distill.methods.early_stage import EarlyStageMatching
from core_distill.methods.feature_alignment import FeatureAlignment
from core_distill.methods.gradient_matching import GradientMatching
from core_distill.methods.implicit import ImplicitDifferentiation
from core_distill.methods.kernel_inducing_points import KernelInducingPoints
from core_distill.methods.kernel_regression import KernelRegression
from core_distill.methods.label_distillation import LabelDistillation, RidgeLabelDistillation
from core_distill.methods.multilevel import MultilevelMatching
from core_distill.methods.random_features import RandomFeatureRegression
from core_distill.methods.real_trained import RealTrainedMatching
from core_distill.methods.trajectory_matching import TrajectoryMatching
from core_distill.methods.truncated_training import TruncatedTraining
from core_distill.methods.unrolled import UnrolledTraining

__all__ = [
    "Adversarial",
    "BayesianPseudocoreset",
    "CharacteristicMatching",
    "ClassSummedMatching",
    "ConvexifiedGradients",
    "DifficultyAlignment",
    "DistributionMatching",
    "EarlyStageMatching",
    "FeatureAlignment",
    "GradientMatching",
    "ImplicitDifferentiation",
    "KernelInducingPoints",
    "KernelRegression",
    "LabelDistillation",
    "MultilevelMatching",
    "RandomFeatureRegression",
    "RealTrainedMatching",
    "RidgeLabelDistillation",
    "TrajectoryMatching",
    "TruncatedTraining",
    "UnrolledTraining",
]

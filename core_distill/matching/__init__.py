"""What is compared: pure functions of a network, a real and a synthetic batch that return a scalar."""

from core_distill.matching.characteristic_functions import (
    CharacteristicFunction,
    characteristic_discrepancy,
    characteristic_distance,
)
from core_distill.matching.features import MeanEmbedding, mean_embedding, mean_feature_distance
from core_distill.matching.gradient_distances import angle_and_difference, convolution_l1, convolution_squared
from core_distill.matching.gradients import (
    MeanGradient,
    class_sum_distance,
    gradient_distance,
    layerwise_cosine,
    mean_gradient,
    multilevel_distance,
)
from core_distill.matching.kernels import (
    centred_labels,
    kernel_regression_loss,
    label_margin,
    label_solve,
    nearest_probabilities,
    ridge_predictions,
    ridge_regression,
)
from core_distill.matching.layer_features import (
    MeanLayers,
    discrimination_loss,
    feature_alignment,
    layer_distance,
    mean_layers,
)
from core_distill.matching.network_kernels import InfiniteWidthKernel

__all__ = [
    "CharacteristicFunction",
    "InfiniteWidthKernel",
    "MeanEmbedding",
    "MeanGradient",
    "MeanLayers",
    "angle_and_difference",
    "centred_labels",
    "characteristic_discrepancy",
    "characteristic_distance",
    "class_sum_distance",
    "convolution_l1",
    "convolution_squared",
    "discrimination_loss",
    "feature_alignment",
    "gradient_distance",
    "kernel_regression_loss",
    "label_margin",
    "label_solve",
    "layer_distance",
    "layerwise_cosine",
    "mean_embedding",
    "mean_feature_distance",
    "mean_gradient",
    "mean_layers",
    "multilevel_distance",
    "nearest_probabilities",
    "ridge_predictions",
    "ridge_regression",
]

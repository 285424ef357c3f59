"""What is compared: pure functions of a network, a real and a synthetic batch that return a scalar."""

from core_distill.matching.features import MeanEmbedding, mean_embedding, mean_feature_distance
from core_distill.matching.gradients import MeanGradient, gradient_distance, layerwise_cosine, mean_gradient
from core_distill.matching.kernels import (
    centred_labels,
    kernel_regression_loss,
    label_margin,
    ridge_predictions,
    ridge_regression,
)

__all__ = [
    "MeanEmbedding",
    "MeanGradient",
    "centred_labels",
    "gradient_distance",
    "kernel_regression_loss",
    "label_margin",
    "layerwise_cosine",
    "mean_embedding",
    "mean_feature_distance",
    "mean_gradient",
    "ridge_predictions",
    "ridge_regression",
]

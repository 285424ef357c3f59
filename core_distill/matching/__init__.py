"""What is compared: pure functions of a network, a real and a synthetic batch that return a scalar."""

from core_distill.matching.features import MeanEmbedding, mean_embedding, mean_feature_distance
from core_distill.matching.gradients import MeanGradient, gradient_distance, layerwise_cosine, mean_gradient

__all__ = [
    "MeanEmbedding",
    "MeanGradient",
    "gradient_distance",
    "layerwise_cosine",
    "mean_embedding",
    "mean_feature_distance",
    "mean_gradient",
]

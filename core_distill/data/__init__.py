"""Real data: data sets by name, folder, `Dataset` or tensors, the sampler that holds them, and selection baselines."""

from core_distill.data.class_sampler import ClassSampler
from core_distill.data.coresets import embed, herding_coreset, images_for_bytes, kmeans_coreset, random_coreset
from core_distill.data.datasets import from_dataset, from_tensors, load_data
from core_distill.data.known import KNOWN_SETS
from core_distill.data.mapped import MappedImages
from core_distill.data.splits import DataSplits

__all__ = [
    "KNOWN_SETS",
    "ClassSampler",
    "DataSplits",
    "MappedImages",
    "embed",
    "from_dataset",
    "from_tensors",
    "herding_coreset",
    "images_for_bytes",
    "kmeans_coreset",
    "load_data",
    "random_coreset",
]

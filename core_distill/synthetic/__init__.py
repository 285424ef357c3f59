"""What is learned: a synthetic set of images (any parametrisation), labels and a step size."""

from core_distill.synthetic.labels import GivenLabels, HardLabels, SoftLabels
from core_distill.synthetic.pixels import Pixels
from core_distill.synthetic.synthetic_set import SyntheticDataset, SyntheticSet

__all__ = ["GivenLabels", "HardLabels", "Pixels", "SoftLabels", "SyntheticDataset", "SyntheticSet"]

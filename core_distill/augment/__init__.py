"""Augmentation: one draw applied to real and synthetic images alike, or one for each image."""

from core_distill.augment.cutmix import cutmix
from core_distill.augment.siamese import DSA_OPERATIONS, Dsa, all_operations, dsa_for, no_augment
from core_distill.augment.successive import Successive

__all__ = ["DSA_OPERATIONS", "Dsa", "Successive", "all_operations", "cutmix", "dsa_for", "no_augment"]

"""Augmentation: one draw applied to real and synthetic images alike, or one for each image."""

from core_distill.augment.siamese import DSA_OPERATIONS, Dsa, all_operations, dsa_for, no_augment

__all__ = ["DSA_OPERATIONS", "Dsa", "all_operations", "dsa_for", "no_augment"]

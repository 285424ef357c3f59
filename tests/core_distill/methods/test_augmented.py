"""Augmentation reaches every image that a loss compares: the loss is that of images changed beforehand."""

import functools

import pytest
import torch

from core_distill.augment import no_augment
from core_distill.data import ClassSampler
from core_distill.matching.bayesian import reverse_kl
from core_distill.methods import (
    BayesianPseudocoreset,
    ConvexifiedGradients,
    ImplicitDifferentiation,
    KernelInducingPoints,
    KernelRegression,
    LabelDistillation,
    RandomFeatureRegression,
    RidgeLabelDistillation,
    TruncatedTraining,
)
from core_distill.networks import MLP, network_factory
from core_distill.randomness import derive_generator
from core_distill.synthetic import Pixels, SoftLabels, SyntheticSet
from core_distill.training.expert_settings import ExpertTraining
from core_distill.training.expert_training import train_experts

NEW_NETWORK = network_factory(functools.partial(MLP, hidden=(6,)), (1, 8, 8), 3)
TRAINING = ExpertTraining(num_experts=1, training_epochs=1, training_batch_size=9)


class Rectified:
    """The same change wherever an augmentation is asked for one."""

    def __call__(self, real, synthetic, generator):
        real, synthetic = (batch._replace(images=batch.images.relu()) for batch in (real, synthetic))
        return real, synthetic

    def per_image(self, images, generator):
        return images.relu()


def drawn(seed, count):
    return torch.randn(count, 1, 8, 8, generator=derive_generator(seed))


def a_sampler(images):
    return ClassSampler(images, torch.arange(len(images)) % 3, num_classes=3, mean=[0.0], std=[1.0])


def a_set(images):
    labels = SoftLabels.starting_at(torch.arange(3).repeat_interleave(2), 3)
    return SyntheticSet(
        Pixels(images), labels, classes=[0, 1, 2], num_classes=3, images_per_class=2, mean=[0.0], std=[1.0]
    )


def bayesian(**options):
    experts = train_experts(a_sampler(drawn(2, 24)), NEW_NETWORK, TRAINING, augment=no_augment)
    spread = {"divergence": reverse_kl, "noise": 1.0, "samples": 3}
    return BayesianPseudocoreset(experts=experts, max_start=1, inner_steps=2, **spread, **options)


SEES_BOTH = {
    "kip": KernelInducingPoints,
    "frepo": KernelRegression,
    "rfad": RandomFeatureRegression,
    "rcig": ConvexifiedGradients,
    "rat-bptt": functools.partial(TruncatedTraining, inner_steps=2),
    "bpc": bayesian,
}
SEES_REAL_ALONE = {
    "ld": LabelDistillation,
    "ld-ridge": functools.partial(RidgeLabelDistillation, head_rate=1.0),
    "lorraine": ImplicitDifferentiation,
}


@pytest.mark.parametrize("name", [*SEES_BOTH, *SEES_REAL_ALONE])
def test_a_loss_is_that_of_images_changed_beforehand(name):
    make = functools.partial((SEES_BOTH | SEES_REAL_ALONE)[name], new_network=NEW_NETWORK, batch_size=6)
    real, images = drawn(0, 24), drawn(1, 6)
    augmented = make(real=a_sampler(real), augment=Rectified())
    found = next(augmented.episode(a_set(images), derive_generator(5)))
    plain = make(real=a_sampler(real.relu()))
    changed = a_set(images.relu() if name in SEES_BOTH else images)
    expected = next(plain.episode(changed, derive_generator(5)))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)

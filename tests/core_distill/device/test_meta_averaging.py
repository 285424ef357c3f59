"""Flat experts and the released average stay on the card, as steps do."""

import torch

from core_distill.augment import all_operations
from core_distill.averaging import Average
from core_distill.distill import Progress
from core_distill.recipes import find_recipe, prepare
from core_distill.training.expert_group import ExpertGroup
from core_distill.training.expert_settings import ExpertTraining


def test_training_flat_experts_at_once_stays_on_the_card(sampler, new_network, card, moved):
    training = ExpertTraining(training_batch_size=10, training_radius=0.01, training_gap_weight=0.3)
    with card():
        group = ExpertGroup(moved(sampler), new_network, training, range(3), augment=all_operations)
        group.train_epoch()
        assert all(value.is_cuda for value in group.parameters().values())


def test_averaging_stays_on_the_card(sampler, card, moved):
    recipe = find_recipe("dm", images_per_class=2, schedule="cpu").with_values({"width": 4, "depth": 2})
    synthetic = prepare(sampler, recipe, seed=0).synthetic
    with card():
        synthetic = moved(synthetic)
        average = Average(synthetic, decay=0.9)
        average(Progress(1, 2, torch.zeros((), device="cuda"), synthetic))
        average.write_to(synthetic)
        assert all(value.is_cuda for value in average.state_dict().values())

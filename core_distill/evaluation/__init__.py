"""Honest numbers: train fresh networks on a set, test once, beside real images at equal bytes."""

from core_distill.evaluation.baselines import (
    BASELINES,
    USUAL_BASELINES,
    Selection,
    check_baselines,
    select_baselines,
)
from core_distill.evaluation.dc_bench import Benchmarked, are_pixels, augmentations_for, measure_dc_bench
from core_distill.evaluation.dd_ranking import (
    DDRanking,
    RankingPlan,
    augmentation_robust_score,
    label_robust_score,
    measure_dd_ranking,
)
from core_distill.evaluation.posterior import PosteriorProtocol, PosteriorScore, evaluate_posterior, score_probabilities
from core_distill.evaluation.samplers import Hmc, Potential, Sghmc
from core_distill.evaluation.scores import Score
from core_distill.evaluation.train_from_scratch import (
    Protocol,
    Watch,
    accuracy,
    evaluate,
    evaluate_on_each,
    train_from_scratch,
    trained_networks,
)

__all__ = [
    "BASELINES",
    "USUAL_BASELINES",
    "Benchmarked",
    "DDRanking",
    "Hmc",
    "PosteriorProtocol",
    "PosteriorScore",
    "Potential",
    "Protocol",
    "RankingPlan",
    "Score",
    "Selection",
    "Sghmc",
    "Watch",
    "accuracy",
    "are_pixels",
    "augmentation_robust_score",
    "augmentations_for",
    "check_baselines",
    "evaluate",
    "evaluate_on_each",
    "evaluate_posterior",
    "label_robust_score",
    "measure_dc_bench",
    "measure_dd_ranking",
    "score_probabilities",
    "select_baselines",
    "train_from_scratch",
    "trained_networks",
]

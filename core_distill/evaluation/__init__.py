"""Honest numbers: train fresh networks on a set, test once, beside real images at equal bytes."""

from core_distill.evaluation.baselines import BASELINES, Selection, check_baselines, select_baselines
from core_distill.evaluation.scores import Score
from core_distill.evaluation.train_from_scratch import (
    Protocol,
    Watch,
    accuracy,
    evaluate,
    train_from_scratch,
    trained_networks,
)
from core_distill.evaluation.transfer import transfer

__all__ = [
    "BASELINES",
    "Protocol",
    "Score",
    "Selection",
    "Watch",
    "accuracy",
    "check_baselines",
    "evaluate",
    "select_baselines",
    "train_from_scratch",
    "trained_networks",
    "transfer",
]

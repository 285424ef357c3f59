"""How networks run: gradients, losses and features of many images in bounded memory, fast, and known to no method."""

from core_distill.engine.estimate import foresee, training_session
from core_distill.engine.features import features, logits
from core_distill.engine.gradients import Pulled, class_gradients, loss_gradient, mean_loss, parameters_of, pull_back
from core_distill.engine.inputs import input_loss
from core_distill.engine.layers import Layered, layer_means, layer_means_and_features
from core_distill.engine.losses import ExampleLoss, cross_entropy, squared_error
from core_distill.engine.settings import (
    DEFAULT_ENGINE,
    Engine,
    Precision,
    Session,
    Tell,
    chosen,
    current,
    fastest_precision,
    ignore,
    running_on,
)
from core_distill.engine.stacked import can_stack, network_gradients

__all__ = [
    "DEFAULT_ENGINE",
    "Engine",
    "ExampleLoss",
    "Layered",
    "Precision",
    "Pulled",
    "Session",
    "Tell",
    "can_stack",
    "chosen",
    "class_gradients",
    "cross_entropy",
    "current",
    "fastest_precision",
    "features",
    "foresee",
    "ignore",
    "input_loss",
    "layer_means",
    "layer_means_and_features",
    "logits",
    "loss_gradient",
    "mean_loss",
    "network_gradients",
    "parameters_of",
    "pull_back",
    "running_on",
    "squared_error",
    "training_session",
]

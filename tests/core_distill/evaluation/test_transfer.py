"""Transfer: the same protocol on every architecture."""

import dataclasses
import functools
import sys

import torch

from core_distill.evaluation import Protocol, evaluate, transfer
from core_distill.networks import MLP, NETWORKS, ConvNet, ResNet18
from core_distill.types import Batch


def test_every_architecture_is_scored_by_the_protocol(sampler):
    batch = Batch(*sampler.by_class(2, torch.Generator().manual_seed(0))[:2])
    flat = Batch(batch.images.flatten(0, 1), batch.labels.flatten())
    protocol = Protocol(num_networks=2, epochs=1)
    architectures = {
        **NETWORKS,
        "convnet": functools.partial(ConvNet, width=4),
        "resnet18": functools.partial(ResNet18, width=4),
    }
    scores = transfer(flat, sampler, protocol, seed=3, architectures=architectures)
    assert set(scores) == {"convnet", "lenet", "mlp", "resnet18", "text-cnn"}
    assert all(len(score.accuracies) == 2 for score in scores.values())
    alone = evaluate(flat, sampler, dataclasses.replace(protocol, network=MLP), seed=3)
    assert scores["mlp"] == alone


def test_all_known_architectures_are_the_default(sampler, monkeypatch):
    """The full sizes, recorded instead of trained."""
    asked = []
    module = sys.modules["core_distill.evaluation.transfer"]  # the package's name for it is the function
    monkeypatch.setattr(module, "evaluate", lambda train, test, protocol, seed: asked.append(protocol.network))
    transfer(sampler.take(torch.arange(3)), sampler, Protocol(), seed=0)
    assert asked == list(NETWORKS.values())

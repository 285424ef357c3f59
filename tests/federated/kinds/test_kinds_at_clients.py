"""Clients send sets of every kind, of whatever images they have, and go on from them."""

import math

import pytest
import torch
from flwr.app import Message, RecordDict

from core_distill.data import ClassSampler
from core_distill.evaluation import Protocol
from core_distill.networks import network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import LABEL_MODES
from core_distill.synthetic.bounded import BOUNDED
from federated import (
    Agreement,
    SyntheticSetStrategy,
    from_record,
    make_client_app,
    pool,
)
from federated.request import ACTION, Request, to_config


def answer(grid, recipe, *, server_round=1):
    content = RecordDict({"config": to_config(Request(recipe, 3, server_round))})
    return grid.send_and_receive([Message(content, 100, ACTION)])[0]


def test_a_client_says_at_once_what_its_budget_cannot_pay_for(new_grid, monkeypatch, recipe_of, data_of):
    def prepared(*_, **__):
        raise AssertionError("work began")

    monkeypatch.setattr("federated.client_app.prepare", prepared)
    grid = new_grid(make_client_app(lambda context: data_of(classes=(1,))), 1)
    for kind, message in (("hallucinated-bases", "use fewer hallucinators"), ("latents", "clients cannot send")):
        reply = answer(grid, recipe_of(kind, images_per_class=2))
        assert reply.has_error()
        assert message in reply.error.reason


FEW = {"two of a class, one of another": (0, 0, 2), "one image": (1,)}


@pytest.mark.parametrize("labels", FEW.values(), ids=FEW)
@pytest.mark.parametrize("mode", LABEL_MODES)
def test_clients_of_few_images_label_with_what_they_have(mode, labels, new_grid, recipe_of, data_of):
    """A teacher is trained at the client on its own images; labels are probabilities over all classes, in every round."""
    images = data_of().take(torch.arange(len(labels))).images
    real = ClassSampler(images, torch.tensor(labels), num_classes=3, mean=[0.5], std=[0.25])
    recipe = recipe_of(labels=mode, images_per_class=2)
    grid = new_grid(make_client_app(lambda context: real), 1)
    for server_round in (1, 2):
        reply = answer(grid, recipe, server_round=server_round)
        assert not reply.has_error(), reply.error
        arrived = from_record(reply.content, agreement=Agreement.for_recipe(data_of(), recipe))
        assert arrived.classes.tolist() == sorted(set(labels))
        assert torch.isfinite(arrived.batch().labels.double()).all()


@pytest.mark.parametrize("kind", BOUNDED)
def test_clients_go_on_from_sets_of_every_kind_and_the_server_trains_on_them(kind, new_grid, recipe_of, data_of):
    """Two rounds of clients with different classes: views repeat labels, and nothing is dropped."""
    clients = [data_of(), data_of(classes=(0, 2), seed=1)]
    recipe = recipe_of(kind, images_per_class=24, image_learning_rate=0.001)
    agreement = Agreement.for_recipe(data_of(), recipe)
    protocol = Protocol(network=recipe.network, num_networks=1, epochs=1)
    strategy = SyntheticSetStrategy(recipe, agreement, protocol=protocol, seed=0)
    grid = new_grid(make_client_app(lambda context: clients[context.node_config["partition-id"]]), 2)
    result = strategy.start(grid, strategy.initial_arrays(), num_rounds=2)
    assert strategy.dropped == {}
    sets = [strategy.sets[node] for node in (100, 101)]
    assert [len(one) for one in sets] == [one.images_per_class * one.views * len(one.classes) for one in sets]
    assert result.train_metrics_clientapp[2]["images"] == sum(len(one) for one in sets)
    pooled = pool(sets)
    assert len(pooled.images) == len(pooled.labels)
    expected = [one.classes.repeat_interleave(one.images_per_class * one.views) for one in sets]
    assert torch.equal(pooled.labels, torch.cat(expected))
    assert math.isfinite(sum(value.sum().item() for value in result.arrays.to_torch_state_dict().values()))
    network = network_factory(recipe.network, (1, 8, 8), 3)(derive_generator(0))
    network.load_state_dict(result.arrays.to_torch_state_dict())

import json

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from core_distill.engine import Engine, current
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import condense
from core_distill.synthetic.storage import decode_artefact, released_form
from federated import Agreement, client_app, from_record, make_client_app
from federated.client_app import _client_seed
from federated.request import ACTION, Request, from_config, to_config
from federated.wire import artefact_bytes


def ask(grid, recipe, *, node_id=100, server_round=1, seed=5):
    content = RecordDict({"config": to_config(Request(recipe, seed, server_round))})
    (reply,) = grid.send_and_receive([Message(content, node_id, ACTION)])
    return reply


def same_state(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_request_survives_the_way(tiny_recipe):
    request = from_config(to_config(Request(tiny_recipe, 7, 3)))
    assert (request.seed, request.server_round) == (7, 3)
    assert request.recipe.values() == tiny_recipe.values()
    assert request.recipe.describe()["method"] == tiny_recipe.describe()["method"]


def test_a_request_that_is_no_request_is_refused(tiny_recipe, tmp_path):
    good = dict(to_config(Request(tiny_recipe, 7, 3)))
    for name in good:
        missing = {key: value for key, value in good.items() if key != name}
        with pytest.raises(ValueError, match=f"the request needs '{name}'"):
            from_config(ConfigRecord(missing))
    with pytest.raises(ValueError, match="the request needs 'seed', a int"):
        from_config(ConfigRecord({**good, "seed": "7"}))
    with pytest.raises(ValueError, match="no recipe is called 'magic'"):
        from_config(ConfigRecord({**good, "recipe": "magic"}))
    (tmp_path / "own.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match="no recipe is called"):
        from_config(ConfigRecord({**good, "recipe": f"{tmp_path}/own.py:mine"}))
    values = json.dumps({**json.loads(good["values"]), "wings": 2})
    with pytest.raises(ValueError, match="wings"):
        from_config(ConfigRecord({**good, "values": values}))


def test_any_recipe_is_distilled_as_the_core_would(sampler, tiny_recipe, new_grid):
    grid = new_grid(make_client_app(lambda context: sampler), 1)
    reply = ask(grid, tiny_recipe)
    arrived = from_record(reply.content, agreement=Agreement.like(sampler, images_per_class=2))
    seed = _client_seed(Request(tiny_recipe, 5, 1), grid.contexts[100])
    assert same_state(arrived, released_form(condense(sampler, tiny_recipe, seed=seed)))
    metrics = reply.content["metrics"]
    assert metrics["num-examples"] == len(sampler)
    assert metrics["seconds"] > 0
    assert decode_artefact(artefact_bytes(reply.content)).metadata == {"recipe": tiny_recipe.name}


def test_a_client_distils_only_the_classes_it_has(sampler, quick_recipe, new_grid):
    own = sampler.subset(torch.cat([sampler.of_class(0), sampler.of_class(2)[:1]]))
    reply = ask(new_grid(make_client_app(lambda context: own), 1), quick_recipe)
    arrived = from_record(reply.content, agreement=Agreement.like(sampler, images_per_class=2))
    assert arrived.classes.tolist() == [0, 2]
    assert arrived.batch().labels.tolist() == [0, 0, 2, 2]


def test_clients_and_rounds_draw_differently(sampler, quick_recipe, new_grid):
    grid = new_grid(make_client_app(lambda context: sampler), 2)
    seeds = {
        _client_seed(Request(quick_recipe, seed, server_round), grid.contexts[node_id])
        for seed in (0, 1)
        for server_round in (1, 2)
        for node_id in (100, 101)
    }
    assert len(seeds) == 8
    first, second = (artefact_bytes(ask(grid, quick_recipe, node_id=node_id).content) for node_id in (100, 101))
    assert first != second


def test_the_next_round_goes_on_from_the_last_set(sampler, quick_recipe, new_grid):
    grid = new_grid(make_client_app(lambda context: sampler), 1)
    still = quick_recipe.with_values({"image_learning_rate": 0.0})
    first = artefact_bytes(ask(grid, quick_recipe).content)
    assert artefact_bytes(grid.contexts[100].state) == first
    # Without movement the second round must hand back where the first one ended, to the byte.
    assert artefact_bytes(ask(grid, still, server_round=2).content) == first
    fresh = new_grid(make_client_app(lambda context: sampler), 1)
    assert artefact_bytes(ask(fresh, still, server_round=2).content) != first


def test_a_client_without_examples_says_so(quick_recipe, new_grid):
    grid = new_grid(make_client_app(lambda context: None), 1)
    content = ask(grid, quick_recipe).content
    assert list(content) == ["metrics"]
    assert content["metrics"] == {"num-examples": 0}


def train_message(arrays, **changes):
    config = {
        "seed": 0,
        "server-round": 1,
        "local-epochs": 3,
        "learning-rate": 0.05,
        "momentum": 0.9,
        "batch-size": 8,
        **changes,
    }
    return Message(RecordDict({"arrays": arrays, "config": ConfigRecord(config)}), 100, "train")


def test_local_training_for_fedavg_learns_and_repeats(sampler, new_grid):
    def loss(arrays):
        network = new_network(derive_generator(0))
        network.load_state_dict(arrays.to_torch_state_dict())
        batch = sampler.take(torch.arange(len(sampler)))
        return torch.nn.functional.cross_entropy(network(batch.images), batch.labels).item()

    new_network = network_factory(ConvNet, sampler.image_shape, sampler.num_classes)
    grid = new_grid(make_client_app(lambda context: sampler), 1)
    start = ArrayRecord(new_network(derive_generator(1)).state_dict())
    replies = [grid.send_and_receive([train_message(start, **{"local-epochs": 12})])[0].content for _ in range(2)]
    assert loss(replies[0]["arrays"]) < loss(start) - 0.05
    assert replies[0]["metrics"] == {"num-examples": len(sampler)}
    assert replies[0]["arrays"] == replies[1]["arrays"]


def test_both_actions_run_on_the_clients_engine(sampler, quick_recipe, new_grid, monkeypatch):
    seen = []

    def recorded(function):
        def call(*arguments, **options):
            seen.append(current().engine)
            return function(*arguments, **options)

        return call

    for name in ("run_plan", "fit"):
        monkeypatch.setattr(client_app, name, recorded(getattr(client_app, name)))
    engine = Engine(precision="bfloat16", compile=False)
    grid = new_grid(make_client_app(lambda context: sampler, engine=engine), 1)
    assert not ask(grid, quick_recipe).has_error()
    start = ArrayRecord(network_factory(ConvNet, sampler.image_shape, 3)(derive_generator(1)).state_dict())
    (reply,) = grid.send_and_receive([train_message(start)])
    assert not reply.has_error()
    assert seen == [engine, engine]


def test_local_training_starts_from_the_arrays_that_were_sent(sampler, new_grid):
    """At a learning rate of 0 the client must hand back what it got."""
    start = ArrayRecord(network_factory(ConvNet, sampler.image_shape, 3)(derive_generator(1)).state_dict())
    grid = new_grid(make_client_app(lambda context: sampler), 1)
    (reply,) = grid.send_and_receive([train_message(start, **{"learning-rate": 0.0})])
    assert reply.content["arrays"] == start


def test_fedavg_at_a_client_without_examples_changes_nothing(new_grid):
    start = ArrayRecord({"weight": torch.ones(3)})
    content = new_grid(make_client_app(lambda context: None), 1).send_and_receive([train_message(start)])[0].content
    assert content["arrays"] == start
    assert content["metrics"] == {"num-examples": 0}

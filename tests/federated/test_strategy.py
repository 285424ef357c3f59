import warnings

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from core_distill.augment import Dsa
from core_distill.evaluation import Protocol, train_from_scratch
from core_distill.networks import network_factory
from core_distill.randomness import derive_generator
from core_distill.synthetic import GivenLabels, HardLabels, Pixels, SyntheticSet
from core_distill.synthetic.storage import released_form
from federated import (
    Agreement,
    DroppedReplyWarning,
    RecordError,
    SyntheticSetStrategy,
    accuracy_on,
    from_record,
    make_client_app,
    pool,
    to_record,
)


@pytest.fixture
def parts(sampler):
    """Three clients of class 0 and 1, class 2 alone, and all three."""
    return [
        sampler.subset(torch.cat([sampler.of_class(0)[:6], sampler.of_class(1)[:6]])),
        sampler.subset(sampler.of_class(2)[:6]),
        sampler.subset(torch.cat([sampler.of_class(number)[6:] for number in range(3)])),
    ]


@pytest.fixture
def start(parts, sampler, quick_recipe, new_grid):
    """`start(tampers, rounds=1)` runs the strategy over the three clients and returns it with Flower's result."""
    protocol = Protocol(network=quick_recipe.network, num_networks=1, epochs=3, augment=Dsa(operations=("crop",)))

    def run(tampers=None, *, rounds=1, clients=parts, silent=(), evaluate=False, **options):
        app = make_client_app(lambda context: clients[context.node_config["partition-id"]])
        grid = new_grid(app, len(clients), tampers)
        grid.silent.update(silent)
        agreement = Agreement.like(sampler, images_per_class=quick_recipe.images_per_class)
        strategy = SyntheticSetStrategy(quick_recipe, agreement, protocol=protocol, seed=0, **options)
        result = strategy.start(
            grid,
            strategy.initial_arrays(),
            num_rounds=rounds,
            evaluate_fn=accuracy_on(sampler, protocol) if evaluate else None,
        )
        return strategy, result

    return run


def with_set(synthetic):
    """A tamper that swaps the set of a reply."""

    def swap(reply):
        reply.content["synthetic"] = to_record(synthetic, metadata={})["synthetic"]
        return reply

    return swap


def set_of(images, *, classes=(0, 1, 2), num_classes=3):
    targets = torch.tensor(classes).repeat_interleave(len(images) // len(classes))
    return SyntheticSet(
        Pixels(images),
        HardLabels(targets, num_classes),
        classes=classes,
        num_classes=num_classes,
        images_per_class=len(images) // len(classes),
        mean=[0.5],
        std=[0.25],
    )


def test_a_round_trains_on_the_union_of_all_sets(start):
    strategy, result = start()
    assert sorted(strategy.sets) == [100, 101, 102]
    assert [one.classes.tolist() for _, one in sorted(strategy.sets.items())] == [[0, 1], [2], [0, 1, 2]]
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["clients"], metrics["dropped"], metrics["images"]) == (3, 0, 4 + 2 + 6)
    assert result.arrays.keys() == strategy.initial_arrays().keys()
    assert result.arrays != strategy.initial_arrays()


def test_the_global_network_is_what_the_core_trains_on_the_pool(start):
    strategy, result = start()
    sets = [strategy.sets[node_id] for node_id in sorted(strategy.sets, key=strategy._digests.__getitem__)]
    generator = derive_generator(0, "server", 1)
    network = network_factory(strategy.protocol.network, (1, 8, 8), 3)(generator)
    train_from_scratch(network, pool(sets), strategy.protocol, generator=generator)
    assert result.arrays == ArrayRecord(network.state_dict())


def test_node_ids_and_the_order_of_replies_change_nothing(start, parts):
    """Flower draws node ids anew in every run."""

    class Backwards(dict):
        def __iter__(self):
            return iter(sorted(super().__iter__(), reverse=True))

    _, result = start()
    other, _ = start()
    other.sets = Backwards({1000 - node_id: one for node_id, one in other.sets.items()})
    other._digests = {1000 - node_id: digest for node_id, digest in other._digests.items()}
    network, _ = other._train(1)
    assert ArrayRecord(network.state_dict()) == result.arrays


def fail(reply):
    raise RuntimeError("client ran out of memory")


def drop_records(reply):
    reply.content = RecordDict({"metrics": reply.content["metrics"]})
    return reply


def rename_key(reply):
    reply.content["synthetic"] = ArrayRecord({"images": reply.content["synthetic"]["artefact"]})
    return reply


def plain_arrays(reply):
    reply.content["synthetic"] = ArrayRecord({"artefact": Array(torch.zeros(6, 1, 8, 8).numpy())})
    return reply


def not_a_number(reply):
    """A NaN as a client without our checks would send it, in the stored range of the pixels."""
    array = reply.content["synthetic"]["artefact"]
    low = from_record(reply.content, agreement=AGREEMENT).images.pixels.detach().min()
    needle = low.numpy().tobytes()
    assert array.data.count(needle) == 1
    array.data = array.data.replace(needle, torch.tensor(torch.nan).numpy().tobytes())
    return reply


AGREEMENT = Agreement(image_shape=(1, 8, 8), num_classes=3, images_per_class=2, mean=(0.5,), std=(0.25,))
FAULTS = {
    "error message": (fail, "the client failed: client ran out of memory"),
    "no set": (drop_records, "expected one array record"),
    "missing key": (rename_key, "expected one array record 'synthetic' with one array 'artefact'"),
    "plain arrays": (plain_arrays, "expected .* bytes of stillroom.artefact, got float32"),
    "wrong shape": (with_set(set_of(torch.zeros(6, 1, 8, 9))), r"shape \(1, 8, 9\), agreed was \(1, 8, 8\)"),
    "NaN": (not_a_number, "images.pixels.range|NaN"),
    "too many images": (with_set(set_of(torch.zeros(9, 1, 8, 8))), "3 images a class, agreed were at most 2"),
    "10,000 images where 6 were agreed": (with_set(set_of(torch.zeros(9_999, 1, 8, 8))), "bytes, but at most 2 uint8"),
    "more classes": (with_set(set_of(torch.zeros(2, 1, 8, 8), classes=(9,), num_classes=10)), "10 classes, agreed"),
    "pixels out of range": (with_set(set_of(torch.full((6, 1, 8, 8), 50.0))), "pixels from 13 to 13"),
}


@pytest.mark.parametrize(("tamper", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_bad_reply_drops_its_client_and_the_round_goes_on(start, tamper, reason):
    with pytest.warns(DroppedReplyWarning, match=f"round 1: dropped node 102: .*({reason})"):
        strategy, result = start({102: tamper})
    assert sorted(strategy.sets) == [100, 101]
    assert list(strategy.dropped[1]) == [102]
    metrics = result.train_metrics_clientapp[1]
    assert (metrics["clients"], metrics["dropped"], metrics["images"]) == (2, 1, 4 + 2)
    assert all(torch.isfinite(value).all() for value in result.arrays.to_torch_state_dict().values())


def test_what_a_dropped_client_sent_before_stays(start):
    replies = []

    def fail_from_round_2(reply):
        replies.append(reply)
        if len(replies) > 1:
            raise RuntimeError("gone")
        return reply

    with pytest.warns(DroppedReplyWarning, match="round 2: dropped node 101"):
        strategy, result = start({101: fail_from_round_2}, rounds=2)
    assert result.train_metrics_clientapp[2]["clients"] == 3
    assert strategy.dropped == {2: {101: "the client failed: gone"}}


def test_a_client_that_never_answers_is_done_without(start):
    strategy, _ = start(silent={100})
    assert sorted(strategy.sets) == [101, 102]


def test_when_nobody_sends_a_usable_set_every_reason_is_given(start):
    expected = r"round 1: no client sent a usable synthetic set \(node 100: .*memory; node 101: .*; node 102: expected"
    with pytest.warns(DroppedReplyWarning), pytest.raises(RecordError, match=expected):
        start({100: fail, 101: fail, 102: rename_key})
    with pytest.raises(RecordError, match="none replied"):
        start(silent={100, 101, 102})


def test_a_client_without_examples_is_no_fault(start, parts):
    strategy, _ = start(clients=[parts[0], None, parts[2]])
    assert sorted(strategy.sets) == [100, 102]
    assert strategy.dropped == {}


def test_when_every_client_is_empty_there_is_nothing_to_train_on(start):
    with pytest.raises(RecordError, match="round 1: no client sent a usable synthetic set"):
        start(clients=[None, None, None])
    replies = []

    def empty_from_round_2(reply):
        replies.append(reply)
        if len(replies) > 3:
            reply.content = RecordDict({"metrics": MetricRecord({"num-examples": 0})})
        return reply

    with pytest.raises(RecordError, match="round 2: no client sent a usable synthetic set"):
        start(dict.fromkeys((100, 101, 102), empty_from_round_2), rounds=2)


def test_a_client_cannot_pretend_to_be_empty_with_a_set(start):
    def claim_nothing(reply):
        reply.content["metrics"] = MetricRecord({"num-examples": 0})
        return reply

    strategy, _ = start({101: claim_nothing})
    assert 101 in strategy.sets


def test_sampling_asks_as_many_as_wanted_and_repeats(start):
    asked = [sorted(start(num_sampled=2)[0].sets) for _ in range(2)]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 2
    with pytest.raises(ValueError, match="num_sampled must be at least 1, got 0"):
        start(num_sampled=0)


def test_the_request_goes_down_and_the_network_stays(start, new_grid, sampler, quick_recipe):
    strategy, _ = start()
    grid = new_grid(make_client_app(lambda context: sampler), 2)
    config = ConfigRecord({"note": "of the caller"})
    messages = list(strategy.configure_train(4, strategy.initial_arrays(), config, grid))
    assert [message.metadata.dst_node_id for message in messages] == [100, 101]
    for message in messages:
        assert message.metadata.message_type == "train.distill"
        assert not message.content.array_records
        assert message.content["config"]["server-round"] == 4
        assert message.content["config"]["note"] == "of the caller"


def test_accuracy_is_measured_before_the_first_and_after_every_round(start):
    _, result = start(rounds=2, evaluate=True)
    assert list(result.evaluate_metrics_serverapp) == [0, 1, 2]
    assert all(0 <= metrics["accuracy"] <= 1 for metrics in result.evaluate_metrics_serverapp.values())


def test_pooling_mixes_hard_and_soft_labels_as_probabilities():
    hard = set_of(torch.zeros(3, 1, 8, 8))
    soft = SyntheticSet(
        Pixels(torch.ones(1, 1, 8, 8)),
        GivenLabels(torch.tensor([[0.5, 0.25, 0.25]])),
        classes=[0],
        num_classes=3,
        images_per_class=1,
        mean=[0.5],
        std=[0.25],
    )
    assert pool([hard, hard]).labels.tolist() == [0, 1, 2, 0, 1, 2]
    pooled = pool([hard, soft])
    assert pooled.labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.25]]
    assert pooled.images.flatten(1).mean(1).tolist() == [0, 0, 0, 1]
    assert not pooled.images.requires_grad
    with pytest.raises(ValueError, match="pooling needs sets"):
        pool([])
    with pytest.raises(ValueError, match="pooling needs sets"):
        pool([hard, set_of(torch.zeros(3, 1, 8, 9))])


def test_a_full_honest_round_warns_of_nothing(start):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start()


def test_the_set_kept_is_the_released_form(start, sampler):
    strategy, _ = start()
    for one in strategy.sets.values():
        assert all(
            torch.equal(value, released_form(one).state_dict()[name]) for name, value in one.state_dict().items()
        )


def test_too_few_clients_are_told_and_waited_for(quick_recipe, monkeypatch):
    """Flower would wait without a word; here the missing ones connect after the first look."""
    monkeypatch.setattr("federated.strategy._TELL_AFTER_SECONDS", 0.0)
    monkeypatch.setattr("federated.strategy._POLL_SECONDS", 0.0)
    agreement = Agreement(image_shape=(1, 8, 8), num_classes=10, images_per_class=2, mean=(0.5,), std=(0.5,))
    strategy = SyntheticSetStrategy(quick_recipe, agreement, protocol=Protocol(), seed=0, min_available=3)
    answers = iter([[7], [7, 5], [7, 5, 6]])

    class SlowGrid:
        def get_node_ids(self):
            return next(answers)

    with pytest.warns(UserWarning, match="1 of 3 are connected; start more SuperNodes") as warned:
        messages = list(strategy.configure_train(1, ArrayRecord(), ConfigRecord(), SlowGrid()))
    assert [message.metadata.dst_node_id for message in messages] == [5, 6, 7]
    assert len(warned) == 1

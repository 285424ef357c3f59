import contextlib
import json
import math
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.data import ClassSampler
from core_distill.synthetic import GivenLabels, HardLabels, Pixels, SoftLabels, SyntheticSet
from core_distill.synthetic.storage import decode_artefact, released_form
from federated import Agreement, RecordError, from_record, to_record
from federated.ledger import content_bytes
from federated.wire import SERIALISATION, artefact_bytes

SHAPE = (1, 4, 4)
AGREED = Agreement(image_shape=SHAPE, num_classes=10, images_per_class=3, mean=(0.25,), std=(0.5,))


def synthetic_set(*, classes=(0, 3, 7), images_per_class=2, shape=SHAPE, num_classes=10, labels="hard", **changes):
    targets = torch.tensor(classes).repeat_interleave(images_per_class)
    images = torch.randn(len(targets), *shape, generator=torch.Generator().manual_seed(1))
    made = {
        "hard": lambda: HardLabels(targets, num_classes),
        "soft": lambda: SoftLabels.starting_at(targets, num_classes),
        "given": lambda: GivenLabels(torch.full((len(targets), num_classes), changes.pop("mass", 1 / num_classes))),
    }[labels]()
    values = {"mean": [0.25] * shape[0], "std": [0.5] * shape[0], **changes}
    return SyntheticSet(
        Pixels(values.pop("images", images)),
        made,
        classes=classes,
        num_classes=num_classes,
        images_per_class=images_per_class,
        **values,
    )


def record_of(data):
    return RecordDict({"synthetic": ArrayRecord({"artefact": Array("uint8", (len(data),), SERIALISATION, data)})})


def forged(synthetic, *, layout=None, **tensors):
    """The reply for `synthetic` with some stored tensors and layout entries replaced."""
    data = artefact_bytes(to_record(synthetic, metadata={}))
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    metadata = json.loads(header["stillroom"])
    metadata["layout"].update(layout or {})
    stored = {**safetensors.torch.load(data), **{name.replace("__", "."): value for name, value in tensors.items()}}
    kept = {name: value for name, value in stored.items() if value is not None}
    return record_of(safetensors.torch.save(kept, {"stillroom": json.dumps(metadata)}))


@settings(max_examples=40, deadline=None)
@given(
    classes=st.sets(st.integers(0, 9), min_size=1).map(sorted),
    images_per_class=st.integers(1, 3),
    labels=st.sampled_from(["hard", "soft", "given"]),
    step_size=st.sampled_from([0.01, (0.5, 0.25)]),
    seed=st.integers(0, 2**31),
)
def test_what_arrives_is_what_a_file_would_hold(classes, images_per_class, labels, step_size, seed):
    count = len(classes) * images_per_class
    images = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed)).clamp(-4, 4)
    values = {"classes": tuple(classes), "images_per_class": images_per_class, "labels": labels, "images": images}
    sent = synthetic_set(step_size=step_size, **values)
    agreement = replace(AGREED, label_modes=(labels,))
    arrived = from_record(to_record(sent, metadata={}), agreement=agreement)
    expected = released_form(sent).state_dict()
    assert arrived.state_dict().keys() == expected.keys()
    for name, value in arrived.state_dict().items():
        assert value.dtype == expected[name].dtype
        assert torch.equal(value, expected[name]), name
    again = to_record(arrived, metadata={})
    assert artefact_bytes(again) == artefact_bytes(to_record(sent, metadata={}))


def test_pixels_are_off_by_at_most_half_a_level():
    sent = synthetic_set()
    arrived = from_record(to_record(sent, metadata={}), agreement=AGREED)
    pixels = sent.images.pixels.detach()
    level = (pixels.max() - pixels.min()) / 255
    assert (arrived.images.pixels - pixels).abs().max() <= level / 2 * 1.001


def test_a_reply_written_to_a_file_is_an_artefact(tmp_path):
    path = tmp_path / "client.safetensors"
    path.write_bytes(artefact_bytes(to_record(synthetic_set(), metadata={"recipe": "dm"})))
    assert decode_artefact(path.read_bytes()).metadata == {"recipe": "dm"}
    assert len(SyntheticSet.load(path)) == 6


def test_an_image_costs_a_byte_a_pixel():
    few, many = (
        to_record(synthetic_set(classes=tuple(range(10)), images_per_class=count, shape=(3, 32, 32)), metadata={})
        for count in (10, 20)
    )
    grown = content_bytes(many) - content_bytes(few)
    assert 100 * 3072 <= grown <= 100 * (3072 + 8) + 64


def test_strategies_that_average_arrays_cannot_blend_two_clients():
    replies = []
    for _ in range(2):
        content = to_record(synthetic_set(), metadata={})
        content["metrics"] = MetricRecord({"num-examples": 1})
        replies.append(content)
    with pytest.raises(TypeError, match="Unsupported serialization type"):
        aggregate_arrayrecords(replies, "num-examples")


def test_the_agreement_follows_the_data(sampler):
    agreement = Agreement.like(sampler, images_per_class=5)
    assert (agreement.image_shape, agreement.num_classes) == ((1, 8, 8), 3)
    assert (agreement.mean, agreement.std, agreement.value_range) == ((0.5,), (0.25,), (-10.0, 11.0))
    floats = ClassSampler(torch.tensor([[[10.0]], [[14.0]]]), torch.tensor([0, 1]), num_classes=2, mean=[0], std=[1])
    assert Agreement.like(floats, images_per_class=1).value_range == (-30.0, 54.0)


BAD_SETS = {
    "too many images a class": (synthetic_set(images_per_class=4), "4 images a class, agreed were at most 3"),
    "10,000 where 30 were agreed": (
        synthetic_set(classes=tuple(range(10)), images_per_class=1000),
        "bytes, but at most 3 uint8 images",
    ),
    "other shape": (synthetic_set(shape=(1, 4, 5)), r"shape \(1, 4, 5\), agreed was \(1, 4, 4\)"),
    "other channels": (synthetic_set(shape=(3, 4, 4)), r"shape \(3, 4, 4\), agreed was"),
    "flat images": (synthetic_set(shape=(1,)), r"shape \(1,\), agreed was"),
    "a mean of a channel that is not there": (synthetic_set(mean=[0.25, 0.25], std=[0.5, 0.5]), "one a channel"),
    "other classes": (synthetic_set(num_classes=8), "8 classes, agreed were 10"),
    "other mean": (synthetic_set(mean=[0.5]), r"mean \[0.5\], agreed was \[0.25\]"),
    "other std": (synthetic_set(std=[0.25]), r"std \[0.25\], agreed was \[0.5\]"),
    "soft labels": (synthetic_set(labels="soft"), "labels are SoftLabels, agreed were hard"),
    "pixels too bright": (synthetic_set(images=torch.full((6, *SHAPE), 30.0)), "pixels from 15.2 to 15.2"),
    "pixels too dark": (synthetic_set(images=torch.full((6, *SHAPE), -30.0)), "pixels from -14.8 to -14.8"),
}


@pytest.mark.parametrize(("synthetic", "message"), BAD_SETS.values(), ids=BAD_SETS)
def test_a_set_that_is_not_what_was_agreed_is_refused(synthetic, message):
    with pytest.raises(RecordError, match=message):
        from_record(to_record(synthetic, metadata={}), agreement=AGREED)


def test_colour_images_with_a_channel_missing_are_refused():
    agreement = replace(AGREED, image_shape=(3, 4, 4), mean=(0.25,) * 3, std=(0.5,) * 3)
    two_channels = synthetic_set(shape=(2, 4, 4), mean=[0.25] * 3, std=[0.5] * 3)
    with pytest.raises(RecordError, match=r"shape \(2, 4, 4\), agreed was \(3, 4, 4\)"):
        from_record(to_record(two_channels, metadata={}), agreement=agreement)


def test_an_agreement_names_known_label_modes():
    with pytest.raises(ValueError, match="label_modes are some of hard, soft, given"):
        replace(AGREED, label_modes=("hard", "fuzzy"))


def test_every_departure_is_named_at_once():
    with pytest.raises(RecordError, match=r"8 classes.*4 images a class.*shape \(1, 5, 5\)"):
        from_record(
            to_record(synthetic_set(num_classes=8, images_per_class=4, shape=(1, 5, 5)), metadata={}), agreement=AGREED
        )


def test_soft_labels_must_be_probabilities():
    agreement = replace(AGREED, label_modes=("given", "soft"))
    from_record(to_record(synthetic_set(labels="given"), metadata={}), agreement=agreement)
    with pytest.raises(RecordError, match="probabilities, which sum to 1"):
        from_record(to_record(synthetic_set(labels="given", mass=0.3), metadata={}), agreement=agreement)


def test_too_many_bytes_are_refused_before_they_are_read():
    with pytest.raises(RecordError, match=r"agreed, \d+ bytes"):
        from_record(record_of(bytes(AGREED.max_bytes + 1)), agreement=AGREED)


FORGED = {
    "NaN": {"images__pixels__range": torch.tensor([math.nan, 1.0])},
    "NaN at full precision": {
        "images__pixels": torch.full((6, *SHAPE), math.nan),
        "images__pixels__range": None,
        "layout": {"precision": "float32"},
    },
    "infinite": {"images__pixels__range": torch.tensor([0.0, math.inf])},
    "range upside down": {"images__pixels__range": torch.tensor([1.0, 0.0])},
    "no range": {"images__pixels__range": None},
    "no images": {"images__pixels": None},
    "no labels": {"labels__targets": None},
    "no normalisation": {"mean": None},
    "a class beyond": {"class_numbers": torch.tensor([0, 3, 70])},
    "classes in disorder": {"class_numbers": torch.tensor([3, 0, 7])},
    "a label beyond": {"labels__targets": torch.tensor([0, 0, 3, 3, 7, 12])},
    "a negative label": {"labels__targets": torch.tensor([-1, 0, 3, 3, 7, 7])},
    "labels of another class": {"labels__targets": torch.tensor([3, 3, 0, 0, 7, 7])},
    "fewer images than labels": {"images__pixels": torch.zeros(5, *SHAPE, dtype=torch.uint8)},
    "images of another type": {"images__pixels": torch.zeros(6, *SHAPE, dtype=torch.int32)},
    "one tensor more": {"extra": torch.zeros(3)},
    "step size 0": {"step_size": torch.tensor(0.0)},
    "a step size below 0": {"step_size": torch.tensor([0.1, -0.1])},
    "a step size that is no number": {"step_size": torch.tensor([0.1, math.nan])},
    "no step size": {"step_size": torch.zeros(0)},
    "a table of step sizes": {"step_size": torch.ones(2, 2)},
    "schema 2": {"layout": {"schema": 2}},
    "unknown decoder": {"layout": {"decoder": {"name": "gan", "config": {}}}},
    "unknown precision": {"layout": {"precision": "int4"}},
    "a claim of 10**12 images": {"layout": {"images_per_class": 10**12}},
    "a claim of a huge tensor": {"layout": {"decoder": {"name": "pixels", "config": {"shape": [10**9, 10**9]}}}},
    "a claim of text": {"layout": {"images_per_class": "2"}},
    "more claimed than sent": {"layout": {"images_per_class": 3}},
    "fewer claimed than sent": {"layout": {"images_per_class": 1}},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
def test_a_forged_set_is_refused(changes):
    with pytest.raises(RecordError):
        from_record(forged(synthetic_set(), **changes), agreement=AGREED)


def test_the_forger_above_forges_nothing_by_itself():
    from_record(forged(synthetic_set()), agreement=AGREED)


def test_records_and_keys_must_be_those_agreed():
    good = to_record(synthetic_set(), metadata={})
    array = good["synthetic"]["artefact"]
    wrong = [
        RecordDict(),
        RecordDict({"synthetic": ConfigRecord({"artefact": array.data})}),
        RecordDict({"other": good["synthetic"]}),
        RecordDict({"synthetic": ArrayRecord({"images": array})}),
        RecordDict({"synthetic": ArrayRecord({"artefact": array, "more": array})}),
        RecordDict({"synthetic": good["synthetic"], "more": ArrayRecord()}),
        RecordDict({"synthetic": ArrayRecord({"artefact": Array(torch.zeros(6, *SHAPE).numpy())})}),
        RecordDict({"synthetic": ArrayRecord({"artefact": Array("uint8", (3,), SERIALISATION, array.data)})}),
    ]
    for content in wrong:
        with pytest.raises(RecordError, match="expected"):
            from_record(content, agreement=AGREED)


GOOD = artefact_bytes(to_record(synthetic_set(), metadata={"recipe": "dm"}))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_bytes_never_crash_the_server(data):
    """Whatever the bytes, the server gets a set that keeps to the agreement or a `RecordError`."""
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(mutated)))
        stop = data.draw(st.integers(start, min(len(mutated), start + 16)))
        mutated[start:stop] = data.draw(st.binary(max_size=16))
    try:
        arrived = from_record(record_of(bytes(mutated)), agreement=AGREED)
    except RecordError:
        return
    images, labels = arrived.as_dataset().tensors
    assert torch.isfinite(images).all()
    assert images.shape[1:] == SHAPE
    assert len(images) <= 30
    assert set(labels.tolist()) <= set(range(10))


ANYTHING = st.sampled_from([None, True, -1, 0, 1, 2, 3, 10**12, 0.5, "", "hard", "pixels", [], [6, 1, 4, 4], {}])
TENSORS = st.builds(
    lambda shape, dtype, value: torch.full(shape, value).to(dtype),
    st.lists(st.integers(0, 6), max_size=4),
    st.sampled_from([torch.uint8, torch.int64, torch.float32, torch.float16, torch.bool]),
    st.sampled_from([0.0, 1.0, 3.0, -1.0, math.nan, math.inf]),
)


@settings(max_examples=300, deadline=None)
@given(
    layout=st.dictionaries(
        st.sampled_from(
            ["schema", "precision", "num_classes", "images_per_class", "learn_step_size", "decoder", "labels"]
        ),
        ANYTHING
        | st.fixed_dictionaries({"name": ANYTHING, "config": ANYTHING | st.fixed_dictionaries({"shape": ANYTHING})}),
        max_size=2,
    ),
    tensors=st.dictionaries(
        st.sampled_from(
            ["class_numbers", "images__pixels", "images__pixels__range", "labels__targets", "mean", "std", "x"]
        ),
        TENSORS | st.none(),
        max_size=2,
    ),
)
def test_forged_layouts_and_tensors_never_crash_the_server(layout, tensors):
    with contextlib.suppress(RecordError):
        arrived = from_record(forged(synthetic_set(), layout=layout, **tensors), agreement=AGREED)
        assert arrived.batch().images.shape[1:] == SHAPE
        assert torch.isfinite(arrived.batch().images).all()


@pytest.mark.parametrize("length", [0, 7, 8, 9, 100, len(GOOD) // 2, len(GOOD) - 1])
def test_a_truncated_message_is_refused(length):
    with pytest.raises(RecordError):
        from_record(record_of(GOOD[:length]), agreement=AGREED)


def test_a_pickle_is_refused(tmp_path):
    torch.save({"images": torch.zeros(3)}, tmp_path / "set.pt")
    with pytest.raises(RecordError):
        from_record(record_of((tmp_path / "set.pt").read_bytes()), agreement=AGREED)

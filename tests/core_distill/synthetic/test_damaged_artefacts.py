"""Files that are not whole, valid artefacts: always `ArtefactError`, quickly, and without running or allocating anything."""

import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.synthetic.storage import ArtefactError, decode_artefact, encode_artefact, load_artefact

HUGE = 10**10


def is_a_valid_set(data):
    """False where it is refused; what is accepted can be used and written again."""
    try:
        synthetic = decode_artefact(data).synthetic
    except ArtefactError:
        return False
    images, labels = synthetic.batch()[:2]
    assert torch.isfinite(images).all()
    assert len(images) == len(labels) == len(synthetic.classes) * synthetic.images_per_class
    if labels.is_floating_point():
        assert labels.shape == (len(images), synthetic.num_classes)
        assert (labels >= 0).all()
    else:
        assert labels.min() >= 0
        assert labels.max() < synthetic.num_classes
    assert torch.isfinite(synthetic.as_dataset().images).all()
    encode_artefact(synthetic, metadata={})
    return True


def test_rebuilding_without_a_change_gives_a_valid_file(artefacts, rebuilt):
    assert all(is_a_valid_set(rebuilt(data)) for data in artefacts.values())


@pytest.mark.parametrize("mode", ["given", "hard", "soft"])
def test_truncated_at_every_byte(mode, artefacts):
    for length in range(len(artefacts[mode])):
        with pytest.raises(ArtefactError):
            decode_artefact(artefacts[mode][:length])


def test_with_bytes_behind_its_end(artefacts):
    with pytest.raises(ArtefactError):
        decode_artefact(artefacts["hard"] + b"\0")


@pytest.mark.parametrize("mask", [0x01, 0x08, 0x80, 0xFF])
@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_every_byte_flipped(mode, mask, artefacts):
    data = artefacts[mode]
    outcomes = set()
    for place in range(len(data)):
        outcomes.add(is_a_valid_set(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]))
    assert outcomes == {True, False}


@settings(deadline=None)
@given(data=st.data())
def test_random_changes_never_give_another_error(data, artefacts):
    changed = bytearray(artefacts[data.draw(st.sampled_from(sorted(artefacts)))])
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(changed) - 1))
        new = data.draw(st.binary(max_size=4))
        changed[place : place + data.draw(st.integers(0, 4))] = new
    is_a_valid_set(bytes(changed))


NUMBERS = st.one_of(st.integers(-5, 5), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3))
JSON = st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))


@settings(deadline=None)
@given(data=st.data())
def test_any_json_in_the_layout_never_gives_another_error(data, artefacts, rebuilt):
    layout_path = data.draw(
        st.sampled_from(
            [
                ("schema",),
                ("precision",),
                ("num_classes",),
                ("images_per_class",),
                ("learn_step_size",),
                ("decoder",),
                ("labels",),
                ("decoder", "name"),
                ("decoder", "config"),
                ("decoder", "config", "shape"),
                ("labels", "config"),
                ("labels", "config", "slots"),
                ("labels", "config", "shape"),
            ]
        )
    )
    value = data.draw(JSON)

    def change(layout):
        for key in layout_path[:-1]:
            layout = layout[key]
        layout[layout_path[-1]] = value

    is_a_valid_set(rebuilt(artefacts[data.draw(st.sampled_from(sorted(artefacts)))], change))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data):
    assert not is_a_valid_set(data)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "it-ran"

    class Bomb:
        def __reduce__(self):
            return Path.touch, (trace,)

    file = io.BytesIO()
    torch.save({"images": torch.zeros(2)}, file)
    for number, content in enumerate((pickle.dumps(Bomb()), file.getvalue())):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with pytest.raises(ArtefactError, match="not a synthetic set of stillroom"):
            load_artefact(path)
    assert not trace.exists()


def header_only(tensors, metadata=None, payload=b""):
    header = json.dumps({"__metadata__": metadata or {}, **tensors}).encode()
    return len(header).to_bytes(8, "little") + header + payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        (10**8).to_bytes(8, "little") + b"{}",
        header_only(
            {"images.pixels": {"dtype": "F32", "shape": [HUGE, HUGE], "data_offsets": [0, 4]}}, payload=b"0" * 4
        ),
        header_only({"images.pixels": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}),
        header_only({"images.pixels": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}),
        header_only({"images.pixels": {"dtype": "F32", "shape": [0, HUGE], "data_offsets": [0, 0]}}),
        header_only({}, {"stillroom": "[" * 100_000}),
        header_only({}, {"stillroom": "[]"}),
        header_only({}, {"stillroom": "9" * 10_000}),
        header_only({}, {"other": "{}"}),
        header_only({}),
    ],
)
def test_a_forged_header_is_refused_quickly_and_without_memory(data, quickly):
    with quickly(), pytest.raises(ArtefactError):
        decode_artefact(data)

"""How values are stored: what each precision loses, and that storing twice loses no more than storing once."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core_distill.synthetic.precision import PRECISIONS, check_precision, decode_tensors, encode_tensors

NAME = "images.pixels"


def floats(limit):
    return st.lists(st.floats(-limit, limit, width=32), min_size=1, max_size=12).map(torch.tensor)


def there_and_back(values, precision):
    return decode_tensors(encode_tensors({NAME: values}, precision), precision)[NAME]


@settings(deadline=None)
@given(floats(1e6))
def test_float32_is_exact(values):
    assert torch.equal(there_and_back(values, "float32"), values)


@settings(deadline=None)
@given(floats(65504.0))
def test_float16_is_the_nearest_half(values):
    assert torch.equal(there_and_back(values, "float16"), values.half().float())


@settings(deadline=None)
@given(floats(1e6))
@example(torch.tensor([-1.0, 1e-20]))
@example(torch.tensor([0.0, 1e-38]))
def test_uint8_is_within_half_a_level_and_exact_at_both_ends(values):
    back = there_and_back(values, "uint8").double()
    level = (values.max().double() - values.min().double()) / 255
    rounding = torch.finfo(torch.float32).eps * values.abs().max().double()
    assert ((back - values.double()).abs() <= level * 0.5000001 + rounding).all()
    assert back.min() == values.min()
    assert back.max() == values.max()


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(deadline=None)
@given(values=floats(65504.0))
@example(values=torch.tensor([-0.0]))
@example(values=torch.tensor([-1.0, 1e-20]))
@example(values=torch.tensor([1e-38, 0.0, 3e-39]))
@example(values=torch.tensor([1.0, 1.0000001]))
def test_storing_again_gives_the_same_bytes(precision, values):
    first = encode_tensors({NAME: values}, precision)
    again = encode_tensors(decode_tensors(first, precision), precision)
    assert first.keys() == again.keys()
    for name, value in first.items():
        assert value.dtype == again[name].dtype
        assert value.numpy().tobytes() == again[name].numpy().tobytes()


def test_levels_are_the_formula():
    stored = encode_tensors({NAME: torch.tensor([-1.0, 0.0, 0.502, 1.0])}, "uint8")
    assert stored[NAME].tolist() == [0, 128, 192, 255]
    assert stored[f"{NAME}.range"].tolist() == [-1.0, 1.0]


def test_one_value_needs_no_levels():
    assert there_and_back(torch.full((3,), 0.3), "uint8").tolist() == torch.full((3,), 0.3).tolist()


@pytest.mark.parametrize(
    ("largest", "dtype"), [(255, torch.uint8), (256, torch.int16), (40_000, torch.int32), (2**31, torch.int64)]
)
def test_whole_numbers_take_as_few_bytes_as_hold_them(largest, dtype):
    numbers = torch.tensor([0, largest])
    stored = encode_tensors({"labels.targets": numbers}, "uint8")
    assert stored["labels.targets"].dtype == dtype
    assert torch.equal(decode_tensors(stored, "uint8")["labels.targets"], numbers)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_images_lose_precision(precision):
    state = {"labels.logits": torch.tensor([1 / 3]), "mean": torch.tensor([0.1]), "images.index": torch.tensor([3])}
    back = decode_tensors(encode_tensors(state, precision), precision)
    assert all(torch.equal(back[name], value) for name, value in state.items())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_double_values_come_back_as_float32(precision):
    state = {NAME: torch.tensor([1.0, 2.0], dtype=torch.float64), "labels.probabilities": torch.tensor([0.1]).double()}
    back = decode_tensors(encode_tensors(state, precision), precision)
    assert {value.dtype for value in back.values()} == {torch.float32}
    assert back[NAME].tolist() == [1, 2]


@pytest.mark.parametrize("precision", ["bfloat16", "", "UINT8"])
def test_an_unknown_precision_is_refused_with_the_known_ones(precision):
    for call in (check_precision, lambda name: encode_tensors({}, name), lambda name: decode_tensors({}, name)):
        with pytest.raises(ValueError, match=f"one of float16, float32, uint8, got '{precision}'"):
            call(precision)


LEVELS = torch.zeros(2, dtype=torch.uint8)
LIMITS = torch.tensor([0.0, 1.0])


@pytest.mark.parametrize(
    ("stored", "precision"),
    [
        ({NAME: LIMITS}, "uint8"),
        ({NAME: LIMITS}, "float16"),
        ({NAME: LIMITS.half()}, "float32"),
        ({"mean": LIMITS.half()}, "float16"),
        ({NAME: LIMITS.half(), f"{NAME}.range": LIMITS}, "float16"),
        ({NAME: LEVELS, f"{NAME}.range": LIMITS.flip(0)}, "uint8"),
        ({NAME: LEVELS, f"{NAME}.range": LIMITS.double()}, "uint8"),
        ({NAME: LEVELS, f"{NAME}.range": torch.zeros(3)}, "uint8"),
        ({NAME: LEVELS, f"{NAME}.range": torch.tensor([0.0, float("nan")])}, "uint8"),
        ({NAME: LEVELS, f"{NAME}.range": LIMITS, f"{NAME}.range.range": LIMITS}, "uint8"),
        ({"mean": LEVELS, "mean.range": LIMITS}, "uint8"),
    ],
)
def test_what_another_precision_would_hold_is_refused(stored, precision):
    with pytest.raises(ValueError, match=r"images\.pixels|mean"):
        decode_tensors(stored, precision)

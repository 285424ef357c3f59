"""The released artefact: one `.safetensors` file whose metadata say everything needed to use it. Never pickle.

A file holds the tensors of `SyntheticSet.state_dict()`, learned images at the chosen precision, and one metadata entry
`stillroom` with JSON under sorted keys, so that equal sets give equal bytes.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from core_distill.files import write_atomically
from core_distill.synthetic.kinds import LABELS, PARAMETRISATIONS
from core_distill.synthetic.precision import decode_tensors, encode_tensors
from core_distill.synthetic.synthetic_set import Slotwise, SyntheticSet, check_step_size

SCHEMA = 1
ARTEFACT = "synthetic.safetensors"
"""The name of the file in the folder of a run."""

LARGEST_VALUE = 1e6
_SUM_ERROR = 1e-3
"""By which probabilities of a slot may miss 1, for rounding."""

_KEY = "stillroom"


class ArtefactError(ValueError):
    """A file or message that is not a whole, valid synthetic set; the text says what is wrong."""


class Artefact(NamedTuple):
    """A synthetic set with the metadata it was released with (JSON values) and the bytes of its tensors.

    `layout` is what the file itself says: schema, precision, decoder, label mode, numbers of classes and slots.
    """

    synthetic: SyntheticSet
    metadata: dict[str, Any]
    layout: dict[str, Any]
    tensor_bytes: int


def encode_artefact(synthetic: SyntheticSet, *, metadata: Mapping[str, object], precision: str = "uint8") -> bytes:
    """The bytes of a release; the same set and metadata give the same bytes.

    Args:
        metadata: recipe, seed, data, scores, privacy card and so on, as JSON values; the layout is added here.
        precision: how learned images are stored, one of `PRECISIONS`. `uint8` costs what a real image costs: 256 levels
            between the smallest and the largest value of a tensor.

    Raises `ArtefactError` where a value is not finite, or would not be at that precision, and for a step size that is not
    above 0.
    """
    state = {name: value.detach().cpu() for name, value in synthetic.state_dict().items()}
    _refuse_bad_numbers(state)
    _refuse_bad_step_size(state["step_size"])
    stored = encode_tensors(state, precision)
    _refuse_bad_numbers(stored)
    layout = {
        "schema": SCHEMA,
        "precision": precision,
        "num_classes": synthetic.num_classes,
        "images_per_class": synthetic.images_per_class,
        "learn_step_size": synthetic.learn_step_size,
        "tensor_bytes": _num_bytes(stored),
        "decoder": _described(synthetic.images, PARAMETRISATIONS),
        "labels": _described(synthetic.labels, LABELS),
    }
    text = json.dumps({**metadata, "layout": layout}, sort_keys=True, allow_nan=False)
    return safetensors.torch.save(stored, {_KEY: text})


def decode_artefact(data: bytes, *, accept: Callable[[SyntheticSet], None] | None = None) -> Artefact:
    """Read `encode_artefact`'s bytes, checking schema, names, shapes, dtypes, ranges and finiteness.

    `accept` is shown the set while its images and labels are empty, of the sizes that are really there, before an image is
    made of them; it refuses by raising `ArtefactError`.

    Raises `ArtefactError` with what is wrong; nothing is allocated from a size the bytes merely claim.
    """
    try:
        stored = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header["__metadata__"][_KEY])
        layout = metadata.pop("layout")
        if layout["schema"] != SCHEMA:
            raise ArtefactError(
                f"schema {layout['schema']!r} is not known here, only {SCHEMA}; install a newer stillroom"
            )
        _check_types(layout)
        state = decode_tensors(stored, layout["precision"])
        synthetic = _build(layout, state, accept)
        if layout["tensor_bytes"] != _num_bytes(stored):
            raise ArtefactError(f"{_num_bytes(stored)} bytes of tensors, but the metadata say {layout['tensor_bytes']}")
    except ArtefactError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        raise ArtefactError(
            f"not a synthetic set of stillroom, or a damaged one: {str(error) or repr(error)}"
        ) from error
    return Artefact(synthetic, metadata, layout, _num_bytes(stored))


def save_artefact(
    path: str | Path, synthetic: SyntheticSet, *, metadata: Mapping[str, object], precision: str = "uint8"
) -> int:
    """Write a release atomically; returns the size of the file in bytes."""
    data = encode_artefact(synthetic, metadata=metadata, precision=precision)
    write_atomically(Path(path), data)
    return len(data)


def artefact_at(path: str | Path) -> Path:
    """The released file that `path` means: itself, or the one in the folder of a run.

    Raises `FileNotFoundError` where it is not there.
    """
    path = Path(path)
    path = path / ARTEFACT if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: name a {ARTEFACT}, or the folder of a run that wrote one")
    return path


def load_artefact(path: str | Path) -> Artefact:
    """Read a released file, or the one in the folder of a run.

    Raises `ArtefactError` where it is none, `FileNotFoundError` where it is not there.
    """
    path = artefact_at(path)
    try:
        return decode_artefact(path.read_bytes())
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from error


def released_form(synthetic: SyntheticSet, *, precision: str = "uint8") -> SyntheticSet:
    """What a reader of the release will get: the set after a round trip through its file."""
    return decode_artefact(encode_artefact(synthetic, metadata={}, precision=precision)).synthetic


def _num_bytes(stored: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in stored.values())


def _described(module: Slotwise, known: Mapping[str, type[Slotwise]]) -> dict[str, object]:
    for name, kind in known.items():
        if type(module) is kind:
            return {"name": name, "config": module.config()}
    raise ValueError(f"a {type(module).__name__} has no place in the file format; known: {', '.join(known)}")


def _check_types(layout: Mapping[str, Any]) -> None:
    """What JSON may hold in place of whole numbers and truth values."""
    wrong = [name for name in ("num_classes", "images_per_class") if type(layout[name]) is not int]
    wrong += [name for name in ("learn_step_size",) if type(layout[name]) is not bool]
    if wrong:
        raise ArtefactError(", ".join(f"{name} cannot be {layout[name]!r}" for name in wrong))


def _build(
    layout: Mapping[str, Any], state: dict[str, Tensor], accept: Callable[[SyntheticSet], None] | None
) -> SyntheticSet:
    """An empty set on the meta device, compared with the tensors that are really there, then filled."""
    _refuse_bad_numbers(state)
    for name, known in (("decoder", PARAMETRISATIONS), ("labels", LABELS)):
        if layout[name]["name"] not in known:
            raise ArtefactError(f"{name} {layout[name]['name']!r} is not known here, only {', '.join(known)}")
    with torch.device("meta"):
        images = PARAMETRISATIONS[layout["decoder"]["name"]].from_config(**layout["decoder"]["config"])
        labels = LABELS[layout["labels"]["name"]].from_config(**layout["labels"]["config"])
    for prefix, module in (("images.", images), ("labels.", labels)):
        _compare({prefix + key: value for key, value in module.state_dict().items()}, state)
    synthetic = SyntheticSet(
        images,
        labels,
        classes=state["class_numbers"],
        num_classes=layout["num_classes"],
        images_per_class=layout["images_per_class"],
        mean=state["mean"],
        std=state["std"],
        step_size=state["step_size"],
        learn_step_size=layout["learn_step_size"],
    )
    _compare(synthetic.state_dict(), state)
    unknown = sorted(set(state) - set(synthetic.state_dict()))
    if unknown:
        raise ArtefactError(f"tensors that do not belong here: {', '.join(unknown)}")
    if accept is not None:
        accept(synthetic)
    synthetic.load_state_dict(state, assign=True)
    _check_meaning(synthetic)
    return synthetic


def _compare(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    for name, value in expected.items():
        if name not in state:
            raise ArtefactError(f"tensor {name} is missing")
        found = state[name]
        if found.shape != value.shape or found.dtype != value.dtype:
            raise ArtefactError(
                f"{name} is {found.dtype} {tuple(found.shape)}, but the metadata say {value.dtype} {tuple(value.shape)}"
            )


def _refuse_bad_numbers(state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if value.is_floating_point() and not (torch.isfinite(value).all() and (value.abs() <= LARGEST_VALUE).all()):
            raise ArtefactError(f"{name} has values that are NaN, infinite or beyond {LARGEST_VALUE:g}")


def _refuse_bad_step_size(size: Tensor) -> None:
    try:
        check_step_size(size)
    except ValueError as error:
        raise ArtefactError(str(error)) from error


def _check_meaning(synthetic: SyntheticSet) -> None:
    """What names and sizes cannot say: each slot has one label of a known class, and normalisation can be undone."""
    slots = synthetic.num_slots
    images = synthetic.images(torch.arange(slots))
    if images.dim() < 2 or not math.prod(images.shape):
        raise ArtefactError(f"there is nothing in images of shape {tuple(images.shape)}")
    if (synthetic.std <= 0).any() or not synthetic.mean.shape == synthetic.std.shape == images.shape[1:2]:
        raise ArtefactError(f"mean and std must be {images.shape[1]} numbers, one a channel, and std above 0")
    labels = synthetic.labels(torch.arange(slots))
    if labels.is_floating_point():
        if labels.shape != (slots, synthetic.num_classes) or (labels < 0).any():
            raise ArtefactError(f"soft labels must be ({slots}, {synthetic.num_classes}) and not negative")
        if ((labels.sum(1) - 1).abs() > _SUM_ERROR).any():
            raise ArtefactError("soft labels must be probabilities, which sum to 1")
    elif not torch.equal(labels, synthetic.classes.repeat_interleave(synthetic.images_per_class)):
        raise ArtefactError("labels are out of range or out of order: slots go class after class")

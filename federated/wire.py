"""The wire format: a client's reply carries the very bytes of a released artefact, and the server trusts none of them.

One `ArrayRecord` named `synthetic` holds one Flower `Array` named `artefact`, whose data is what `encode_artefact`
writes into a file: learned images as uint8, so that the bytes counted are the bytes a file would take. It is no numpy
array, so a strategy that averages arrays refuses it instead of blending two clients' images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from flwr.app import Array, ArrayRecord, RecordDict

from core_distill.data import ClassSampler
from core_distill.recipes import Recipe
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.kinds import LABELS, PARAMETRISATIONS
from core_distill.synthetic.storage import ArtefactError, decode_artefact, encode_artefact
from federated.kinds import (
    check_image_kind,
    check_recipe,
    check_start,
    decoded_per_image,
    image_kind,
    label_kind,
)

RECORD = "synthetic"
ARRAY = "artefact"
SERIALISATION = "stillroom.artefact"

_METADATA_BYTES = 65_536


class RecordError(ValueError):
    """A reply that is not the synthetic set that was agreed on; the text says in what it departs."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the server demands of every client's set; whatever departs from it is refused.

    `Agreement.for_recipe` is the one that clients who distil by a recipe keep to.

    Args:
        image_shape: of one image, `(c, h, w)`.
        images_per_class: the budget, in images of a byte a value, for each of any of `num_classes` classes.
        mean, std: the normalisation all clients use, a number a channel; it is public by being agreed on.
        value_range: least and greatest pixel in the data's own space, where real pixels lie in 0 to 1. Learned ones
            leave it: honest sets of digits by DM, DSA and DC went from -2.6 to 3.8, so the default is wide and stops only
            what no recipe makes.
        label_modes: how labels are stored: `hard`, `soft`, `given` or several.
        image_kinds: of the images, by their names in `PARAMETRISATIONS`; a `latents` set is never sent, for its generator
            takes more bytes than its images.
        decoded_per_image: the most images that a message may be decoded to for each one of `images_per_class`; 1 is what
            pixels need, others as many as `federated.kinds.decoded_per_image` says. The server needs memory for
            `num_classes * images_per_class * decoded_per_image` images a client.

    Raises `ValueError` for kinds that do not exist or cannot be sent.
    """

    image_shape: tuple[int, ...]
    num_classes: int
    images_per_class: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    value_range: tuple[float, float] = (-10.0, 11.0)
    label_modes: tuple[str, ...] = ("hard",)
    image_kinds: tuple[str, ...] = ("pixels",)
    decoded_per_image: int = 1

    def __post_init__(self) -> None:
        unknown = sorted(set(self.label_modes) - set(LABELS))
        if unknown or not self.label_modes:
            raise ValueError(f"label_modes are some of {', '.join(LABELS)}, got {self.label_modes}")
        if not self.image_kinds:
            raise ValueError("image_kinds are empty: name one at least, such as pixels")
        for name in self.image_kinds:
            check_image_kind(name)
        if self.decoded_per_image < 1:
            raise ValueError(f"decoded_per_image must be at least 1, got {self.decoded_per_image}")

    @classmethod
    def for_recipe(cls, real: ClassSampler, recipe: Recipe) -> Self:
        """The agreement of clients who distil data like `real` by `recipe`.

        Raises `ValueError` where clients cannot: images or labels of a kind that cannot be sent, values that do not fit
        the images, a budget too small even for a client that has all classes of `real`.
        """
        check_start(real, recipe)
        return cls.like(
            real,
            images_per_class=recipe.images_per_class,
            label_modes=(label_kind(recipe),),
            image_kinds=(image_kind(recipe),),
            decoded_per_image=decoded_per_image(recipe, real.image_shape),
        )

    @classmethod
    def like(
        cls,
        real: ClassSampler,
        *,
        images_per_class: int,
        label_modes: tuple[str, ...] = ("hard",),
        image_kinds: tuple[str, ...] = ("pixels",),
        decoded_per_image: int = 1,
    ) -> Self:
        """The agreement of clients whose data has the shape, classes and normalisation of `real`.

        For examples that are not uint8 the range of values is that of `real`, widened by ten times its width on each side.
        """
        low, high = -10.0, 11.0
        if real.images.is_floating_point():
            least, greatest = real.images.min().item(), real.images.max().item()
            low, high = 11 * least - 10 * greatest, 11 * greatest - 10 * least
        return cls(
            image_shape=real.image_shape,
            num_classes=real.num_classes,
            images_per_class=images_per_class,
            mean=tuple(real.mean.tolist()),
            std=tuple(real.std.tolist()),
            value_range=(low, high),
            label_modes=label_modes,
            image_kinds=image_kinds,
            decoded_per_image=decoded_per_image,
        )

    @property
    def max_bytes(self) -> int:
        """The most a message may take: uint8 images of every class in full, a label for each image that may be decoded,
        and 64 KiB of metadata."""
        label_bytes = 8 if self.label_modes == ("hard",) else 4 * self.num_classes
        pixels = torch.Size(self.image_shape).numel()
        image_bytes = pixels + self.decoded_per_image * label_bytes
        return self.num_classes * self.images_per_class * image_bytes + _METADATA_BYTES

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise `ValueError`, with every reason, where sets made by `recipe` would depart from this agreement, or clients
        could not read its values."""
        check_recipe(recipe, self.image_shape)
        decoded = recipe.images_per_class * decoded_per_image(recipe, self.image_shape)
        agreed = self.images_per_class * self.decoded_per_image
        departures = []
        if image_kind(recipe) not in self.image_kinds:
            departures.append(f"images are {image_kind(recipe)}, agreed were {', '.join(self.image_kinds)}")
        if label_kind(recipe) not in self.label_modes:
            departures.append(f"labels are stored as {label_kind(recipe)}, agreed were {', '.join(self.label_modes)}")
        if recipe.images_per_class > self.images_per_class:
            departures.append(
                f"{recipe.images_per_class} images_per_class, agreed were at most {self.images_per_class}"
            )
        elif decoded > agreed:
            departures.append(f"up to {decoded} images a class, agreed were at most {agreed}")
        if departures:
            raise ValueError(
                f"the server would refuse what clients make by recipe {recipe.name} ({'; '.join(departures)}): "
                "use Agreement.for_recipe"
            )


def to_record(synthetic: SyntheticSet, *, metadata: Mapping[str, object]) -> RecordDict:
    """The content of a reply: learned images at uint8, everything else exact; equal sets give equal bytes.

    `metadata` are JSON values, as in the artefact. Raises `ArtefactError` where a value is not finite.
    """
    data = encode_artefact(synthetic, metadata=metadata)
    array = Array(dtype="uint8", shape=(len(data),), stype=SERIALISATION, data=data)
    return RecordDict({RECORD: ArrayRecord({ARRAY: array})})


def artefact_bytes(content: RecordDict) -> bytes:
    """The bytes a reply carries, which written to a file are an artefact; not yet checked any further.

    Raises `RecordError` where the records, keys or types are not those of `to_record`.
    """
    arrays = content.array_records
    keys = {name: sorted(record) for name, record in arrays.items()}
    if keys != {RECORD: [ARRAY]}:
        raise RecordError(f"expected one array record {RECORD!r} with one array {ARRAY!r}, got {keys}")
    array = arrays[RECORD][ARRAY]
    if (array.dtype, array.stype, tuple(array.shape)) != ("uint8", SERIALISATION, (len(array.data),)):
        raise RecordError(
            f"expected {len(array.data)} bytes of {SERIALISATION}, "
            f"got {array.dtype} {tuple(array.shape)} of {array.stype}"
        )
    return array.data


def from_record(content: RecordDict, *, agreement: Agreement) -> SyntheticSet:
    """The set in a reply, once everything about it has been checked against the agreement.

    The size is looked at first, so that nothing larger than agreed is ever read; then kinds, shapes and counts, so that
    no more images than agreed are ever decoded; then the values. Raises `RecordError`, with every departure, and nothing
    else whatever the reply holds.
    """
    data = artefact_bytes(content)
    if len(data) > agreement.max_bytes:
        raise RecordError(
            f"{len(data)} bytes, but at most {agreement.images_per_class} uint8 images for each of "
            f"{agreement.num_classes} classes were agreed, {agreement.max_bytes} bytes"
        )

    def accept(empty: SyntheticSet) -> None:
        departures = list(_structural_departures(empty, agreement))
        if departures:
            raise ArtefactError("; ".join(departures))

    try:
        synthetic = decode_artefact(data, accept=accept).synthetic
    except ArtefactError as error:
        raise RecordError(str(error)) from error
    departures = list(_departures(synthetic, agreement))
    if departures:
        raise RecordError("; ".join(departures))
    return synthetic


def _structural_departures(synthetic: SyntheticSet, agreement: Agreement) -> Iterator[str]:
    """What an empty set already shows."""
    if type(synthetic.images) not in [PARAMETRISATIONS[name] for name in agreement.image_kinds]:
        yield f"images are {type(synthetic.images).__name__}, agreed were {', '.join(agreement.image_kinds)}"
    allowed = [LABELS[mode] for mode in agreement.label_modes]
    if type(synthetic.labels) not in allowed:
        yield f"labels are {type(synthetic.labels).__name__}, agreed were {', '.join(agreement.label_modes)} ones"
    if synthetic.num_classes != agreement.num_classes:
        yield f"{synthetic.num_classes} classes, agreed were {agreement.num_classes}"
    decoded = synthetic.images_per_class * synthetic.views
    agreed = agreement.images_per_class * agreement.decoded_per_image
    if decoded > agreed:
        yield f"{decoded} images a class, agreed were at most {agreed}"
    if synthetic.image_shape != agreement.image_shape:
        yield f"images of shape {synthetic.image_shape}, agreed was {agreement.image_shape}"


def _departures(synthetic: SyntheticSet, agreement: Agreement) -> Iterator[str]:
    """What only values show, of a set that is structurally as agreed."""
    pixels, _ = synthetic.as_dataset().tensors
    for name, found, agreed in (("mean", synthetic.mean, agreement.mean), ("std", synthetic.std, agreement.std)):
        if not torch.equal(found, torch.tensor(agreed, dtype=found.dtype)):
            yield f"{name} {found.tolist()}, agreed was {list(agreed)}"
            return
    low, high = agreement.value_range
    if pixels.min() < low or pixels.max() > high:
        yield f"pixels from {pixels.min():.3g} to {pixels.max():.3g}, agreed was {low:.3g} to {high:.3g}"

"""A small message of many or large images is refused before one of them is made."""

import json
import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch
from flwr.app import Array, ArrayRecord, RecordDict

from core_distill.synthetic import HardLabels, SyntheticSet
from core_distill.synthetic.kinds import PARAMETRISATIONS
from federated import (
    RecordError,
    from_record,
    to_record,
)
from federated.wire import SERIALISATION, artefact_bytes


def set_of(kind, config, *, images_per_class):
    """A set of three classes whose images have this config and are all zeros; none is made."""
    images = PARAMETRISATIONS[kind].from_config(**config)
    for value in images.parameters():
        torch.nn.init.zeros_(value)
    return SyntheticSet(
        images,
        HardLabels(torch.arange(3).repeat_interleave(images_per_class), 3),
        classes=(0, 1, 2),
        num_classes=3,
        images_per_class=images_per_class,
        mean=[0.5],
        std=[0.25],
    )


def forged(synthetic, **config):
    """The reply for `synthetic` with some values of the decoder's config replaced."""
    content = to_record(synthetic, metadata={})
    data = artefact_bytes(content)
    metadata = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["stillroom"])
    metadata["layout"]["decoder"]["config"].update(config)
    changed = safetensors.torch.save(safetensors.torch.load(data), {"stillroom": json.dumps(metadata)})
    array = Array("uint8", (len(changed),), SERIALISATION, changed)
    return RecordDict({"synthetic": ArrayRecord({"artefact": array})})


@pytest.fixture
def nothing_decoded(monkeypatch):
    """Little memory, and images that must not be made."""

    def forward(*_):
        raise AssertionError("an image was made")

    for kind in PARAMETRISATIONS.values():
        monkeypatch.setattr(kind, "forward", forward)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


SMALL_BUT_ENDLESS = {
    "more views": (
        "multi-formation",
        {"shape": [24, 1, 8, 8], "factor": 8},
        "512 images a class, agreed were at most 32",
    ),
    "more slots, of one byte each": (
        "addressable-memory",
        {"slots": 3 * 1333, "shape": [1, 1, 8, 8], "size": [8, 8]},
        "1333 images a class, agreed were at most 128",
    ),
    "images of a side of 2,000 from two lines each": (
        "low-rank",
        {"shape": [3, 1, 2000, 2000], "rank": 1},
        r"shape \(1, 2000, 2000\), agreed was \(1, 8, 8\)",
    ),
    "images of a side of 1,000 from a few bases": (
        "addressable-memory",
        {"slots": 3, "shape": [4, 1, 8, 8], "size": [1000, 1000]},
        r"shape \(1, 1000, 1000\), agreed was \(1, 8, 8\)",
    ),
    "a basis of a side of 512": (
        "random-basis",
        {"slots": 3, "image_shape": [1, 512, 512], "compression": 64, "smoothness": 1.0, "basis_seed": 0},
        r"shape \(1, 512, 512\), agreed was \(1, 8, 8\)",
    ),
    "a generator": (
        "latents",
        {"slots": 6, "image_shape": [1, 8, 8], "classes": 3, "latent": 4, "generator_width": 1},
        "images are Latents, agreed were pixels",
    ),
}


@pytest.mark.parametrize(("kind", "config", "message"), SMALL_BUT_ENDLESS.values(), ids=SMALL_BUT_ENDLESS)
def test_a_small_message_of_many_or_large_images_is_refused_undecoded(kind, config, message, sets, nothing_decoded):
    slots = config["slots"] if "slots" in config else config["shape"][0]
    content = to_record(set_of(kind, config, images_per_class=slots // 3), metadata={})
    _, agreement = sets[kind if kind in sets else "pixels"]
    assert len(artefact_bytes(content)) < agreement.max_bytes
    with pytest.raises(RecordError, match=message):
        from_record(content, agreement=agreement)


@pytest.mark.parametrize(
    "entry", ["slots", "shape", "size", "factor", "rank", "hallucinators", "decoders", "image_shape"]
)
@pytest.mark.parametrize("lie", [10**12, [10**10, 1, 8, 8], [10**10, 10**10], -1, 1.5, None, "4", True])
def test_a_config_that_claims_other_sizes_is_refused_undecoded(entry, lie, sets, nothing_decoded):
    for made, agreement in sets.values():
        if entry in made.images.config():
            content = forged(made, **{entry: lie})
            with pytest.raises(RecordError):
                from_record(content, agreement=agreement)

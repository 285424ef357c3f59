"""Files of codes, coefficients and latents whose metadata or tensors lie, and what a whole one of each kind gives back."""

import itertools

import pytest
import torch

from core_distill.networks.generator import ConvGenerator
from core_distill.synthetic import HardLabels, SyntheticSet
from core_distill.synthetic.latents import Latents
from core_distill.synthetic.random_basis import RandomBasis
from core_distill.synthetic.shared_decoders import SharedDecoders
from core_distill.synthetic.smooth_basis import SmoothBasis
from core_distill.synthetic.storage import ArtefactError, decode_artefact, encode_artefact

HUGE = 10**10
SHAPE = (1, 8, 8)


def make_latents():
    return Latents(torch.randn(4, 5), ConvGenerator(SHAPE, 2, latent=5, width=4))


def make_decoders():
    made = SharedDecoders(torch.randn(4, 2, 2, 2), image_shape=SHAPE, width=3, decoders=2)
    for weight in made.weights:
        torch.nn.init.normal_(weight)
    return made


def make_basis():
    return RandomBasis(torch.randn(4, 32), SmoothBasis(SHAPE, 2, 1.0, 0))


KINDS = {"latents": make_latents, "random-basis": make_basis, "shared-decoders": make_decoders}


@pytest.fixture(scope="module")
def sets():
    """Two of three classes with two slots each, of every kind."""
    made = {}
    for name, make in KINDS.items():
        torch.manual_seed(0)
        labels = HardLabels(torch.tensor([0, 0, 2, 2]), 3)
        made[name] = SyntheticSet(
            make(), labels, classes=(0, 2), num_classes=3, images_per_class=2, mean=[0.25], std=[0.5]
        )
    return made


@pytest.fixture(scope="module")
def files(sets):
    return {name: encode_artefact(synthetic, metadata={}) for name, synthetic in sets.items()}


@pytest.mark.parametrize("precision", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("name", KINDS)
def test_a_file_gives_the_set_back(name, precision, sets):
    data = encode_artefact(sets[name], metadata={}, precision=precision)
    read = decode_artefact(data).synthetic
    ours, theirs = sets[name].batch().images, read.batch().images
    spread = ours.max() - ours.min()
    assert (ours - theirs).abs().max() <= {"float16": 0.01, "float32": 0.0, "uint8": 0.05}[precision] * spread
    assert torch.equal(theirs, read.batch().images)
    assert encode_artefact(read, metadata={}, precision=precision) == data


def config(**values):
    return lambda layout: layout["decoder"]["config"].update(values)


def slots(count):
    def change(layout):
        layout["decoder"]["config"]["slots"] = count
        layout["images_per_class"] = count // 2
        layout["labels"]["config"]["slots"] = count

    return change


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        slots(HUGE),
        config(image_shape=[1, HUGE, HUGE]),
        config(image_shape=[HUGE, 8, 8]),
        config(image_shape=[1, 8, 2**15]),
        config(image_shape=[2**20, 8, 8]),
        config(image_shape=[1, 2048, 2048]),
    ],
)
def test_a_huge_claim_is_refused_quickly_and_without_memory(name, change, files, rebuilt, quickly):
    data = rebuilt(files[name], change)
    with quickly(), pytest.raises(ArtefactError):
        decode_artefact(data)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("latents", {"latent": HUGE}),
        ("latents", {"classes": HUGE}),
        ("latents", {"generator_width": HUGE}),
        ("random-basis", {"compression": HUGE}),
        ("random-basis", {"compression": HUGE, "image_shape": [1, HUGE, 32]}),
        ("random-basis", {"basis_seed": 2**63}),
        ("shared-decoders", {"decoders": HUGE}),
        ("shared-decoders", {"decoder_width": HUGE}),
        ("shared-decoders", {"code_channels": HUGE}),
    ],
)
def test_huge_parts_are_refused_quickly_and_without_memory(name, values, files, rebuilt, quickly):
    data = rebuilt(files[name], config(**values))
    with quickly(), pytest.raises(ArtefactError):
        decode_artefact(data)


WRONG = (0, -1, 2.0, "2", None, True, [2])
VALUES = {
    "latents": ("slots", "classes", "latent", "generator_width"),
    "random-basis": ("slots", "compression"),
    "shared-decoders": ("slots", "code_channels", "decoder_width", "decoders"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name in VALUES for value in VALUES[name]])
def test_sizes_that_are_no_counts_are_refused(name, value, wrong, files, rebuilt):
    with pytest.raises(ArtefactError):
        decode_artefact(rebuilt(files[name], config(**{value: wrong})))


@pytest.mark.parametrize(
    "shape", [[], [1], [1, 8], [1, 0, 8], [1, -8, -8], [1, 8, 8, 2], "188", [1, 8.0, 8], None, [2, 8, 8]]
)
@pytest.mark.parametrize("name", KINDS)
def test_shapes_that_are_no_images_are_refused(name, shape, files, rebuilt):
    with pytest.raises(ArtefactError):
        decode_artefact(rebuilt(files[name], config(image_shape=shape)))


@pytest.mark.parametrize(
    "values", [{"smoothness": -1}, {"smoothness": "1"}, {"smoothness": float("nan")}, {"smoothness": 11}]
)
def test_a_spectrum_that_is_none_is_refused(values, files, rebuilt):
    with pytest.raises(ArtefactError):
        decode_artefact(rebuilt(files["random-basis"], config(**values)))


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_a_seed_that_is_none_is_refused(seed, files, rebuilt):
    with pytest.raises(ArtefactError):
        decode_artefact(rebuilt(files["random-basis"], config(basis_seed=seed)))


def tensor_names():
    return [(name, key) for name, make in KINDS.items() for key in make().state_dict()]


@pytest.mark.parametrize(("name", "key"), tensor_names())
def test_a_missing_tensor_is_named(name, key, files, rebuilt):
    with pytest.raises(ArtefactError, match=f"images.{key}"):
        decode_artefact(rebuilt(files[name], change_tensors=lambda stored: stored.pop(f"images.{key}")))


@pytest.mark.parametrize(("name", "key"), tensor_names())
def test_a_tensor_of_another_shape_is_named(name, key, files, rebuilt):
    def longer(stored):
        value = stored[f"images.{key}"]
        stored[f"images.{key}"] = torch.cat([value, value])

    with pytest.raises(ArtefactError, match=rf"images\.{key} is .* but the metadata say"):
        decode_artefact(rebuilt(files[name], change_tensors=longer))


@pytest.mark.parametrize(("name", "bad"), list(itertools.product(KINDS, [float("nan"), float("inf"), 1e7])))
def test_values_that_are_no_numbers_are_refused(name, bad, sets, rebuilt):
    data = encode_artefact(sets[name], metadata={}, precision="float32")

    def spoil(stored):
        key = next(key for key in sorted(stored) if key.startswith("images."))
        stored[key].view(-1)[0] = bad

    with pytest.raises(ArtefactError, match=r"images\..* NaN, infinite or beyond"):
        decode_artefact(rebuilt(data, change_tensors=spoil))

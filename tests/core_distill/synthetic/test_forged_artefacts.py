"""Well-formed files whose metadata or tensors lie: refused with what is wrong, before a claimed size is allocated."""

import pytest
import torch

from core_distill.synthetic.storage import ArtefactError, decode_artefact, encode_artefact

HUGE = 10**10


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(layout):
        for key in path:
            layout = layout[key]
        layout[last] = value

    return change


def at(mode, *changes):
    """A change of a file of one label mode."""
    return pytest.param(mode, lambda layout: [change(layout) for change in changes])


@pytest.mark.parametrize(
    ("mode", "change"),
    [
        at("hard", put("decoder", "config", "shape", [HUGE, 1, 2, 3])),
        at("hard", put("labels", "config", "slots", HUGE)),
        at("soft", put("labels", "config", "shape", [HUGE, 3])),
        at("soft", put("labels", "config", "shape", [HUGE, HUGE])),
        at("given", put("labels", "config", "shape", [HUGE, 3])),
        at("hard", put("images_per_class", HUGE)),
        at("soft", put("images_per_class", HUGE)),
        at("soft", put("num_classes", HUGE)),
        at(
            "soft",
            put("images_per_class", HUGE),
            put("decoder", "config", "shape", [2 * HUGE, 1, 2, 3]),
            put("labels", "config", "shape", [2 * HUGE, 3]),
        ),
    ],
)
def test_a_huge_claim_is_refused_quickly_and_without_memory(mode, change, artefacts, rebuilt, quickly):
    data = rebuilt(artefacts[mode], change)
    with (
        quickly(),
        pytest.raises(ArtefactError, match=r"metadata say|need \d+ slots|soft labels must be|size calculation"),
    ):
        decode_artefact(data)


@pytest.mark.parametrize(
    ("mode", "change", "message"),
    [
        ("hard", put("schema", 2), r"schema 2 is not known here, only 1; install a newer"),
        ("hard", put("precision", "int4"), "precision must be one of"),
        ("hard", put("precision", "float32"), r"images\.pixels is torch\.int64"),
        ("hard", put("decoder", "name", "wavelets"), "decoder 'wavelets' is not known here, only .*pixels"),
        ("hard", put("labels", "name", "oracle"), "labels 'oracle' is not known here, only hard, soft, given"),
        ("hard", put("labels", "name", "soft"), "not a synthetic set"),
        ("soft", put("labels", "name", "given"), r"labels\.probabilities is missing"),
        (
            "hard",
            put("decoder", "config", "shape", [4, 1, 3, 2]),
            r"is torch\.float32 \(4, 1, 2, 3\), but the metadata",
        ),
        ("hard", put("decoder", "config", "shape", [4, -1, 2, 3]), "not a synthetic set"),
        ("hard", put("decoder", "config", {}), "not a synthetic set"),
        ("hard", put("decoder", "config", "extra", 1), "not a synthetic set"),
        ("hard", put("labels", "config", "slots", 3), r"labels\.targets is torch\.int64 \(4,\)"),
        ("hard", put("num_classes", 2), r"classes must ascend within 0\.\.1"),
        ("hard", put("num_classes", 3.0), r"num_classes cannot be 3\.0"),
        ("hard", put("num_classes", True), "num_classes cannot be True"),
        ("soft", put("num_classes", 4), r"soft labels must be \(4, 4\)"),
        ("hard", put("images_per_class", 1), "2 classes of 1 need 2 slots"),
        ("soft", put("images_per_class", 1), "2 classes of 1 need 2 slots"),
        ("soft", put("images_per_class", 3), "2 classes of 3 need 6 slots"),
        ("hard", put("images_per_class", 2.0), r"images_per_class cannot be 2\.0"),
        ("hard", put("images_per_class", 0), "at least 1"),
        ("hard", put("learn_step_size", "no"), "learn_step_size cannot be 'no'"),
    ],
)
def test_a_layout_that_lies_is_refused(mode, change, message, artefacts, rebuilt):
    with pytest.raises(ArtefactError, match=message):
        decode_artefact(rebuilt(artefacts[mode], change))


def replaced(**tensors):
    return lambda stored: stored.update({name.replace("__", "."): value for name, value in tensors.items()})


def without(name):
    return lambda stored: stored.pop(name)


@pytest.mark.parametrize("name", ["class_numbers", "images.pixels", "images.pixels.range", "mean", "std", "step_size"])
def test_a_missing_tensor_is_named(name, artefacts, rebuilt):
    with pytest.raises(ArtefactError, match=name.removesuffix(".range").replace(".", r"\.")):
        decode_artefact(rebuilt(artefacts["hard"], change_tensors=without(name)))


INT8 = torch.int8


@pytest.mark.parametrize(
    ("mode", "change", "message"),
    [
        ("hard", replaced(extra=torch.zeros(1)), "tensors that do not belong here: extra"),
        ("hard", replaced(mean__range=torch.zeros(2)), "mean"),
        ("hard", replaced(images__pixels__range__range=torch.zeros(2)), "range"),
        ("hard", replaced(images__pixels=torch.zeros(4, 1, 2, 3, dtype=INT8)), r"images\.pixels must be uint8 levels"),
        ("hard", replaced(images__pixels=torch.zeros(4, 1, 2, 3)), r"images\.pixels must be uint8 levels"),
        ("hard", replaced(images__pixels=torch.zeros(4, 1, 2, 3, dtype=torch.bool)), r"images\.pixels must be uint8"),
        (
            "hard",
            replaced(images__pixels=torch.zeros(5, 1, 2, 3, dtype=torch.uint8)),
            r"\(5, 1, 2, 3\), but the metadata",
        ),
        ("hard", replaced(images__pixels__range=torch.tensor([0.0, torch.inf])), "NaN, infinite"),
        ("hard", replaced(images__pixels__range=torch.tensor([torch.nan, 1.0])), "smaller first"),
        ("hard", replaced(images__pixels__range=torch.tensor([0.0, 1e7])), "beyond 1e"),
        ("hard", replaced(mean=torch.zeros(1).double()), r"mean is torch\.float64"),
        ("hard", replaced(mean=torch.zeros(1, dtype=torch.complex64)), r"mean is torch\.complex64"),
        ("hard", replaced(mean=torch.zeros(2)), "mean and std must be 1 numbers"),
        ("hard", replaced(mean=torch.zeros(2), std=torch.ones(2)), "mean and std must be 1 numbers"),
        ("hard", replaced(std=torch.zeros(1)), "std above 0"),
        ("hard", replaced(std=torch.tensor([-1.0])), "std above 0"),
        ("hard", replaced(std=torch.tensor([torch.nan])), "NaN"),
        ("hard", replaced(step_size=torch.zeros(0)), r"step_size must be one number .* got shape \(0,\)"),
        ("hard", replaced(step_size=torch.full((2, 2), 0.1)), r"got shape \(2, 2\)"),
        ("hard", replaced(step_size=torch.tensor(0.0)), "step_size must be finite and above 0, got 0 to 0"),
        ("hard", replaced(step_size=torch.tensor([0.1, -0.2])), r"above 0, got -0\.2 to 0\.1"),
        ("hard", replaced(step_size=torch.tensor([0.1, torch.inf])), "step_size has values that are NaN, infinite"),
        ("hard", replaced(step_size=torch.tensor([0.1, 0.2]).double()), r"step_size is torch\.float64"),
        ("hard", replaced(step_size=torch.tensor(1)), r"step_size is torch\.int64"),
        ("hard", replaced(class_numbers=torch.tensor([2, 0], dtype=torch.uint8)), "must ascend"),
        ("hard", replaced(class_numbers=torch.tensor([0, 3], dtype=torch.uint8)), r"within 0\.\.2"),
        ("hard", replaced(class_numbers=torch.tensor([-1, 2])), "must ascend"),
        ("hard", replaced(class_numbers=torch.tensor([0, 1], dtype=torch.uint8)), "out of range or out of order"),
        ("hard", replaced(class_numbers=torch.tensor([[0, 2]])), "not a synthetic set|ascend|slots"),
        ("hard", replaced(class_numbers=torch.tensor(0)), "not a synthetic set"),
        ("hard", replaced(class_numbers=torch.tensor([0.0, 2.0])), r"class_numbers is torch\.float32"),
        ("hard", replaced(class_numbers=torch.zeros(0, dtype=torch.int64)), "must ascend"),
        ("hard", replaced(labels__targets=torch.tensor([0, 0, 2, 9])), "out of range or out of order"),
        ("hard", replaced(labels__targets=torch.tensor([0, 2, 0, 2])), "out of range or out of order"),
        ("hard", replaced(labels__targets=torch.tensor([-1, 0, 2, 2])), "out of range or out of order"),
        ("soft", replaced(labels__logits=torch.full((4, 3), torch.nan)), r"labels\.logits has values that are NaN"),
        ("given", replaced(labels__probabilities=torch.full((4, 3), -0.1)), "not negative"),
        ("given", replaced(labels__probabilities=torch.full((4, 2), 0.1)), "but the metadata say"),
    ],
)
def test_tensors_that_lie_are_refused(mode, change, message, artefacts, rebuilt):
    with pytest.raises(ArtefactError, match=message):
        decode_artefact(rebuilt(artefacts[mode], change_tensors=change))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e7])
def test_pixels_that_are_no_numbers_are_refused(value, make_set, rebuilt):
    data = encode_artefact(make_set(), metadata={}, precision="float32")
    pixels = make_set().images.pixels.detach().clone()
    pixels[3, 0, 1, 2] = value
    with pytest.raises(ArtefactError, match=r"images\.pixels has values that are NaN, infinite or beyond 1e\+06"):
        decode_artefact(rebuilt(data, change_tensors=replaced(images__pixels=pixels)))


@pytest.mark.parametrize("shape", [(4, 1, 0, 3), (4, 0), (4,)])
def test_images_without_pixels_are_refused(shape, artefacts, rebuilt):
    empty = {"images__pixels": torch.zeros(shape, dtype=torch.uint8)}
    with pytest.raises(ArtefactError, match="there is nothing in images"):
        decode_artefact(rebuilt(artefacts["hard"], put("decoder", "config", "shape", list(shape)), replaced(**empty)))

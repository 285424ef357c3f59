"""Every kind of images and labels travels as agreed, and is bounded by what was agreed."""

from dataclasses import replace

import pytest
import torch

from core_distill.recipes import LABEL_MODES, initial_set, train_experts_for
from core_distill.synthetic.bounded import BOUNDED
from core_distill.synthetic.kinds import LABELS, PARAMETRISATIONS
from core_distill.training.expert_settings import ExpertTraining
from federated import (
    Agreement,
    RecordError,
    from_record,
    to_record,
)
from federated.kinds import REFUSED, decoded_per_image
from federated.wire import artefact_bytes


def test_every_kind_may_be_sent_or_is_refused_with_a_reason(toy_values):
    assert {*BOUNDED, *REFUSED} == set(PARAMETRISATIONS)
    assert not {*BOUNDED} & {*REFUSED}
    assert set(toy_values) == set(BOUNDED)


@pytest.mark.parametrize("mode", LABEL_MODES)
def test_an_agreement_names_the_labels_that_a_mode_makes(mode, recipe_of, data_of):
    recipe, real = recipe_of(labels=mode, images_per_class=2), data_of()
    if LABEL_MODES[mode].taught:
        recipe = replace(recipe, experts=ExpertTraining(num_experts=1, training_epochs=1))
    made = initial_set(real, recipe, seed=0, experts=train_experts_for(real, recipe))
    agreement = Agreement.for_recipe(real, recipe)
    assert [LABELS[name] for name in agreement.label_modes] == [type(made.labels)]
    arrived = from_record(to_record(made, metadata={}), agreement=agreement)
    assert torch.equal(arrived.batch().labels, made.batch().labels)
    others = tuple(name for name in LABELS if name not in agreement.label_modes)
    with pytest.raises(
        RecordError, match=f"labels are {type(made.labels).__name__}, agreed were {', '.join(others)} ones"
    ):
        from_record(to_record(made, metadata={}), agreement=replace(agreement, label_modes=others))


@pytest.mark.parametrize("kind", BOUNDED)
def test_a_set_travels_where_its_kind_was_agreed_and_only_there(kind, sets):
    made, agreement = sets[kind]
    assert agreement.image_kinds == (kind,)
    record = to_record(made, metadata={"recipe": "dm"})
    arrived = from_record(record, agreement=agreement)
    assert type(arrived.images) is PARAMETRISATIONS[kind]
    assert artefact_bytes(to_record(arrived, metadata={"recipe": "dm"})) == artefact_bytes(record)
    others = tuple(name for name in BOUNDED if name != kind)
    for taken in (others, ("pixels",) if kind != "pixels" else ("low-rank",)):
        with pytest.raises(RecordError, match=f"images are {type(made.images).__name__}, agreed were {taken[0]}"):
            from_record(record, agreement=replace(agreement, image_kinds=taken))


@pytest.mark.parametrize("kind", BOUNDED)
def test_an_empty_set_knows_the_shape_of_its_images(kind, sets):
    made, _ = sets[kind]
    with torch.device("meta"):
        empty = PARAMETRISATIONS[kind].from_config(**made.images.config())
    assert empty.image_shape == made.image_shape == tuple(made.batch().images.shape[1:])


@pytest.mark.parametrize("classes", [(0, 1, 2), (1,)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (1, 12, 16)])
@pytest.mark.parametrize("kind", BOUNDED)
def test_no_honest_set_shows_more_than_is_agreed(kind, shape, classes, recipe_of, data_of):
    """Whatever classes a client has; and what is agreed is of the size of what all classes show."""
    recipe = recipe_of(kind, images_per_class=24)
    real = data_of(shape, classes=classes)
    made = initial_set(real, recipe, seed=0)
    agreement = Agreement.for_recipe(data_of(shape), recipe)
    from_record(to_record(made, metadata={}), agreement=agreement)
    shown = made.images_per_class * made.views
    agreed = agreement.images_per_class * agreement.decoded_per_image
    assert shown <= agreed
    if kind in ("pixels", "multi-formation", "random-basis"):
        assert shown == agreed
    if len(classes) == 3:
        assert agreed < 2.6 * shown


def test_labels_of_every_slot_fit_into_the_bytes_agreed(recipe_of, data_of):
    """Two images of low rank for one of pixels, each with 100 probabilities of 4 bytes."""
    recipe = recipe_of("low-rank", labels="soft")
    real = data_of(num_classes=100, classes=tuple(range(100)))
    record = to_record(initial_set(real, recipe, seed=0), metadata={})
    agreement = Agreement.for_recipe(real, recipe)
    assert len(artefact_bytes(record)) > 100 * 8 * (64 + 4 * 100) + 65_536
    assert len(from_record(record, agreement=agreement)) == 1600


@pytest.mark.parametrize(
    ("kind", "values", "shape", "expected"),
    [
        ("pixels", {}, (3, 32, 32), 1),
        ("multi-formation", {"factor": 3}, (3, 32, 32), 9),
        ("low-rank", {"rank": 2}, (1, 28, 28), 7),
        ("random-basis", {"compression": 40}, (1, 8, 8), 40),
        ("addressable-memory", {"bases": 16}, (3, 32, 32), 192),
        ("hallucinated-bases", {"hallucinators": 5}, (3, 32, 32), 5),
        ("hallucinated-bases", {"hallucinators": 5, "single_channel": True}, (3, 32, 32), 15),
        ("shared-decoders", {"decoders": 3, "code_channels": 6}, (3, 32, 32), 24),
    ],
)
def test_how_many_images_stand_in_place_of_one(kind, values, shape, expected, recipe_of):
    assert decoded_per_image(recipe_of(kind, **values), shape) == expected

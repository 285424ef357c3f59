"""What cannot be sent is refused before a client works."""

import warnings
from dataclasses import replace

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.evaluation import Protocol
from core_distill.recipes import RECIPES, find_recipe
from core_distill.synthetic.bounded import BOUNDED
from core_distill.synthetic.kinds import PARAMETRISATIONS
from core_distill.synthetic.latents import Latents
from federated import (
    Agreement,
    SyntheticSetStrategy,
    run_simulation,
)
from federated.kinds import check_start


def test_what_cannot_be_sent_is_refused_with_the_agreement(recipe_of, data_of):
    real = data_of()
    for wrong, message in (
        (recipe_of("latents"), "images=latents, whose generator travels with them.*: set images to one of .*low-rank"),
        (
            replace(recipe_of(), images=lambda start: None),
            "clients cannot send images='<lambda>': set images to one of",
        ),
        (
            replace(recipe_of(labels="soft"), labels=lambda slots: None),
            "clients cannot send labels='<lambda>': set labels to one of hard",
        ),
        (
            replace(recipe_of(), initialise=lambda start, count: None),
            "initialise must be one of clustered, noise, real",
        ),
        (recipe_of("multi-formation", factor=9), "factor must lie in 1..8"),
        (recipe_of("low-rank", rank=7), "rank 7 stores more"),
        (recipe_of("hallucinated-bases", hallucinators=50), "use fewer hallucinators, or 25 images_per_class"),
        (recipe_of("addressable-memory", bases=500), "use fewer bases"),
        (recipe_of("random-basis", compression=100), "compression must lie in 1..64"),
        (recipe_of("shared-decoders", decoders=90), "take more images a class, or fewer decoders"),
    ):
        with pytest.raises(ValueError, match=message) as told:
            Agreement.for_recipe(real, wrong)
        assert "\n" not in str(told.value)
    texts = ClassSampler(torch.randn(6, 5, 4), torch.arange(6) % 2, num_classes=2, mean=[0.0] * 5, std=[1.0] * 5)
    with pytest.raises(ValueError, match=r"are made of images .*: use pixels"):
        Agreement.for_recipe(texts, recipe_of("low-rank", augment=""))
    with pytest.raises(ValueError, match=r"recipe dm augments images .*: leave its operations out"):
        Agreement.for_recipe(texts, recipe_of())
    assert Agreement.for_recipe(texts, recipe_of(augment="")).image_shape == (5, 4)


def test_agreements_name_kinds_that_can_be_sent(data_of):
    for changes, message in (
        ({"image_kinds": ()}, "image_kinds are empty"),
        ({"image_kinds": ("pixels", "gan")}, "clients cannot send images='gan': set images to one of addressable"),
        ({"image_kinds": ("latents",)}, "images=latents, whose generator"),
        ({"decoded_per_image": 0}, "decoded_per_image must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Agreement.like(data_of(), images_per_class=2, **changes)


def test_a_kind_that_is_not_listed_yet_is_refused(monkeypatch, data_of):
    monkeypatch.setitem(PARAMETRISATIONS, "holograms", Latents)
    with pytest.raises(ValueError, match="images=holograms, which the server would not know how to bound"):
        Agreement.like(data_of(), images_per_class=2, image_kinds=("holograms",))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_federated_or_says_what_to_change(name, data_of):
    recipe = find_recipe(name, images_per_class=8, data="digits", schedule="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if name == "it-gan":
            with pytest.raises(ValueError, match="clients cannot send images=latents"):
                Agreement.for_recipe(data_of(num_classes=10, classes=tuple(range(10))), recipe)
        else:
            Agreement.for_recipe(data_of(num_classes=10, classes=tuple(range(10))), recipe).check_recipe(recipe)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "multi-formation"}, "images are multi-formation, agreed were pixels; up to 32 .* at most 8"),
        ({"labels": "soft"}, "labels are stored as soft, agreed were hard"),
        ({"images_per_class": 9}, "9 images_per_class, agreed were at most 8"),
        ({"kind": "latents"}, "images=latents, whose generator"),
    ],
)
def test_a_strategy_refuses_a_recipe_whose_sets_it_would_drop(changed, message, recipe_of, data_of):
    agreement = Agreement.like(data_of(), images_per_class=8)
    with pytest.raises(ValueError, match=message):
        SyntheticSetStrategy(recipe_of(**changed), agreement, protocol=Protocol(), seed=0)
    SyntheticSetStrategy(recipe_of(), agreement, protocol=Protocol(), seed=0)


def test_a_simulation_is_refused_before_flower_starts(digits, monkeypatch, recipe_of):
    def started(*_):
        raise AssertionError("Flower started")

    monkeypatch.setattr("federated.simulate._run_flower", started)
    parts = [torch.arange(100), torch.arange(5)]  # sorted by class: of one class each
    with pytest.raises(ValueError, match="clients cannot send images=latents"):
        run_simulation(digits, recipe_of("latents"), parts)
    with pytest.raises(ValueError, match=r"^client 0, of 1 class: 3 hallucinators take .* images_per_class$"):
        run_simulation(digits, recipe_of("hallucinated-bases", hallucinators=3, images_per_class=5), parts)
    with pytest.raises(ValueError, match=r"the server would refuse .*agreed were low-rank.*: use Agreement.for_recipe"):
        run_simulation(
            digits,
            recipe_of(),
            parts,
            agreement=Agreement.like(digits.train, images_per_class=9, image_kinds=("low-rank",)),
        )


def test_values_that_the_method_refuses_are_refused_with_the_agreement(data_of):
    recipe = find_recipe("datm", images_per_class=2, data="digits", schedule="cpu").with_values(
        {"min_start": 0, "max_start": 1}
    )
    with pytest.raises(ValueError, match="first_max_start must lie above min_start"):
        Agreement.for_recipe(data_of(), recipe)


def test_the_budget_is_looked_at_before_anything_is_drawn_or_trained(monkeypatch, recipe_of, data_of):
    def draw(*_):
        raise AssertionError("drawn")

    monkeypatch.setattr(ClassSampler, "by_class", draw)
    monkeypatch.setattr(ClassSampler, "batch", draw)
    one_class = data_of(classes=(1,))
    for kind in BOUNDED:
        check_start(one_class, recipe_of(kind, images_per_class=24))
    with pytest.raises(ValueError, match="use fewer hallucinators"):
        check_start(one_class, recipe_of("hallucinated-bases", images_per_class=2, hallucinators=5))

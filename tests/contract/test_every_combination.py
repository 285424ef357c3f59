"""The library's promise: any method, any parametrisation, any label mode, run, saved, loaded and resumed alike."""

import itertools

import pytest
import torch

from core_distill.checkpoint import Checkpoint
from core_distill.data.representatives import RepresentativeSampler
from core_distill.networks import FreshNetworks
from core_distill.recipes import IMAGE_STARTS, LABEL_MODES, RECIPES, find_recipe, prepare, run_plan
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.storage import decode_artefact, encode_artefact

pytestmark = pytest.mark.filterwarnings("ignore:the second player of HaBa has no effect")

SEES_NO_LABELS = ("cafe", "dm", "it-gan", "kfs", "low-rank", "pranc")
"""Recipes of methods that compare features alone: no gradient would ever move a learned label."""

DRAWS_OVER_ALL_CLASSES = (
    *("bpc-forward-kl", "bpc-reverse-kl", "bpc-wasserstein", "datm", "dd", "frepo", "ftd", "haba", "ld", "ld-ridge"),
    *("linba", "lorraine", "maclaurin", "mtt", "rat-bptt", "rcig", "rfad", "sldd", "sldd-text", "tesla"),
)
"""Recipes whose losses take real images of all classes alike, or experts alone: none that stand for their class."""

LEARNS_LABELS_ALONE = ("ld", "ld-ridge")
"""Recipes of methods that leave images as they start."""

SMALL = {
    "steps": 3,
    "batch_size": 4,
    "width": 4,
    "depth": 2,
    "outer_steps": 1,
    "inner_steps": 2,
    "inner_epochs": 2,
    "slots_per_class": 1,
    "base_batch_size": 4,
    "patience": 1,
    "num_experts": 1,
    "training_epochs": 2,
    "max_start": 1,
    "first_max_start": 1,
    "loss_limit": 100.0,
    "expert_epochs": 1,
    "pool_size": 1,
    "bases": 4,
    "hallucinators": 2,
    "samples": 2,
    "terms": 2,
    "outer_warmup": 1,
    "inner_schedule": (2, 1),
    "network_images": 8,
    "query_size": 2,
    "window": 2,
    "max_losses": 1,
    "max_epochs": 2,
    "num_frequencies": 8,
    "hidden": (4,),
    "view": 2,
    "num_networks": 2,
    "inverse_steps": 2,
    "fit_steps": 2,
    "generator_steps": 2,
    "generator_width": 4,
    "inversion_steps": 2,
    "candidates": 8,
    "refresh": 2,
}
"""Toy values of what some recipes have and others have not."""

BUDGETS = {"hallucinated-bases": 3, "shared-decoders": 3}
"""Images a class where 2 would not pay for two slots a class."""

TABLE = sorted(itertools.product(RECIPES, IMAGE_STARTS, LABEL_MODES))


def refusal(name, labels):
    """What the error says of a combination that makes no sense; nothing where there is none."""
    if name in SEES_NO_LABELS and LABEL_MODES[labels].learned:
        return "gives no gradient to labels"
    if name in LEARNS_LABELS_ALONE and not LABEL_MODES[labels].learned:
        return "its labels must be learned"
    return ""


def toy(name, images, **parts):
    recipe = find_recipe(name, images_per_class=BUDGETS.get(images, 2), data="digits", schedule="cpu")
    recipe = recipe.with_values({"images": images, **parts})
    known = recipe.values()
    return recipe.with_values({key: value for key, value in SMALL.items() if key in known})


def run(sampler, recipe, path, observer):
    """One run with a checkpoint after every episode; returns the set."""
    plan = prepare(sampler, recipe, seed=1)
    checkpoint = Checkpoint(path, identity={}, every_seconds=0)
    return run_plan(plan, steps=recipe.steps, seed=1, checkpoint=checkpoint, observers=[observer])


def kill(progress):
    if progress.step == 2:
        raise KeyboardInterrupt


@pytest.fixture
def networks(monkeypatch):
    """Every network that a run makes."""
    made, make = [], FreshNetworks.__call__

    def recorded(self, generator):
        made.append(make(self, generator))
        return made[-1]

    monkeypatch.setattr(FreshNetworks, "__call__", recorded)
    return made


@pytest.mark.parametrize(("name", "images", "labels"), TABLE)
def test_a_combination(name, images, labels, sampler, tmp_path, networks):
    if refusal(name, labels):
        with pytest.raises(ValueError, match=refusal(name, labels)):
            toy(name, images, labels=labels)
        return
    check(toy(name, images, labels=labels), sampler, tmp_path, networks)


@pytest.mark.parametrize("part", [{"batches": "representative"}, {"average": 0.9}], ids=lambda part: next(iter(part)))
def test_parts_that_go_with_any_method(part, sampler, tmp_path, networks):
    check(toy("dc", "pixels", **part), sampler, tmp_path, networks)


@pytest.mark.parametrize("name", RECIPES)
def test_representatives_are_drawn_or_refused(name, sampler, monkeypatch):
    if name in DRAWS_OVER_ALL_CLASSES:
        with pytest.raises(ValueError, match=f"recipe {name} draws no real images class by class .* batches=uniform"):
            toy(
                name,
                "pixels",
                labels=find_recipe(name, images_per_class=2).values()["labels"],
                batches="representative",
            )
        return
    choices, choose = [], RepresentativeSampler._choose

    def counted(self, size, generator):
        choices.append(size)
        return choose(self, size, generator)

    monkeypatch.setattr(RepresentativeSampler, "_choose", counted)
    plan = prepare(sampler, toy(name, "pixels", batches="representative"), seed=0)
    run_plan(plan, steps=1, seed=0)
    assert choices


@pytest.mark.parametrize("name", RECIPES)
def test_episodes_hand_the_set_their_generator(name, sampler, monkeypatch):
    """What a parametrisation draws, as hallucinators for bases, comes from the run's seed."""
    handed, decode = [], SyntheticSet._decode

    def recorded(self, slots, generator):
        handed.append(generator)
        return decode(self, slots, generator)

    plan = prepare(sampler, toy(name, "pixels"), seed=1)
    monkeypatch.setattr(SyntheticSet, "_decode", recorded)
    run_plan(plan, steps=3, seed=1)
    assert len(handed) >= 1
    assert None not in handed


def check(recipe, sampler, tmp_path, networks):
    """It moves all that is learned by finite gradients and leaves the networks' alone; the same seed gives the same bits,
    also through a kill, a restart and a file."""
    gradients = []

    def look(progress):
        gradients.extend(value.grad.clone() for value in progress.synthetic.parameters() if value.requires_grad)

    before = prepare(sampler, recipe, seed=1).synthetic.state_dict()
    whole = run(sampler, recipe, tmp_path / "whole", look)
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    learned = [key for key, value in whole.named_parameters() if value.requires_grad]
    assert {key.split(".")[0] for key in learned} == {part.replace(" ", "_") for part in recipe.learned}
    assert [key for key in learned if torch.equal(whole.state_dict()[key], before[key])] == []
    assert all(value.grad is None for network in networks for value in network.parameters())

    with pytest.raises(KeyboardInterrupt):
        run(sampler, recipe, tmp_path / "killed", kill)
    assert (tmp_path / "killed").is_file()
    resumed = run(sampler, recipe, tmp_path / "killed", lambda progress: None)
    data = encode_artefact(whole, metadata={}, precision="float32")
    assert encode_artefact(resumed, metadata={}, precision="float32") == data
    read = decode_artefact(data).synthetic
    assert read.state_dict().keys() == whole.state_dict().keys()
    assert all(torch.equal(read.state_dict()[key], value) for key, value in whole.state_dict().items())
    for ours, theirs in zip(read.by_class()[:2], whole.by_class()[:2], strict=True):
        assert torch.equal(ours, theirs)


def test_no_two_parts_of_a_recipe_share_a_name():
    """`--set name=value` means one thing."""
    from core_distill.recipes.values import keywords

    for name, images, labels in TABLE:
        if refusal(name, labels):
            continue
        recipe = toy(name, images, labels=labels)
        parts = [keywords(getattr(recipe, part)) for part in ("method", "network", "images", "labels", "batches")]
        parts += [recipe.experts.values() if recipe.experts else {}]
        names = [value for part in parts for value in part]
        assert len(set(names)) == len(names), (name, images, labels)

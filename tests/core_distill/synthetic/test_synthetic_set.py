"""Synthetic sets: order and shapes of what they hand out, ordinary data sets made of them, and what does not fit."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from core_distill.data import ClassSampler
from core_distill.recipes import find_recipe, initial_set
from core_distill.synthetic import HardLabels, Pixels, SyntheticSet
from core_distill.synthetic.storage import save_artefact

MODES = ["given", "hard", "soft"]


class TwoViews(nn.Module):
    """Each slot gives its image and the negative."""

    views = 2
    num_slots = 4

    def __init__(self):
        super().__init__()
        self.base = nn.Parameter(torch.arange(4.0).view(4, 1))

    def forward(self, slots, generator=None):
        return torch.stack([self.base[slots], -self.base[slots]], 1).flatten(0, 1)


def test_batch_gives_class_after_class(make_set):
    synthetic = make_set()
    images, labels, weights = synthetic.batch()
    assert torch.equal(images, synthetic.images.pixels)
    assert labels.tolist() == [0, 0, 2, 2]
    assert weights is None
    assert len(synthetic) == 4
    assert synthetic.classes.tolist() == [0, 2]


@pytest.mark.parametrize("mode", MODES)
def test_by_class_has_one_row_a_class_present(mode, make_set):
    synthetic = make_set(mode)
    images, labels = synthetic.by_class()[:2]
    assert images.shape == (2, 2, 1, 2, 3)
    assert labels.shape == ((2, 2) if mode == "hard" else (2, 2, 3))
    flat = synthetic.batch()
    assert torch.equal(images.flatten(0, 1), flat.images)
    assert torch.equal(labels.flatten(0, 1), flat.labels)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("rows", "slots"), [(slice(1, 2), [2, 3]), (slice(0, 1), [0, 1]), (slice(0, 9), [0, 1, 2, 3])])
def test_of_some_rows_no_other_slot_is_decoded(rows, slots, mode, make_set):
    synthetic, decoded = make_set(mode), []
    whole = synthetic.by_class()
    for part in (synthetic.images, synthetic.labels):
        part.register_forward_pre_hook(lambda _, inputs: decoded.append(inputs[0].tolist()))
    found = synthetic.by_class(rows=rows)
    assert decoded == [slots, slots]
    assert torch.equal(found.images, whole.images[rows])
    assert torch.equal(found.labels, whole.labels[rows])


def test_a_smaller_batch_is_drawn_without_replacement_by_the_generator(make_set):
    synthetic = make_set()
    draws = [synthetic.batch(3, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6, 7)]
    assert torch.equal(draws[0].images, draws[1].images)
    assert not all(torch.equal(draws[0].images, other.images) for other in draws[2:])
    for images, labels, _ in draws:
        places = [(synthetic.images.pixels == image).flatten(1).all(1).nonzero().item() for image in images]
        assert len(set(places)) == 3
        assert torch.equal(labels, synthetic.labels.targets[places])


@pytest.mark.parametrize("size", [4, 5, None])
def test_a_batch_as_large_as_the_set_is_the_set_in_order(size, make_set):
    synthetic = make_set()
    assert torch.equal(synthetic.batch(size).images, synthetic.images.pixels)


def test_views_of_a_slot_stand_next_to_each_other_with_its_label():
    synthetic = SyntheticSet(
        TwoViews(),
        HardLabels(torch.tensor([0, 0, 1, 1]), 2),
        classes=[0, 1],
        num_classes=2,
        images_per_class=2,
        mean=[0.0],
        std=[1.0],
    )
    assert (len(synthetic), synthetic.num_slots) == (8, 4)
    images, labels = synthetic.batch()[:2]
    assert images.flatten().tolist() == [0, 0, 1, -1, 2, -2, 3, -3]
    assert labels.tolist() == [0] * 4 + [1] * 4
    grouped = synthetic.by_class()
    assert grouped.images.shape == (2, 4, 1)
    assert grouped.labels.tolist() == [[0] * 4, [1] * 4]
    assert torch.equal(synthetic.by_class(rows=slice(1, 2)).images, grouped.images[1:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": [2, 0]}, r"ascend within 0\.\.2, got \[2, 0\]"),
        ({"classes": [0, 0]}, "ascend"),
        ({"classes": [-1, 0]}, "ascend"),
        ({"classes": [0, 3]}, r"within 0\.\.2, got \[0, 3\]"),
        ({"classes": []}, "ascend"),
        ({"images_per_class": 0}, "at least 1, got 0"),
        ({"images_per_class": 3}, "2 classes of 3 need 6 slots, images have 4 and labels 4"),
        ({"images": Pixels(torch.zeros(5, 1))}, "images have 5 and labels 4"),
        ({"labels": HardLabels(torch.tensor([0, 2]), 3)}, "images have 4 and labels 2"),
        ({"step_size": 0}, "step_size must be finite and above 0, got 0 to 0"),
        ({"step_size": [0.1, -0.5, 0.2]}, r"above 0, got -0\.5 to 0\.2"),
        ({"step_size": float("nan")}, "step_size must be finite"),
        ({"step_size": [0.1, float("inf")]}, "step_size must be finite"),
        ({"step_size": []}, r"one number or one for each step, got shape \(0,\)"),
        ({"step_size": torch.ones(2, 2)}, r"one number or one for each step, got shape \(2, 2\)"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes, message):
    parts = {
        "images": Pixels(torch.zeros(4, 1)),
        "labels": HardLabels(torch.tensor([0, 0, 2, 2]), 3),
        "classes": [0, 2],
        "num_classes": 3,
        "images_per_class": 2,
        "mean": [0.0],
        "std": [1.0],
    } | changes
    with pytest.raises(ValueError, match=message):
        SyntheticSet(**parts)


def test_the_step_size_is_learned_only_on_request(make_set):
    fixed, learned = make_set(), make_set(learn_step_size=True)
    assert "step_size" not in dict(fixed.named_parameters())
    assert "step_size" in dict(learned.named_parameters())
    assert learned.step_size.item() == pytest.approx(0.02)
    assert fixed.state_dict().keys() == learned.state_dict().keys()


@pytest.mark.parametrize("step_size", [[0.5, 0.25], (0.5, 0.25), torch.tensor([0.5, 0.25])])
@pytest.mark.parametrize("learned", [False, True])
def test_there_may_be_a_step_size_for_each_step(step_size, learned, make_set):
    synthetic = make_set(step_size=step_size, learn_step_size=learned)
    assert synthetic.step_size.tolist() == [0.5, 0.25]
    assert isinstance(synthetic.step_size, nn.Parameter) == learned


def test_a_set_has_a_step_size_of_its_own(make_set):
    given = torch.tensor([0.5, 0.25])
    synthetic = make_set(step_size=given)
    given.zero_()
    assert synthetic.step_size.tolist() == [0.5, 0.25]


def test_constraining_stops_a_learned_step_size_short_of_zero(make_set):
    synthetic = make_set(step_size=[0.5, 0.25, 0.125], learn_step_size=True)
    with torch.no_grad():
        synthetic.step_size.sub_(torch.tensor([0.0, 0.25, 9.0]))
    before = synthetic.images.pixels.detach().clone()
    synthetic.constrain()
    assert synthetic.step_size.tolist() == pytest.approx([0.5, 1e-6, 1e-6])
    assert torch.equal(synthetic.images.pixels, before)


def test_constraining_hides_no_divergence(make_set):
    synthetic = make_set(step_size=[0.5, 0.25], learn_step_size=True)
    with torch.no_grad():
        synthetic.step_size[0] = float("nan")
    synthetic.constrain()
    assert synthetic.step_size[0].isnan()


def real_data(shape):
    images = torch.randint(0, 256, (20, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    channels = shape[0]
    mean, std = torch.linspace(0.2, 0.4, channels), torch.linspace(0.3, 0.5, channels)
    return ClassSampler(images, torch.arange(20) % 2, num_classes=2, mean=mean, std=std)


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 5), (6,)])
def test_real_pixels_come_back_in_their_own_space(shape):
    real = real_data(shape)
    recipe = find_recipe("dm", images_per_class=10)
    dataset = initial_set(real, recipe, seed=0).as_dataset()
    for number in (0, 1):
        found = dataset.images[torch.tensor(dataset.targets) == number].mul(255)
        torch.testing.assert_close(found, found.round(), atol=1e-3, rtol=0)
        found = sorted(map(tuple, found.round().byte().flatten(1).tolist()))
        assert found == sorted(map(tuple, real.images[real.of_class(number)].flatten(1).tolist()))


@pytest.mark.parametrize("mode", MODES)
def test_normalised_is_what_evaluation_trains_on(mode, make_set):
    synthetic = make_set(mode)
    dataset, batch = synthetic.as_dataset(normalised=True), synthetic.batch()
    assert torch.equal(dataset.images, batch.images)
    assert torch.equal(dataset.labels, batch.labels)
    own = synthetic.as_dataset()
    assert torch.equal(own.images, batch.images * 0.5 + 0.25)
    assert torch.equal(own.labels, batch.labels)


@pytest.mark.parametrize("mode", MODES)
def test_a_dataset_has_ordinary_items_and_targets(mode, make_set):
    dataset = make_set(mode).as_dataset()
    assert len(dataset) == 4
    image, label = dataset[1]
    assert torch.equal(image, dataset.images[1])
    assert dataset.targets == (dataset.labels.tolist() if mode == "hard" else dataset.labels.argmax(1).tolist())
    assert all(isinstance(target, int) for target in dataset.targets)
    if mode == "hard":
        assert label == 0
        assert type(label) is int
    else:
        assert torch.equal(label, dataset.labels[1])


def test_a_dataset_is_detached_from_the_set(make_set):
    synthetic = make_set("soft")
    before = synthetic.images.pixels.detach().clone()
    dataset = synthetic.as_dataset(normalised=True)
    assert not dataset.images.requires_grad
    assert not dataset.labels.requires_grad
    dataset.images.zero_()
    assert torch.equal(synthetic.images.pixels, before)


@pytest.mark.parametrize("mode", MODES)
def test_a_data_loader_works(mode, make_set):
    dataset = make_set(mode).as_dataset()
    images, labels = zip(*DataLoader(dataset, batch_size=3), strict=True)
    assert torch.equal(torch.cat(images), dataset.images)
    assert torch.equal(torch.cat(labels), dataset.labels)


def test_a_loaded_set_trains_in_an_ordinary_loop(make_set, tmp_path):
    """Ten lines of plain PyTorch; the labels are learned by heart."""
    save_artefact(tmp_path / "s.safetensors", make_set(), metadata={})
    loader = DataLoader(SyntheticSet.load(tmp_path / "s.safetensors").as_dataset(), batch_size=2)
    network = nn.Linear(6, 3)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.zero_()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(60):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(images.flatten(1)), labels).backward()
            optimizer.step()
    right = [network(images.flatten(1)).argmax(1).eq(labels).all() for images, labels in loader]
    assert all(right)


def test_a_copy_is_a_set_of_its_own(make_set):
    synthetic = make_set("soft", learn_step_size=True)
    copied = copy.deepcopy(synthetic)
    with torch.no_grad():
        copied.images.pixels.add_(1)
    assert torch.equal(copied.batch().images, synthetic.batch().images + 1)

"""AutoAugment and RandAugment: each operation against torchvision's own, and what each image draws."""

from collections import Counter

import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, RandAugment
from torchvision.transforms.autoaugment import InterpolationMode, _apply_op

from core_distill.data import policies
from core_distill.data.policies import Change, ImagePolicy, apply_operation, autoaugment, randaugment
from core_distill.randomness import derive_generator

MEAN, STD = torch.tensor([0.4, 0.5, 0.3]), torch.tensor([0.2, 0.3, 0.25])


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def pixels(request):
    return torch.randint(0, 256, (6, request.param, 12, 9), dtype=torch.uint8, generator=derive_generator(0))


@pytest.mark.parametrize("bins", [10, 31])
@pytest.mark.parametrize("operation", policies.OPERATIONS)
def test_an_operation_is_that_of_torchvision(operation, bins, pixels):
    reference = AutoAugment() if bins == 10 else RandAugment()
    space = reference._augmentation_space(bins, tuple(pixels.shape[2:]))
    if operation not in space:
        pytest.skip("one has Invert, the other Identity")
    magnitudes, signed = space[operation]
    assert signed == (operation in policies._SIGNED)
    for place in (0, 4, bins - 1):
        for sign in (1, -1) if signed else (1,):
            magnitude = sign * float(magnitudes[place] if magnitudes.ndim else 0.0)
            expected = _apply_op(pixels, operation, magnitude, InterpolationMode.NEAREST, None)
            ours = apply_operation(pixels, operation, sign * place / (bins - 1))
            assert (ours.int() - expected.int()).abs().max() <= 1  # theirs round the magnitude to float32


def test_the_policies_are_those_of_torchvision():
    pairs = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    own = autoaugment(MEAN, STD).choices
    assert [[change.operation for change in pair] for pair in own] == [[name for name, *_ in pair] for pair in pairs]
    assert own[0] == (Change("Invert", 0.1, 0.0), Change("Contrast", 0.2, 6 / 9))
    assert {pair[0].operation for pair in randaugment(MEAN, STD).choices} == set(
        RandAugment()._augmentation_space(31, (9, 9))
    )


def test_each_image_draws_a_choice_chances_and_signs(monkeypatch):
    seen = Counter()

    def mark(pixels, operation, level):
        seen[operation, level > 0] += len(pixels)
        return pixels + {"Rotate": 1, "Invert": 10}[operation]

    monkeypatch.setattr(policies, "apply_operation", mark)
    choices = ((Change("Rotate", 1.0, 0.5), Change("Invert", 0.25, 0.0)), (Change("Invert", 0.0, 0.0),))
    policy = ImagePolicy(("mine",), choices, torch.zeros(1), torch.ones(1))
    changed = policy.per_image(torch.zeros(2_000, 1, 2, 2), derive_generator(1)) * 255
    counts = Counter(changed[:, 0, 0, 0].round().int().tolist())
    assert set(counts) == {0, 1, 11}
    assert counts[0] == pytest.approx(1_000, abs=100)
    assert counts[11] == pytest.approx(250, abs=60)
    assert seen["Rotate", True] == pytest.approx(500, abs=80)
    assert seen["Rotate", True] + seen["Rotate", False] == counts[1] + counts[11]


@pytest.mark.parametrize("make", [autoaugment, randaugment])
def test_images_stay_what_they_are_up_to_the_change(make):
    policy = make(MEAN, STD)
    pixels = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=derive_generator(2))
    images = (pixels / 255 - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)
    before = torch.get_rng_state()
    changed = policy.per_image(images, derive_generator(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(changed, policy.per_image(images, derive_generator(3)))
    assert not torch.equal(changed, policy.per_image(images, derive_generator(4)))
    levels = (changed * STD.view(-1, 1, 1) + MEAN.view(-1, 1, 1)) * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    assert changed.shape == images.shape
    moved = (changed - images).flatten(1).abs().amax(1) > 1e-3
    assert 20 <= moved.sum() < 40


def test_a_second_mini_batch_draws_anew():
    policy, generator = randaugment(MEAN, STD), derive_generator(5)
    images = torch.rand(8, 3, 8, 8, generator=derive_generator(6))
    assert not torch.equal(policy.per_image(images, generator), policy.per_image(images, generator))


def test_other_inputs_are_refused():
    for shape in ((4, 5), (4, 2, 8, 8)):
        with pytest.raises(ValueError, match=r"randaugment changes images \(n, c, h, w\) of 1 or 3 channels"):
            randaugment(MEAN, STD).per_image(torch.zeros(shape), derive_generator(0))

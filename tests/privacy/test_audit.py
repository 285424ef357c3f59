import math

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.recipes import condense, dm
from core_distill.synthetic import HardLabels, Pixels, SyntheticSet
from privacy import SecretSeed, audit_distillation, epsilon_lower_bound, feature_score, nearest_image_score
from privacy.audit import count_correct
from privacy.canaries import CANARIES

CLASSES, SIZE = 4, 100


class Identity(torch.nn.Module):
    def features(self, images):
        return images.flatten(1)


PIXEL_SCORE = feature_score(lambda generator: Identity(), num_networks=1)


@pytest.fixture
def vectors():
    """400 unit vectors of 256 numbers in 4 classes: their mean is a sum with sensitivity 1."""
    generator = derive_generator(11)
    images = torch.nn.functional.normalize(
        torch.randn(CLASSES * SIZE, 1, 16, 16, generator=generator).flatten(1), dim=1
    )
    labels = torch.arange(CLASSES).repeat_interleave(SIZE)
    return ClassSampler(images.view(-1, 1, 16, 16), labels, num_classes=CLASSES, mean=[0.0], std=[1.0])


def as_set(images, real):
    targets = torch.arange(CLASSES)
    return SyntheticSet(
        Pixels(images),
        HardLabels(targets, CLASSES),
        classes=targets,
        num_classes=CLASSES,
        images_per_class=1,
        mean=real.mean,
        std=real.std,
    )


def noisy_class_means(real, *, noise_multiplier, redraws, seed):
    """The average of `redraws` noisy versions of one stored sum: with more than one, noise that was paid for once wears off."""
    sums = torch.stack([real.take(real.of_class(number)).images.sum(0) for number in range(CLASSES)])
    generator = SecretSeed(seed).generator("noise")
    noise = torch.stack([torch.randn(sums.shape, generator=generator) for _ in range(redraws)]).mean(0)
    return as_set((sums + noise_multiplier * noise) / SIZE, real)


def audited(vectors, *, redraws, noise_multiplier=4.0, seed=0):
    return audit_distillation(
        lambda real: noisy_class_means(real, noise_multiplier=noise_multiplier, redraws=redraws, seed=seed),
        vectors,
        score=PIXEL_SCORE,
        num_canaries=200,
        num_guesses=100,
        delta=1e-5,
        seed=seed,
        claimed_epsilon=1.0,
        canaries="natural",
    )


def test_noise_drawn_again_and_again_on_a_stored_sum_is_caught(vectors):
    report = audited(vectors, redraws=400)
    assert report.violated
    assert "epsilon >=" in str(report)
    assert report.lower_bound <= report.max_attainable
    assert report.as_dict()["violated"] is True


def test_noise_drawn_once_is_not_accused(vectors):
    assert not any(audited(vectors, redraws=1, seed=seed).violated for seed in range(5))


def test_a_release_that_knows_nothing_is_rarely_accused(vectors):
    """The guarantee of the bound, over 200 repetitions of the guessing at epsilon 0."""
    accused = 0
    for seed in range(200):
        generator = derive_generator(seed, "repetition")
        included = torch.rand(200, generator=generator) < 0.5
        correct = count_correct(torch.randn(200, generator=generator), included, num_guesses=60)
        bound = epsilon_lower_bound(num_canaries=200, num_guesses=60, num_correct=correct, delta=1e-5)
        accused += bound > 0
    assert accused <= 0.05 * 200


def test_images_copied_from_the_data_are_caught(records):
    def copy(real):
        size = int(real.class_sizes.max())
        images = real.by_class(size, derive_generator(0)).images.flatten(0, 1)
        targets = real.classes.repeat_interleave(size)
        return SyntheticSet(
            Pixels(images),
            HardLabels(targets, 3),
            classes=real.classes,
            num_classes=3,
            images_per_class=size,
            mean=real.mean,
            std=real.std,
        )

    report = audit_distillation(
        copy,
        records,
        score=nearest_image_score,
        num_canaries=40,
        num_guesses=20,
        delta=1e-5,
        seed=0,
        claimed_epsilon=1.0,
    )
    assert report.num_correct == 20
    assert report.lower_bound == report.max_attainable > 1
    assert report.violated


def test_distillation_without_privacy_from_a_few_records_is_caught(records):
    recipe = dm(images_per_class=15, data="digits", schedule="cpu").with_values(
        {"initialise": "real", "steps": 1, "width": 4, "depth": 2, "batch_size": 8, "image_learning_rate": 0.1}
    )
    report = audit_distillation(
        lambda real: condense(real, recipe, seed=0),
        records,
        score=nearest_image_score,
        num_canaries=45,
        num_guesses=20,
        delta=1e-5,
        seed=0,
        canaries="natural",
    )
    assert report.lower_bound > 0
    assert not report.violated  # nothing was claimed


def test_canaries_are_what_they_are_called(records):
    generator = derive_generator(0)
    wrong = CANARIES["mislabelled"](records, generator)
    assert len(wrong) == len(records)
    originals = {
        image.sum().item(): label for image, label in zip(records.images, records.labels.tolist(), strict=True)
    }
    assert all(originals[i.sum().item()] != label for i, label in zip(wrong.images, wrong.labels.tolist(), strict=True))
    assert CANARIES["natural"](records, generator) is records
    noise = CANARIES["noise"](records, generator)
    assert noise.labels.equal(records.labels)
    assert not noise.images.equal(records.images)


def test_guesses_are_counted():
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    included = torch.tensor([True, False, True, True, True, False])
    assert count_correct(scores, included, num_guesses=4) == 2
    assert count_correct(scores, included, num_guesses=2) == 2
    with pytest.raises(ValueError, match="finite"):
        count_correct(torch.tensor([math.nan, 1.0]), included[:2], num_guesses=2)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"num_canaries": 1}, "num_canaries"),
        ({"num_canaries": 60}, "num_canaries"),
        ({"num_guesses": 7}, "even"),
        ({"num_guesses": 42}, "num_guesses"),
        ({"canaries": "yellow"}, "known: mislabelled"),
        ({"delta": 1.0}, "delta"),
    ],
)
def test_bad_numbers_are_refused_before_anything_runs(records, changed, match):
    def never(real):
        raise AssertionError

    good = {"num_canaries": 40, "num_guesses": 20, "delta": 1e-5, "seed": 0, "score": nearest_image_score}
    with pytest.raises(ValueError, match=match):
        audit_distillation(never, records, **{**good, **changed})

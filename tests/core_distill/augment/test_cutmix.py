"""CutMix: images whose pixels say where they came from, labels that say how much, and the distribution of shares."""

import pytest
import torch
import torch.nn.functional as F

from core_distill.augment.cutmix import cutmix
from core_distill.randomness import derive_generator
from core_distill.types import Batch

HEIGHT, WIDTH = 6, 10


def marked(count=5):
    """Images of a single value, their own number, each a class of its own."""
    numbers = torch.arange(count)
    return Batch(numbers.float().view(-1, 1, 1, 1).expand(count, 2, HEIGHT, WIDTH).clone(), numbers)


def test_labels_say_what_share_of_the_pixels_came_from_where():
    for seed in range(40):
        mixed = cutmix(marked(), 5, derive_generator(seed), share=1.0)
        for image, label in zip(mixed.images, mixed.labels, strict=True):
            shares = F.one_hot(image[0].long().flatten(), 5).float().mean(0)
            torch.testing.assert_close(label, shares)
            assert torch.equal(image[0], image[1])


def test_the_rectangle_is_one_for_all_images():
    for seed in range(40):
        mixed = cutmix(marked(), 5, derive_generator(seed), share=1.0)
        own = torch.arange(5.0).view(-1, 1, 1)
        changed = (mixed.images[:, 0] != own).any(0)
        rows, columns = changed.any(1), changed.any(0)
        assert torch.equal(changed, rows[:, None] & columns)
        for line in (rows, columns):
            inside = line.nonzero().flatten()
            assert len(inside) == 0 or len(inside) == inside[-1] - inside[0] + 1


def test_rectangles_reach_everywhere_and_are_as_large_as_published():
    """A share u of the area about a random point, cut off at the border: E[u (1 - sqrt(u) / 4)^2] = 1/2 - 1/5 + 1/48."""
    numbers = torch.arange(8)
    batch = Batch(numbers.float().view(-1, 1, 1, 1).expand(8, 1, 64, 64), numbers)
    seen = [cutmix(batch, 8, derive_generator(seed), share=1.0).images[:, 0] for seed in range(400)]
    changed = torch.stack([(images != batch.images[:, 0]).any(0).float() for images in seen])
    assert (changed.mean(0) > 0.05).all()
    assert changed.mean().item() == pytest.approx(0.5 - 0.2 + 1 / 48, abs=0.04)


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 0.3, 0.6), (1.0, 0.75, 1.0)])
def test_the_share_of_batches_that_are_mixed(share, low, high):
    """A rectangle may be empty, so a few less change than are mixed."""
    batches = [cutmix(marked(8), 8, derive_generator(seed), share=share) for seed in range(200)]
    changed = sum(not torch.equal(batch.images, marked(8).images) for batch in batches) / 200
    assert low <= changed <= high
    if share == 0:
        assert torch.equal(batches[0].labels, F.one_hot(torch.arange(8), 8).float())


def test_probabilities_are_mixed_too_and_the_loss_is_that_of_both_labels():
    hard = marked()
    soft = hard._replace(labels=F.one_hot(hard.labels, 5).float())
    a, b = (cutmix(batch, 5, derive_generator(3), share=1.0) for batch in (hard, soft))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)
    torch.testing.assert_close(a.labels.sum(1), torch.ones(5))


@pytest.mark.parametrize(("share", "shape", "message"), [(1.5, (2, 1, 4, 4), "lie in"), (0.5, (2, 7), "needs images")])
def test_bad_input(share, shape, message):
    with pytest.raises(ValueError, match=message):
        cutmix(Batch(torch.zeros(shape), torch.arange(2)), 2, derive_generator(0), share=share)

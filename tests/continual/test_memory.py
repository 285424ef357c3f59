import pytest
import torch

from continual.memory import LIMITS_BYTES, ClassMemory


def test_an_image_costs_what_a_real_one_does_and_comes_back_within_half_a_level():
    images = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    memory = ClassMemory.of(images, 100)
    assert memory.num_bytes == images.numel() + LIMITS_BYTES
    assert (memory.images - images).abs().max() <= (images.max() - images.min()) / 255 / 2 * 1.001
    assert memory.images.min() == images.min()
    assert memory.images.max() == images.max()


def test_keeping_the_first_images_changes_none_of_them():
    images = torch.arange(24.0).view(6, 1, 2, 2)
    memory = ClassMemory.of(images, 9)
    assert torch.equal(memory.first(2).images, memory.images[:2])
    assert len(memory.first(99).images) == 6
    assert memory.first(2).examples_seen == 9


def test_a_state_comes_back_and_a_wrong_one_is_refused():
    memory = ClassMemory.of(torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0)), 4)
    state = memory._asdict()
    assert torch.equal(ClassMemory.from_state(state).images, memory.images)
    with pytest.raises(ValueError, match=r"levels must be uint8.*float32"):
        ClassMemory.from_state({**state, "levels": memory.images})
    with pytest.raises(ValueError, match="at least one image"):
        ClassMemory.from_state({**state, "levels": memory.levels[:0]})
    with pytest.raises(ValueError, match="two finite numbers"):
        ClassMemory.from_state({**state, "limits": torch.tensor([0.0, float("nan")])})
    with pytest.raises(ValueError, match="examples_seen at least 1"):
        ClassMemory.from_state({**state, "examples_seen": 0})

"""The plainest parametrisation: an image a slot, every pixel learned."""

import torch

from core_distill.synthetic import Pixels


def test_slots_choose_images_in_the_order_asked_for():
    images = torch.arange(12.0).view(3, 1, 2, 2)
    pixels = Pixels(images)
    assert torch.equal(pixels(torch.tensor([2, 0])), images[[2, 0]])
    assert (pixels.num_slots, pixels.views) == (3, 1)


def test_the_gradient_lands_on_the_chosen_pixels_alone():
    pixels = Pixels(torch.zeros(3, 2))
    (pixels(torch.tensor([1])) * torch.tensor([[3.0, 4.0]])).sum().backward()
    assert pixels.pixels.grad.tolist() == [[0, 0], [3, 4], [0, 0]]


def test_the_start_is_copied():
    images = torch.zeros(2, 1)
    pixels = Pixels(images)
    images += 1
    assert pixels.pixels.detach().tolist() == [[0], [0]]


def test_an_empty_one_of_the_same_size_takes_the_state():
    pixels = Pixels(torch.randn(2, 3, generator=torch.Generator().manual_seed(0)))
    empty = Pixels.from_config(**pixels.config())
    empty.load_state_dict(pixels.state_dict())
    assert torch.equal(empty.pixels, pixels.pixels)

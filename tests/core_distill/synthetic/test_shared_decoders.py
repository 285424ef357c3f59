"""Codes and decoders: every code by every decoder, against one convolution at a time, and within the budget."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.synthetic import shared_decoders
from core_distill.synthetic.initialise import noise, real_images
from core_distill.synthetic.precision import decode_tensors, encode_tensors
from core_distill.synthetic.shared_decoders import SharedDecoders
from core_distill.synthetic.start import Start


def start_on(real, images_per_class, initialise=real_images):
    return Start(
        real=real,
        images_per_class=images_per_class,
        initialise=initialise,
        new_network=None,
        generator=derive_generator(0),
    )


def sampler_of(shape, *, per_class=12):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3 * per_class, *shape), dtype=torch.uint8, generator=generator)
    labels = torch.arange(3 * per_class) % 3
    return ClassSampler(images, labels, num_classes=3, mean=[0.5] * shape[0], std=[0.25] * shape[0])


def filled(shape, *, width=2, decoders=3, slots=2, channels=2):
    """Decoders of random numbers."""
    sides = [-(-side // 4) for side in shape[1:]]
    made = SharedDecoders(torch.zeros(slots, channels, *sides), image_shape=shape, width=width, decoders=decoders)
    generator = torch.Generator().manual_seed(1)
    for value in made.parameters():
        value.data = torch.randn(value.shape, generator=generator)
    return made


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (2, 3, 5)])
def test_views_are_what_each_decoder_makes_of_a_code(shape):
    made = filled(shape)
    with torch.no_grad():
        images = made(torch.tensor([1, 0])).unflatten(0, (2, 3))
        for row, slot in enumerate((1, 0)):
            for decoder in range(3):
                maps = made.codes[slot : slot + 1]
                for layer, (weight, bias) in enumerate(zip(made.weights, made.biases, strict=True)):
                    if layer:
                        step = 2 ** (2 - layer)
                        sides = [-(-side // step) for side in shape[1:]]
                        maps = F.interpolate(F.leaky_relu(maps, 0.2), scale_factor=2)[:, :, : sides[0], : sides[1]]
                    own = slice(decoder * len(bias) // 3, (decoder + 1) * len(bias) // 3)
                    maps = F.conv2d(maps, weight[own], bias[own], padding=1)
                assert torch.allclose(images[row, decoder], maps[0], atol=1e-4)


def test_a_code_moves_its_own_views_and_a_decoder_all_slots():
    made = filled((1, 8, 8))
    before = made(torch.arange(2)).detach().unflatten(0, (2, 3))
    with torch.no_grad():
        made.codes[0] += 1
    moved = (made(torch.arange(2)).detach().unflatten(0, (2, 3)) != before).flatten(2).any(2)
    assert moved.tolist() == [[True] * 3, [False] * 3]
    before = made(torch.arange(2)).detach().unflatten(0, (2, 3))
    with torch.no_grad():
        made.biases[2][1] += 1
    moved = (made(torch.arange(2)).detach().unflatten(0, (2, 3)) != before).flatten(2).any(2)
    assert moved.tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (1, 28, 28)])
@pytest.mark.parametrize("images_per_class", [2, 5])
@pytest.mark.parametrize("decoders", [1, 2])
def test_bytes_are_those_of_the_budget(shape, images_per_class, decoders):
    made = SharedDecoders.starting_at(start_on(sampler_of(shape), images_per_class), decoders=decoders, fit_steps=0)
    stored = encode_tensors({f"images.{name}": value for name, value in made.state_dict().items()}, "uint8")
    budget = 3 * images_per_class * torch.Size(shape).numel() + 8
    code = made.codes[:3].numel()
    assert budget - code < sum(value.nbytes for value in stored.values()) <= budget
    assert made.num_slots % 3 == 0


def test_decoders_take_a_third_at_most():
    made = SharedDecoders.starting_at(start_on(sampler_of((1, 28, 28)), 5), fit_steps=0)
    values = sum(value.numel() for value in [*made.weights, *made.biases])
    assert values <= 3 * 5 * 784 / 3
    wider = made.sizes._replace(width=made.sizes.width + 1)
    assert wider.decoder_values() > 3 * 5 * 784 / 3 - 16


def test_fitting_comes_near_to_the_images(digits):
    start = start_on(digits.train, 5)
    fitted, targets = {}, []
    keep = shared_decoders._neighbours

    def neighbours(*arguments):
        targets.append(keep(*arguments))
        return targets[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_decoders, "_neighbours", neighbours)
        for steps in (0, 100):
            fitted[steps] = SharedDecoders.starting_at(
                dataclasses.replace(start, generator=derive_generator(0)), decoders=2, fit_steps=steps
            )
    with torch.no_grad():
        lost = {
            steps: F.mse_loss(made(torch.arange(made.num_slots)), targets[0]) / targets[0].var()
            for steps, made in fitted.items()
        }
    assert lost[100] < 0.5 < lost[0]


def test_neighbours_begin_with_the_image_itself_and_go_outwards():
    images = torch.tensor([[0.0, 5.0, 6.0, 100.0], [3.0, 1.0, 9.0, 2.0]]).view(2, 4, 1, 1, 1)
    found = shared_decoders._neighbours(images, 2, 3).flatten()
    assert found.tolist() == [0, 5, 6, 5, 6, 0, 3, 2, 1, 1, 2, 3]


def test_codes_start_at_principal_components():
    """Of patches with two directions of different strength, the stronger one comes last and both have variance 1."""
    generator = torch.Generator().manual_seed(0)
    strong, weak = torch.randn(2, 50, 1, generator=generator)
    patch = torch.zeros(50, 16)
    patch[:, 3], patch[:, 7] = 5 * strong[:, 0], weak[:, 0]
    images = patch.view(50, 1, 4, 4)
    codes = shared_decoders._patch_components(images, shared_decoders._Sizes((1, 4, 4), 2, 1, 1)).flatten(1)
    assert torch.allclose(codes.var(0, correction=0), torch.ones(2), atol=1e-4)
    assert torch.corrcoef(torch.stack([codes[:, 1], strong[:, 0]]))[0, 1].abs() > 0.99


def test_more_code_channels_than_a_patch_has_values_are_zeros():
    images = torch.randn(5, 1, 4, 8)
    codes = shared_decoders._patch_components(images, shared_decoders._Sizes((1, 4, 8), 20, 1, 1))
    assert codes.shape == (5, 20, 1, 2)
    assert not codes[:, 16:].any()


def test_images_that_are_all_alike_make_finite_codes():
    codes = shared_decoders._patch_components(torch.ones(3, 1, 8, 8), shared_decoders._Sizes((1, 8, 8), 4, 1, 1))
    assert torch.isfinite(codes).all()


def test_levels_keep_the_images(digits):
    made = SharedDecoders.starting_at(start_on(digits.train, 5), fit_steps=60)
    every = torch.arange(made.num_slots)
    with torch.no_grad():
        exact = made(every)
        held = decode_tensors(
            encode_tensors({f"images.{k}": v for k, v in made.state_dict().items()}, "uint8"), "uint8"
        )
        made.load_state_dict({name.removeprefix("images."): value for name, value in held.items()})
        level = (exact.max() - exact.min()) / 255
        assert (made(every) - exact).abs().mean() < 1.5 * level


def test_noise_starts_see_nothing_of_the_data():
    first, other = (
        SharedDecoders.starting_at(start_on(real, 3, noise), decoders=1, fit_steps=3).state_dict()
        for real in (sampler_of((1, 8, 8)), sampler_of((1, 8, 8), per_class=5))
    )
    assert all(torch.equal(other[name], value) for name, value in first.items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decoders": 0}, "decoders cannot be 0: whole numbers from 1 up"),
        ({"code_channels": 0}, "code_channels cannot be 0: whole numbers from 1 up"),
        ({"fit_steps": -1}, "decoder_width and fit_steps must be at least 0, got 0 and -1"),
        ({"decoder_width": -2}, "decoder_width and fit_steps must be at least 0, got -2 and 300"),
        ({"decoders": 50}, "2 images a class leave no code beside 50 decoders of width 1"),
        ({"decoder_width": 16}, "leave no code beside 3 decoders of width 16: take more images a class, or fewer"),
        ({"code_channels": 200}, "leave no code"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SharedDecoders.starting_at(start_on(sampler_of((1, 8, 8)), 2), **values)


def test_codes_of_another_shape_are_refused():
    for codes in (torch.zeros(2, 3, 4), torch.zeros(2, 3, 2, 3), torch.zeros(2, 0, 2, 2)):
        with pytest.raises(ValueError, match=r"codes must be|decoders need"):
            SharedDecoders(codes, image_shape=(1, 8, 8), width=2, decoders=1)

"""Latent vectors: inversion, classes, a generator that stays as it is and is the same in a file."""

import dataclasses

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.networks.generator import ConvGenerator
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, initial_set
from core_distill.synthetic.initialise import real_images
from core_distill.synthetic.latents import Latents
from core_distill.synthetic.start import Start
from core_distill.synthetic.storage import decode_artefact, encode_artefact

TOY = {"latent": 8, "generator_width": 4, "generator_steps": 2, "inversion_steps": 2}


@pytest.fixture
def start(sampler, new_network, tmp_path):
    return Start(
        real=sampler,
        images_per_class=2,
        initialise=real_images,
        new_network=new_network,
        generator=derive_generator(0),
        folder=tmp_path,
    )


@pytest.fixture
def small_set(sampler):
    recipe = find_recipe("it-gan", images_per_class=2, data="digits", schedule="cpu")
    return initial_set(sampler, recipe.with_values({**TOY, "width": 4, "depth": 2}), seed=0)


def random_generator(num_classes=3, *, latent=4):
    return ConvGenerator((1, 8, 8), num_classes, latent=latent, width=8)


def test_a_slot_is_what_the_generator_makes_of_its_latent_and_class():
    generator, latents = random_generator(), torch.randn(6, 4)
    made = Latents(latents, generator)
    expected = generator(latents, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert torch.allclose(made(torch.arange(6)), expected)
    assert torch.allclose(made(torch.tensor([5, 0])), expected[[5, 0]], atol=1e-6)


def test_slots_of_a_class_that_is_absent_do_not_shift_the_others(digits):
    """The conditions are positions among the classes present: a set of 2 and 7 asks for the generator's 0 and 1."""
    part = digits.train.subset(torch.cat([digits.train.of_class(2), digits.train.of_class(7)]))
    recipe = find_recipe("it-gan", images_per_class=1, data="digits", schedule="cpu").with_values({**TOY, "width": 4})
    synthetic = initial_set(part, recipe, seed=0)
    assert synthetic.batch().labels.tolist() == [2] * 4 + [7] * 4
    assert synthetic.images._rows(torch.arange(8)).tolist() == [0] * 4 + [1] * 4


def test_as_many_latents_as_the_bytes_hold_or_as_are_wanted(start):
    assert Latents.starting_at(start, **TOY).num_slots == 3 * 2 * 8
    assert Latents.starting_at(start, **TOY, most_latents=3).num_slots == 3 * 2 * 3
    assert Latents.starting_at(start, **{**TOY, "latent": 33}).num_slots == 3 * 2


def test_inversion_comes_near_to_images_that_the_generator_can_make(new_network):
    torch.manual_seed(0)
    generator = random_generator(latent=6)
    with torch.no_grad():
        for value in generator.parameters():
            value.mul_(3)
        images = generator(torch.randn(6, 6), torch.tensor([0, 0, 1, 1, 2, 2]))
    made = Latents(torch.zeros(6, 6), generator)
    made._guess(images, derive_generator(1))
    network = new_network(derive_generator(0))

    def distances():
        with torch.no_grad():
            return (made(torch.arange(6)) - images).flatten(1).square().mean(1)

    before = distances()
    made._invert(images, network, 100)
    assert (distances() < before).all()
    assert distances().median() < 0.05 * before.median()
    assert made.latents.grad is None
    assert all(value.grad is None for value in [*network.parameters(), *generator.parameters()])


def test_inversion_is_adam_on_pixels_and_features(start, new_network):
    generator, network, images = random_generator(), new_network(derive_generator(0)), start.draw(2)
    made = Latents(torch.randn(6, 4, generator=derive_generator(1)), generator)
    latents, rows = made.latents.detach().clone().requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    wanted, optimizer = network.features(images).detach(), torch.optim.Adam([latents], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        shown = generator(latents, rows)
        pixels = (shown - images).square().mean()
        seen = (network.features(shown) - wanted).square().mean() / wanted.square().mean()
        (pixels + seen).backward()
        optimizer.step()
    made._invert(images, network, 3)
    torch.testing.assert_close(made.latents, latents)


def test_a_guess_is_the_nearest_of_those_tried(start):
    generator, images = random_generator(), start.draw(2)
    made = Latents(torch.zeros(6, 4), generator)
    made._guess(images, derive_generator(2))
    tried = torch.randn(16, 6, 4, generator=derive_generator(2))
    with torch.no_grad():
        for slot, row in enumerate([0, 0, 1, 1, 2, 2]):
            shown = generator(tried[:, slot], torch.full((16,), row))
            best = (shown - images[slot]).flatten(1).norm(dim=1).argmin()
            assert torch.equal(made.latents[slot], tried[best, slot])


def test_only_latents_are_learned(start):
    made = Latents.starting_at(start, **TOY)
    assert [name for name, value in made.named_parameters() if value.requires_grad] == ["latents"]
    again = Latents.from_config(**made.config())
    again.load_state_dict(made.state_dict(), assign=True)
    assert [name for name, value in again.named_parameters() if value.requires_grad] == ["latents"]


def test_a_file_holds_the_very_generator(small_set):
    """At uint8 too: its weights were rounded to levels before anything was learned."""
    read = decode_artefact(encode_artefact(small_set, metadata={})).synthetic
    ours, theirs = (value.images.generator.state_dict() for value in (small_set, read))
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    assert not torch.equal(read.images.latents, small_set.images.latents)
    assert [name for name, value in read.images.named_parameters() if value.requires_grad] == ["latents"]


def test_bytes_count_the_generator(small_set):
    """It costs a byte a parameter beyond the budget, and the file says so; beside are class numbers, mean, std, step size."""
    tensor_bytes = decode_artefact(encode_artefact(small_set, metadata={})).tensor_bytes
    images = small_set.images
    parameters = sum(value.numel() for value in images.generator.state_dict().values())
    assert images.latents.numel() <= 3 * 2 * 64
    ranges, labels, beside = 8 * len(images.state_dict()), small_set.num_slots, 3 + 4 * 3
    assert tensor_bytes == images.latents.numel() + parameters + ranges + labels + beside


def test_the_generator_of_a_folder_is_used_again(start, tmp_path):
    first = Latents.starting_at(start, **TOY)
    (path,) = tmp_path.glob("generator-*.safetensors")
    written = path.stat().st_mtime_ns
    again = Latents.starting_at(dataclasses.replace(start, generator=derive_generator(0)), **TOY)
    assert path.stat().st_mtime_ns == written
    assert all(torch.equal(again.state_dict()[name], value) for name, value in first.state_dict().items())
    alone = Latents.starting_at(dataclasses.replace(start, generator=derive_generator(0), folder=None), **TOY)
    assert all(torch.equal(alone.state_dict()[name], value) for name, value in first.state_dict().items())


def test_gradients_reach_the_latents_alone(start):
    made = Latents.starting_at(start, **TOY)
    made(torch.tensor([3])).sum().backward()
    assert made.latents.grad[3].abs().sum() > 0
    assert not made.latents.grad[[0, 1, 2, 4]].any()
    assert all(value.grad is None for value in made.generator.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent": 65}, r"leave nothing in place of an image \(1, 8, 8\): take a smaller latent"),
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"most_latents": 0}, "leave nothing"),
        ({"inversion_steps": -1}, "inversion_steps must be at least 0, got -1"),
        ({"generator_steps": 0}, "generator_steps must be at least 1"),
    ],
)
def test_bad_values_are_refused(values, message, start):
    with pytest.raises(ValueError, match=message):
        Latents.starting_at(start, **{**TOY, **values})


def test_vectors_have_no_generator(new_network):
    real = ClassSampler(torch.rand(6, 40), torch.arange(6) % 3, num_classes=3, mean=[0.0] * 40, std=[1.0] * 40)
    start = Start(
        real=real, images_per_class=1, initialise=real_images, new_network=new_network, generator=derive_generator(0)
    )
    with pytest.raises(ValueError, match="ConvGenerator needs images"):
        Latents.starting_at(start, **TOY)


@pytest.mark.parametrize("latents", [torch.zeros(6, 3), torch.zeros(7, 4), torch.zeros(6)])
def test_latents_that_do_not_fit_the_generator_are_refused(latents):
    with pytest.raises(ValueError, match=r"latents must be \(slots, 4\) for 3 classes"):
        Latents(latents, random_generator())

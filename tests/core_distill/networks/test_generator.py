"""The generator: its shapes and range, what training makes of it, and a trained one found again."""

import contextlib
import dataclasses
import json

import pytest
import safetensors.torch
import torch

from core_distill.data import ClassSampler
from core_distill.networks.generator import ConvDiscriminator, ConvGenerator, doubled_sides
from core_distill.training import generator_training
from core_distill.training.generator_training import GeneratorError, GeneratorTraining, trained_generator

TOY = GeneratorTraining(latent=3, width=4, steps=2)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 9), (1, 28, 28), (2, 32, 17), (1, 3, 3), (1, 1, 1)])
def test_images_of_any_size(shape):
    latents, rows = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    images = ConvGenerator(shape, 3, latent=3, width=4)(latents, rows)
    assert images.shape == (5, *shape)
    assert 0 <= images.min() <= images.max() <= 1
    assert ConvDiscriminator(shape, 3, width=4)(images, rows).shape == (5,)


def test_each_map_is_half_of_the_next_rounded_up():
    assert doubled_sides(28, 28) == [(4, 4), (7, 7), (14, 14), (28, 28)]
    assert doubled_sides(9, 17) == [(3, 5), (5, 9), (9, 17)]
    assert doubled_sides(4, 40) == [(4, 40)]


def test_class_and_latent_both_matter():
    made = ConvGenerator((1, 8, 8), 3, latent=3, width=4)
    latents = torch.randn(1, 3)
    first = made(latents, torch.tensor([0]))
    assert not torch.equal(first, made(latents, torch.tensor([1])))
    assert not torch.equal(first, made(latents + 1, torch.tensor([0])))


def test_an_image_does_not_depend_on_its_batch():
    made = ConvGenerator((1, 8, 8), 3, latent=3, width=4)
    latents, rows = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    assert torch.allclose(made(latents, rows)[2:3], made(latents[2:3], rows[2:3]), atol=1e-6)


def test_a_score_is_that_of_the_own_class():
    judge = ConvDiscriminator((1, 8, 8), 3, width=4)
    images = torch.randn(2, 1, 8, 8)
    scores = torch.stack([judge(images, torch.full((2,), row)) for row in range(3)], dim=1)
    assert torch.allclose(scores, judge.scores(judge.maps(images).flatten(1)))


def test_training_makes_images_of_the_classes(digits):
    """The nearest mean of real images tells the class of most; of an untrained generator's, of a tenth."""

    def told(generator):
        rows = torch.arange(10).repeat_interleave(20)
        latents = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            images = generator(latents, rows).flatten(1)
        means = digits.train.by_class(100, torch.Generator().manual_seed(0)).images.flatten(2).mean(1)
        return (torch.cdist(images, means).argmin(1) == rows).float().mean()

    training = GeneratorTraining(latent=8, width=16, steps=150)
    assert told(trained_generator(digits.train, training)) > 0.6
    assert told(trained_generator(digits.train, dataclasses.replace(training, steps=1))) < 0.3


def test_one_step_is_the_hinge_loss(sampler):
    made, opponent = ConvGenerator((1, 8, 8), 3, latent=3, width=4), ConvDiscriminator((1, 8, 8), 3, width=4)
    random = torch.Generator().manual_seed(4)
    (_, apart), (_, fooling) = generator_training._losses(made, opponent, sampler, TOY, random)
    again = torch.Generator().manual_seed(4)
    images, labels, _ = sampler.batch(64, again)
    fakes = made(torch.randn(len(labels), 3, generator=again), labels)
    real, fake = opponent(images, labels), opponent(fakes, labels)
    assert torch.allclose(apart, (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    assert torch.allclose(fooling, -fake.mean())


def test_classes_that_are_absent_have_no_row(sampler):
    part = sampler.subset(torch.cat([sampler.of_class(0), sampler.of_class(2)]))
    assert trained_generator(part, TOY).num_classes == 2


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_generator(sampler):
    before = torch.get_rng_state()
    first, again = (trained_generator(sampler, TOY).state_dict() for _ in range(2))
    other = trained_generator(sampler, dataclasses.replace(TOY, seed=1)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    assert not torch.equal(other["first.weight"], first["first.weight"])


def test_values_lie_where_those_of_the_data_do(sampler):
    made = trained_generator(sampler, TOY)
    images = sampler.take(torch.arange(36)).images
    assert made.low.item() == images.min()
    assert made.high.item() == images.max()


def test_a_trained_one_is_found_again(sampler, tmp_path, monkeypatch):
    first = trained_generator(sampler, TOY, folder=tmp_path)
    monkeypatch.setattr(generator_training, "_train", lambda *_: pytest.fail("trained again"))
    again = trained_generator(sampler, TOY, folder=tmp_path)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in first.state_dict().items())


def test_training_tells_how_far_it_is_and_a_found_one_nothing(sampler, tmp_path):
    told = []

    @contextlib.contextmanager
    def show(what, total):
        told.append((what, total))
        yield lambda done, note: told.append((done, note))

    for _ in range(2):
        trained_generator(sampler, dataclasses.replace(TOY, steps=12), folder=tmp_path, show=show)
    assert told == [("train the generator", 12), (10, "steps"), (12, "steps")]


@pytest.mark.parametrize("change", [{"steps": 3}, {"seed": 1}, {"width": 8}, {"latent": 2}])
def test_another_training_has_a_file_of_its_own(change, sampler, tmp_path):
    for training in (TOY, dataclasses.replace(TOY, **change)):
        trained_generator(sampler, training, folder=tmp_path)
    assert len(list(tmp_path.glob("generator-*.safetensors"))) == 2


def test_other_data_has_a_file_of_its_own(sampler, tmp_path):
    other = ClassSampler(sampler.images.flip(0), sampler.labels, num_classes=3, mean=[0.5], std=[0.25])
    for real in (sampler, other):
        trained_generator(real, TOY, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def damage_end(data):
    return data[:-9]


def damage_all(data):
    return b"no tensors"


def without_a_tensor(data):
    tensors = safetensors.torch.load(data)
    del tensors["low"]
    text = data[8 : 8 + int.from_bytes(data[:8], "little")]
    metadata = json.loads(text)["__metadata__"]
    return safetensors.torch.save(tensors, metadata)


def of_something_else(data):
    return safetensors.torch.save(safetensors.torch.load(data), {"stillroom-generator": "{}"})


@pytest.mark.parametrize("damage", [damage_end, damage_all, without_a_tensor, of_something_else])
def test_a_damaged_file_is_refused_by_its_name(damage, sampler, tmp_path):
    trained_generator(sampler, TOY, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(GeneratorError, match=rf"{path.name} is (cut short or damaged|a generator of something else)"):
        trained_generator(sampler, TOY, folder=tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"width": 0}, "generator_width must be at least 1, got 0"),
        ({"batch_size": -3}, "batch_size must be at least 1, got -3"),
        ({"steps": 0}, "generator_steps must be at least 1, got 0"),
        ({"seed": -1}, "generator_seed must be at least 0, got -1"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TOY, **values)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="needs images of shape"):
        ConvGenerator((5,), 3)

"""Shapes, sizes, parameter counts and gradients of the four architectures."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core_distill.networks import (
    MLP,
    NETWORKS,
    NORMS,
    ConvNet,
    LeNet,
    ResNet18,
    TextCNN,
    has_batch_statistics,
    instance_norm,
    network_factory,
    no_norm,
)
from core_distill.randomness import derive_generator

SMALL = {
    "convnet": functools.partial(ConvNet, width=8),
    "lenet": LeNet,
    "mlp": MLP,
    "resnet18": functools.partial(ResNet18, width=4),
    "text-cnn": functools.partial(TextCNN, width=4),
}


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("architecture", "image_shape", "count"),
    [
        (ConvNet, (3, 32, 32), 320_010),
        (ConvNet, (1, 28, 28), 317_706),
        (functools.partial(ConvNet, widening=2, norm=no_norm), (3, 32, 32), 1_560_842),  # FRePo's and RCIG's
        (LeNet, (1, 28, 28), 61_706),
        (LeNet, (3, 32, 32), 62_006),
        (MLP, (1, 28, 28), 784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10),
        (ResNet18, (3, 32, 32), 11_173_962),
    ],
)
def test_parameter_counts_are_those_of_the_papers(architecture, image_shape, count):
    with torch.device("meta"):
        assert parameter_count(architecture(image_shape, 10)) == count


@pytest.mark.parametrize(
    ("side", "depth", "padding", "rows"),
    [(28, 3, 3, 4), (32, 3, 1, 4), (8, 3, 1, 1), (64, 3, 1, 8), (25, 3, 5, 4), (31, 3, 2, 4), (96, 5, 1, 3)],
)
def test_convnet_pads_to_the_next_multiple(side, depth, padding, rows):
    network = ConvNet((1, side, 40), 2, width=2, depth=depth)
    assert network.blocks[0].padding[0] == padding
    assert network.blocks(torch.zeros(1, 1, side, 40)).shape[2] == rows


@pytest.mark.parametrize("name", sorted(NETWORKS))
@settings(max_examples=10, deadline=None)
@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    images=st.integers(1, 3),
    classes=st.integers(1, 7),
)
def test_logits_and_features_fit_any_image_size(name, channels, height, width, images, classes):
    network = network_factory(SMALL[name], (channels, height, width), classes)(derive_generator(0)).eval()
    inputs = torch.randn(images, channels, height, width, generator=derive_generator(1))
    features = network.features(inputs)
    assert features.shape == (images, network.classifier.in_features)
    logits = network(inputs)
    assert logits.shape == (images, classes)
    torch.testing.assert_close(logits, network.classifier(features))


@pytest.mark.parametrize("shape", [(5,), (7, 3), (2, 4, 4, 4)])
def test_mlp_takes_inputs_of_any_shape(shape):
    network = MLP(shape, 3, hidden=(6,))
    assert network.features(torch.zeros(2, *shape)).shape == (2, 6)
    assert MLP(shape, 3, hidden=())(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 12, 20)])
def test_every_parameter_and_the_image_get_finite_gradients(name, image_shape):
    network = network_factory(SMALL[name], image_shape, 4)(derive_generator(2))
    images = torch.randn(6, *image_shape, generator=derive_generator(3)).requires_grad_()
    gradients = torch.autograd.grad(
        network(images).square().sum(), [images, *network.parameters()], create_graph=True, materialize_grads=True
    )
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)
    (second,) = torch.autograd.grad(sum(gradient.square().sum() for gradient in gradients[1:]), images)
    assert second.isfinite().all()
    assert second.abs().sum() > 0


@pytest.mark.parametrize("name", ["convnet", "lenet", "mlp"])
def test_per_example_gradients_of_vmap_equal_a_loop(name):
    network = network_factory(SMALL[name], (1, 8, 8), 4)(derive_generator(2))
    parameters = {key: value.detach() for key, value in network.named_parameters()}
    images = torch.randn(3, 1, 8, 8, generator=derive_generator(3))

    def loss(values, image):
        return torch.func.functional_call(network, values, (image[None],)).square().sum()

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, images)
    for row, image in enumerate(images):
        alone = torch.func.grad(loss)(parameters, image)
        for key, value in alone.items():
            torch.testing.assert_close(together[key][row], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_norms_build_networks_and_do_what_they_say(name):
    norm = NORMS[name]
    network = ConvNet((1, 8, 12), 3, width=8, norm=norm)
    images = torch.randn(4, 1, 8, 12, generator=derive_generator(4))
    assert network(images).shape == (4, 3)
    maps = torch.randn(5, 6, 4, 3, generator=derive_generator(5)) * 3 + 1
    reduced = {"instance": (2, 3), "batch": (0, 2, 3)}.get(name)
    out = norm(6)(maps)
    if reduced is not None:
        variance, mean = torch.var_mean(maps, reduced, correction=0, keepdim=True)
        torch.testing.assert_close(out, (maps - mean) / (variance + 1e-5).sqrt(), rtol=1e-4, atol=1e-4)
    elif name == "group":
        variance, mean = torch.var_mean(maps.reshape(5, 2, 3, 4, 3), (2, 3, 4), correction=0, keepdim=True)
        expected = (maps.reshape(5, 2, 3, 4, 3) - mean) / (variance + 1e-5).sqrt()
        torch.testing.assert_close(out, expected.reshape_as(maps), rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(out, maps)


def test_batch_statistics_are_seen_only_where_examples_mix():
    assert has_batch_statistics(ResNet18((1, 8, 8), 2, width=4))
    assert not has_batch_statistics(ResNet18((1, 8, 8), 2, width=4).eval())
    assert not has_batch_statistics(ConvNet((1, 8, 8), 2, width=4))
    assert has_batch_statistics(nn.BatchNorm2d(2, track_running_stats=False).eval())


def test_lenet_sees_every_pixel_of_small_and_large_images():
    for side in (5, 8, 31, 32, 45):
        images = torch.randn(2, 1, side, side, generator=derive_generator(6)).requires_grad_()
        first = LeNet((1, side, side), 2).layers[0]
        assert first(images).shape[2] >= max(28, side - 4)
        assert LeNet((1, side, side), 2)(images).shape == (2, 2)


def test_blocks_of_a_widening_network_double():
    network = ConvNet((3, 16, 16), 2, width=4, depth=3, widening=2)
    maps = network.layer_features(torch.zeros(2, 3, 16, 16))
    assert [tuple(one.shape[1:]) for one in maps] == [(4, 16, 16), (8, 8, 8), (16, 4, 4), (16, 2, 2)]
    assert network.features(torch.zeros(2, 3, 16, 16)).shape == (2, 16 * 2 * 2)
    assert {layer.num_channels for layer in network.modules() if isinstance(layer, nn.GroupNorm)} == {4, 8, 16}


def test_an_image_too_small_for_the_depth_names_the_largest_that_fits():
    with pytest.raises(ValueError, match=r"depth 4 does not fit images of 8x30: use a depth from 1 to 3"):
        ConvNet((1, 8, 30), 2, depth=4)
    with pytest.raises(ValueError, match="MLP"):
        ConvNet((1, 1, 30), 2, depth=1)
    with pytest.raises(ValueError, match="depth -1"):
        ConvNet((1, 8, 30), 2, depth=-1)
    with pytest.raises(ValueError, match="widening must be at least 1, got 0"):
        ConvNet((1, 8, 30), 2, widening=0)


@pytest.mark.parametrize(("side", "depth"), [(2, 1), (4, 2), (8, 2), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5)])
def test_the_default_depth_fits_the_image(side, depth):
    convolutions = [
        layer for layer in ConvNet((1, side, side), 2, width=2).modules() if isinstance(layer, torch.nn.Conv2d)
    ]
    assert len(convolutions) == depth


@pytest.mark.parametrize("architecture", [ConvNet, LeNet, ResNet18])
def test_vectors_are_refused_with_a_way_out(architecture):
    with pytest.raises(
        ValueError, match=r"\(channels, height, width\).*got \(64,\).*network=mlp for inputs of any shape"
    ):
        architecture((64,), 10)


def test_instance_norm_over_single_pixels_is_refused():
    with pytest.raises(ValueError, match="8x8 to one pixel"):
        ResNet18((1, 8, 8), 2, width=4, norm=instance_norm)
    network = ResNet18((1, 8, 9), 2, width=4, norm=instance_norm)
    images = torch.randn(2, 1, 8, 9, generator=derive_generator(7))
    assert network(images).std(dim=0).min() > 0
    assert ResNet18((1, 8, 8), 2, width=4, norm=no_norm)(torch.zeros(1, 1, 8, 8)).shape == (1, 2)


def test_no_layer_works_in_place():
    for name, architecture in SMALL.items():
        layers = network_factory(architecture, (1, 8, 8), 2)(derive_generator(0)).modules()
        assert not any(layer.inplace for layer in layers if isinstance(layer, nn.ReLU)), name


def test_initial_features_of_convnet_have_unit_scale_per_channel():
    network = network_factory(ConvNet, (1, 28, 28), 10)(derive_generator(8))
    maps = network.blocks[:2](torch.randn(4, 1, 28, 28, generator=derive_generator(9)))
    assert math.isclose(maps.square().mean().item(), 1, rel_tol=1e-2)

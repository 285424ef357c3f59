"""Distribution matching against its closed form and a loop over classes."""

import functools

import pytest
import torch

from core_distill.matching import mean_embedding, mean_feature_distance
from core_distill.matching.batching import class_means
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1))


def test_distance_is_zero_at_the_class_means_and_grows_with_the_square(network, sampler):
    real = sampler.by_class(6, derive_generator(0))
    assert mean_feature_distance(network, real, real).item() == pytest.approx(0, abs=1e-9)

    class Shifted(torch.nn.Module):
        """Features are the pixels themselves, so that a shift of every pixel has a closed form."""

        def features(self, images):
            return images.flatten(1)

    shifted = real._replace(images=real.images + 0.5)
    pixels, classes = 64, 3
    assert mean_feature_distance(Shifted(), real, shifted).item() == pytest.approx(classes * pixels * 0.25, rel=1e-5)


def test_all_classes_in_one_pass_equal_a_loop_over_classes(network, sampler):
    real, own = sampler.by_class(7, derive_generator(0)), sampler.by_class(2, derive_generator(1))
    loop = sum(
        (network.features(real.images[c]).mean(0) - network.features(own.images[c]).mean(0)).square().sum()
        for c in range(3)
    )
    torch.testing.assert_close(mean_feature_distance(network, real, own), loop.detach())


def test_real_side_is_detached_and_network_gradients_untouched(network, sampler):
    real, own = sampler.by_class(4, derive_generator(0)), sampler.by_class(2, derive_generator(1))
    real.images.requires_grad_()
    own.images.requires_grad_()
    mean_feature_distance(network, real, own).backward(inputs=[own.images])
    assert torch.isfinite(own.images.grad).all()
    assert own.images.grad.abs().sum() > 0
    assert real.images.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradient_against_finite_differences(sampler, new_network):
    network = new_network(derive_generator(1)).double()
    real, own = (sampler.by_class(n, derive_generator(n)) for n in (4, 1))
    real, own = (b._replace(images=b.images.double()) for b in (real, own))
    inputs = own.images.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: mean_feature_distance(network, real, own._replace(images=x)), inputs, fast_mode=True
    )


def test_permuting_the_classes_changes_nothing(network, sampler):
    real, own = sampler.by_class(5, derive_generator(0)), sampler.by_class(2, derive_generator(1))
    order = torch.tensor([2, 0, 1])
    permuted = [Batch(b.images[order], b.labels[order]) for b in (real, own)]
    torch.testing.assert_close(mean_feature_distance(network, *permuted), mean_feature_distance(network, real, own))


def test_weights_leave_padding_out_and_an_empty_row_is_zero(network, sampler):
    full = sampler.by_class(5, derive_generator(0))
    weights = torch.ones(3, 5)
    weights[1, 3:] = 0
    weights[2] = 0
    (weighted,) = mean_embedding(network, full._replace(weights=weights))
    torch.testing.assert_close(weighted[1], network.features(full.images[1, :3]).mean(0))
    assert (weighted[2] == 0).all()


def test_class_means_over_examples():
    values = torch.arange(12.0).view(2, 3, 2)
    torch.testing.assert_close(class_means(values, None), values.mean(1))


def test_batch_statistics_are_refused_until_frozen(sampler):
    network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)(
        derive_generator(0)
    )
    batch = sampler.by_class(3, derive_generator(0))
    with pytest.raises(ValueError, match="normalises over the batch"):
        mean_feature_distance(network, batch, batch)
    assert mean_feature_distance(network.eval(), batch, batch).item() == pytest.approx(0, abs=1e-9)

"""Gradient matching against autograd run class by class, and the distance against its formula."""

import pytest
import torch
import torch.nn.functional as F

from core_distill.engine import gradients as engine
from core_distill.matching import gradient_distance, layerwise_cosine, mean_gradient
from core_distill.randomness import derive_generator
from core_distill.types import Batch


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1))


def autograd_by_class(network, batch):
    rows = [
        torch.autograd.grad(F.cross_entropy(network(images), labels), list(network.parameters()))
        for images, labels in zip(batch.images, batch.labels, strict=True)
    ]
    return [torch.stack(parts) for parts in zip(*rows, strict=True)]


def test_class_gradients_equal_autograd_by_class(network, sampler):
    batch = sampler.by_class(5, derive_generator(0))
    for ours, naive in zip(mean_gradient(network, batch), autograd_by_class(network, batch), strict=True):
        torch.testing.assert_close(ours, naive)


def test_the_batched_pass_used_on_cuda_gives_the_same(network, sampler, monkeypatch):
    batch = sampler.by_class(4, derive_generator(0))
    monkeypatch.setattr(engine, "_pieces", lambda job, images: [(slice(0, 3), slice(0, 4))])
    for ours, naive in zip(mean_gradient(network, batch), autograd_by_class(network, batch), strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-4, atol=1e-6)


def test_mean_of_per_example_gradients_is_the_signal(network, sampler):
    batch = sampler.by_class(4, derive_generator(0))
    for mean, each in zip(mean_gradient(network, batch), mean_gradient.per_example(network, batch), strict=True):
        torch.testing.assert_close(each.mean(1), mean, rtol=1e-4, atol=1e-6)


def test_weights_leave_padding_out_and_an_empty_row_is_zero(network, sampler):
    batch = sampler.by_class(5, derive_generator(0))
    weights = torch.ones(3, 5)
    weights[0, 2:] = 0
    weights[1] = 0
    weighted = mean_gradient(network, batch._replace(weights=weights))
    short = mean_gradient(network, Batch(batch.images[:, :2], batch.labels[:, :2]))
    for ours, want in zip(weighted, short, strict=True):
        torch.testing.assert_close(ours[0], want[0])
        assert (ours[1] == 0).all()


def test_soft_labels_of_one_class_equal_hard_ones(network, sampler):
    batch = sampler.by_class(4, derive_generator(0))
    soft = batch._replace(labels=F.one_hot(batch.labels, 3).float())
    for a, b in zip(mean_gradient(network, soft), mean_gradient(network, batch), strict=True):
        torch.testing.assert_close(a, b)


def test_cosine_distance_has_its_closed_forms():
    a = (torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[5.0, 5.0]]))
    same = layerwise_cosine(a, (a[0] * 3, a[1] * -1))
    opposite = layerwise_cosine(a, (-a[0], a[1]))
    orthogonal = layerwise_cosine(a, (a[0].flip(2), a[1]))
    assert same.item() == pytest.approx(0, abs=1e-5)
    assert opposite.item() == pytest.approx(4, abs=1e-5)
    assert orthogonal.item() == pytest.approx(2, abs=1e-5)


def test_distance_between_equal_batches_is_zero_and_classes_may_be_permuted(network, sampler):
    real, own = sampler.by_class(5, derive_generator(0)), sampler.by_class(2, derive_generator(1))
    assert gradient_distance(network, real, real).item() == pytest.approx(0, abs=1e-3)
    order = torch.tensor([1, 2, 0])
    permuted = [Batch(b.images[order], b.labels[order]) for b in (real, own)]
    torch.testing.assert_close(gradient_distance(network, *permuted), gradient_distance(network, real, own))


def test_gradient_of_the_distance_against_finite_differences(sampler, new_network):
    network = new_network(derive_generator(1)).double()
    real, own = (sampler.by_class(n, derive_generator(n)) for n in (4, 1))
    real, own = (b._replace(images=b.images.double()) for b in (real, own))
    labels = torch.randn(3, 1, 3, dtype=torch.float64, generator=derive_generator(9)).requires_grad_()
    inputs = own.images.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y: gradient_distance(network, real, Batch(x, y.softmax(-1))), (inputs, labels), fast_mode=True
    )


def test_network_gradients_stay_untouched_and_real_side_detached(network, sampler):
    real, own = sampler.by_class(4, derive_generator(0)), sampler.by_class(2, derive_generator(1))
    real.images.requires_grad_()
    own.images.requires_grad_()
    gradient_distance(network, real, own).backward()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert real.images.grad is None
    assert own.images.grad.abs().sum() > 0


def test_inputs_need_not_be_images():
    vectors = torch.randn(3, 5, 7, generator=derive_generator(0))
    batch = Batch(vectors, torch.arange(3)[:, None].expand(3, 5))
    network = torch.nn.Linear(7, 3)
    for ours, naive in zip(mean_gradient(network, batch), autograd_by_class(network, batch), strict=True):
        torch.testing.assert_close(ours, naive)


def test_a_network_that_drops_out_is_refused(network, sampler):
    network.blocks.append(torch.nn.Dropout(0.5))
    batch = sampler.by_class(3, derive_generator(0))
    with pytest.raises(ValueError, match="drops out at random"):
        mean_gradient(network, batch)
    mean_gradient(network.eval(), batch)

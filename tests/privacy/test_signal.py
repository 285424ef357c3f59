import functools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.augment import Dsa
from core_distill.engine import Engine, running_on
from core_distill.matching import gradient_distance, mean_embedding, mean_feature_distance, mean_gradient
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch
from privacy import Ledger, PrivateData, PrivateSignal, SecretSeed
from privacy.clipping import ClippedFeatures, clipped_sums

NEW_NETWORK = network_factory(functools.partial(ConvNet, width=4, depth=2), (1, 8, 8), 3)
SIGNALS = pytest.mark.parametrize("signal", [mean_embedding, mean_gradient], ids=["dm", "dc"])


def private(records, signal=mean_embedding, *, noise_multiplier=1.0, clip_norm=0.5, size=5, class_size=20, seed=0):
    secret, ledger = SecretSeed(seed), Ledger()
    data = PrivateData(records, public_class_size=class_size, secret=secret)
    wrapped = PrivateSignal(
        signal, data=data, clip_norm=clip_norm, noise_multiplier=noise_multiplier, ledger=ledger, secret=secret
    )
    return data, wrapped, ledger


def padded(rows, weights, seed=3):
    generator = derive_generator(seed)
    images = torch.randn(rows, len(weights[0]), 1, 8, 8, generator=generator)
    labels = torch.arange(rows).unsqueeze(1).expand(rows, len(weights[0])).contiguous()
    return Batch(images, labels, torch.tensor(weights, dtype=torch.float32))


def naive_targets(signal, network, image, label):
    """Targets of one example, by ordinary backpropagation."""
    if signal is mean_embedding:
        with torch.no_grad():
            return [network.features(image[None])[0]]
    loss = F.cross_entropy(network(image[None]), label[None])
    return list(torch.autograd.grad(loss, list(network.parameters())))


@SIGNALS
def test_clipped_sums_equal_a_loop_over_examples(signal):
    network = NEW_NETWORK(derive_generator(0))
    batch = padded(3, [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    clip = 0.8
    expected = None
    for row in range(3):
        for column in range(4):
            if batch.weights[row, column]:
                targets = naive_targets(signal, network, batch.images[row, column], batch.labels[row, column])
                norm = math.sqrt(sum(float(target.square().sum()) for target in targets))
                scale = min(1.0, clip / norm)
                if expected is None:
                    expected = [torch.zeros(3, *target.shape) for target in targets]
                for total, target in zip(expected, targets, strict=True):
                    total[row] += scale * target
    for chunk in (1, 3, 64):
        sums = clipped_sums(signal, network, batch, clip_norm=clip, chunk=chunk)
        for ours, theirs in zip(sums, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@SIGNALS
def test_without_clipping_the_sum_over_the_count_is_the_ordinary_signal(signal):
    network = NEW_NETWORK(derive_generator(0))
    batch = padded(3, [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    with torch.no_grad():
        plain = signal(network, batch)
    sums = clipped_sums(signal, network, batch, clip_norm=1e6)
    for total, mean in zip(sums, plain, strict=True):
        counts = batch.weights.sum(1).view(-1, *[1] * (total.dim() - 1))
        torch.testing.assert_close(total / counts, mean, rtol=1e-4, atol=1e-5)


@SIGNALS
@settings(max_examples=15, deadline=None)
@given(clip=st.floats(1e-3, 1e3), scale=st.floats(1e-3, 1e4), row=st.integers(0, 2), seed=st.integers(0, 99))
def test_one_record_moves_all_sums_together_by_at_most_the_clipping_norm(signal, clip, scale, row, seed):
    network = NEW_NETWORK(derive_generator(seed))
    weights = [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    batch = padded(3, weights, seed=seed)
    batch.images[row, 1] *= scale
    without = batch._replace(weights=batch.weights.clone())
    without.weights[row, 1] = 0
    there = clipped_sums(signal, network, batch, clip_norm=clip)
    gone = clipped_sums(signal, network, without, clip_norm=clip)
    moved = math.sqrt(sum(float((a - b).double().square().sum()) for a, b in zip(there, gone, strict=True)))
    assert moved <= clip * (1 + 1e-4)


@SIGNALS
def test_records_are_computed_in_float32_whatever_the_engine(signal):
    network = NEW_NETWORK(derive_generator(0))
    batch = padded(3, [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    plain = clipped_sums(signal, network, batch, clip_norm=0.5)
    with running_on(Engine(precision="bfloat16")):
        found = clipped_sums(signal, network, batch, clip_norm=0.5)
        rounded = mean_embedding(network, batch)
    assert all(torch.equal(one, other) for one, other in zip(found, plain, strict=True))
    assert not torch.equal(rounded[0], mean_embedding(network, batch)[0]), "the engine rounds elsewhere"


def test_values_that_are_not_finite_contribute_nothing():
    class Broken:
        def per_example(self, network, batch):
            values = torch.ones(*batch.images.shape[:2], 2)
            values[0, 0] = math.nan
            values[0, 1, 0] = math.inf
            return (values,)

    (total,) = clipped_sums(Broken(), ConvNet, padded(1, [[1, 1, 1]]), clip_norm=10.0)
    torch.testing.assert_close(total, torch.tensor([[1.0, 2.0]]))


def test_noise_has_the_promised_size_and_the_normaliser_is_public(records):
    data, signal, _ = private(records, noise_multiplier=3.0, clip_norm=0.5, size=5)
    network = NEW_NETWORK(derive_generator(0))
    found = []
    for _ in range(60):
        batch = data.by_class(5, derive_generator(0))
        sums = clipped_sums(mean_embedding, network, batch, clip_norm=0.5)[0]
        found.append(signal(network, batch)[0] * 5 - sums)
    noise = torch.stack(found)
    assert noise.numel() > 2_000
    assert noise.std().item() == pytest.approx(1.5, rel=0.05)
    assert abs(noise.mean().item()) < 0.1
    assert not torch.equal(noise[0], noise[1])


@SIGNALS
def test_one_call_is_one_charge_and_the_noise_is_not_drawn_again(records, signal):
    data, wrapped, ledger = private(records, signal)
    network = NEW_NETWORK(derive_generator(0))
    batch = data.by_class(5, derive_generator(0))
    wrapped(network, batch)
    assert ledger.num_releases == 1
    assert ledger.releases[0].sampling_rate == 5 / 20
    with pytest.raises(ValueError, match="each draw may be released once"):
        wrapped(network, batch)
    assert ledger.num_releases == 1


def test_an_older_draw_and_a_foreign_batch_are_refused(records):
    data, wrapped, ledger = private(records)
    network = NEW_NETWORK(derive_generator(0))
    old = data.by_class(5, derive_generator(0))
    fresh = data.by_class(5, derive_generator(0))
    for batch in (old, records.by_class(3, derive_generator(0)), fresh._replace(weights=fresh.weights.clone())):
        with pytest.raises(ValueError, match="not a fresh draw"):
            wrapped(network, batch)
    assert ledger.num_releases == 0


def test_targets_of_single_examples_are_refused(records):
    data, wrapped, _ = private(records)
    with pytest.raises(ValueError, match="no per-example targets"):
        wrapped.per_example(NEW_NETWORK(derive_generator(0)), data.by_class(5, derive_generator(0)))


@pytest.mark.parametrize(("name", "value"), [("noise_multiplier", 0.0), ("clip_norm", 0.0), ("clip_norm", math.inf)])
def test_settings_without_privacy_are_refused(records, name, value):
    with pytest.raises(ValueError, match=name):
        private(records, **{name: value})


def test_the_same_secret_repeats_the_release_and_another_does_not(records):
    network = NEW_NETWORK(derive_generator(0))

    def release(seed):
        data, signal, _ = private(records, seed=seed)
        return signal(network, data.by_class(5, derive_generator(0)))[0]

    assert torch.equal(release(1), release(1))
    assert not torch.equal(release(1), release(2))


def test_an_empty_draw_releases_noise_alone(records):
    data, signal, ledger = private(records, class_size=10**9)
    batch = data.by_class(1, derive_generator(0))
    assert batch.weights.sum() == 0
    (mean,) = signal(NEW_NETWORK(derive_generator(0)), batch)
    assert mean.shape == (3, 16)
    assert mean.std() > 0
    assert ledger.num_releases == 1


@pytest.mark.parametrize(
    ("signal", "distance"), [(mean_embedding, mean_feature_distance), (mean_gradient, gradient_distance)]
)
def test_it_stands_in_for_the_signal_of_a_loss_behind_siamese_augmentation(records, signal, distance):
    data, wrapped, ledger = private(records, signal)
    generator = derive_generator(1)
    images = torch.randn(3, 2, 1, 8, 8, generator=generator, requires_grad=True)
    synthetic = Batch(images, torch.arange(3).unsqueeze(1).expand(3, 2))
    real, fake = Dsa(operations=("crop", "rotate"))(data.by_class(5, generator), synthetic, generator)
    loss = distance(NEW_NETWORK(generator), real, fake, signal=wrapped)
    loss.backward()
    assert torch.isfinite(images.grad).all()
    assert ledger.num_releases == 1


def test_clipped_features_are_clipped_and_differentiable():
    network = NEW_NETWORK(derive_generator(0))
    images = torch.randn(6, 1, 8, 8, generator=derive_generator(1), requires_grad=True)
    norms = network.features(images).norm(dim=1)
    clip = float(norms.detach().median())
    features = ClippedFeatures(network, clip_norm=clip).features(images)
    torch.testing.assert_close(features.norm(dim=1), norms.clamp(max=clip))
    features.sum().backward()
    assert torch.isfinite(images.grad).all()
    torch.testing.assert_close(ClippedFeatures(network, clip_norm=clip)(images), network(images))

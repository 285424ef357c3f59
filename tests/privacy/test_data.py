import pytest
import torch

from core_distill.randomness import derive_generator
from privacy import PrivateData, SecretSeed


def source(records, class_size=20, seed=0):
    return PrivateData(records, public_class_size=class_size, secret=SecretSeed(seed))


def test_every_record_enters_on_its_own_at_the_public_rate(records):
    data = source(records)
    counts = torch.stack([data.by_class(5, derive_generator(0)).weights.sum(1) for _ in range(400)])
    means, variances = counts.mean(0), counts.var(0)
    sizes = torch.tensor([30.0, 20.0, 10.0])
    torch.testing.assert_close(means, sizes * 0.25, rtol=0.1, atol=0)
    torch.testing.assert_close(variances, sizes * 0.25 * 0.75, rtol=0.3, atol=0)


def test_rows_hold_the_records_of_their_class_then_padding(records):
    batch = source(records).by_class(20, derive_generator(0))  # rate 1: everything
    assert batch.images.shape == (3, 30, 1, 8, 8)
    assert batch.weights.sum(1).tolist() == [30, 20, 10]
    assert (batch.labels == torch.arange(3).unsqueeze(1)).all()
    own = records.take(records.of_class(2))
    torch.testing.assert_close(batch.images[2, :10], own.images)
    assert (batch.images[2, 10:] == 0).all()


def test_the_methods_generator_is_left_alone(records):
    generator = derive_generator(4)
    before = generator.get_state()
    source(records).by_class(5, generator)
    assert torch.equal(before, generator.get_state())


def test_draws_differ_and_a_resumed_source_goes_on(records):
    data = source(records)
    first, second = (data.by_class(5, derive_generator(0)) for _ in range(2))
    assert first.weights.shape != second.weights.shape or not torch.equal(first.images, second.images)
    resumed = source(records)
    resumed.load_state_dict({"num_draws": 1})
    assert torch.equal(resumed.by_class(5, derive_generator(0)).images, second.images)
    assert resumed.state_dict() == data.state_dict() == {"num_draws": 2}


def test_what_would_leak_is_refused(records):
    data = source(records)
    with pytest.raises(ValueError, match="without clipping"):
        data.batch(5, derive_generator(0))
    for size in (0, 21):
        with pytest.raises(ValueError, match="public class size"):
            data.by_class(size, derive_generator(0))
    with pytest.raises(ValueError, match="public_class_size"):
        source(records, class_size=0)
    with pytest.raises(ValueError, match="num_draws"):
        data.load_state_dict({})

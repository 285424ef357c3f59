import random
from collections import Counter

import numpy as np
import pytest
import torch
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.supervised import AGEM, ER_ACE, EWC, LwF

from continual import DistilledBuffer
from core_distill.recipes import sldd


def counts(buffer):
    return Counter(int(example[1]) for example in buffer.buffer)


def fill(buffer, stream):
    for experience in stream.train_stream:
        buffer.post_adapt(None, experience)
    return buffer


def contents(buffer):
    return torch.stack([example[0] for example in buffer.buffer]), [tuple(e[1:]) for e in buffer.buffer]


def same(one, other):
    (images, labels), (other_images, other_labels) = contents(one), contents(other)
    return torch.equal(images, other_images) and labels == other_labels


def test_size_and_balance_after_each_experience(stream, recipe):
    buffer = DistilledBuffer(13, recipe)
    assert len(buffer.buffer) == 0
    for experience, quota in zip(stream.train_stream, (6, 3, 2), strict=True):
        before = {group: memory.images for group, memory in buffer.memories.items()}
        buffer.post_adapt(None, experience)
        assert set(counts(buffer).values()) == {quota}
        assert len(buffer.buffer) <= 13
        for group, images in before.items():
            assert torch.equal(buffer.memories[group].images, images[:quota])
    assert len(counts(buffer)) == 6
    # A byte a value, two numbers a class for what its levels mean, and two an experience for its normalisation.
    assert buffer.num_bytes == 12 * 64 + 6 * 8 + 3 * 8


def test_a_known_number_of_classes_fixes_the_quota(stream, recipe):
    buffer = DistilledBuffer(13, recipe, total_num_classes=6)
    for experience in stream.train_stream:
        before = {group: memory.images for group, memory in buffer.memories.items()}
        buffer.post_adapt(None, experience)
        assert set(counts(buffer).values()) == {2}
        assert all(torch.equal(buffer.memories[group].images, images) for group, images in before.items())


def test_tuples_are_as_the_stream_s_and_images_are_synthetic_ones_in_its_space(stream, recipe):
    experience = stream.train_stream[0]
    buffer = DistilledBuffer(4, recipe.with_values({"image_learning_rate": 1e-9}))
    buffer.post_adapt(None, experience)
    assert len(buffer.buffer[0]) == len(experience.dataset[0])
    # With (nearly) no learning the images are the real ones they started at, in 256 levels.
    real = {label: [] for label in counts(buffer)}
    for image, label, *_ in experience.dataset:
        real[label].append(image)
    for image, label, *_ in buffer.buffer:
        assert min((image - other).abs().max() for other in real[label]) < 0.02


def test_condensing_moves_the_images(stream, recipe):
    still = DistilledBuffer(4, recipe.with_values({"image_learning_rate": 1e-9}))
    moved = DistilledBuffer(4, recipe.with_values({"image_learning_rate": 100.0}))
    for buffer in (still, moved):
        buffer.post_adapt(None, stream.train_stream[0])
    assert (contents(still)[0] - contents(moved)[0]).abs().max() > 0.1


def test_the_same_seed_gives_the_same_bits(stream, recipe):
    first = fill(DistilledBuffer(12, recipe, seed=5), stream)
    torch.rand(7)
    assert same(first, fill(DistilledBuffer(12, recipe, seed=5), stream))
    assert not same(first, fill(DistilledBuffer(12, recipe, seed=6), stream))


def test_experiences_get_different_randomness(new_stream, random_pairs, recipe):
    """The same images again under other class numbers: other ones of them are drawn to start from."""
    data = random_pairs(num_classes=4, per_class=20)
    data.images[1::4] = data.images[2::4] = data.images[3::4] = data.images[0::4].clone()
    still = recipe.with_values({"image_learning_rate": 1e-9})
    buffer = fill(DistilledBuffer(16, still, total_num_classes=4), new_stream(data, 2))
    first, second = [memory.images for memory in buffer.memories.values()][::2]
    assert (first - second).abs().max() > 0.1


def test_neither_global_generators_nor_the_strategy_s_model_are_touched(stream, recipe, new_strategy):
    buffer, strategy = DistilledBuffer(12, recipe), new_strategy()
    strategy.train(stream.train_stream[0])
    strategy.model.train()
    weights = {name: value.clone() for name, value in strategy.model.state_dict().items()}
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    buffer.post_adapt(strategy, stream.train_stream[0])
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert np.random.get_state()[1].tolist() == state[2]  # noqa: NPY002
    assert strategy.model.training
    assert all(torch.equal(value, weights[name]) for name, value in strategy.model.state_dict().items())


@pytest.mark.parametrize("tensor_labels", [False, True])
def test_replay_under_naive(new_stream, random_pairs, recipe, new_strategy, tensor_labels):
    stream = new_stream(random_pairs(tensor_labels=tensor_labels))
    buffer = DistilledBuffer(12, recipe)
    seen = []

    class Spy(ReplayPlugin, supports_distributed=True):
        def before_forward(self, strategy, **kwargs):
            seen.append(set(strategy.mb_y.tolist()))

    strategy = new_strategy([Spy(12, storage_policy=buffer)])
    for experience in stream.train_stream:
        seen.clear()
        strategy.train(experience)
        strategy.eval(stream.test_stream)
    assert set.union(*seen) == set(range(6))
    assert set(counts(buffer).values()) == {2}


def ewc(**options):
    return EWC(ewc_lambda=0.1, **options)


def lwf(**options):
    return LwF(alpha=1.0, temperature=2.0, **options)


def agem(**options):
    return AGEM(patterns_per_exp=4, sample_size=4, **options)


@pytest.mark.parametrize("kind", [ewc, lwf, agem])
def test_replay_beside_another_method(random_pairs, with_task_labels, recipe, new_strategy, kind):
    """LwF and A-GEM read task labels, so this is the stream that has them."""
    stream = with_task_labels(random_pairs())
    buffer = DistilledBuffer(12, recipe)
    strategy = new_strategy([ReplayPlugin(12, storage_policy=buffer)], kind)
    for experience in stream.train_stream:
        strategy.train(experience)
    assert set(counts(buffer).values()) == {2}


def test_inside_er_ace(stream, recipe, new_strategy):
    """ER_ACE fills its buffer before training and unpacks (image, label, task) whatever the stream has."""

    def er_ace(**options):
        return ER_ACE(mem_size=12, batch_size_mem=4, **options)

    strategy = new_strategy(kind=er_ace)
    strategy.storage_policy = buffer = DistilledBuffer(12, recipe, task_labels=True)
    for experience in stream.train_stream:
        strategy.train(experience)
    assert set(counts(buffer).values()) == {2}
    assert strategy.mb_buffer_y.shape == (4,)


def test_a_class_seen_again_shares_its_quota_by_examples_seen(random_pairs, without_task_labels, recipe):
    first, second = (without_task_labels(random_pairs(2, count), 1).train_stream[0] for count in (24, 8))
    buffer = DistilledBuffer(8, recipe)
    buffer.post_adapt(None, first)
    old = {group: memory.images for group, memory in buffer.memories.items()}
    buffer.post_adapt(None, second)
    for group, memory in buffer.memories.items():
        assert memory.examples_seen == 32
        assert len(memory.images) == 4
        assert torch.equal(memory.images[:3], old[group][:3])
        assert (memory.images[3] - old[group][3]).abs().max() > 0.1


def test_a_class_whose_old_images_fill_the_quota_is_not_condensed_again(random_pairs, without_task_labels, recipe):
    first, second = (without_task_labels(random_pairs(2, count), 1).train_stream[0] for count in (60, 2))
    buffer = DistilledBuffer(8, recipe)
    buffer.post_adapt(None, first)
    before = contents(buffer)[0]
    buffer.post_adapt(None, second)
    assert torch.equal(contents(buffer)[0], before)
    assert {memory.examples_seen for memory in buffer.memories.values()} == {62}


def test_equal_labels_of_different_tasks_are_different_classes(random_pairs, recipe):
    from avalanche.benchmarks import nc_benchmark

    stream = nc_benchmark(
        random_pairs(), random_pairs(), 3, task_labels=True, seed=0, class_ids_from_zero_in_each_exp=True
    )
    buffer = fill(DistilledBuffer(12, recipe), stream)
    assert Counter((label, task) for _, label, task in buffer.buffer) == {
        (label, task): 2 for label in (0, 1) for task in (0, 1, 2)
    }
    assert buffer.buffer.targets_task_labels.uniques == {0, 1, 2}


def test_one_class_an_experience_and_fewer_examples_than_slots(new_stream, random_pairs, recipe):
    stream = new_stream(random_pairs(num_classes=2, per_class=3), 2)
    buffer = DistilledBuffer(20, recipe)
    for experience, quota in zip(stream.train_stream, (20, 10), strict=True):
        buffer.post_adapt(None, experience)
        assert set(counts(buffer).values()) == {quota}


def test_resize_shrinks_at_once_and_grows_later(stream, recipe):
    buffer = DistilledBuffer(12, recipe)
    one, two, three = stream.train_stream
    buffer.post_adapt(None, one)
    images = {group: memory.images for group, memory in buffer.memories.items()}
    buffer.resize(None, 5)
    assert set(counts(buffer).values()) == {2}
    assert all(torch.equal(memory.images, images[group][:2]) for group, memory in buffer.memories.items())
    buffer.resize(None, 40)
    assert set(counts(buffer).values()) == {2}
    buffer.post_adapt(None, two)
    assert sorted(counts(buffer).values()) == [2, 2, 10, 10]
    with pytest.raises(ValueError, match=r"at least the number of classes, 4.*got 3"):
        buffer.resize(None, 3)
    assert buffer.max_size == 40
    buffer.resize(None, 6)
    buffer.post_adapt(None, three)
    assert set(counts(buffer).values()) == {1}


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_saved_buffer_goes_on_with_the_same_bits(stream, recipe, tmp_path, after):
    path = tmp_path / "buffer.safetensors"
    whole, first, second = (DistilledBuffer(12, recipe, seed=2) for _ in range(3))
    fill(whole, stream)
    experiences = list(stream.train_stream)
    for experience in experiences[:after]:
        first.post_adapt(None, experience)
    first.save(path)
    second.load(path)
    if after:
        assert same(first, second)
        assert type(second.buffer) is type(first.buffer)
    for experience in experiences[after:]:
        second.post_adapt(None, experience)
    assert same(whole, second)
    assert second.seconds_condensing >= first.seconds_condensing


def test_a_file_of_another_buffer_is_refused(stream, recipe, tmp_path):
    path = tmp_path / "buffer.safetensors"
    buffer = fill(DistilledBuffer(12, recipe, seed=2), stream)
    buffer.save(path)
    with pytest.raises(ValueError, match="seed is 2, now 3"):
        DistilledBuffer(12, recipe, seed=3).load(path)
    with pytest.raises(ValueError, match="another run"):
        DistilledBuffer(12, recipe.with_values({"steps": 3}), seed=2).load(path)
    # The quota decides how many images a class get, so what the recipe says of it does not matter.
    DistilledBuffer(12, recipe.with_values({"images_per_class": 7}), seed=2).load(path)
    with pytest.raises(FileNotFoundError, match="write it with"):
        buffer.load(tmp_path / "absent.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="not a checkpoint"):
        DistilledBuffer(12, recipe, seed=2).load(path)


def test_a_forged_state_changes_nothing(stream, recipe):
    buffer = fill(DistilledBuffer(12, recipe), stream)
    before = contents(buffer)[0]
    state = buffer.state_dict()
    stored = state["memories"][0][2]["parts"][0]["stored"]
    stored["images.pixels"] = stored["images.pixels"][:, :, :4]
    with pytest.raises(ValueError, match=r"images.pixels must be levels \(slots, 1, 8, 8\), got \(2, 1, 4, 8\)"):
        buffer.load_state_dict(state)
    state["sources"][0]["config"]["shape"] = [1, 1, 4, 8]
    state["memories"][1][2]["parts"][0]["stored"] = stored
    with pytest.raises(ValueError, match="must have one shape"):
        buffer.load_state_dict(state)
    for wrong in ({"sources": []}, {"memories": [[0, 1, {"levels": stored["images.pixels"]}]]}):
        with pytest.raises(ValueError, match="not the state of a replay buffer"):
            buffer.load_state_dict({**buffer.state_dict(), **wrong})
    with pytest.raises(ValueError, match="at least the number of classes"):
        buffer.load_state_dict({**buffer.state_dict(), "max_size": 2})
    assert torch.equal(contents(buffer)[0], before)


def test_bad_settings(stream, recipe):
    with pytest.raises(ValueError, match=r"at least the number of classes, 6.*got 5"):
        DistilledBuffer(5, recipe, total_num_classes=6)
    with pytest.raises(ValueError, match="got 0"):
        DistilledBuffer(0, recipe)
    learned = sldd(images_per_class=1, data="digits", schedule="cpu")
    with pytest.raises(ValueError, match=r'hard labels.*"labels": "hard"'):
        DistilledBuffer(10, learned)
    with pytest.raises(ValueError, match="hard labels"):
        DistilledBuffer(10, recipe.with_values({"labels": "teacher"}))
    with pytest.raises(ValueError, match="6 classes so far, but total_num_classes is 5"):
        fill(DistilledBuffer(20, recipe, total_num_classes=5), stream)


def test_a_memory_too_small_for_the_classes_of_an_experience_keeps_what_it_had(stream, recipe):
    buffer = DistilledBuffer(3, recipe)
    buffer.post_adapt(None, stream.train_stream[0])
    before = contents(buffer)[0]
    with pytest.raises(ValueError, match=r"number of classes, 4.*got 3"):
        buffer.post_adapt(None, stream.train_stream[1])
    assert torch.equal(contents(buffer)[0], before)


def test_vectors_and_colour(without_task_labels, random_pairs, recipe):
    for shape, network in (((3, 8, 6), "convnet"), ((10,), "mlp")):
        values = {"network": network} if network == "mlp" else {}
        changed = recipe.with_values({**values, "augment": ""})
        buffer = fill(DistilledBuffer(12, changed), without_task_labels(random_pairs(shape=shape)))
        assert buffer.buffer[0][0].shape == shape

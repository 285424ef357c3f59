import pytest
import torch

from continual import class_stream


def test_each_experience_has_its_own_classes_and_the_normalised_images(digits):
    stream = class_stream(digits, num_experiences=5, seed=0)
    classes = [set(experience.classes_in_this_experience) for experience in stream.train_stream]
    assert [len(part) for part in classes] == [2] * 5
    assert set.union(*classes) == set(range(10))
    assert sum(len(experience.dataset) for experience in stream.train_stream) == len(digits.train)
    assert sum(len(experience.dataset) for experience in stream.test_stream) == len(digits.test)
    for train, test in zip(stream.train_stream, stream.test_stream, strict=True):
        assert set(train.classes_in_this_experience) == set(test.classes_in_this_experience)
        image, label, task = train.dataset[0]
        assert task == 0
        same = digits.train.take(digits.train.of_class(label)).images
        assert any(torch.equal(image, other) for other in same)


def test_the_seed_decides_the_order_and_nothing_global_does(digits):
    def order(seed):
        stream = class_stream(digits, num_experiences=10, seed=seed)
        return [experience.classes_in_this_experience[0] for experience in stream.train_stream]

    before = torch.get_rng_state()
    assert order(0) == order(0) != order(1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("number", [0, 3, 20])
def test_uneven_parts_are_refused(digits, number):
    with pytest.raises(ValueError, match=rf"to {number} experiences; use one of \[1, 2, 5, 10\]"):
        class_stream(digits, num_experiences=number, seed=0)

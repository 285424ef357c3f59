"""Experts: trained as plain SGD would, resumed to the same bytes, drawn right, and refused when they are not right."""

import dataclasses
import functools
import json

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from core_distill.augment import Dsa, no_augment
from core_distill.data import ClassSampler
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.training.expert_settings import ExpertTraining, expert_identity
from core_distill.training.expert_training import train_experts
from core_distill.training.experts import ExpertError, ExpertTrajectories, folder_name, in_memory

TOY = ExpertTraining(num_experts=3, training_epochs=2, training_rate=0.1, training_batch_size=10)


@pytest.fixture
def train(sampler, new_network):
    def run(training=TOY, *, real=sampler, network=new_network, augment=no_augment, **options):
        return train_experts(real, network, training, augment=augment, **options)

    return run


def counted(epochs, num_experts=1):
    """Experts whose only parameter says which one it is, and after which epoch."""
    stacked = [{"weight": 100.0 * expert + torch.arange(epochs + 1.0)[:, None]} for expert in range(num_experts)]
    return ExpertTrajectories([in_memory(value) for value in stacked], epochs=epochs)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_expert_is_what_plain_sgd_makes_of_the_same_draws(sampler, new_network, momentum):
    training = dataclasses.replace(TOY, num_experts=1, training_momentum=momentum)
    experts = train_experts(sampler, new_network, training, augment=Dsa())
    generator = derive_generator(0, "expert", 0)
    network = new_network(generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=momentum)
    for _ in range(2):
        for chosen in torch.randperm(36, generator=generator).split(10):
            batch = sampler.take(chosen)
            optimizer.zero_grad()
            F.cross_entropy(network(Dsa().per_image(batch.images, generator)), batch.labels).backward()
            optimizer.step()
    ours = experts.load(new_network(derive_generator(5)), 0, 2)
    for a, b in zip(ours.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_an_epoch_of_some_images_sees_that_many(sampler, new_network, monkeypatch):
    seen = []
    take = ClassSampler.take
    monkeypatch.setattr(ClassSampler, "take", lambda self, chosen: seen.append(chosen) or take(self, chosen))
    training = dataclasses.replace(TOY, num_experts=1, training_images=15)
    train_experts(sampler, new_network, training, augment=no_augment)
    assert [len(chosen) for chosen in seen] == [10, 5, 10, 5]
    assert set(torch.cat(seen[:2]).tolist()) != set(torch.cat(seen[2:]).tolist())


def test_a_folder_holds_what_memory_would(train, tmp_path, new_network):
    in_files, kept = train(folder=tmp_path / "experts"), train()
    assert in_files.num_experts == kept.num_experts == 3
    assert in_files.seconds > 0
    for expert in range(3):
        for epoch in range(3):
            networks = [each.load(new_network(derive_generator(0)), expert, epoch) for each in (in_files, kept)]
            pairs = zip(*(network.parameters() for network in networks), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(train, tmp_path):
    train(folder=tmp_path / "whole")

    class Watch:
        def __enter__(self):
            return self.advance

        def __exit__(self, *_):
            return None

        def advance(self, done, note):
            if done == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path / "killed", show=lambda what, total: Watch())
    assert sorted(files(tmp_path / "killed")) == ["expert-000.safetensors"]
    train(folder=tmp_path / "killed")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_what_is_there_is_not_trained_again_and_more_can_be_added(train, tmp_path, monkeypatch):
    two = train(dataclasses.replace(TOY, num_experts=2), folder=tmp_path)
    before = files(tmp_path)
    shown = []
    more = train(folder=tmp_path, show=lambda what, total: shown.append(total) or _Quiet())
    assert {name: data for name, data in files(tmp_path).items() if name in before} == before
    assert more.num_experts == 3
    assert more.seconds > two.seconds
    monkeypatch.setattr("core_distill.training.expert_training.train_group", None)
    assert train(dataclasses.replace(TOY, num_experts=2), folder=tmp_path).seconds == pytest.approx(two.seconds)
    assert shown == [6]


class _Quiet:
    def __enter__(self):
        return lambda done, note: None

    def __exit__(self, *_):
        return None


def test_processes_train_side_by_side_what_one_trains(train, tmp_path):
    alone, together = train(folder=tmp_path / "one"), train(folder=tmp_path / "two", processes=2)
    assert together.num_experts == alone.num_experts
    assert together.seconds > 0
    for number in range(alone.num_experts):
        names = [tmp_path / folder / f"expert-{number:03}.safetensors" for folder in ("one", "two")]
        first, second = (safetensors.torch.load_file(name) for name in names)
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5)


def test_draws_every_expert_and_start_and_keeps_the_span():
    experts = counted(6, num_experts=3)
    generator = derive_generator(0)
    drawn = set()
    for _ in range(200):
        (start,), (target,) = experts.draw(generator, 4, 2)
        assert target - start == 2
        drawn.add(start.item())
    assert drawn == {100.0 * expert + epoch for expert in range(3) for epoch in range(4)}


def test_the_same_generator_draws_the_same():
    experts = counted(6, num_experts=3)
    draws = [[experts.draw(derive_generator(seed), 4, 2)[0][0].item() for seed in range(9)] for _ in range(2)]
    assert draws[0] == draws[1]


def test_the_trained_one_alone_is_drawn_alike():
    experts = counted(6, num_experts=3)
    for seed in range(9):
        generator, other = derive_generator(seed), derive_generator(seed)
        assert torch.equal(experts.draw(generator, 1, 4)[1][0], experts.draw_trained(other, 4)[0])
        assert torch.equal(generator.get_state(), other.get_state())
    with pytest.raises(ValueError, match="match fewer epochs"):
        experts.draw_trained(derive_generator(0), 7)


def test_reading_an_epoch_maps_the_file_and_reads_no_more(train, tmp_path, monkeypatch):
    experts = train(folder=tmp_path)
    monkeypatch.setattr(safetensors.torch, "load_file", None)
    start, target = experts.draw(derive_generator(0), 1, 2)
    stored = safetensors.torch.load((tmp_path / "expert-000.safetensors").read_bytes())
    assert {value.shape for value in stored.values()} == {(3, *value.shape) for value in start}
    assert not torch.equal(start[0], target[0])
    assert all(value.untyped_storage().nbytes() == value.numel() * 4 for value in (*start, *target))


@pytest.mark.parametrize(
    ("max_start", "span", "cure"),
    [(6, 2, "a max_start of at most 5"), (7, 1, "a max_start of at most 6"), (1, 7, "match fewer epochs")],
)
def test_a_stretch_beyond_the_last_epoch_says_what_fits(max_start, span, cure):
    experts = counted(6)
    with pytest.raises(ValueError, match=rf"experts of 7 epochs, these have 6: .*{cure}, or train"):
        experts.draw(derive_generator(0), max_start, span)
    experts.check_span(5, 2)


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(ValueError, match="max_start and the epochs to match must be at least 1, got 0 and 2"):
        counted(6).check_span(0, 2)


class TestRefused:
    @pytest.fixture
    def folder(self, train, tmp_path):
        train(folder=tmp_path)
        return tmp_path

    def rewritten(self, folder, change):
        path = folder / "expert-001.safetensors"
        tensors = safetensors.torch.load(path.read_bytes())
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata()
        change(tensors)
        path.write_bytes(safetensors.torch.save(tensors, metadata))

    def test_another_architecture(self, train, folder):
        wider = network_factory(functools.partial(ConvNet, width=8, depth=2), (1, 8, 8), 3)
        with pytest.raises(
            ExpertError, match=r"something else \(network.options.width is 4, now 8\); .*another folder"
        ):
            train(network=wider, folder=folder)

    def test_other_data(self, train, folder, sampler):
        other = sampler.subset(torch.arange(30))
        with pytest.raises(ExpertError, match=rf'data is "{sampler.digest()}", now "{other.digest()}"'):
            train(real=other, folder=folder)

    def test_other_training(self, train, folder):
        with pytest.raises(ExpertError, match=r"training_rate is 0.1, now 0.2\); choose another folder"):
            train(dataclasses.replace(TOY, training_rate=0.2), folder=folder)
        with pytest.raises(ExpertError, match=r"augment is \"Dsa\(operations=\(\)\)\", now"):
            train(augment=Dsa(), folder=folder)

    @pytest.mark.parametrize("length", [0, 4, 100, -1])
    def test_cut_short(self, train, folder, length):
        path = folder / "expert-001.safetensors"
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ExpertError, match=r"expert-001.safetensors is cut short, damaged .* delete it"):
            train(folder=folder)

    def test_not_of_ours(self, train, folder):
        (folder / "expert-001.safetensors").write_bytes(safetensors.torch.save({"weight": torch.ones(3)}))
        with pytest.raises(ExpertError, match="no expert of stillroom"):
            train(folder=folder)
        data = safetensors.torch.save({"weight": torch.ones(3)}, {"stillroom-expert": json.dumps([1])})
        (folder / "expert-001.safetensors").write_bytes(data)
        with pytest.raises(ExpertError, match="no expert of stillroom"):
            train(folder=folder)

    def test_nan(self, train, folder):
        self.rewritten(folder, lambda tensors: tensors["classifier.bias"][1].fill_(float("nan")))
        with pytest.raises(ExpertError, match=r"expert-001.safetensors is not finite after epoch 1"):
            train(folder=folder)

    def test_an_expert_that_stood_still(self, train, folder):
        self.rewritten(folder, lambda tensors: [value.copy_(value[:1].clone()) for value in tensors.values()])
        with pytest.raises(ExpertError, match="does not move"):
            train(folder=folder)

    def test_other_shapes_under_the_same_name(self, train, folder):
        self.rewritten(folder, lambda tensors: tensors.update({"classifier.bias": torch.zeros(3, 9)}))
        with pytest.raises(ExpertError, match=r"classifier.bias has shape \[3, 9\], not \[3, 3\]"):
            train(folder=folder)
        self.rewritten(folder, lambda tensors: tensors.pop("classifier.bias"))
        with pytest.raises(ExpertError, match=r"classifier.bias has shape None, not \[3, 3\]"):
            train(folder=folder)

    def test_a_file_instead_of_a_folder(self, train, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(ExpertError, match="is not a folder"):
            train(folder=tmp_path / "file")

    def test_training_that_diverges_writes_nothing(self, train, tmp_path):
        with pytest.raises(ExpertError, match="expert 0 is not finite after epoch 1; train experts at a lower rate"):
            train(dataclasses.replace(TOY, training_rate=1e30), folder=tmp_path)
        assert not files(tmp_path)

    def test_batch_statistics(self, train):
        network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
        with pytest.raises(ValueError, match="without batch statistics"):
            train(network=network)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_experts": 0}, "num_experts must be at least 1, got 0"),
        ({"training_epochs": 0}, "training_epochs must be at least 1"),
        ({"training_images": -1}, "training_images must be at least 0, got -1"),
        ({"training_rate": 0.0}, "training_rate must be above 0"),
        ({"training_momentum": 1.0}, "training_momentum must lie in"),
    ],
)
def test_values_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        ExpertTraining(**values)


def test_the_folders_name_follows_what_the_experts_are_not_how_many(sampler, new_network):
    def name(training, network=new_network):
        return folder_name("My images", expert_identity(sampler, network, training, augment=no_augment))

    assert name(TOY).startswith("experts-my-images-")
    assert name(TOY) == name(dataclasses.replace(TOY, num_experts=9))
    assert name(TOY) != name(dataclasses.replace(TOY, training_seed=1))
    explicit, default = (
        network_factory(functools.partial(ConvNet, **options), (1, 8, 8), 3) for options in ({"width": 128}, {})
    )
    assert name(TOY, explicit) == name(TOY, default) != name(TOY)

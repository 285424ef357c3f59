"""Reference codes as runners, on checkouts of our own making with the same functions."""

import sys
import textwrap

import pytest
import torch

from core_distill.benchmark.peer import open_peer
from core_distill.benchmark.peer_condensation import mended
from core_distill.benchmark.peer_modules import import_from
from core_distill.benchmark.timing import seconds_of

NETWORKS = """
    from torch import nn

    class ConvNet(nn.Module):
        def __init__(self, channel, num_classes, net_width, net_depth, net_act, net_norm, net_pooling, im_size):
            super().__init__()
            assert (net_depth, net_act, net_norm, net_pooling) == (3, "relu", "instancenorm", "avgpooling")
            layers = []
            for _ in range(net_depth):
                pad = 3 if channel == 1 else 1
                norm = nn.GroupNorm(net_width, net_width)
                layers += [nn.Conv2d(channel, net_width, 3, padding=pad), norm, nn.ReLU(), nn.AvgPool2d(2)]
                channel = net_width
            self.features = nn.Sequential(*layers)
            self.classifier = nn.Linear(net_width * (im_size[0] // 8) * (im_size[1] // 8), num_classes)

        def embed(self, x):
            return self.features(x).flatten(1)

        def forward(self, x):
            return self.classifier(self.embed(x))
"""
UTILS = """
    import time
    import kornia.no_such_part as K
    import torch
    from torchvision.no_such_part import transforms
    from networks import ConvNet

    called = []

    class ParamDiffAug:
        pass

    def DiffAugment(x, strategy="", seed=-1, param=None):
        called.append("augment")
        torch.random.manual_seed(int(time.time() * 1000) % 100000)
        return x * 1.5

    def get_network(model, channel, num_classes, im_size):
        return ConvNet(channel, num_classes, 128, 3, "relu", "instancenorm", "avgpooling", im_size)

    def match_loss(gw_syn, gw_real, args):
        called.append(args.dis_metric)
        return sum(((a - b) ** 2).sum() for a, b in zip(gw_syn, gw_real))

    class TensorDataset(torch.utils.data.TensorDataset):
        pass

    def epoch(mode, dataloader, net, optimizer, criterion, args, aug):
        called.append(mode)
        for images, labels in dataloader:
            if aug:
                images = DiffAugment(images, args.dsa_strategy, param=args.dsa_param)
            loss = criterion(net(images), labels)
            if mode == "train":
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
"""
REPARAM = """
    from torch import nn
    from torch.func import functional_call

    class ReparamModule(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.inner = module

        def forward(self, x, flat_param=None):
            named = dict(self.inner.named_parameters())
            parts = flat_param.split([value.numel() for value in named.values()])
            values = {name: part.view_as(named[name]) for name, part in zip(named, parts)}
            return functional_call(self.inner, values, (x,))
"""


def checkout(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


@pytest.fixture
def condensation(tmp_path):
    return checkout(tmp_path / "dc", main="", main_DM="", networks=NETWORKS, utils=UTILS)


@pytest.fixture
def trajectories(tmp_path):
    return checkout(tmp_path / "mtt", distill="", networks=NETWORKS, utils=UTILS, reparam_module=REPARAM)


def test_every_work_of_a_checkout_runs(condensation, inputs):
    peer = open_peer(condensation)
    assert peer.name == "DatasetCondensation"
    assert list(peer.work) == ["dc", "dsa", "dm", "evaluate", "experts"]
    for prepare in peer.work.values():
        assert min(seconds_of(prepare(inputs), torch.device("cpu"))) > 0


def test_a_trajectory_loss_runs(trajectories, inputs):
    peer = open_peer(trajectories)
    assert (peer.name, list(peer.work)) == ("mtt-distillation", ["mtt"])
    assert min(seconds_of(peer.work["mtt"](inputs), torch.device("cpu"))) > 0


def test_global_generators_and_modules_are_as_they_were(condensation, inputs, monkeypatch):
    ours = type(sys)("utils")
    monkeypatch.setitem(sys.modules, "utils", ours)
    state, path, finders, modules = torch.get_rng_state(), list(sys.path), list(sys.meta_path), set(sys.modules)
    for prepare in open_peer(condensation).work.values():
        seconds_of(prepare(inputs), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    assert sys.modules["utils"] is ours
    assert (sys.path, sys.meta_path) == (path, finders)
    assert not {"networks", "kornia.no_such_part"} & (set(sys.modules) - modules)
    assert "no_such_part" not in vars(sys.modules["torchvision"])
    assert not list(condensation.rglob("__pycache__"))


def test_what_is_not_installed_can_be_imported_but_not_used(condensation):
    modules = import_from(condensation, ("networks", "utils"))
    assert modules["networks"].__file__ == str(condensation / "networks.py")
    with pytest.raises(ModuleNotFoundError, match=r"no_such_part\.transforms was called, but is not"):
        modules["utils"].transforms()


def test_augmentation_is_mended_for_a_single_image_and_for_strides():
    def augment(images, factor):
        assert len(images) > 1
        return factor * images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)

    for count in (1, 3):
        images = torch.randn(count, 1, 4, 4)
        changed = mended(augment)(images, factor=2)
        assert torch.equal(changed, 2 * images)
        assert changed.stride() == (16, 16, 4, 1)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "absent", checkout(tmp_path / "some", main="", utils="")):
        with pytest.raises(ValueError, match="is no checkout of mtt-distillation"):
            open_peer(folder)


@pytest.mark.parametrize("text", ["import no_such_module_of_mine", "def broken(:", "from networks import Missing"])
def test_a_checkout_that_cannot_be_imported_is_refused(text, tmp_path, inputs):
    folder = checkout(tmp_path / "dc", main="", main_DM="", networks=NETWORKS, utils=text)
    with pytest.raises(ValueError, match="cannot be imported"):
        open_peer(folder).work["dc"](inputs)
    assert str(folder) not in sys.path


def test_the_digest_follows_the_files(condensation):
    before = open_peer(condensation).digest
    (condensation / "utils.py").write_text("changed = True")
    assert open_peer(condensation).digest != before

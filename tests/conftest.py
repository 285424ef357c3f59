"""Small real data and networks that the tests share."""

import functools

import pytest
import torch

from core_distill.data import ClassSampler, DataSplits, load_data
from core_distill.networks import ConvNet, network_factory
from core_distill.recipes import Recipe, dc, dm, dsa


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What the library keeps in the user's cache is neither found nor left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def digits() -> DataSplits:
    return load_data("digits")


@pytest.fixture
def sampler() -> ClassSampler:
    """Three classes of 12 random 8 x 8 grey images each."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (36, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return ClassSampler(images, torch.arange(36) % 3, num_classes=3, mean=[0.5], std=[0.25])


@pytest.fixture
def new_network():
    """A factory of tiny ConvNets for the images of `sampler`."""
    return network_factory(functools.partial(ConvNet, width=4, depth=2), (1, 8, 8), 3)


@pytest.fixture(params=["dc", "dm", "dsa"])
def tiny_recipe(request) -> Recipe:
    """Each recipe at toy size."""
    recipe = {"dc": dc, "dm": dm, "dsa": dsa}[request.param](images_per_class=2, data="digits", schedule="cpu")
    values = {"steps": 4, "batch_size": 4, "width": 4, "depth": 2}
    if request.param != "dm":
        values |= {"outer_steps": 2, "inner_epochs": 1}
    return recipe.with_values(values)

"""What client and server have agreed on, from the `[tool.flwr.app.config]` of pyproject.toml."""

from dataclasses import replace
from functools import partial

from flwr.app import Context

from core_distill.data import ClassSampler, DataSplits, load_data
from core_distill.networks import ConvNet
from core_distill.recipes import Recipe, find_recipe
from federated import dirichlet_partition

NETWORK = partial(ConvNet, width=32)
"""What clients and server train, and distil with."""


def data() -> DataSplits:
    """The digits that come with scikit-learn: nothing to download. Put your own data here."""
    return load_data("digits")


def recipe(context: Context) -> Recipe:
    """How clients distil; the server sends it."""
    config = context.run_config
    found = find_recipe(config["recipe"], images_per_class=config["images-per-class"], data="digits", schedule="cpu")
    return replace(found.with_values({"steps": config["steps"]}), network=NETWORK)


def partition(context: Context) -> ClassSampler:
    """The digits of one client. A real client would read its own files here."""
    config, train = context.run_config, data().train
    parts = dirichlet_partition(train, config["num-clients"], alpha=config["alpha"], seed=config["seed"])
    return train.subset(parts[context.node_config["partition-id"]])

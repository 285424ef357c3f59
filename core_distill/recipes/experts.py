"""The experts that a recipe asks for: trained or opened, and the folder that runs on the same ones share."""

from pathlib import Path

import torch
from torch import Tensor

from core_distill.data import ClassSampler
from core_distill.engine import DEFAULT_ENGINE, Engine, chosen, logits
from core_distill.networks import network_factory
from core_distill.progress import ShowProgress, silent
from core_distill.randomness import derive_generator
from core_distill.recipes.new_method import check_method
from core_distill.recipes.recipe import Recipe
from core_distill.run_folder import refuse_run
from core_distill.training.expert_settings import expert_identity
from core_distill.training.expert_training import train_experts
from core_distill.training.experts import ExpertTrajectories, folder_name
from core_distill.types import NetworkFactory


def train_experts_for(
    real: ClassSampler,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    engine: Engine | None = None,
    show: ShowProgress = silent,
    processes: int = 1,
    ray_address: str = "",
) -> ExpertTrajectories | None:
    """The experts of a recipe on `real`, see `train_experts`; `None` where it has none.

    What the recipe's method says against its values, it says before they are trained. Raises `ValueError` where `folder` is
    that of a run.
    """
    if recipe.experts is None:
        return None
    if folder is not None:
        refuse_run(folder, what="experts")
    new_network = network_factory(recipe.network, real.image_shape, real.num_classes)
    check_method(recipe, real)
    return train_experts(
        real,
        new_network,
        recipe.experts,
        augment=recipe.augment,
        folder=folder,
        engine=chosen(engine),
        show=show,
        processes=processes,
        ray_address=ray_address,
    )


def expert_folder_name(real: ClassSampler, recipe: Recipe, *, data: str, engine: Engine = DEFAULT_ENGINE) -> str:
    """A name, such as `experts-digits-0a1b2c3d`, that recipes with equal experts on the data set `data` share.

    Raises `ValueError` for a recipe without experts.
    """
    if recipe.experts is None:
        raise ValueError(f"recipe {recipe.name} uses no experts; take one that does, such as mtt")
    new_network = network_factory(recipe.network, real.image_shape, real.num_classes)
    identity = expert_identity(real, new_network, recipe.experts, augment=recipe.augment, engine=engine)
    return folder_name(data, identity)


def mean_logits(experts: ExpertTrajectories, new_network: NetworkFactory, images: Tensor) -> Tensor:
    """What experts say of `images (n, *shape)` after their last epoch: the mean of their logits, `(n, num_classes)`."""
    network = new_network(derive_generator(0, "structure", device=images.device))  # its parameters are replaced
    said = [logits(experts.load(network, number, experts.epochs), images) for number in range(experts.num_experts)]
    return torch.stack(said).mean(0)

"""One function a paper that returns a complete, frozen `Recipe`; and `condense`, which runs one."""

from collections.abc import Callable

from core_distill.recipes.bayesian import bpc_forward_kl, bpc_reverse_kl, bpc_wasserstein
from core_distill.recipes.characteristic_matching import ncfm
from core_distill.recipes.class_summed import dcc, dsac
from core_distill.recipes.condense import (
    Plan,
    condense,
    initial_set,
    new_optimizer,
    new_scheduler,
    prepare,
    run_plan,
)
from core_distill.recipes.convexified import rcig
from core_distill.recipes.difficulty_alignment import datm
from core_distill.recipes.distribution_matching import dm
from core_distill.recipes.experts import expert_folder_name, train_experts_for
from core_distill.recipes.feature_alignment import cafe
from core_distill.recipes.flat_trajectories import ftd
from core_distill.recipes.gradient_matching import dc, dsa
from core_distill.recipes.haba import haba
from core_distill.recipes.implicit import lorraine
from core_distill.recipes.it_gan import it_gan
from core_distill.recipes.kernel_inducing_points import kip, kip_conv
from core_distill.recipes.kernel_regression import frepo
from core_distill.recipes.kfs import kfs
from core_distill.recipes.label_distillation import ld, ld_ridge
from core_distill.recipes.labels import LABEL_MODES
from core_distill.recipes.linba import linba
from core_distill.recipes.low_rank import low_rank
from core_distill.recipes.maclaurin import maclaurin
from core_distill.recipes.multilevel import multilevel
from core_distill.recipes.own import is_own, own_recipe
from core_distill.recipes.pranc import pranc
from core_distill.recipes.random_features import rfad
from core_distill.recipes.real_trained import acc_dd, dream, idc, idc_i
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule
from core_distill.recipes.text import sldd_text
from core_distill.recipes.trajectory_matching import mtt, tesla
from core_distill.recipes.truncated_training import rat_bptt
from core_distill.recipes.unrolled import dd, sldd
from core_distill.synthetic.kinds import IMAGE_STARTS

RECIPES: dict[str, Callable[..., Recipe]] = {
    "acc-dd": acc_dd,
    "bpc-forward-kl": bpc_forward_kl,
    "bpc-reverse-kl": bpc_reverse_kl,
    "bpc-wasserstein": bpc_wasserstein,
    "cafe": cafe,
    "datm": datm,
    "dc": dc,
    "dcc": dcc,
    "dd": dd,
    "dm": dm,
    "dream": dream,
    "dsa": dsa,
    "dsac": dsac,
    "frepo": frepo,
    "ftd": ftd,
    "haba": haba,
    "idc": idc,
    "idc-i": idc_i,
    "it-gan": it_gan,
    "kfs": kfs,
    "kip": kip,
    "kip-conv": kip_conv,
    "ld": ld,
    "ld-ridge": ld_ridge,
    "linba": linba,
    "lorraine": lorraine,
    "low-rank": low_rank,
    "maclaurin": maclaurin,
    "mtt": mtt,
    "multilevel": multilevel,
    "ncfm": ncfm,
    "pranc": pranc,
    "rat-bptt": rat_bptt,
    "rcig": rcig,
    "rfad": rfad,
    "sldd": sldd,
    "sldd-text": sldd_text,
    "tesla": tesla,
}


def find_recipe(name: str, *, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """The recipe called `name`; `ValueError` listing the known ones where there is none."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[name](images_per_class=images_per_class, data=data, schedule=schedule)


def typed_recipe(name: str, *, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """The recipe that a user typed: one that `find_recipe` knows, or `FILE.py:FUNCTION` of the user's own, see `own_recipe`.

    It runs that file, so a name that came in a message, as a federated server's does, goes to `find_recipe` alone.
    """
    if is_own(name):
        return own_recipe(name, images_per_class=images_per_class, data=data, schedule=schedule)
    return find_recipe(name, images_per_class=images_per_class, data=data, schedule=schedule)


def recipes_with_experts() -> str:
    """The names of recipes that use networks trained on the real data, as a text."""
    return ", ".join(name for name, make in sorted(RECIPES.items()) if make(images_per_class=1).experts)


__all__ = [
    "IMAGE_STARTS",
    "LABEL_MODES",
    "RECIPES",
    "Plan",
    "Recipe",
    "Schedule",
    "acc_dd",
    "bpc_forward_kl",
    "bpc_reverse_kl",
    "bpc_wasserstein",
    "cafe",
    "condense",
    "datm",
    "dc",
    "dcc",
    "dd",
    "dm",
    "dream",
    "dsa",
    "dsac",
    "expert_folder_name",
    "find_recipe",
    "frepo",
    "ftd",
    "haba",
    "idc",
    "idc_i",
    "initial_set",
    "is_own",
    "it_gan",
    "kfs",
    "kip",
    "kip_conv",
    "ld",
    "ld_ridge",
    "linba",
    "lorraine",
    "low_rank",
    "maclaurin",
    "mtt",
    "multilevel",
    "ncfm",
    "new_optimizer",
    "new_scheduler",
    "own_recipe",
    "pranc",
    "prepare",
    "rat_bptt",
    "rcig",
    "recipes_with_experts",
    "rfad",
    "run_plan",
    "sldd",
    "sldd_text",
    "tesla",
    "train_experts_for",
    "typed_recipe",
]

"""What one row of the accuracy benchmark is: a recipe or a selection, a budget, a seed, and how it is scored."""

import functools
import glob
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core_distill.engine import Engine
from core_distill.networks import NETWORKS, Architecture
from core_distill.recipes import Recipe, typed_recipe
from core_distill.recipes.recipe import PARTS
from core_distill.recipes.values import keywords, read


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one row is, as JSON values: `kind` is `recipe`, `baseline` or `experts`, `what` its name."""

    kind: str
    what: str
    images_per_class: int
    seed: int
    data: str
    data_dir: str
    minutes: float
    network: str
    networks: int
    epochs: int
    schedule: Any
    device: str
    engine: dict[str, Any]
    changes: dict[str, str]
    out: str
    experts: str = ""
    whiten: float = 0.0

    @property
    def name(self) -> str:
        return f"{self._of_any_seed}{self.seed}"

    @property
    def other_seeds(self) -> str:
        """A pattern of the names that the same row has for whatever seed."""
        return f"{glob.escape(self._of_any_seed)}*"

    @property
    def _of_any_seed(self) -> str:
        what = re.sub(r"[/\\:]+", "-", self.what).strip("-")  # a recipe of one's own is a path and a function
        return f"{what}-ipc{self.images_per_class}-seed"

    @property
    def folder(self) -> Path:
        return Path(self.out) / "rows" / self.name

    @property
    def row(self) -> dict[str, Any]:
        """What a row says before it is measured."""
        names = ("kind", "what", "images_per_class", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def kept(self) -> Path:
        """Where what is trained beforehand is kept: the experts' folder, which rows share, or one of the row's own."""
        return Path(self.experts) if self.experts else self.folder / "kept"

    def only_experts(self) -> "Job":
        """The job that trains this one's experts."""
        return replace(self, kind="experts")

    def running(self) -> Engine:
        """How its networks run."""
        return Engine(**self.engine)

    def tell(self, what: str) -> None:
        """Say what the row is at, to who looks at the command's errors: rows take minutes and are written when they are done."""
        sys.stderr.write(f"{self.name}: {what}\n")


def recipe_of(job: Job) -> Recipe:
    """The recipe of a job, with those of its changes that the recipe has, also by what another change brings along."""
    recipe = typed_recipe(job.what, images_per_class=job.images_per_class, data=job.data, schedule=job.schedule)
    left = dict(job.changes)
    while known := {name: value for name, value in left.items() if name in recipe.values()}:
        parts = {name: value for name, value in known.items() if name in PARTS} or known
        recipe = recipe.with_values(parts)
        left = {name: value for name, value in left.items() if name not in parts}
    return recipe


def differs(recipe: Recipe, published: Job) -> dict[str, list[Any]]:
    """Values of `recipe` that are not those of the job `published`, each with those; of one that only one has, None."""
    ours, theirs = recipe.values(), recipe_of(published).values()
    names = sorted(ours.keys() | theirs.keys())
    return {name: [ours.get(name), theirs.get(name)] for name in names if ours.get(name) != theirs.get(name)}


def evaluation_network(job: Job) -> Architecture:
    """The network that every row is scored on, with those of the job's changes that it has."""
    network = NETWORKS[job.network]
    known = keywords(network)
    options = {name: read(name, value, known[name]) for name, value in job.changes.items() if name in known}
    return functools.partial(network, **options) if options else network

"""`stillroom recipes`."""

from typing import Annotated

import typer

from core_distill.cli.console import console, print_table
from core_distill.cli.options import Ipc


def recipes(
    name: Annotated[
        str,
        typer.Argument(
            help="One recipe, or FILE.py:FUNCTION, to see all its values instead of the list", show_default=False
        ),
    ] = "",
    data: Annotated[str, typer.Option(help="The data whose values are shown, with a NAME")] = "fashion-mnist",
    ipc: Ipc = 10,
) -> None:
    """List the recipes, or all values of one.

    Each stands with its paper, what it learns, its steps, and what its paper reports. They are ordered by what they match:
    gradients, trajectories of training, features, kernels; or by what they differentiate through: unrolled training, its end
    (implicit), what is likely after it (Bayesian).

    Papers are numbers of arXiv, one of openreview; `recipes NAME` has their titles. Steps are losses for `--ipc` images a
    class, of the paper's schedule and of the one for two CPU cores. Published numbers are test accuracies, on Fashion-MNIST
    and CIFAR-10, of the paper's schedule for as many images a class; those with ~ were not checked in the paper. Any recipe
    takes other `--images` and `--labels`. With a NAME: every value that `--set` may change, what it means, and where it came
    from.

    Examples:

        stillroom recipes

        stillroom recipes idc --data cifar10 --ipc 1
    """
    if name:
        _show(name, data, ipc)
    else:
        _list(ipc)


def _list(images_per_class: int) -> None:
    from core_distill.recipes import RECIPES
    from core_distill.recipes.families import by_family
    from core_distill.recipes.published import published

    rows = []
    for family, name in by_family():
        make = RECIPES[name]
        recipe = make(images_per_class=images_per_class, data="cifar10")
        short = make(images_per_class=images_per_class, data="fashion-mnist", schedule="cpu")
        numbers = [published(name, data, images_per_class) for data in ("fashion-mnist", "cifar10")]
        what = (recipe.paper.split()[-1], ", ".join(recipe.learned), str(recipe.steps), str(short.steps))
        rows.append((name, family, *what, *numbers))
    header = ("recipe", "family", "paper", "learns", "steps", "cpu", "fmnist", "cifar10")
    print_table("Recipes for --recipe", header, rows)


def _show(name: str, data: str, images_per_class: int) -> None:
    from core_distill.data import KNOWN_SETS, KNOWN_TEXTS
    from core_distill.recipes import typed_recipe
    from core_distill.recipes.meanings import meanings
    from core_distill.recipes.published import published

    paper = typed_recipe(name, images_per_class=images_per_class, data=data)
    short = typed_recipe(name, images_per_class=images_per_class, data=data, schedule="cpu")
    values, shorter = paper.values(), short.values()
    meaning = meanings(short) | meanings(paper)
    rows = [
        (value, str(values.get(value, "")), str(shorter.get(value, "")), meaning.get(value, ""))
        for value in sorted({*values, *shorter})
    ]
    if data not in {*KNOWN_SETS, *KNOWN_TEXTS}:
        known = ", ".join(sorted({*KNOWN_SETS, *KNOWN_TEXTS}))
        console().print(
            f"{data} is none of the data sets with values of their own ({known}): these are for all others",
            markup=False,
        )
    print_table(f"{name} for {data}, {images_per_class} images a class", ("value", "paper", "cpu", "meaning"), rows)
    reported = published(name, data, images_per_class) or "not known to us"
    for line in (
        f"paper: {paper.paper}; learns {', '.join(paper.learned)}; published accuracy: {reported}",
        f"--schedule paper: {paper.source}",
        f"--schedule cpu: {short.source}",
    ):
        console().print(line, markup=False)

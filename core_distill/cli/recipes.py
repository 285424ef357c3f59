"""`stillroom recipes`."""

from core_distill.cli.console import print_table


def recipes() -> None:
    """List what `--recipe` may be: each method with its paper, what it learns, its steps, and what its paper reports.

    Steps are losses for 10 images a class, of the paper's schedule and of the one for two CPU cores. Published numbers are
    test accuracies of the paper's schedule for 10 images a class; those with ~ were not checked in the paper. Any recipe
    takes other `--images` and `--labels`.

    Example:

        stillroom recipes
    """
    from core_distill.recipes import RECIPES
    from core_distill.recipes.published import published

    rows = []
    for name, make in sorted(RECIPES.items()):
        recipe = make(images_per_class=10, data="cifar10")
        short = make(images_per_class=10, data="fashion-mnist", schedule="cpu")
        numbers = [published(name, data, 10) for data in ("fashion-mnist", "cifar10")]
        rows.append((name, recipe.paper, ", ".join(recipe.learned), str(recipe.steps), str(short.steps), *numbers))
    header = ("recipe", "paper", "learned", "steps", "cpu steps", "fashion-mnist", "cifar10")
    print_table("Recipes for --recipe", header, rows)

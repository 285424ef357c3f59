"""`stillroom recipes`."""

from core_distill.cli.console import print_table


def recipes() -> None:
    """List what `--recipe` may be: each method with its paper and what it learns.

    Labels that are not learned are class numbers; with `--labels soft` any method that sees labels learns them.

    Example:

        stillroom recipes
    """
    from core_distill.recipes import RECIPES

    made = [make(images_per_class=10) for _, make in sorted(RECIPES.items())]
    rows = [(recipe.name, recipe.paper, ", ".join(recipe.learned)) for recipe in made]
    print_table("Recipes for --recipe", ("recipe", "paper", "learned"), rows)

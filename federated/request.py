"""What the server asks of a client, as Flower settings: a recipe by name with all its values, and a seed."""

import json
from typing import NamedTuple

from flwr.app import ConfigRecord

from core_distill.recipes import Recipe, find_recipe

ACTION = "train.distill"
"""The message type that reaches a `@app.train("distill")` handler."""

_KINDS = {"recipe": str, "values": str, "seed": int, "server-round": int}


class Request(NamedTuple):
    """Distil by this recipe; `seed` is the run's, from which each client derives its own for `server_round`."""

    recipe: Recipe
    seed: int
    server_round: int


def to_config(request: Request) -> ConfigRecord:
    """Settings from which `from_config` makes an equal request, apart from the recipe's account of its sources."""
    recipe = request.recipe
    return ConfigRecord(
        {
            "recipe": recipe.name,
            "values": json.dumps(recipe.values(), sort_keys=True),
            "seed": request.seed,
            "server-round": request.server_round,
        }
    )


def from_config(config: ConfigRecord) -> Request:
    """The request in a message's settings.

    Raises `ValueError` where a setting is missing or of another type, for a recipe this client does not know, and for a
    value it does not have.
    """
    for name, kind in _KINDS.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"the request needs {name!r}, a {kind.__name__}; it has {sorted(config)}")
    values = json.loads(str(config["values"]))
    images_per_class = values.pop("images_per_class")
    recipe = find_recipe(str(config["recipe"]), images_per_class=images_per_class).with_values(values)
    return Request(recipe, int(str(config["seed"])), int(str(config["server-round"])))

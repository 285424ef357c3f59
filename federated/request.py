"""What the server asks of a client, as Flower settings: a recipe by name with all its values, and a seed."""

import json
from typing import NamedTuple, Protocol

from flwr.app import ConfigRecord

from core_distill.recipes import Recipe, find_recipe

ACTION = "train.distill"
"""The message type that reaches a `@app.train("distill")` handler."""

_KINDS = {"recipe": str, "method": str, "values": str, "seed": int, "server-round": int}


class FindRecipe(Protocol):
    """Looks a recipe up by name, as `core_distill.recipes.find_recipe` does; your own adds your own recipes."""

    def __call__(self, name: str, *, images_per_class: int) -> Recipe: ...


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
            "method": str(recipe.describe()["method"]),
            "values": json.dumps(recipe.values(), sort_keys=True),
            "seed": request.seed,
            "server-round": request.server_round,
        }
    )


def from_config(config: ConfigRecord, *, find: FindRecipe = find_recipe) -> Request:
    """The request in a message's settings.

    `find` is where this client looks recipes up. Raises `ValueError` where a setting is missing or of another type, for a
    recipe this client does not know or knows with another method, and for a value it does not have.
    """
    for name, kind in _KINDS.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"the request needs {name!r}, a {kind.__name__}; it has {sorted(config)}")
    values = json.loads(str(config["values"]))
    images_per_class = values.pop("images_per_class")
    recipe = find(str(config["recipe"]), images_per_class=images_per_class).with_values(values)
    method = recipe.describe()["method"]
    if method != config["method"]:
        raise ValueError(
            f"the server means {config['method']!r} by the recipe {recipe.name!r}, this client {method!r}; give both the same "
            "recipe, a client's through make_client_app(..., find=...)"
        )
    return Request(recipe, int(str(config["seed"])), int(str(config["server-round"])))

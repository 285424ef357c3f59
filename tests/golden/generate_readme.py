"""Writes the generated parts of README.md: the table of recipes, and numbers from committed results.

`python tests/golden/generate_readme.py` rewrites the blocks between `<!-- name -->` and `<!-- /name -->`; a test checks that
nothing is stale.
"""

import json
import re
from pathlib import Path

from core_distill.recipes import RECIPES

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "tests" / "golden"


def recipes() -> str:
    """One row a recipe: what it learns, and its published schedule for CIFAR-10 without the departures."""
    rows = ["| recipe | paper | learns | published schedule |", "|---|---|---|---|"]
    for name, make in sorted(RECIPES.items()):
        recipe = make(images_per_class=10, data="cifar10")
        rows.append(f"| `{name}` | {recipe.paper} | {', '.join(recipe.learned)} | {recipe.source.split(';')[0]} |")
    return "\n".join(rows)


def numbers() -> str:
    """Every committed result of a run: what was scored, on what, with which command."""
    parts = []
    for path in sorted(RESULTS.glob("results-*.json")):
        result = json.loads(path.read_text())
        identity, hardware = result["identity"], result["hardware"]
        protocol = identity["protocol"]
        steps = identity["recipe"]["values"]["steps"]
        versions = identity["versions"]
        rows = [
            f"`{result['command']}` ({steps:,} steps, seed {identity['seed']}; stillroom {versions['stillroom']}, torch "
            f"{versions['torch']}; {hardware['cores']} cores of {hardware['device']}; distillation "
            f"{result['distillation_seconds'] / 60:.1f} minutes). Test accuracy of {protocol['num_networks']} fresh networks "
            f"({protocol['network']}, width 128, {protocol['epochs']} epochs with augmentation, last epoch):",
            "",
            "| set | accuracy | images per class | bytes | evaluation |",
            "|---|---|---|---|---|",
        ]
        for name, entry in result["scores"].items():
            score = entry["accuracy"]
            rows.append(
                f"| {name} | {100 * score['mean']:.1f} ± {100 * score['std']:.1f} % | {entry['images_per_class']} | "
                f"{entry['bytes']:,} | {entry['seconds'] / 60:.1f} minutes |"
            )
        if "remark" in result:
            rows += ["", result["remark"]]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def demo() -> str:
    """What `make demo` printed."""
    path = RESULTS / "demo.txt"
    return f"```text\n{path.read_text().rstrip()}\n```" if path.exists() else ""


def generated(text: str) -> str:
    """`text` with every generated block renewed."""
    for name, make in {"demo": demo, "numbers": numbers, "recipes": recipes}.items():
        block = f"<!-- {name} -->\n{make()}\n<!-- /{name} -->".replace("\n\n<!--", "\n<!--")
        text = re.sub(f"<!-- {name} -->.*<!-- /{name} -->", block.replace("\\", r"\\"), text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(generated(readme.read_text()))

"""Options that several commands share, and how their text is read."""

import hashlib
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from core_distill.engine import Engine, Precision
    from core_distill.evaluation import Protocol
    from core_distill.recipes import Recipe, Schedule

_LONGEST_NAME = 100
"""Letters that a folder's name spends on changed values; file systems allow some 250 in all."""

DATA_HELP = (
    "digits, fashion-mnist, mnist, cifar10, cifar100, svhn; of texts docstrings, trec6; or a folder: of one folder "
    "of images a class, of train_images.npy, train_labels.npy and the same for test, or of texts in train.csv"
)
Data = Annotated[str, typer.Argument(help=DATA_HELP)]
RecipeName = Annotated[
    str, typer.Option("--recipe", help="The method with its published values; see stillroom recipes")
]
TypedRecipe = Annotated[
    str,
    typer.Option(
        "--recipe", help="The method with its published values, see stillroom recipes; or FILE.py:FUNCTION of your own"
    ),
]
Ipc = Annotated[int, typer.Option("--ipc", min=1, help="Images per class")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes")]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="Change a value of the recipe, NAME=VALUE; may be repeated; an unknown NAME lists the known ones",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Output folder  [default: runs/ and the run's name]", show_default=False)
]
DataDir = Annotated[Path | None, typer.Option(help="Where data files are looked for first", show_default=False)]
Experts = Annotated[
    Path | None,
    typer.Option(
        help="Folder of experts, for recipes that use some, such as mtt  [default: one in runs/ that such runs share]",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto (CUDA if there is one), cpu, cuda, cuda:1, ...")]
Compute = Annotated[
    str, typer.Option("--compute", help="Networks run in float32, bfloat16, or auto: the faster one of this machine")
]
Piece = Annotated[
    int,
    typer.Option(
        "--piece", min=0, help="Images that pass through a network at once; 0 takes what bounded memory allows"
    ),
]
Compile = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile what a long run repeats")]
ScheduleName = Annotated[
    str, typer.Option("--schedule", help="paper (as published), cpu (sized for minutes), or auto: by the device")
]


Whiten = Annotated[
    float,
    typer.Option(
        min=0,
        help="ZCA epsilon, such as 0.1: images are whitened before all else (rates of most recipes are for images that are not); "
        "0 leaves them as they are",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, help="Processes of this machine that work side by side")]
Ray = Annotated[
    str,
    typer.Option(help="Address of a Ray cluster that does the work; local starts one here", show_default=False),
]


def read_settings(settings: list[str]) -> dict[str, str]:
    """`["steps=60"]` as `{"steps": "60"}`; `ValueError` for text without `=`."""
    wrong = [text for text in settings if "=" not in text]
    if wrong:
        raise ValueError(f"--set takes NAME=VALUE, got {wrong[0]!r}")
    return dict(text.split("=", 1) for text in settings)


def chosen_kinds(**kinds: str) -> dict[str, str]:
    """Those of a recipe's kinds that an option names; an empty one leaves the recipe's own."""
    return {name: kind for name, kind in kinds.items() if kind}


def default_folder(name: str, changes: Mapping[str, str], *, told_before: Collection[str] = ()) -> Path:
    """Where a run goes that names no folder: `runs/` and its name with what it changes of its recipe, `-steps=60`.

    Runs that change other values so have other folders. `told_before` are changes that the name has already.
    """
    name, told = (
        re.sub(r"[^\w.,=+-]", "_", text)
        for text in (name, "".join(f"-{key}={changes[key]}" for key in sorted(changes) if key not in told_before))
    )
    if len(told) > _LONGEST_NAME:
        told = f"{told[:_LONGEST_NAME]}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    return Path("runs") / (name + told)


def words(text: str) -> tuple[str, ...]:
    """`"dc, dm"` as `("dc", "dm")`, each word once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def named(option: str, text: str) -> tuple[str, ...]:
    """`words`; `ValueError` that names the option where there is none."""
    found = words(text)
    if not found:
        raise ValueError(f"{option} takes names with commas, got {text!r}")
    return found


def numbers(option: str, text: str) -> tuple[int, ...]:
    """`"10,1"` as `(10, 1)`; `ValueError` that names the option for other text."""
    found = words(text)
    if not found or not all(word.isdecimal() for word in found):
        raise ValueError(f"{option} takes whole numbers with commas, such as 10,1,50; got {text!r}")
    return tuple(int(word) for word in found)


def megabytes(num_bytes: int | None) -> str:
    """How tables say an amount of memory; empty where it was not measured."""
    return "" if num_bytes is None else f"{num_bytes / 1e6:.0f} MB"


def typed_command() -> str:
    """The command as it was typed, for the record."""
    return shlex.join(["stillroom", *sys.argv[1:]])


def pick_device(name: str) -> str:
    """The device that `--device` means; `ValueError` where it does not exist here."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} is not usable here ({str(error).splitlines()[0]}); try --device cpu"
        ) from error
    return name


def pick_engine(compute: str, compiled: bool, piece: int, device: str) -> "Engine":
    """The engine that `--compute`, `--compile` and `--piece` mean on a device; `ValueError` for an unknown precision."""
    from core_distill.engine import Engine, fastest_precision

    choices: dict[str, Precision] = {
        "auto": fastest_precision(device),
        "float32": "float32",
        "bfloat16": "bfloat16",
    }
    if compute not in choices:
        raise ValueError(f"--compute must be one of {', '.join(choices)}, got {compute!r}")
    return Engine(precision=choices[compute], compile=compiled, piece=piece)


def pick_schedule(name: str, device: str) -> "Schedule":
    """The schedule that `--schedule` means on a device; `ValueError` for an unknown one."""
    choices: dict[str, Schedule] = {"auto": "cpu" if device == "cpu" else "paper", "paper": "paper", "cpu": "cpu"}
    if name not in choices:
        raise ValueError(f"--schedule must be one of {', '.join(choices)}, got {name!r}")
    return choices[name]


def pick_protocol(recipe: "Recipe", data: str, *, networks: int, epochs: int) -> "Protocol | None":
    """How a set by `recipe` is scored that `--networks` and `--epochs` mean; None for 0 networks."""
    from core_distill.augment import dsa_for
    from core_distill.evaluation import Protocol

    if not networks:
        return None
    return Protocol(network=recipe.network, num_networks=networks, epochs=epochs, augment=dsa_for(data))

"""Options that several commands share, and how their text is read."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from core_distill.engine import Engine, Precision
    from core_distill.recipes import Schedule

Data = Annotated[
    str,
    typer.Argument(help="digits, fashion-mnist, mnist, cifar10, cifar100, svhn, or a folder with one folder a class"),
]
RecipeName = Annotated[
    str, typer.Option("--recipe", help="The method with its published values; see stillroom recipes")
]
Ipc = Annotated[int, typer.Option("--ipc", min=1, help="Images per class")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes")]
Set = Annotated[
    list[str],
    typer.Option("--set", help="Change a value of the recipe, NAME=VALUE; may be repeated", show_default=False),
]
Out = Annotated[
    Path | None, typer.Option(help="Output folder  [default: runs/ and the run's name]", show_default=False)
]
DataDir = Annotated[Path | None, typer.Option(help="Where data files are looked for first", show_default=False)]
Experts = Annotated[
    Path | None,
    typer.Option(
        help="Folder of experts for recipes that have them, such as mtt  [default: runs/experts-DATA-...]",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto (CUDA if there is one), cpu, cuda, cuda:1, ...")]
Compute = Annotated[
    str, typer.Option("--compute", help="Networks run in float32 or bfloat16  [auto: the faster one of this machine]")
]
Compile = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile what a long run repeats")]
ScheduleName = Annotated[
    str, typer.Option("--schedule", help="paper (as published), cpu (sized for minutes), or auto: by the device")
]


def read_settings(settings: list[str]) -> dict[str, str]:
    """`["steps=60"]` as `{"steps": "60"}`; `ValueError` for text without `=`."""
    wrong = [text for text in settings if "=" not in text]
    if wrong:
        raise ValueError(f"--set takes NAME=VALUE, got {wrong[0]!r}")
    return dict(text.split("=", 1) for text in settings)


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


def pick_engine(compute: str, compiled: bool, device: str) -> "Engine":
    """The engine that `--compute` and `--compile` mean on a device; `ValueError` for an unknown precision."""
    from core_distill.engine import Engine, fastest_precision

    choices: dict[str, Precision] = {
        "auto": fastest_precision(device),
        "float32": "float32",
        "bfloat16": "bfloat16",
    }
    if compute not in choices:
        raise ValueError(f"--compute must be one of {', '.join(choices)}, got {compute!r}")
    return Engine(precision=choices[compute], compile=compiled)


def pick_schedule(name: str, device: str) -> "Schedule":
    """The schedule that `--schedule` means on a device; `ValueError` for an unknown one."""
    choices: dict[str, Schedule] = {"auto": "cpu" if device == "cpu" else "paper", "paper": "paper", "cpu": "cpu"}
    if name not in choices:
        raise ValueError(f"--schedule must be one of {', '.join(choices)}, got {name!r}")
    return choices[name]

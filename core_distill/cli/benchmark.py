"""`stillroom benchmark`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from core_distill.cli.benchmark_accuracy import accuracy
from core_distill.cli.console import console, print_table, progress
from core_distill.cli.extras import install_hint
from core_distill.cli.options import Compile, Device, named, numbers, pick_device, typed_command

benchmark = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measure this library on this machine.",
    epilog="Example: `stillroom benchmark speed --work dm`.",
)


@benchmark.callback()
def root() -> None:
    """Measure this library on this machine."""


@benchmark.command()
def speed(
    work: Annotated[str, typer.Option(help="What to time, with commas; all: all of it")] = "all",
    ipc: Annotated[str, typer.Option("--ipc", help="Images per class; others vary around the first value")] = "10,1,50",
    classes: Annotated[str, typer.Option(help="Numbers of classes; others vary around the first")] = "10,100",
    side: Annotated[str, typer.Option(help="Image sides in pixels; others vary around the first")] = "28",
    inner_steps: Annotated[str, typer.Option(help="Steps a trajectory unrolls; others vary around the first")] = "20",
    width: Annotated[int, typer.Option(help="Channels of the ConvNet-3")] = 128,
    batch_real: Annotated[int, typer.Option(help="Real images a class and matching step")] = 256,
    real_images: Annotated[int, typer.Option(help="Random images in the training set")] = 60_000,
    test_images: Annotated[int, typer.Option(help="Test images over which a pass of 10,000 is timed")] = 1_000,
    rounds: Annotated[int, typer.Option(help="Times everyone takes a turn, after one to warm up")] = 3,
    compute: Annotated[
        str, typer.Option(help="What the library runs in: float32, bfloat16, or float32,bfloat16")
    ] = "float32",
    compiled: Compile = True,
    peer: Annotated[
        list[Path],
        typer.Option(
            help="Also time the reference code in this folder, a checkout of DatasetCondensation or "
            "mtt-distillation; may be repeated",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    memory: Annotated[bool, typer.Option(help="Also measure peak memory, each in a process of its own")] = True,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Output folder; the same command goes on there")] = Path(
        "runs/benchmark-speed"
    ),
) -> None:
    """Time one method of each kind, evaluation and experts against plain PyTorch, reference codes and the machine's ceiling.

    Everyone takes turns in one process, on random images of Fashion-MNIST's shape. Writes results.json, speed.md, speed.csv
    and, where a size was varied, speed.png.

    Examples:

        stillroom benchmark speed --work dc,dm --ipc 10 --classes 10

        stillroom benchmark speed --work mtt --inner-steps 20,5,50 --peer mtt-distillation
    """
    from core_distill.benchmark import WORK, Plan, Size, run_speed
    from core_distill.benchmark.report import table

    plan = Plan(
        work=tuple(WORK) if work == "all" else named("--work", work),
        size=Size(width=width, batch_real=batch_real, real_images=real_images, test_images=test_images),
        values={
            "num_classes": numbers("--classes", classes),
            "images_per_class": numbers("--ipc", ipc),
            "inner_steps": numbers("--inner-steps", inner_steps),
            "side": numbers("--side", side),
        },
        rounds=rounds,
        precisions=named("--compute", compute),
        compiled=compiled,
        peers=tuple(peer),
        memory=memory,
        device=pick_device(device),
    )
    results = run_speed(plan, out, command=typed_command(), show=progress)
    print_table("Seconds of a unit of work, median of the rounds", *table(results))
    console().print(f"written: {out}/{', '.join(_written(results, out))}", markup=False)


def _written(results: dict[str, Any], out: Path) -> list[str]:
    """Write the report, and say what there is in the folder; without a plot where matplotlib is missing."""
    from core_distill.benchmark.report import write_report

    written = ["results.json"]
    try:
        written += write_report(results, out)
    except ModuleNotFoundError as error:
        hint = install_hint(error)
        if hint is None:
            raise
        typer.echo(f"no plot: {hint}", err=True)
        written += ["speed.md", "speed.csv"]
    return written


benchmark.command()(accuracy)

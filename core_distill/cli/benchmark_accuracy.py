"""`stillroom benchmark accuracy`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from core_distill.cli.console import console, print_table
from core_distill.cli.extras import install_hint
from core_distill.cli.options import (
    DATA_HELP,
    Compile,
    Compute,
    DataDir,
    Device,
    Jobs,
    Piece,
    Ray,
    ScheduleName,
    Set,
    Whiten,
    named,
    numbers,
    pick_device,
    pick_engine,
    pick_schedule,
    read_settings,
    typed_command,
    words,
)


def accuracy(
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "fashion-mnist",
    recipes: Annotated[
        str,
        typer.Option(
            "--recipes", help="Names, or FILE.py:FUNCTION of your own, with commas; all: every one that fits the data"
        ),
    ] = "all",
    ipc: Annotated[str, typer.Option("--ipc", help="Images per class, with commas")] = "10",
    seeds: Annotated[str, typer.Option(help="Seeds of distillation, with commas")] = "0",
    budget_minutes: Annotated[
        float, typer.Option(min=0, help="Of distillation for each recipe; 0: each for its own steps")
    ] = 6.0,
    network: Annotated[
        str,
        typer.Option(
            help="What every row is scored on: convnet, lenet, mlp, resnet18 or text-cnn  [default: convnet, of texts "
            "text-cnn]",
            show_default=False,
        ),
    ] = "",
    networks: Annotated[int, typer.Option(min=1, help="Fresh networks a score is the mean of")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs each of them trains")] = 300,
    baselines: Annotated[
        str,
        typer.Option(
            help="Selections of real images at equal bytes, with commas: random, herding, kmeans, k-centre, forgetting"
        ),
    ] = "random,kmeans",
    jobs: Jobs = 1,
    ray: Ray = "",
    out: Annotated[Path | None, typer.Option(help="Output folder  [default: one in runs/]", show_default=False)] = None,
    set_: Set = [],  # noqa: B006
    schedule: ScheduleName = "auto",
    whiten: Whiten = 0.0,
    data_dir: DataDir = None,
    device: Device = "auto",
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
) -> None:
    """Compare recipes by accuracy after the same minutes.

    They have one protocol, and stand beside real images at equal bytes and published numbers. Writes results.json,
    accuracy.md, accuracy.csv and accuracy.png after every row; with `--ray`, when all rows of a kind are there (each stands
    in its own rows/NAME/row.json at once). The same command goes on where it was stopped, and other recipes, budgets and
    seeds may join. `--set` holds for every recipe that has the value.

    Examples:

        stillroom benchmark accuracy --data fashion-mnist --budget-minutes 6

        stillroom benchmark accuracy --data digits --recipes dm,dsa --ipc 1,10 --seeds 0,1,2
    """
    from core_distill.benchmark.accuracy import AccuracyPlan, run_accuracy
    from core_distill.benchmark.accuracy_report import columns, table

    device = pick_device(device)
    plan = AccuracyPlan(
        data=data,
        data_dir=data_dir,
        recipes=() if recipes == "all" else named("--recipes", recipes),
        budgets=numbers("--ipc", ipc),
        seeds=numbers("--seeds", seeds),
        minutes=budget_minutes,
        baselines=words(baselines),
        network=network,
        networks=networks,
        epochs=epochs,
        schedule=pick_schedule(schedule, device),
        device=device,
        engine=pick_engine(compute, compile_, piece, device),
        whiten=whiten,
        changes=read_settings(set_),
    )
    out = out or Path("runs") / f"benchmark-accuracy-{Path(data).name}"
    missing: list[str] = []

    def report(results: Mapping[str, Any]) -> None:
        missing[:] = _written(results, out)
        console().print(f"{len(results['rows'])} rows in {out}", markup=False)

    results = run_accuracy(plan, out, command=typed_command(), processes=jobs, ray_address=ray, report=report)
    print_table("Test accuracy", columns(results), table(results))
    for hint in missing:
        typer.echo(f"no plot: {hint}", err=True)
    plot = "" if missing else ", accuracy.png"
    console().print(f"written: {out}/results.json, accuracy.md, accuracy.csv{plot}", markup=False)


def _written(results: Mapping[str, Any], out: Path) -> list[str]:
    """Write the report; what to install where the plot could not be drawn."""
    from core_distill.benchmark.accuracy_report import write_report

    try:
        write_report(results, out)
    except ModuleNotFoundError as error:
        hint = install_hint(error)
        if hint is None:
            raise
        return [hint]
    return []

"""`stillroom continual`: distilled replay beside random replay at equal bytes beside none, in Avalanche."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from core_distill.cli.options import (
    Compile,
    Compute,
    Data,
    DataDir,
    Device,
    Out,
    Piece,
    ScheduleName,
    Seed,
    Set,
    TypedRecipe,
    default_folder,
    pick_device,
    pick_engine,
    pick_schedule,
    read_settings,
)

if TYPE_CHECKING:
    from continual.run import StreamResult, Watch


def run(
    data: Data,
    recipe: TypedRecipe = "dm",
    memory: Annotated[int, typer.Option(min=1, help="Memory over all classes, in images whose bytes it has")] = 100,
    experiences: Annotated[int, typer.Option(min=1, help="Parts of the stream, each with its own classes")] = 5,
    strategy: Annotated[str, typer.Option(help="What replay is added to: naive, ewc or lwf")] = "naive",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the real images of each experience")] = 10,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Of the SGD that learns the stream")] = 0.2,
    seed: Seed = 0,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    schedule: ScheduleName = "auto",
    data_dir: DataDir = None,
    device: Device = "auto",
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
) -> None:
    """Compare distilled with random replay, in Avalanche.

    A data set is learned class group by class group, to see what each kind of memory saves from being forgotten. Prints
    accuracy and forgetting of one Avalanche strategy with three memories, and writes results.json. `--set` changes the
    recipe: with images=low-rank the same bytes hold more images, and a value of its network, such as the width, also
    changes the network that learns the stream. That network is Avalanche's to train, in float32: `--compute`, `--compile`
    and `--piece` are for distilling.

    Examples:

        stillroom continual digits --memory 20

        stillroom continual fashion-mnist --recipe dm --memory 100 --experiences 5 --seed 0

        stillroom continual digits --strategy ewc --set steps=100 --set width=32
    """
    from continual import StreamProtocol, compare_replay, find_strategy
    from core_distill.cli.console import console
    from core_distill.data import load_data
    from core_distill.engine import running_on
    from core_distill.environment import hardware, versions
    from core_distill.recipes import typed_recipe
    from core_distill.run_folder import RunFolder

    device = pick_device(device)
    splits = load_data(data, data_dir=data_dir)
    per_class = max(memory // splits.train.num_classes, 1)
    full = typed_recipe(recipe, images_per_class=per_class, data=splits.name, schedule=pick_schedule(schedule, device))
    changes = read_settings(set_)
    full = full.with_values(changes)
    protocol = StreamProtocol(
        num_experiences=experiences,
        strategy=find_strategy(strategy),
        network=full.network,
        epochs=epochs,
        learning_rate=learning_rate,
    )
    engine = pick_engine(compute, compile_, piece, device)
    identity = {
        "data": {"name": splits.name, "digest": splits.digest},
        "recipe": full.describe(),
        "memory": memory,
        "protocol": protocol.describe(),
        "seed": seed,
        "engine": engine.describe(),
        "versions": versions(),
    }
    out = out or default_folder(f"continual-{splits.name}-{full.name}-memory{memory}-{strategy}-seed{seed}", changes)
    folder = RunFolder(out, identity=identity)
    with folder.given_up_on_failure(), _watching(3 * experiences) as watch, running_on(engine):
        results = compare_replay(splits, full, memory=memory, protocol=protocol, seed=seed, device=device, watch=watch)
    runs = {name: result.as_json() for name, result in results.items()}
    folder.write_results({"identity": identity, "hardware": hardware(device), "runs": runs})
    _report(results, full.name)
    console().print(f"written: {out}/results.json", markup=False)


@contextmanager
def _watching(total: int) -> "Iterator[Watch]":
    """A bar over the experiences of all runs."""
    from core_distill.cli.console import progress

    with progress("experiences", total) as advance:
        done = 0

        def watch(name: str, _: int) -> None:
            nonlocal done
            done += 1
            advance(done, f"{name} replay")

        yield watch


def _report(results: "Mapping[str, StreamResult]", recipe: str) -> None:
    from core_distill.cli.console import print_table

    names = {"distilled": f"distilled ({recipe})", "random": "random real images", "none": "none"}
    rows = [
        (
            names[name],
            f"{100 * result.average_accuracy:.1f} %",
            f"{100 * result.forgetting:.1f}",
            str(result.memory_images),
            f"{result.memory_bytes:,}",
            f"{result.seconds_condensing:.1f} s",
            f"{result.seconds:.1f} s",
        )
        for name, result in results.items()
    ]
    header = ("replay", "accuracy", "forgetting", "images", "bytes", "condensing", "in all")
    print_table(
        "Test accuracy after the last experience, and how many points were forgotten (initial - last)", header, rows
    )

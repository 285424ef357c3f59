"""`stillroom federated`: synthetic sets beside FedAvg on the same clients, in Flower's simulation."""

from typing import TYPE_CHECKING, Annotated

import typer

from core_distill.cli.options import (
    Compile,
    Compute,
    Data,
    DataDir,
    Ipc,
    Out,
    Piece,
    RecipeName,
    ScheduleName,
    Seed,
    Set,
    default_folder,
    pick_engine,
    pick_schedule,
    read_settings,
)

if TYPE_CHECKING:
    from federated.comparison import Comparison


def run(
    data: Data,
    recipe: RecipeName = "dm",
    ipc: Ipc = 10,
    clients: Annotated[int, typer.Option(min=2, help="How many clients share the training images")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of synthetic sets; one is the usual number")] = 1,
    alpha: Annotated[float, typer.Option(help="Dirichlet spread of classes: 0.1 very uneven, 100 nearly even")] = 0.5,
    fedavg_rounds: Annotated[int, typer.Option(min=1, help="Rounds of FedAvg, on the same clients")] = 5,
    local_epochs: Annotated[int, typer.Option(min=1, help="Epochs a FedAvg client trains in a round")] = 10,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs the server trains on the pooled synthetic sets")] = 300,
    seed: Seed = 0,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    schedule: ScheduleName = "cpu",
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=1, help="Clients that work at a time, one core each")] = 2,
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
) -> None:
    """Compare synthetic sets with FedAvg over Flower clients.

    Clients distil what they have, and the server trains one network on what they send. Prints accuracy, bytes and seconds
    of both on the same clients, and writes results.json. Clients and server run on the CPU; `--compute`, `--compile` and
    `--piece` are for all of them. Any recipe will do, with any labels and any images but latents, whose generator is too
    large to send. Experts and teachers are trained at each client on its own images and not sent; with a few hundred images
    they need `--set training_batch_size=32`.

    Examples:

        stillroom federated digits

        stillroom federated fashion-mnist --recipe dm --ipc 10 --clients 4 --rounds 1 --alpha 0.5

        stillroom federated digits --ipc 5 --set steps=100 --set width=32
    """
    from core_distill.cli.console import console
    from core_distill.data import load_data
    from core_distill.environment import hardware, versions
    from core_distill.recipes import find_recipe
    from core_distill.run_folder import RunFolder
    from federated import Agreement, FedAvgPlan, dirichlet_partition, run_simulation, server_protocol

    splits = load_data(data, data_dir=data_dir)
    full = find_recipe(recipe, images_per_class=ipc, data=splits.name, schedule=pick_schedule(schedule, "cpu"))
    changes = read_settings(set_)
    full = full.with_values(changes)
    agreement = Agreement.for_recipe(splits.train, full)
    protocol = server_protocol(full, epochs=epochs)
    fedavg = FedAvgPlan(rounds=fedavg_rounds, local_epochs=local_epochs)
    parts = dirichlet_partition(splits.train, clients, alpha=alpha, seed=seed)
    engine = pick_engine(compute, compile_, piece, "cpu")
    identity = {
        "data": {"name": splits.name, "digest": splits.digest},
        "recipe": full.describe(),
        "clients": clients,
        "rounds": rounds,
        "alpha": alpha,
        "seed": seed,
        "protocol": protocol.describe(),
        "fedavg": vars(fedavg),
        "engine": engine.describe(),
        "versions": versions(),
    }
    name = f"federated-{splits.name}-{full.name}-ipc{full.images_per_class}-clients{clients}-seed{seed}"
    out = out or default_folder(name, changes, told_before=("images_per_class",))
    folder = RunFolder(out, identity=identity)
    sizes = [len(part) for part in parts]
    console().print(f"{splits.name}: {sum(sizes)} training images over {clients} clients, {sizes}", markup=False)
    with folder.given_up_on_failure():
        result = run_simulation(
            splits,
            full,
            parts,
            rounds=rounds,
            seed=seed,
            protocol=protocol,
            fedavg=fedavg,
            num_workers=workers,
            engine=engine,
            agreement=agreement,
        )
    folder.write_results({"identity": identity, "hardware": hardware("cpu"), "clients": sizes, **result.as_json()})
    _report(result, full.name)
    console().print(f"written: {out}/results.json", markup=False)


def _report(result: "Comparison", recipe: str) -> None:
    from core_distill.cli.console import print_table

    rows: list[tuple[str, ...]] = []
    for name, scores in ((f"synthetic sets ({recipe})", result.synthetic), ("FedAvg", result.fedavg)):
        up = down = 0
        seconds = 0.0
        for score in scores:
            up, down, seconds = up + score.up, down + score.down, seconds + score.seconds
            accuracy = f"{100 * score.accuracy:.1f} %"
            rows.append((name, str(score.server_round), accuracy, f"{up:,}", f"{down:,}", f"{seconds:.1f}"))
    header = ("strategy", "round", "accuracy", "bytes up so far", "bytes down so far", "seconds so far")
    print_table("Test accuracy of the global network, and what it took over all clients", header, rows)

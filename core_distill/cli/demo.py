"""`stillroom demo`: the whole suite on digits, every number beside its baseline."""

import importlib.metadata
import json
import time
from pathlib import Path
from typing import Annotated

import typer

from core_distill.cli.console import console, print_table, progress
from core_distill.cli.extras import install_hint
from core_distill.cli.options import Device, pick_device, typed_command


def demo(
    out: Annotated[Path, typer.Option(help="Where results go")] = Path("runs/demo"),
    seed: Annotated[
        int,
        typer.Option(min=0, help="The same seed gives the same numbers, but for the private set: its noise is secret"),
    ] = 0,
    device: Device = "auto",
) -> None:
    """Run the whole suite on digits, in a few minutes.

    Distils them, replays them, federates them, makes them private and audits that; every number stands beside its baseline.

    Example:

        stillroom demo
    """
    from core_distill.cli.demo_types import DemoContext, DemoRow
    from core_distill.data import load_data
    from core_distill.environment import versions
    from core_distill.evaluation import Protocol, Score
    from core_distill.experiment import Experiment, run_experiment
    from core_distill.files import write_atomically
    from core_distill.recipes import dm
    from core_distill.synthetic import SyntheticSet

    start = time.monotonic()
    device = pick_device(device)
    data = load_data("digits")
    recipe = dm(images_per_class=10, data=data.name, schedule="cpu").with_values({"steps": 200, "width": 32})
    protocol = Protocol(network=recipe.network, num_networks=3, epochs=200, augment=recipe.augment)
    experiment = Experiment(data=data, recipe=recipe, seed=seed, device=device, protocol=protocol)
    results = run_experiment(experiment, out / "distill", command=typed_command(), show=progress)
    scores = {name: str(Score(tuple(entry["accuracy"]["accuracies"]))) for name, entry in results["scores"].items()}
    rows = [
        DemoRow(
            f"train on 100 synthetic images ({recipe.name}): test accuracy",
            scores["dm"],
            f"{name} real images",
            scores[name],
        )
        for name in experiment.baselines
    ]
    synthetic = SyntheticSet.load(out / "distill")
    context = DemoContext(data, recipe, synthetic, out, seed, device)
    for point in sorted(importlib.metadata.entry_points(group="stillroom.demo"), key=lambda point: point.name):
        console().print(f"{point.name} ...", markup=False)
        try:
            rows.extend(point.load()(context._replace(out=out / point.name)))
        except ModuleNotFoundError as error:
            hint = install_hint(error)
            if hint is None:
                raise
            rows.append(DemoRow(point.name, hint, "", ""))
    print_table("stillroom on digits (1,797 images, 8 x 8)", ("what", "value", "beside", "value"), rows)
    table = {"command": typed_command(), "versions": versions(), "rows": [row._asdict() for row in rows]}
    write_atomically(out / "demo.json", (json.dumps(table, indent=2) + "\n").encode())
    console().print(f"took {time.monotonic() - start:.0f} s; written to {out}", markup=False)

"""`stillroom privacy`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from core_distill.cli.console import console, print_table, progress
from core_distill.cli.options import (
    Data,
    DataDir,
    Device,
    Ipc,
    Out,
    RecipeName,
    ScheduleName,
    Seed,
    Set,
    pick_device,
    pick_schedule,
    read_settings,
)

Epsilon = Annotated[float | None, typer.Option(help="Budget the noise is fitted to  [default: 10]", show_default=False)]
NoiseMultiplier = Annotated[
    float | None, typer.Option(help="Noise over clipping norm, instead of --epsilon", show_default=False)
]
Clip = Annotated[
    float | None,
    typer.Option(help="Bound on one record's contribution  [default: from the noise images]", show_default=False),
]
ClassSize = Annotated[
    int | None,
    typer.Option(help="Records a class as publicly known  [default: the data's size is public]", show_default=False),
]
NoiseSeed = Annotated[
    int | None,
    typer.Option(help="Makes noise repeatable, for research: who knows it can take the noise away", show_default=False),
]


def run(
    data: Data,
    recipe: RecipeName = "dm",
    ipc: Ipc = 10,
    epsilon: Epsilon = None,
    noise_multiplier: NoiseMultiplier = None,
    delta: Annotated[float, typer.Option(help="Below 1 over the number of records")] = 1e-5,
    clip: Clip = None,
    class_size: ClassSize = None,
    seed: Seed = 0,
    noise_seed: NoiseSeed = None,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    schedule: ScheduleName = "auto",
    audit: Annotated[bool, typer.Option("--audit", help="Audit the same settings with canaries")] = False,
    canaries: Annotated[int, typer.Option(min=2, help="Records turned into canaries by the audit")] = 600,
    data_dir: DataDir = None,
    device: Device = "auto",
    networks: Annotated[int, typer.Option(min=0, help="Fresh networks a score is the mean of; 0 skips evaluation")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs each of them trains")] = 300,
) -> None:
    """Distil with differential privacy, and print the claim beside an audit and beside no privacy.

    Images start from noise. Writes synthetic.safetensors with its privacy card, images.png and results.json; only the
    first two are for release.

    Examples:

        stillroom privacy digits --epsilon 10 --delta 1e-4 --audit

        stillroom privacy fashion-mnist --recipe dm --ipc 10 --epsilon 3 --clip 20
    """
    from core_distill.augment import dsa_for
    from core_distill.data import load_data
    from core_distill.evaluation import Protocol
    from core_distill.recipes import find_recipe
    from privacy.accounting import check_delta
    from privacy.experiment import AuditPlan, PrivateExperiment, run_private_experiment

    check_delta(delta)
    device = pick_device(device)
    splits = load_data(data, data_dir=data_dir)
    if not splits.public_normalisation:
        constants = [0.5] * splits.train.image_shape[0]
        splits = load_data(data, data_dir=data_dir, mean=constants, std=constants)
    counted = class_size is None
    class_size = class_size or len(splits.train) // len(splits.train.classes)
    chosen = find_recipe(recipe, images_per_class=ipc, data=splits.name, schedule=pick_schedule(schedule, device))
    fitting = min(int(chosen.values()["batch_size"]), class_size)
    chosen = chosen.with_values({"initialise": "noise", "batch_size": fitting, **read_settings(set_)})
    protocol = Protocol(
        network=chosen.network, num_networks=max(networks, 1), epochs=epochs, augment=dsa_for(splits.name)
    )
    experiment = PrivateExperiment(
        data=splits,
        recipe=chosen,
        public_class_size=class_size,
        delta=delta,
        target_epsilon=10.0 if epsilon is None and noise_multiplier is None else epsilon,
        noise_multiplier=noise_multiplier,
        clip_norm=clip,
        noise_seed=noise_seed,
        seed=seed,
        device=device,
        protocol=protocol if networks else None,
        audit=AuditPlan(num_canaries=canaries, num_guesses=max(2, canaries // 12 * 2)) if audit else None,
    )
    out = out or Path("runs") / f"{splits.name}-{recipe}-ipc{ipc}-private-seed{seed}"
    screen = console()
    screen.print(
        f"{splits.name}: about {class_size} records in each of {len(splits.train.classes)} classes, taken as public"
        + (" (counted here: give --class-size if that number is private)" if counted else ""),
        markup=False,
    )
    results = run_private_experiment(experiment, out, show=progress)
    _report(results, out)


def _report(results: dict[str, Any], out: Path) -> None:
    from core_distill.evaluation import Score
    from privacy.card import describe_card

    rows = []
    for name in ("private", "without privacy", "random real images"):
        score, audit = results["scores"].get(name), results["audits"].get(name)
        claim = results["privacy"]["guarantee"]["epsilon"] if name == "private" else float("inf")
        rows.append(
            (
                name,
                f"{claim:.2f}",
                f"{audit['lower_bound']:.2f}" if audit else "not audited",
                f"{audit['max_attainable']:.2f}" if audit else "",
                str(Score(tuple(score["accuracies"]))) if score else "",
            )
        )
    print_table(
        f"Epsilon at delta {results['privacy']['guarantee']['delta']:g}, and test accuracy",
        ("set", "claimed", "audit: at least", "audit could show", "accuracy"),
        rows,
    )
    screen = console()
    screen.print(describe_card(results["privacy"]), markup=False)
    screen.print(f"written: {out}/synthetic.safetensors and images.png for release; results.json to keep", markup=False)

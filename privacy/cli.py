"""`stillroom privacy`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core_distill.cli.console import console, print_table, progress
from core_distill.cli.options import (
    Compile,
    Compute,
    Data,
    DataDir,
    Device,
    Ipc,
    Out,
    Piece,
    ScheduleName,
    Set,
    TypedRecipe,
    default_folder,
    pick_device,
    pick_engine,
    pick_protocol,
    pick_schedule,
    read_settings,
)
from core_distill.cli.run_notes import tell_not_shown, tell_steps_done

if TYPE_CHECKING:
    from privacy.experiment import AuditPlan, PrivateExperiment

Epsilon = Annotated[
    float | None, typer.Option(help="What the guarantee may cost; the noise follows  [default: 10]", show_default=False)
]
NoiseMultiplier = Annotated[
    float | None, typer.Option(help="Noise over clipping norm, in place of --epsilon", show_default=False)
]
Clip = Annotated[
    float | None,
    typer.Option(
        help="Clipping norm: the bound on one record's contribution  [default: typical of the initial noise]",
        show_default=False,
    ),
]
ClassSize = Annotated[
    int | None,
    typer.Option(help="Records a class as publicly known  [default: counted in the data]", show_default=False),
]
PublicSeed = Annotated[
    int, typer.Option("--seed", min=0, help="Of all but the secret noise and samples; published with the set")
]
NoiseSeed = Annotated[
    int | None,
    typer.Option(help="Makes noise repeatable, for research: who knows it can take the noise away", show_default=False),
]


def run(
    data: Data,
    recipe: TypedRecipe = "dm",
    ipc: Ipc = 10,
    epsilon: Epsilon = None,
    noise_multiplier: NoiseMultiplier = None,
    delta: Annotated[float, typer.Option(help="Of the guarantee; below 1 over the number of records")] = 1e-5,
    clip: Clip = None,
    class_size: ClassSize = None,
    seed: PublicSeed = 0,
    noise_seed: NoiseSeed = None,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    schedule: ScheduleName = "auto",
    audit: Annotated[bool, typer.Option("--audit", help="Audit the same settings with canaries")] = False,
    canaries: Annotated[int, typer.Option(min=2, help="Records turned into canaries by the audit")] = 600,
    data_dir: DataDir = None,
    device: Device = "auto",
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
    networks: Annotated[int, typer.Option(min=0, help="Fresh networks a score is the mean of; 0 skips evaluation")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs each of them trains")] = 300,
) -> None:
    """Distil with differential privacy, and audit the claim.

    It is printed beside the same without privacy. Images start from noise. Writes synthetic.safetensors with its privacy
    card, images.png and results.json; only the first two are for release. What is computed of single records stays in float32,
    whatever `--compute` says.

    Examples:

        stillroom privacy digits --epsilon 10 --delta 1e-4 --audit

        stillroom privacy fashion-mnist --recipe dm --ipc 10 --epsilon 3 --clip 20
    """
    from core_distill.data import load_data
    from core_distill.recipes import typed_recipe
    from privacy.accounting import check_delta
    from privacy.experiment import PrivateExperiment, run_private_experiment

    check_delta(delta)
    if epsilon is not None and noise_multiplier is not None:
        raise ValueError("--epsilon and --noise-multiplier each say how much noise there is; leave one of them out")
    device = pick_device(device)
    splits = load_data(data, data_dir=data_dir)
    if not splits.public_normalisation:
        constants = [0.5] * splits.train.image_shape[0]
        splits = splits.normalised(constants, constants)
    public_size = class_size or len(splits.train) // len(splits.train.classes)
    chosen = typed_recipe(recipe, images_per_class=ipc, data=splits.name, schedule=pick_schedule(schedule, device))
    changes = read_settings(set_)
    size = chosen.values().get("batch_size")
    fitting = {"batch_size": min(int(size), public_size)} if size is not None else {}
    chosen = chosen.with_values({"initialise": "noise", **fitting, **changes})
    experiment = PrivateExperiment(
        data=splits,
        recipe=chosen,
        public_class_size=public_size,
        delta=delta,
        target_epsilon=10.0 if epsilon is None and noise_multiplier is None else epsilon,
        noise_multiplier=noise_multiplier,
        clip_norm=clip,
        noise_seed=noise_seed,
        seed=seed,
        device=device,
        protocol=pick_protocol(chosen, splits.name, networks=networks, epochs=epochs),
        audit=_audit_plan(canaries) if audit else None,
        engine=pick_engine(compute, compile_, piece, device),
    )
    name = f"{splits.name}-{chosen.name}-ipc{chosen.images_per_class}-private-seed{seed}"
    out = out or default_folder(name, changes, told_before=("images_per_class",))
    _announce(experiment, counted=class_size is None)
    tell_steps_done(out)
    _report(run_private_experiment(experiment, out, show=progress), out)


def _audit_plan(num_canaries: int) -> "AuditPlan":
    """Guesses about one canary in six, an even number."""
    from privacy.experiment import AuditPlan

    return AuditPlan(num_canaries=num_canaries, num_guesses=max(2, num_canaries // 12 * 2))


def _announce(experiment: "PrivateExperiment", *, counted: bool) -> None:
    data = experiment.data
    console().print(
        f"{data.name}: about {experiment.public_class_size} records in each of {len(data.train.classes)} classes, taken as "
        "public" + (" (counted here: give --class-size if that number is private)" if counted else ""),
        markup=False,
    )


def _report(results: dict[str, Any], out: Path) -> None:
    from core_distill.evaluation import Score
    from core_distill.synthetic.picture import has_picture
    from core_distill.synthetic.storage import load_artefact
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
    synthetic = load_artefact(out).synthetic
    drawn = has_picture(synthetic)
    released = "synthetic.safetensors" + " and images.png" * drawn
    screen.print(f"written: {out}/{released} for release; results.json to keep", markup=False)
    if drawn:
        tell_not_shown("images.png", synthetic)

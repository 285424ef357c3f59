"""`stillroom distill`."""

from collections.abc import Mapping
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
    Experts,
    Ipc,
    Out,
    Piece,
    ScheduleName,
    Seed,
    Set,
    TypedRecipe,
    Whiten,
    chosen_kinds,
    default_folder,
    megabytes,
    pick_device,
    pick_engine,
    pick_protocol,
    pick_schedule,
    read_settings,
    typed_command,
)
from core_distill.cli.run_notes import tell_not_shown, tell_steps_done
from core_distill.progress import silent

if TYPE_CHECKING:
    from core_distill.experiment import Experiment


def distill(
    data: Data,
    recipe: TypedRecipe = "dm",
    ipc: Ipc = 10,
    seed: Seed = 0,
    out: Out = None,
    set_: Set = [],  # noqa: B006
    schedule: ScheduleName = "auto",
    images: Annotated[
        str,
        typer.Option(
            help="What the images are made of: pixels, multi-formation, hallucinated-bases, addressable-memory, low-rank, "
            "shared-decoders, latents or random-basis  [default: as the recipe says]"
        ),
    ] = "",
    labels: Annotated[
        str,
        typer.Option(
            help="hard; soft: learned with the images; teacher: what a trained network says; soft-teacher: learned from "
            "there on; solved: by kernel regression  [default: as the recipe says]"
        ),
    ] = "",
    whiten: Whiten = 0.0,
    experts: Experts = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
    precision: Annotated[str, typer.Option(help="How images are stored: uint8, float16 or float32")] = "uint8",
    networks: Annotated[int, typer.Option(min=0, help="Fresh networks a score is the mean of; 0 skips evaluation")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs each of them trains")] = 300,
    baselines: Annotated[bool, typer.Option(help="Also score real images at equal bytes")] = True,
    checkpoint_every: Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints")] = 20.0,
) -> None:
    """Distil a data set into a few synthetic images per class.

    Writes synthetic.safetensors, images.png and results.json to the output folder. The same command goes on where it was
    stopped. Under torchrun, processes share the classes (recipes dm, dc and dsa); another number of them may go on.

    Examples:

        stillroom distill digits

        stillroom distill fashion-mnist --recipe dm --ipc 10

        stillroom distill my-images/ --recipe dsa --ipc 1 --set steps=200 --set width=64

        torchrun --nproc-per-node 8 --no-python stillroom distill cifar100 --recipe dsa
    """
    from core_distill.data import load_whitened
    from core_distill.evaluation import USUAL_BASELINES
    from core_distill.experiment import Experiment, run_experiment
    from core_distill.recipes import recipes_with_experts, typed_recipe
    from core_distill.run_folder import is_finished
    from core_distill.sharding import joined, local_device

    device = local_device(pick_device(device))
    chosen = pick_schedule(schedule, device)
    with joined(device) as processes:
        with processes.leader_first():
            show = progress if processes.is_leader else silent
            splits = load_whitened(data, data_dir=data_dir, epsilon=whiten, show=show)
        full = typed_recipe(recipe, images_per_class=ipc, data=splits.name, schedule=chosen)
        changes = {**chosen_kinds(images=images, labels=labels), **read_settings(set_)}
        full = full.with_values(changes)
        experiment = Experiment(
            data=splits,
            recipe=full,
            seed=seed,
            device=device,
            protocol=pick_protocol(full, splits.name, networks=networks, epochs=epochs),
            baselines=USUAL_BASELINES if baselines else (),
            precision=precision,
            engine=pick_engine(compute, compile_, piece, device),
            checkpoint_seconds=checkpoint_every,
        )
        if experts and not full.experts:
            raise ValueError(f"recipe {recipe} uses no experts: leave --experts out, or use {recipes_with_experts()}")
        whitened = f"-whitened{whiten:g}" if whiten else ""
        name = f"{splits.name}-{full.name}-ipc{full.images_per_class}-seed{seed}{whitened}"
        out = out or default_folder(name, changes, told_before=("images_per_class",))
        done_before = is_finished(out)
        if processes.is_leader:
            _announce(experiment, recipe, chosen, changes)
            tell_steps_done(out)
        experts = experts or _shared_experts(experiment)
        results = run_experiment(
            experiment, out, experts_folder=experts, command=typed_command(), show=progress, processes=processes
        )
    if processes.is_leader:
        _report(results, out, _title(experiment), written="written" if not done_before else "in the folder")
        if done_before:
            console().print("the run was finished before: nothing was computed anew", markup=False)


def _announce(experiment: "Experiment", typed: str, schedule: str, changes: Mapping[str, object]) -> None:
    data, recipe, screen = experiment.data, experiment.recipe, console()
    what = "images" if len(data.train.image_shape) == 3 else "examples"
    screen.print(f"{data.name}: {len(data.train)} training {what}, {len(data.class_names)} classes", markup=False)
    values = f"stillroom recipes {typed} --data {data.name} --ipc {recipe.images_per_class}"
    screen.print(f"{recipe.name}: {recipe.paper}; {schedule} schedule ({values} tells its values)", markup=False)
    if changes:
        screen.print(f"changed here: {', '.join(f'{name}={value}' for name, value in changes.items())}", markup=False)
    if data.whitening:
        cost = f"{data.whitening.num_bytes:,} bytes, which no size below counts"
        screen.print(f"whitened: ZCA of epsilon {data.whitening.epsilon:g} ({cost})", markup=False)
    _tell_unmeant_network(experiment)
    steps = "1 step" if recipe.steps == 1 else f"{recipe.steps:,} steps"
    screen.print(f"{steps} on {experiment.device} in {experiment.engine.precision}", markup=False)


def _tell_unmeant_network(experiment: "Experiment") -> None:
    """Say that a network takes such data only by reading it as what it is not, as a text's does an image."""
    from core_distill.networks import NETWORKS, networks_for
    from core_distill.partials import wrapped

    meant, network = networks_for(experiment.data.train.image_shape), wrapped(experiment.recipe.network)
    if network in NETWORKS.values() and network not in meant.values():
        others = " or ".join(f"--set network={name}" for name in meant)
        console().print(f"{network.__name__} is not made for such data; what is: {others}", markup=False)


def _shared_experts(experiment: "Experiment") -> Path | None:
    """Where runs find the experts of such an experiment; None where it matches none."""
    from core_distill.recipes import expert_folder_name

    data, recipe = experiment.data, experiment.recipe
    if not recipe.experts:
        return None
    return Path("runs") / expert_folder_name(data.train, recipe, data=data.name, engine=experiment.engine)


def _title(experiment: "Experiment") -> str:
    """What the scores are of: the recipe's own network, which may be another one than a benchmark's."""
    from core_distill.cli.network_names import named_network

    named = named_network(experiment.recipe.values())
    return f"Test accuracy (mean ± standard deviation of fresh networks, last epoch): {named[0] if named else 'own network'}"


def _report(results: dict[str, Any], out: Path, title: str, *, written: str) -> None:
    from core_distill.evaluation import Score

    rows = [
        (
            name,
            str(Score(tuple(entry["accuracy"]["accuracies"]))),
            str(entry["images_per_class"]),
            f"{entry['bytes']:,}",
            f"{entry['seconds']:.0f} s",
            megabytes(entry.get("peak_bytes")),
        )
        for name, entry in results["scores"].items()
    ]
    if rows:
        print_table(
            title,
            ("set", "accuracy", "images/class", "bytes", "evaluation", "peak memory"),
            rows,
        )
    screen = console()
    if results["start_seconds"] > 1:
        screen.print(f"making the first set took {results['start_seconds']:.0f} s", markup=False)
    if "expert_seconds" in results:
        screen.print(f"the experts took {results['expert_seconds']:.0f} s, in whichever run trained them", markup=False)
    peak = megabytes(results["distillation_peak_bytes"])
    screen.print(f"distillation took {results['distillation_seconds']:.0f} s and {peak} at its peak", markup=False)
    known = ("synthetic.safetensors", "whitening.safetensors", "images.png", "results.json")
    files = [file for file in known if (Path(out) / file).exists()]
    screen.print(f"{written}: {out}/{', '.join(files)}", markup=False)
    if "images.png" in files:
        _tell_not_shown(out)


def _tell_not_shown(out: Path) -> None:
    """Say what images.png leaves out of the set."""
    from core_distill.data import Whitening
    from core_distill.run_folder import WHITENING
    from core_distill.synthetic.storage import load_artefact

    whitening = Whitening.load(out / WHITENING) if (out / WHITENING).exists() else None
    tell_not_shown("images.png", load_artefact(out).synthetic, unwhiten=whitening.undo if whitening else None)

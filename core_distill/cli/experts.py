"""`stillroom experts`."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core_distill.cli.console import console, progress
from core_distill.cli.options import (
    Compile,
    Compute,
    Data,
    DataDir,
    Device,
    Jobs,
    Piece,
    Ray,
    ScheduleName,
    Set,
    Whiten,
    pick_device,
    pick_engine,
    pick_schedule,
    read_settings,
)

if TYPE_CHECKING:
    from core_distill.data import ClassSampler
    from core_distill.evaluation import Score
    from core_distill.recipes import Recipe
    from core_distill.training.experts import ExpertTrajectories


def experts(
    data: Data,
    recipe: Annotated[
        str,
        typer.Option(help="Whose experts: mtt, tesla, ftd, datm, haba, another recipe with some, or FILE.py:FUNCTION"),
    ] = "mtt",
    number: Annotated[int, typer.Option(min=0, help="How many  [default: as the recipe says]", show_default=False)] = 0,
    epochs: Annotated[
        int, typer.Option(min=0, help="Epochs each trains  [default: as the recipe says]", show_default=False)
    ] = 0,
    network: Annotated[
        str, typer.Option(help="convnet, lenet or mlp  [default: as the recipe says]", show_default=False)
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder  [default: one in runs/ that such runs share]", show_default=False),
    ] = None,
    jobs: Jobs = 1,
    ray: Ray = "",
    set_: Set = [],  # noqa: B006
    schedule: ScheduleName = "auto",
    whiten: Whiten = 0.0,
    data_dir: DataDir = None,
    device: Device = "auto",
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
) -> None:
    """Train experts for mtt and its relatives beforehand.

    Runs that fit them share them. The same command goes on where it was stopped; a larger --number adds experts.

    Examples:

        stillroom experts digits

        stillroom experts fashion-mnist --number 20 --epochs 30 --set training_rate=0.01
    """
    from core_distill.data import load_whitened
    from core_distill.recipes import expert_folder_name, is_own, recipes_with_experts, train_experts_for, typed_recipe

    if is_own(recipe) and (jobs > 1 or ray):
        raise ValueError(
            f"other processes do not know what {recipe} defines: leave --jobs and --ray out, which train one after the other"
        )
    device_, device = device, pick_device(device)
    splits = load_whitened(data, data_dir=data_dir, epsilon=whiten, show=progress)
    full = typed_recipe(recipe, images_per_class=1, data=splits.name, schedule=pick_schedule(schedule, device))
    if full.experts is None:
        raise ValueError(f"recipe {recipe} uses no experts; --recipe takes {recipes_with_experts()}")
    asked = {"num_experts": str(number or ""), "training_epochs": str(epochs or ""), "network": network}
    changes = {**{name: value for name, value in asked.items() if value}, **read_settings(set_)}
    full, engine = full.with_values(changes), pick_engine(compute, compile_, piece, device)
    folder = out or Path("runs") / expert_folder_name(splits.train, full, data=splits.name, engine=engine)
    real = splits.train.to(device)
    trained = train_experts_for(
        real, full, folder=folder, engine=engine, show=progress, processes=jobs, ray_address=ray
    )
    assert trained is not None
    screen = console()
    screen.print(
        f"{trained.num_experts} experts of {trained.epochs} epochs in {folder}, trained in {trained.seconds:.0f} s",
        markup=False,
    )
    screen.print(
        f"validation accuracy after the last epoch: {_score(trained, full, splits.validation.to(device))}", markup=False
    )
    given = {
        "--recipe": recipe,
        "--experts": out,
        "--schedule": schedule,
        "--whiten": whiten,
        "--device": device_,
        "--compute": compute,
        "--piece": piece,
        "--data-dir": data_dir,
    }
    screen.print(f"match them with: {_distill_command(data, given, changes)}", markup=False)


def _distill_command(data: str, given: Mapping[str, object], changes: Mapping[str, str]) -> str:
    """The command that finds the same experts; options at their defaults are left out."""
    words = ["stillroom", "distill", data]
    words += [word for name, value in given.items() if value not in ("auto", 0, None) for word in (name, str(value))]
    words += [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    return shlex.join(words)


def _score(trained: "ExpertTrajectories", recipe: "Recipe", validation: "ClassSampler") -> "Score":
    """Accuracies after the last epoch, on images that no expert trained on."""
    from core_distill.evaluation import Score, accuracy
    from core_distill.networks import network_factory
    from core_distill.randomness import derive_generator

    generator = derive_generator(0, device=validation.device)
    network = network_factory(recipe.network, validation.image_shape, validation.num_classes)(generator)
    found = [
        accuracy(trained.load(network, expert, trained.epochs), validation) for expert in range(trained.num_experts)
    ]
    return Score(tuple(found))

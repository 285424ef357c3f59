"""`stillroom evaluate`."""

import functools
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core_distill.cli.console import print_table, progress
from core_distill.cli.options import (
    Compile,
    Compute,
    DataDir,
    Device,
    Piece,
    Seed,
    megabytes,
    pick_device,
    pick_engine,
)
from core_distill.cli.studies import Study, show_architecture_search, show_dc_bench, show_dd_ranking

if TYPE_CHECKING:
    from core_distill.data import ClassSampler, DataSplits
    from core_distill.engine import Engine
    from core_distill.evaluation import Protocol, Score
    from core_distill.networks import Architecture
    from core_distill.synthetic.storage import Artefact
    from core_distill.types import Batch


def evaluate(
    artefact: Annotated[Path, typer.Argument(help="A synthetic.safetensors, or a run's folder")],
    data: Annotated[str, typer.Argument(help="The data to test on  [default: what the artefact was made from]")] = "",
    network: Annotated[
        list[str],
        typer.Option(
            help="convnet, lenet, mlp, resnet18, or all: how the set transfers; may be repeated  [default: as distilled]",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    networks: Annotated[int, typer.Option(min=1, help="Fresh networks a score is the mean of")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs each of them trains")] = 300,
    augment: Annotated[bool, typer.Option(help="Train with DSA's augmentation")] = True,
    on: Annotated[str, typer.Option(help="Which real images: test, or validation (to choose by)")] = "test",
    dd_ranking: Annotated[
        bool, typer.Option("--dd-ranking", help="Instead: how much the images do, beside labels and augmentation")
    ] = False,
    dc_bench: Annotated[
        bool, typer.Option("--dc-bench", help="Instead: on several networks, under several augmentations")
    ] = False,
    nas: Annotated[
        bool, typer.Option("--nas", help="Instead: whether the set ranks small networks as real images do")
    ] = False,
    real_epochs: Annotated[int, typer.Option(min=1, help="Epochs on all real images, for --dd-ranking and --nas")] = 10,
    real_accuracy: Annotated[
        float, typer.Option(help="For --dd-ranking, accuracy after training on all real images, 0 to 1; 0 measures it")
    ] = 0.0,
    tune: Annotated[
        bool, typer.Option("--tune", help="For --dd-ranking: five learning rates for each set, by validation images")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Where these write their scores  [default: beside the artefact]", show_default=False),
    ] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = "auto",
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
) -> None:
    """Train fresh networks on a synthetic set and test them on real images.

    Examples:

        stillroom evaluate runs/digits-dm-ipc10-seed0

        stillroom evaluate synthetic.safetensors --network all --on validation

        stillroom evaluate synthetic.safetensors --dd-ranking --real-epochs 20
    """
    from core_distill.augment import dsa_for, no_augment
    from core_distill.evaluation import Protocol
    from core_distill.networks import NETWORKS, networks_for
    from core_distill.synthetic.storage import load_artefact

    _check_names(network, on)
    choosing = {"--tune": tune, "--dc-bench": dc_bench, "--nas": nas}
    _check_on(on, [option for option, asked in choosing.items() if asked])
    released = load_artefact(artefact)
    names = sorted(networks_for(released.synthetic.batch().images.shape[1:])) if "all" in network else network
    chosen: dict[str, Architecture] = {name: NETWORKS[name] for name in names} or _network_of(released)
    splits = _real_data(artefact, released, data, data_dir)
    device = pick_device(device)
    engine = pick_engine(compute, compile_, piece, device)
    name, architecture = next(iter(chosen.items()))
    protocol = Protocol(
        network=architecture,
        num_networks=networks,
        epochs=epochs,
        augment=dsa_for(splits.name) if augment else no_augment,
    )
    study = Study(
        path=artefact,
        released=released._replace(synthetic=released.synthetic.to(device)),
        splits=replace(splits, test=splits.test if on == "test" else splits.validation),
        on=on,
        own=name,
        others={other: chosen[other] for other in list(chosen)[1:]} or _others(released, name),
        protocol=protocol,
        real_epochs=real_epochs,
        real_accuracy=real_accuracy,
        tune=tune,
        seed=seed,
        engine=engine,
        device=device,
        out=out,
    )
    wanted = {show_dd_ranking: dd_ranking, show_dc_bench: dc_bench, show_architecture_search: nas}
    for show in [show for show, asked in wanted.items() if asked] or [functools.partial(_show_accuracy, chosen)]:
        show(study)


def _show_accuracy(chosen: "dict[str, Architecture]", study: Study) -> None:
    """Measure and print the accuracy of each network."""
    import torch

    from core_distill.peak_memory import Peak

    train, rows = study.released.synthetic.batch(), []
    for name, architecture in chosen.items():
        start, peak = time.monotonic(), Peak(torch.device(study.device))
        protocol = replace(study.protocol, network=architecture)
        score = _score(name, train, study.splits.test, protocol, study.seed, study.engine)
        each = ", ".join(f"{100 * value:.1f}" for value in score.accuracies)
        rows.append((name, str(score), each, f"{time.monotonic() - start:.0f} s", megabytes(peak.num_bytes)))
    print_table(f"Accuracy on {study.title}", ("network", "accuracy", "each", "evaluation", "peak memory"), rows)


def _others(released: "Artefact", own: str) -> "dict[str, Architecture]":
    """The architectures that a set may go to, but for its own."""
    from core_distill.networks import networks_for

    found = networks_for(released.synthetic.batch().images.shape[1:])
    return {name: found[name] for name in sorted(found) if name != own.split(",")[0]}


def _network_of(released: "Artefact") -> "dict[str, Architecture]":
    """The network that a set was distilled with, by a name that says its options; ConvNet where it is not one of ours."""
    from core_distill.networks import NETWORKS
    from core_distill.recipes import find_recipe
    from core_distill.recipes.values import keywords

    recipe = released.metadata.get("recipe")
    told = recipe.get("values") if isinstance(recipe, dict) else None
    if not isinstance(told, dict) or told.get("network") not in NETWORKS:
        return {"convnet": NETWORKS["convnet"]}
    plain = find_recipe("dm", images_per_class=1).with_values({"network": told["network"]})
    options: dict[str, object] = {name: told[name] for name in keywords(plain.network) if name in told}
    title = ", ".join([told["network"], *(f"{name} {value}" for name, value in options.items())])
    return {title: plain.with_values(options).network}


def _check_names(asked: list[str], on: str) -> None:
    """Raise `ValueError` for an unknown name in `--network` or `--on`."""
    from core_distill.networks import NETWORKS

    unknown = [name for name in asked if name not in {*NETWORKS, "all"}]
    if unknown or on not in ("test", "validation"):
        raise ValueError(
            f"--network must be all or one of {', '.join(sorted(NETWORKS))}, and --on test or validation; "
            f"got {', '.join(asked) or 'none'} and {on}"
        )


def _check_on(on: str, choosing: list[str]) -> None:
    """Raise `ValueError` where validation images would be scored on by options that choose by them."""
    if on == "validation" and choosing:
        raise ValueError(
            f"{', '.join(choosing)} chooses on validation images, so leave out --on validation: scores are of test"
        )


def _real_data(artefact: Path, released: "Artefact", data: str, data_dir: Path | None) -> "DataSplits":
    """What the artefact was made from, or the data that was named, normalised as the artefact is.

    Raises `ValueError` where the artefact does not say it, or it is not what is here, and for other classes.
    """
    from core_distill.data import load_data

    told = released.metadata.get("data")
    made_from: dict[str, Any] = told if isinstance(told, dict) else {}
    if not data and not {"name", "digest"} <= made_from.keys():
        raise ValueError(f"{artefact} does not say what it was made from; name the data to test on")
    mean, std = released.synthetic.mean.tolist(), released.synthetic.std.tolist()
    splits = load_data(data or str(made_from["name"]), data_dir=data_dir, mean=mean, std=std)
    if not data and splits.digest != made_from["digest"]:
        raise ValueError(f"{splits.name} here is not what the artefact was made from; name the data to test on")
    if splits.train.num_classes != released.synthetic.num_classes:
        found = f"{splits.train.num_classes} classes, the artefact {released.synthetic.num_classes}"
        raise ValueError(f"{splits.name} has {found}; name the data that it was made from")
    return splits


def _score(
    name: str, train: "Batch", real: "ClassSampler", protocol: "Protocol", seed: int, engine: "Engine"
) -> "Score":
    """The protocol's score, with a bar named `name`."""
    from core_distill.evaluation import evaluate as score_of
    from core_distill.progress import Remembering

    with progress(f"evaluate {name}", protocol.num_networks) as advance:
        shown = Remembering(advance)
        watch = functools.partial(shown, note="networks")
        return score_of(train, real, protocol, seed=seed, watch=watch, engine=engine, tell=shown.note)

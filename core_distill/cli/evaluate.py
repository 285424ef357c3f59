"""`stillroom evaluate`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from click.core import ParameterSource

from core_distill.cli.options import (
    Compile,
    Compute,
    DataDir,
    Device,
    Piece,
    Seed,
    pick_device,
    pick_engine,
)
from core_distill.cli.posterior import PosteriorStudy, pick_sampler
from core_distill.cli.studies import AccuracyStudy, ArchitectureStudy, DCBenchStudy, DDRankingStudy, Study, Subject

if TYPE_CHECKING:
    from core_distill.data import DataSplits
    from core_distill.networks import Architecture
    from core_distill.synthetic.storage import Artefact

_PLAIN = "plain accuracy"
_READ_BY = {
    "network": (_PLAIN, "--dd-ranking", "--dc-bench", "--posterior"),
    "epochs": (_PLAIN, "--dd-ranking", "--dc-bench", "--nas"),
    "augment": (_PLAIN, "--dd-ranking", "--nas"),
    "real_epochs": ("--dd-ranking", "--nas"),
    "real_accuracy": ("--dd-ranking",),
    "tune": ("--dd-ranking",),
    "samples": ("--posterior",),
    "burn_in": ("--posterior",),
    "step_size": ("--posterior",),
}
"""What reads a parameter of `evaluate`; everything reads those that are not here."""


def evaluate(
    context: typer.Context,
    artefact: Annotated[Path, typer.Argument(help="A synthetic.safetensors, or a run's folder")],
    data: Annotated[
        str, typer.Argument(help="The data to test on  [default: the named set that the artefact is of]")
    ] = "",
    network: Annotated[
        list[str],
        typer.Option(
            help="convnet, lenet, mlp, resnet18, text-cnn, or all: how the set transfers; may be repeated; of --dc-bench "
            "the first counts as the set's own  [default: as distilled]",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    networks: Annotated[
        int, typer.Option(min=1, help="Fresh networks a score is the mean of; of --posterior, chains")
    ] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs each of them trains; not for --posterior")] = 300,
    augment: Annotated[
        bool, typer.Option(help="Train with DSA's augmentation; not for --dc-bench and --posterior")
    ] = True,
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
    posterior: Annotated[
        str,
        typer.Option(
            help="Instead: how networks predict together that sghmc or hmc draws from the posterior that the set gives",
            show_default=False,
        ),
    ] = "",
    real_epochs: Annotated[int, typer.Option(min=1, help="Epochs on all real images, for --dd-ranking and --nas")] = 10,
    real_accuracy: Annotated[
        float, typer.Option(help="For --dd-ranking, accuracy after training on all real images, 0 to 1; 0 measures it")
    ] = 0.0,
    tune: Annotated[
        bool, typer.Option("--tune", help="For --dd-ranking: five learning rates for each set, by validation images")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="For --posterior: networks that predict together")] = 50,
    burn_in: Annotated[int, typer.Option(min=0, help="For --posterior: draws thrown away before them")] = 50,
    step_size: Annotated[
        float, typer.Option(help="For --posterior: of the sampler; lower it where networks do not stay finite")
    ] = 0.01,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder where scores are written  [default: the artefact's; plain accuracy is not written]",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    data_dir: DataDir = None,
    device: Device = "auto",
    compute: Compute = "auto",
    compile_: Compile = True,
    piece: Piece = 0,
) -> None:
    """Score a synthetic set: train on it, test on real images.

    `--dd-ranking`, `--dc-bench`, `--nas` and `--posterior` may be asked for together. Each writes its scores beside the
    artefact, to NAME.dd-ranking.json and so on, where the same command goes on if it was stopped. Plain accuracy is written,
    to NAME.accuracy.json, where `--out` names a folder.

    Examples:

        stillroom evaluate runs/digits-dm-ipc10-seed0

        stillroom evaluate synthetic.safetensors --network all --on validation

        stillroom evaluate synthetic.safetensors --dd-ranking --real-epochs 20

        stillroom evaluate synthetic.safetensors --posterior sghmc --networks 1
    """
    from core_distill.augment import dsa_for, no_augment
    from core_distill.evaluation import Protocol
    from core_distill.synthetic.storage import artefact_at, load_artefact

    wanted = {"--dd-ranking": dd_ranking, "--dc-bench": dc_bench, "--nas": nas, "--posterior": bool(posterior)}
    asked = [name for name, yes in wanted.items() if yes] or [_PLAIN]
    choosing = {"--tune": tune, "--dc-bench": dc_bench, "--nas": nas}
    _check_names(network, on)
    _refuse_idle(context, asked)
    _check_on(on, [option for option, yes in choosing.items() if yes])
    sampler = pick_sampler(posterior, step_size) if posterior else None
    released = load_artefact(artefact)
    chosen = _architectures(released, network)
    if dd_ranking:
        _check_ranking(context, released, list(chosen))
    splits = _real_data(artefact, released, data, data_dir)
    device = pick_device(device)
    subject = Subject(
        path=artefact_at(artefact),
        released=released._replace(synthetic=released.synthetic.to(device)),
        splits=replace(splits, test=splits.test if on == "test" else splits.validation),
        on=on,
        seed=seed,
        engine=pick_engine(compute, compile_, piece, device),
        device=device,
        out=out,
    )
    protocol = Protocol(
        network=next(iter(chosen.values())),
        num_networks=networks,
        epochs=epochs,
        augment=dsa_for(splits.name) if augment else no_augment,
    )
    studies: dict[str, Study] = {
        _PLAIN: AccuracyStudy(protocol=protocol, architectures=chosen),
        "--dd-ranking": DDRankingStudy(
            protocol=protocol, real_epochs=real_epochs, real_accuracy=real_accuracy, tune=tune
        ),
        "--dc-bench": DCBenchStudy(protocol=protocol, architectures=_with_others(released, chosen)),
        "--nas": ArchitectureStudy(protocol=protocol, real_epochs=real_epochs),
    }
    if sampler is not None:
        studies["--posterior"] = PosteriorStudy(
            sampler=sampler, burn_in=burn_in, num_samples=samples, chains=networks, architectures=chosen
        )
    for name in asked:
        studies[name].show(subject)


def _typed(context: typer.Context) -> set[str]:
    """The parameters that were given a value on the command line, by name."""
    return {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}


def _refuse_idle(context: typer.Context, asked: Sequence[str]) -> None:
    """Raise `ValueError` for an option that was typed, and that nothing of what is asked for reads."""
    typed = _typed(context)
    for parameter in context.command.params:
        readers = _READ_BY.get(str(parameter.name), tuple(asked))
        if parameter.name in typed and not set(readers) & set(asked):
            names = parameter.secondary_opts if context.params[parameter.name] is False else parameter.opts
            raise ValueError(f"{names[0]} is for {', '.join(readers)}; leave it out for {', '.join(asked)}")


def _check_ranking(context: typer.Context, released: "Artefact", networks: Sequence[str]) -> None:
    """Raise `ValueError` for what was typed and DD-Ranking cannot heed."""
    settings, soft = context.params, released.synthetic.batch().labels.is_floating_point()
    if len(networks) > 1:
        raise ValueError(f"--dd-ranking scores one network, so name one by --network; got {', '.join(networks)}")
    if not settings["augment"]:
        raise ValueError("--dd-ranking compares training with and without augmentation; leave out --no-augment")
    known = settings["real_accuracy"] and not soft and not settings["nas"]
    if known and "real_epochs" in _typed(context):
        raise ValueError("--real-accuracy says what --real-epochs would measure; leave one of them out")


def _architectures(released: "Artefact", names: Sequence[str]) -> "dict[str, Architecture]":
    """Those that `--network` names, or the one that the set was distilled with; of all, that one is the first."""
    from core_distill.networks import NETWORKS

    if "all" in names:
        return _with_others(released, _network_of(released))
    return {name: NETWORKS[name] for name in names} or _network_of(released)


def _with_others(released: "Artefact", chosen: "dict[str, Architecture]") -> "dict[str, Architecture]":
    """The architectures, or where it is a single one all others that the set may go to after it."""
    from core_distill.networks import networks_for

    if len(chosen) > 1:
        return chosen
    (own,) = chosen
    found = networks_for(released.synthetic.batch().images.shape[1:])
    return chosen | {name: found[name] for name in sorted(found) if name != own.split(",")[0]}


def _network_of(released: "Artefact") -> "dict[str, Architecture]":
    """The network that a set was distilled with, by its name in tables; ConvNet where it is not one of ours."""
    from core_distill.cli.network_names import named_network
    from core_distill.networks import NETWORKS

    recipe = released.metadata.get("recipe")
    told = recipe.get("values") if isinstance(recipe, dict) else None
    found = named_network(told) if isinstance(told, dict) else None
    return dict([found or ("convnet", NETWORKS["convnet"])])


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
    from core_distill.cli.whitening import told_whitening, whitened_alike
    from core_distill.data import KNOWN_SETS, KNOWN_TEXTS, load_data

    told = released.metadata.get("data")
    made_from: dict[str, Any] = told if isinstance(told, dict) else {}
    if not data and not {"name", "digest"} <= made_from.keys():
        told = "does not say what it was made from"
        if "name" in made_from:
            told = f"names {made_from['name']} without a digest to know it by, as private sets do"
        raise ValueError(f"{artefact} {told}; name the data to test on")
    if not data and str(made_from["name"]) not in {*KNOWN_SETS, *KNOWN_TEXTS}:
        raise ValueError(
            f"{artefact} was made from a folder or tensors called {made_from['name']}: name the folder to test on"
        )
    splits = load_data(data or str(made_from["name"]), data_dir=data_dir)
    if not data and splits.digest != made_from["digest"]:
        raise ValueError(f"{splits.name} here is not what the artefact was made from; name the data to test on")
    _check_alike(splits, released)
    whitening = told_whitening(artefact, released)
    if whitening:
        return whitened_alike(splits, artefact, whitening)
    return splits.normalised(released.synthetic.mean, released.synthetic.std)


def _check_alike(splits: "DataSplits", released: "Artefact") -> None:
    """Raise `ValueError` where networks trained on the artefact could not be tested on the data."""
    found, own = splits.train.num_classes, released.synthetic.num_classes
    if found != own:
        raise ValueError(f"{splits.name} has {found} classes, the artefact {own}; name the data that it was made from")
    images, shape = splits.train.image_shape, tuple(released.synthetic.batch().images.shape[1:])
    if images != shape:
        raise ValueError(
            f"{splits.name} has examples of the shape {images}, the artefact of {shape}; name the data that it was made from"
        )

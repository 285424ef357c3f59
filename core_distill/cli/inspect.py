"""`stillroom inspect`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core_distill.cli.console import console, print_table
from core_distill.cli.run_notes import tell_not_shown

if TYPE_CHECKING:
    from torch import Tensor

    from core_distill.synthetic import SyntheticSet

_FEW = 10


def inspect(
    artefact: Annotated[Path, typer.Argument(help="A synthetic.safetensors, or a run's folder")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the metadata as JSON")] = False,
    picture: Annotated[Path | None, typer.Option(help="Also write the images as a PNG", show_default=False)] = None,
    columns: Annotated[
        int | None, typer.Option(min=1, help="Images a class in that PNG  [default: 20]", show_default=False)
    ] = None,
) -> None:
    """Show what a synthetic set says of itself.

    Its images, recipe, origin, scores and privacy.

    Examples:

        stillroom inspect runs/digits-dm-ipc10-seed0

        stillroom inspect synthetic.safetensors --json

        stillroom inspect synthetic.safetensors --picture all.png --columns 50
    """
    from core_distill.cli.whitening import kept_whitening, told_whitening
    from core_distill.files import write_atomically
    from core_distill.synthetic.picture import COLUMNS
    from core_distill.synthetic.picture import picture as draw
    from core_distill.synthetic.storage import load_artefact

    if columns and picture is None:
        raise ValueError("--columns is for --picture: name the PNG too, or leave it out")
    released = load_artefact(artefact)
    synthetic = released.synthetic
    told = {**released.metadata, "layout": released.layout}
    whitening = told_whitening(artefact, released)
    kept = None
    if picture is not None:
        kept = kept_whitening(artefact, whitening) if whitening else None
        unwhiten = kept.undo if kept else None
        write_atomically(picture, draw(synthetic, columns=columns or COLUMNS, unwhiten=unwhiten))
    if as_json:
        typer.echo(json.dumps(told, indent=2, sort_keys=True))
        return
    images = synthetic.as_dataset().images
    rows = [
        (
            "images",
            f"{len(images)} of {' x '.join(map(str, images.shape[1:]))}, {_slots(synthetic.images_per_class)} a class",
        ),
        ("values", f"{images.min():.3f} to {images.max():.3f}{_scale(images, bool(whitening))}"),
        ("classes", f"{synthetic.classes.tolist()} of {synthetic.num_classes}"),
        ("stored", ", ".join(f"{name} {tuple(p.shape)}" for name, p in synthetic.named_parameters())),
        ("step size", _step_size(synthetic)),
        ("tensors", f"{released.tensor_bytes:,} bytes"),
        *_flat(told),
    ]
    print_table(str(artefact), ("what", "value"), rows)
    if picture is not None:
        drawn = (
            ", of whitened values: pixels need the run's whitening.safetensors" if whitening and kept is None else ""
        )
        console().print(f"written: {picture}{drawn}", markup=False)
        tell_not_shown(str(picture), synthetic, columns=columns, unwhiten=kept.undo if kept else None)


def _scale(images: "Tensor", whitened: bool) -> str:
    """What the values of `images (n, c, ...)` are beside, where there is something to say; texts have no such range."""
    if whitened:
        return " (whitened)"
    return " (real images of 8 bits: 0 to 1)" if images.dim() == 4 else ""


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count} slots"


def _step_size(synthetic: "SyntheticSet") -> str:
    """The number, or all of a few, or the range of many."""
    sizes = [f"{size:.4g}" for size in synthetic.step_size.reshape(-1).tolist()]
    told = ", ".join(sizes)
    if len(sizes) > _FEW:
        told = f"{len(sizes)}, one a training step, from {synthetic.step_size.min():.4g} to {synthetic.step_size.max():.4g}"
    return told + (" (learned)" if synthetic.learn_step_size else "")


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested metadata as dotted rows."""
    if isinstance(value, dict) and value:
        return [row for key in sorted(value) for row in _flat(value[key], f"{prefix}.{key}" if prefix else key)]
    return [(prefix, value if isinstance(value, str) else json.dumps(value))]

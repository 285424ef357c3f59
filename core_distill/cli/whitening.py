"""Whitened data on the command line: made by `--whiten`, and made again for an artefact of whitened images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from core_distill.progress import ShowProgress

if TYPE_CHECKING:
    from core_distill.data import DataSplits, Whitening
    from core_distill.synthetic.storage import Artefact


def whitened_data(data: str, data_dir: Path | None, epsilon: float, *, show: ShowProgress) -> "DataSplits":
    """The data that a command names, in whitened images where `epsilon` is above 0."""
    from core_distill.data import load_data, whiten

    splits = load_data(data, data_dir=data_dir)
    if not epsilon:
        return splits
    with show(f"whiten {splits.name}", 1) as advance:
        whitened = whiten(splits, epsilon)
        advance(1, "")
    return whitened


def told_whitening(artefact: Path, released: "Artefact") -> dict[str, Any] | None:
    """What an artefact says of its whitening; None for one of plain images. Raises `ValueError` for what makes no sense."""
    normalisation = released.metadata.get("normalisation")
    told = normalisation.get("whitening") if isinstance(normalisation, dict) else None
    if told is None:
        return None
    if not isinstance(told, dict) or type(told.get("epsilon")) is not float or type(told.get("fitted_on")) is not str:
        raise ValueError(f"{artefact} says of its whitening {told!r}, which nobody can repeat; get the artefact anew")
    return told


def kept_whitening(artefact: Path, told: dict[str, Any]) -> "Whitening | None":
    """The whitening beside an artefact; None where there is no file, or that of another set."""
    from core_distill.data import Whitening
    from core_distill.run_folder import WHITENING
    from core_distill.synthetic.storage import artefact_at

    path = artefact_at(artefact).parent / WHITENING
    found = Whitening.load(path) if path.exists() else None
    same = found is not None and (found.epsilon, found.fitted_on) == (told["epsilon"], told["fitted_on"])
    return found if same else None


def whitened_alike(splits: "DataSplits", artefact: Path, told: dict[str, Any]) -> "DataSplits":
    """`splits` whitened as an artefact's images are: by the file beside it, or anew from the data that it was made from.

    Raises `ValueError` where neither is there.
    """
    from core_distill.data import whiten

    kept = kept_whitening(artefact, told)
    if kept is None and splits.train.digest() != told["fitted_on"]:
        raise ValueError(
            f"{artefact} holds whitened images; the whitening.safetensors of its run is not beside it, and {splits.name} is "
            "not what that was fitted to: put the file there"
        )
    return whiten(splits, kept if kept is not None else told["epsilon"])

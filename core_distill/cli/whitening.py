"""Whitened data on the command line: made by `--whiten`, and made again for an artefact of whitened images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core_distill.data import DataSplits, Whitening
    from core_distill.synthetic.storage import Artefact


def whitened_data(data: str, data_dir: Path | None, epsilon: float) -> "DataSplits":
    """The data that a command names, in whitened images where `epsilon` is above 0."""
    from core_distill.data import load_data, whiten

    splits = load_data(data, data_dir=data_dir)
    return whiten(splits, epsilon) if epsilon else splits


def told_whitening(released: "Artefact") -> dict[str, Any] | None:
    """What an artefact says of its whitening; None for one of plain images."""
    told = released.metadata.get("normalisation")
    whitening = told.get("whitening") if isinstance(told, dict) else None
    return whitening if isinstance(whitening, dict) else None


def kept_whitening(artefact: Path, told: dict[str, Any]) -> "Whitening | None":
    """The whitening beside an artefact; None where there is no file. Raises `ValueError` for that of another set."""
    from core_distill.data import Whitening
    from core_distill.run_folder import WHITENING
    from core_distill.synthetic.storage import artefact_at

    path = artefact_at(artefact).parent / WHITENING
    if not path.exists():
        return None
    found = Whitening.load(path)
    if (found.epsilon, found.fitted_on) != (told.get("epsilon"), told.get("fitted_on")):
        raise ValueError(
            f"{path} is the whitening of other data than {artefact} was made from; put the right one there"
        )
    return found


def whitened_alike(splits: "DataSplits", artefact: Path, told: dict[str, Any]) -> "DataSplits":
    """`splits` whitened as an artefact's images are: by the file beside it, or anew from the data that it was made from.

    Raises `ValueError` where neither is there.
    """
    from core_distill.data import whiten

    kept = kept_whitening(artefact, told)
    if kept is None and splits.train.digest() != told.get("fitted_on"):
        raise ValueError(
            f"{artefact} holds whitened images, and {splits.name} is not what their whitening was fitted to: put the run's "
            "whitening.safetensors beside the artefact"
        )
    return whiten(splits, kept if kept is not None else float(told["epsilon"]))

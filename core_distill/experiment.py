"""One distillation from data to results: distil, release, test once, and stand it beside its baselines."""

import functools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core_distill.data import DataSplits
from core_distill.distill import Progress, distill
from core_distill.environment import hardware, versions
from core_distill.evaluation import BASELINES, Protocol, Score, check_baselines, evaluate, select_baselines
from core_distill.files import write_atomically
from core_distill.progress import ShowProgress, silent
from core_distill.recipes import Recipe, prepare
from core_distill.run_folder import RunFolder
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.picture import picture
from core_distill.synthetic.precision import check_precision
from core_distill.synthetic.storage import load_artefact, save_artefact
from core_distill.types import Batch


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is run, without where: data, recipe, seed, and how the result is judged.

    Args:
        baselines: which selections of real images stand beside the score, at equal bytes.
        protocol: how scores are taken; `None` distils and stops there.
        precision: how the artefact stores images, see `core_distill.synthetic.precision`.
        checkpoint_seconds: the least time between two checkpoints; the result does not depend on it.

    Raises `ValueError` for an unknown baseline or precision.
    """

    data: DataSplits
    recipe: Recipe
    seed: int = 0
    device: str = "cpu"
    protocol: Protocol | None = field(default_factory=Protocol)
    baselines: tuple[str, ...] = BASELINES
    precision: str = "uint8"
    checkpoint_seconds: float = 20.0

    def __post_init__(self) -> None:
        check_baselines(self.baselines)
        check_precision(self.precision)

    def identity(self) -> dict[str, object]:
        """What makes two runs the same run, as JSON values."""
        return {
            "data": {"name": self.data.name, "digest": self.data.digest, "train": self.data.train.digest()},
            "recipe": self.recipe.describe(),
            "seed": self.seed,
            "device": self.device.split(":")[0],
            "protocol": self.protocol.describe() if self.protocol else None,
            "baselines": list(self.baselines),
            "precision": self.precision,
            "versions": versions(),
        }

    def metadata(self) -> dict[str, object]:
        """What the artefact says of its origin; no clock in it, so that equal runs give equal bytes."""
        return {
            "data": {"name": self.data.name, "digest": self.data.digest, "class_names": list(self.data.class_names)},
            "normalisation": {
                "mean": self.data.train.mean.tolist(),
                "std": self.data.train.std.tolist(),
                "public": self.data.public_normalisation,
                "whitening": None,
            },
            "recipe": self.recipe.describe(),
            "seed": self.seed,
            "versions": versions(),
            "privacy": {"guarantee": "no guarantee"},
            "scores": {},
        }


class Clock:
    """Seconds spent, also over interrupted sessions: saved with the checkpoint."""

    def __init__(self) -> None:
        self._before, self._start = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before, self._start = state_dict["seconds"], time.monotonic()


def run_experiment(
    experiment: Experiment, out: Path, *, command: str = "", show: ShowProgress = silent
) -> dict[str, Any]:
    """Run, or go on with, an experiment in the folder `out`; returns the content of its `results.json`.

    The folder holds the checkpoint, the artefact, its picture and the results; see `RunFolder`. Every score is written as
    soon as it is there. `command` is how a person would start it, for the record. Raises what `distill`,
    `evaluate` and `RunFolder` raise.
    """
    folder = RunFolder(out, identity=experiment.identity())
    results = folder.results() or {
        "identity": experiment.identity(),
        "hardware": hardware(experiment.device),
        "command": command,
        "scores": {},
        "test_set": "not used",
    }
    try:
        synthetic, results["distillation_seconds"] = _distilled(experiment, folder, show)
    except ValueError:
        folder.withdraw()
        raise
    metadata = experiment.metadata()
    if not folder.artefact.exists():
        save_artefact(folder.artefact, synthetic, metadata=metadata, precision=experiment.precision)
    released = load_artefact(folder.artefact)
    if released.synthetic.as_dataset().images.dim() == 4:
        write_atomically(folder.picture, picture(released.synthetic))
    results["tensor_bytes"] = released.tensor_bytes
    folder.write_results(results)
    if experiment.protocol is not None:
        _score_all(experiment, experiment.protocol, released.synthetic, folder, results, show)
        scores = {name: score["accuracy"] for name, score in results["scores"].items()}
        save_artefact(
            folder.artefact, synthetic, metadata={**metadata, "scores": scores}, precision=experiment.precision
        )
    return results


def _distilled(experiment: Experiment, folder: RunFolder, show: ShowProgress) -> tuple[SyntheticSet, float]:
    recipe, clock = experiment.recipe, Clock()
    plan = prepare(experiment.data.train, recipe, seed=experiment.seed, device=experiment.device)
    with show(f"distil {recipe.name}", recipe.steps) as advance:

        def observe(progress: Progress) -> None:
            if progress.step % 10 == 0 or progress.step == progress.steps:
                advance(progress.step, f"loss {progress.loss.item():.4g}")

        distill(
            plan.method,
            plan.synthetic,
            plan.optimizer,
            steps=recipe.steps,
            seed=experiment.seed,
            checkpoint=folder.checkpoint(every_seconds=experiment.checkpoint_seconds),
            state={"clock": clock},
            observers=[observe],
        )
    return plan.synthetic, clock.seconds


def _score_all(
    experiment: Experiment,
    protocol: Protocol,
    released: SyntheticSet,
    folder: RunFolder,
    results: dict[str, Any],
    show: ShowProgress,
) -> None:
    """Score the released set and every baseline that is not in `results` yet, writing after each."""
    scores, data = results["scores"], experiment.data.to(experiment.device)

    def score(name: str, batch: Batch, images_per_class: int, num_bytes: int) -> None:
        if name in scores:
            return
        start = time.monotonic()
        with show(f"evaluate {name}", protocol.num_networks) as advance:
            result: Score = evaluate(
                batch, data.test, protocol, seed=experiment.seed, watch=functools.partial(advance, note="networks")
            )
        scores[name] = {
            "accuracy": result.as_json(),
            "images_per_class": images_per_class,
            "bytes": num_bytes,
            "seconds": round(time.monotonic() - start, 1),
        }
        results["test_set"] = "used once for each score, after distillation; nothing was chosen on it"
        folder.write_results(results)

    own = released.to(experiment.device)
    score(experiment.recipe.name, own.batch(), own.images_per_class, results["tensor_bytes"])
    missing = tuple(name for name in experiment.baselines if name not in scores)
    for selection in select_baselines(
        data.train,
        budget_bytes=results["tensor_bytes"],
        network=protocol.network,
        seed=experiment.seed,
        names=missing,
    ):
        score(selection.name, selection.batch, selection.images_per_class, selection.num_bytes)

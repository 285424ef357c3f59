"""One distillation from data to results: distil, release, test once, and stand it beside its baselines."""

import functools
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from core_distill.checkpoint import Checkpoint
from core_distill.clock import Clock, Longest
from core_distill.data import DataSplits, Whitening
from core_distill.distill import Progress
from core_distill.engine import DEFAULT_ENGINE, Engine, running_on
from core_distill.environment import hardware, versions
from core_distill.evaluation import USUAL_BASELINES, Protocol, Score, check_baselines, evaluate, select_baselines
from core_distill.files import write_atomically
from core_distill.partials import wrapped
from core_distill.peak_memory import Peak
from core_distill.progress import Remembering, ShowProgress, silent
from core_distill.recipes import Recipe, prepare, run_plan
from core_distill.run_folder import RunFolder, checkpoint_of, is_finished
from core_distill.sharding import ALONE, Processes, check_class_wise, check_uniform, shard
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.picture import has_picture, picture
from core_distill.synthetic.precision import check_precision
from core_distill.synthetic.storage import Artefact, load_artefact, save_artefact
from core_distill.types import Batch


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is run, without where: data, recipe, seed, and how the result is judged.

    Args:
        baselines: which selections of real images stand beside the score, at equal bytes.
        protocol: how scores are taken; `None` distils and stops there.
        precision: how the artefact stores images, see `core_distill.synthetic.precision`.
        engine: how networks run, also those of the evaluation.
        checkpoint_seconds: the least time between two checkpoints; the result does not depend on it.

    Raises `ValueError` for an unknown baseline or precision, and more images a class than there are real ones.
    """

    data: DataSplits
    recipe: Recipe
    seed: int = 0
    device: str = "cpu"
    protocol: Protocol | None = field(default_factory=Protocol)
    baselines: tuple[str, ...] = USUAL_BASELINES
    precision: str = "uint8"
    checkpoint_seconds: float = 20.0
    engine: Engine = DEFAULT_ENGINE

    def __post_init__(self) -> None:
        check_baselines(self.baselines)
        check_precision(self.precision)
        self.data.require_images(self.recipe.images_per_class)

    def identity(self) -> dict[str, object]:
        """What makes two runs the same run, as JSON values."""
        data, whitening = self.data, self.data.whitening
        told = {"whitening": whitening.epsilon} if whitening else {}
        return {
            "data": {"name": data.name, "digest": data.digest, "train": data.train.digest()} | told,
            "recipe": self.recipe.describe(),
            "seed": self.seed,
            "device": self.device.split(":")[0],
            "protocol": self.protocol.describe() if self.protocol else None,
            "baselines": list(self.baselines),
            "precision": self.precision,
            "engine": self.engine.describe(),
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
                "whitening": self.data.whitening.describe() if self.data.whitening else None,
            },
            "recipe": self.recipe.describe(),
            "seed": self.seed,
            "versions": versions(),
            "privacy": {"guarantee": "no guarantee"},
            "scores": {},
        }


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    experts_folder: Path | None = None,
    command: str = "",
    show: ShowProgress = silent,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Run, or go on with, an experiment in the folder `out`; returns the content of its `results.json`.

    The folder holds the checkpoint, the artefact, its picture, of whitened data the whitening, and the results; see
    `RunFolder`. Every score is written as soon as it is there. A run whose results say that it is finished, and whose
    artefact is there, computes nothing more, even without checkpoint and experts; its picture is drawn again.

    A recipe with experts keeps them in `experts_folder`, which runs may share, by default in `out`; training them took
    `expert_seconds`, whichever run did it, and making the initial set, with what it trains, `start_seconds`. Bytes of
    memory, `peak_bytes`, are those of `Peak`. `command` is how a person would start it, for the record.
    Of several `processes`, all distil, and the leader alone writes, evaluates and has results to return.
    Raises what `distill`, `evaluate`, `RunFolder` and `shard` raise.
    """
    identity = experiment.identity()
    if not processes.is_leader:
        processes.wait()
        if processes.told(False, experiment.device):
            return {}
        checkpoint = Checkpoint(checkpoint_of(out), identity=identity, read_only=True)
        _distilled(experiment, checkpoint, experts_folder or out / "experts", silent, processes)
        return {}
    folder = RunFolder(out, identity=identity)
    processes.wait()
    if processes.told(is_finished(out), experiment.device):
        _whole_release(folder, experiment.data.whitening)
        return folder.results()
    results = folder.results() or {
        "identity": identity,
        "hardware": hardware(experiment.device),
        "command": command,
        "scores": {},
        "test_set": "not used",
    }
    if results.pop("finished", False):  # its release was deleted: not until the new one has its scores
        folder.write_results(results)
    with folder.given_up_on_failure():
        checkpoint = folder.checkpoint(every_seconds=experiment.checkpoint_seconds)
        synthetic, seconds = _distilled(experiment, checkpoint, experts_folder or out / "experts", show, processes)
    results |= seconds
    metadata = experiment.metadata()
    if not folder.artefact.exists():
        save_artefact(folder.artefact, synthetic, metadata=metadata, precision=experiment.precision)
    released = _whole_release(folder, experiment.data.whitening)
    results["tensor_bytes"] = released.tensor_bytes
    if experiment.data.whitening:
        results["whitening_bytes"] = experiment.data.whitening.num_bytes
    folder.write_results(results)
    if experiment.protocol is not None:
        _score_all(experiment, experiment.protocol, released.synthetic, folder, results, show)
        scores = {name: score["accuracy"] for name, score in results["scores"].items()}
        save_artefact(
            folder.artefact, synthetic, metadata={**metadata, "scores": scores}, precision=experiment.precision
        )
    results["finished"] = True
    folder.write_results(results)
    return results


def _whole_release(folder: RunFolder, whitening: Whitening | None) -> Artefact:
    """What the run released, with its picture where it has one, and the whitening where there is one."""
    released = load_artefact(folder.artefact)
    if whitening is not None and not folder.whitening.exists():
        whitening.save(folder.whitening)
    if has_picture(released.synthetic):
        unwhiten = whitening.undo if whitening else None
        write_atomically(folder.picture, picture(released.synthetic, unwhiten=unwhiten))
    return released


def _distilled(
    experiment: Experiment, checkpoint: Checkpoint, experts_folder: Path, show: ShowProgress, processes: Processes
) -> tuple[SyntheticSet, dict[str, float]]:
    """The synthetic set, and what took how many seconds and bytes of memory."""
    recipe = experiment.recipe
    if processes.count > 1:
        check_class_wise(wrapped(recipe.method))
        check_uniform(recipe.batches)
    peak = Peak(torch.device(experiment.device))
    plan = prepare(
        experiment.data.train,
        recipe,
        seed=experiment.seed,
        device=experiment.device,
        experts_folder=experts_folder,
        engine=experiment.engine,
        show=show,
    )
    clock, start = Clock(), Longest(plan.start_seconds)
    with show(f"distil {recipe.name}", recipe.steps) as advance:
        shown = Remembering(advance)

        def observe(progress: Progress) -> None:
            if progress.step % 10 == 0 or progress.step == progress.steps:
                shown(progress.step, f"loss {progress.loss.item():.4g}")

        released = run_plan(
            plan._replace(method=shard(plan.method, plan.optimizer, processes)),
            steps=recipe.steps,
            seed=experiment.seed,
            checkpoint=checkpoint,
            state={"clock": clock, "peak": peak, "start": start},
            observers=[observe],
            engine=experiment.engine,
            tell=shown.note,
        )
    spent = {
        "distillation_seconds": clock.seconds,
        "distillation_peak_bytes": peak.num_bytes,
        "start_seconds": round(start.seconds, 1),
    }
    return released, spent | ({"expert_seconds": round(plan.experts.seconds, 1)} if plan.experts else {})


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
        start, peak = time.monotonic(), Peak(torch.device(experiment.device))
        with show(f"evaluate {name}", protocol.num_networks) as advance:
            shown = Remembering(advance)
            result: Score = evaluate(
                batch,
                data.test,
                protocol,
                seed=experiment.seed,
                watch=functools.partial(shown, note="networks"),
                engine=experiment.engine,
                tell=shown.note,
            )
        scores[name] = {
            "accuracy": result.as_json(),
            "images_per_class": images_per_class,
            "bytes": num_bytes,
            "seconds": round(time.monotonic() - start, 1),
            "peak_bytes": peak.num_bytes,
        }
        results["test_set"] = "used once for each score, after distillation; nothing was chosen on it"
        folder.write_results(results)

    own = released.to(experiment.device)
    score(experiment.recipe.name, own.batch(), own.images_per_class, results["tensor_bytes"])
    missing = tuple(name for name in experiment.baselines if name not in scores)
    with running_on(
        replace(experiment.engine, precision="float32")
    ):  # the same images are chosen whatever is computed in
        selections = select_baselines(
            data.train,
            budget_bytes=results["tensor_bytes"],
            network=protocol.network,
            seed=experiment.seed,
            names=missing,
        )
        for selection in selections:
            score(selection.name, selection.batch, selection.images_per_class, selection.num_bytes)

"""A private distillation from data to results: distil, audit, test once, release with its card, beside no privacy."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from core_distill.data import ClassSampler, DataSplits
from core_distill.distill import Progress
from core_distill.engine import DEFAULT_ENGINE, Engine, running_on
from core_distill.environment import hardware, versions
from core_distill.evaluation import Protocol, evaluate
from core_distill.files import write_atomically
from core_distill.networks import network_factory
from core_distill.progress import ShowProgress, silent
from core_distill.randomness import derive_generator
from core_distill.recipes import Recipe, condense
from core_distill.run_folder import RunFolder
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.picture import has_picture, picture
from core_distill.synthetic.storage import released_form, save_artefact
from core_distill.types import Batch
from privacy.audit import AuditReport, audit_distillation
from privacy.canaries import feature_score
from privacy.card import privacy_card
from privacy.run import PrivateRun, make_private


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """The numbers of an audit, fixed before it runs; see `audit_distillation`."""

    num_canaries: int = 600
    num_guesses: int = 100
    canaries: str = "natural"


@dataclass(frozen=True, kw_only=True)
class PrivateExperiment:
    """What is run, without where.

    The arguments are those of `make_private`; besides:

    Args:
        protocol: how accuracy is measured; None leaves it out.
        audit: the audit's numbers; None leaves it out.
        engine: how networks run, also those of the evaluation; what is computed of single records stays in float32.

    Raises `ValueError` for whitened data.
    """

    data: DataSplits
    recipe: Recipe
    public_class_size: int
    delta: float
    target_epsilon: float | None = None
    noise_multiplier: float | None = None
    clip_norm: float | None = None
    noise_seed: int | None = None
    seed: int = 0
    device: str = "cpu"
    protocol: Protocol | None = field(default_factory=Protocol)
    audit: AuditPlan | None = None
    engine: Engine = DEFAULT_ENGINE

    def __post_init__(self) -> None:
        if self.data.whitening:
            raise ValueError(
                f"{self.data.name} is whitened by what its private images have in common: leave whitening out"
            )

    def make(self, real: ClassSampler) -> PrivateRun:
        """A fresh private run of these settings on `real`."""
        return make_private(
            self.recipe,
            real,
            public_class_size=self.public_class_size,
            public_normalisation=self.data.public_normalisation,
            delta=self.delta,
            seed=self.seed,
            target_epsilon=self.target_epsilon,
            noise_multiplier=self.noise_multiplier,
            clip_norm=self.clip_norm,
            noise_seed=self.noise_seed,
            device=self.device,
        )

    def without_privacy(self, real: ClassSampler) -> SyntheticSet:
        """The same recipe, from the same noise images, on `real` itself."""
        return condense(real, self.recipe, seed=self.seed, device=self.device)

    def identity(self) -> dict[str, object]:
        """What makes two runs the same run, as JSON values; it stays in the run's folder."""
        return {
            "data": {"name": self.data.name, "digest": self.data.digest, "train": self.data.train.digest()},
            "recipe": self.recipe.describe(),
            "privacy": {
                "public_class_size": self.public_class_size,
                "delta": self.delta,
                "target_epsilon": self.target_epsilon,
                "noise_multiplier": self.noise_multiplier,
                "clip_norm": self.clip_norm,
                "noise_seed": self.noise_seed,
                "audit": asdict(self.audit) if self.audit else None,
            },
            "seed": self.seed,
            "device": self.device.split(":")[0],
            "protocol": self.protocol.describe() if self.protocol else None,
            "engine": self.engine.describe(),
            "versions": versions(),
        }


def run_private_experiment(experiment: PrivateExperiment, out: Path, *, show: ShowProgress = silent) -> dict[str, Any]:
    """Run, or go on with, a private experiment in the folder `out`; returns the content of its `results.json`.

    Only `synthetic.safetensors` and `images.png` are meant for release: `results.json` compares with results without
    privacy, and the checkpoint holds the secret seed until the run is done, when it is deleted. A finished run is not
    repeated, since that would spend the privacy budget again. Raises what `make_private`, `distill` and `RunFolder`
    raise.
    """
    with running_on(experiment.engine):
        run = experiment.make(experiment.data.train)
        return _run(experiment, run, RunFolder(out, identity=experiment.identity()), show)


def _run(experiment: PrivateExperiment, run: PrivateRun, folder: RunFolder, show: ShowProgress) -> dict[str, Any]:
    checkpoint = folder.checkpoint()
    if folder.artefact.exists():
        checkpoint.path.unlink(missing_ok=True)  # a kill may have come between the release and this
        return folder.results()
    named = f"distil {experiment.recipe.name} privately"
    with folder.given_up_on_failure(), show(named, run.steps) as advance:

        def observe(progress: Progress) -> None:
            if progress.step % 10 == 0 or progress.step == progress.steps:
                advance(progress.step, f"loss {progress.loss.item():.4g}")

        run.condense(checkpoint=checkpoint, observers=[observe])
    claim = run.ledger.epsilon(run.delta)
    audits = _audits(experiment, claim, show) if experiment.audit else {}
    scores = _scores(experiment, experiment.protocol, run.synthetic, show) if experiment.protocol else {}
    card = privacy_card(run, audit=audits.get("private"))
    results = {
        "identity": experiment.identity(),
        "hardware": hardware(experiment.device),
        "privacy": card,
        "audits": {name: report.as_dict() for name, report in audits.items()},
        "scores": scores,
        "test_set": "used once, after distillation; nothing was chosen on it" if scores else "not used",
    }
    folder.write_results(results)
    released = released_form(run.synthetic)
    if has_picture(released):
        write_atomically(folder.picture, picture(released))
    save_artefact(folder.artefact, run.synthetic, metadata=_metadata(experiment, card, scores))
    checkpoint.path.unlink()
    return results


def _metadata(experiment: PrivateExperiment, card: dict[str, object], scores: dict[str, Any]) -> dict[str, object]:
    """What the artefact says of its origin. No digest of the data: it would confirm a guess of all records."""
    train = experiment.data.train
    return {
        "data": {"name": experiment.data.name, "class_names": list(experiment.data.class_names)},
        "normalisation": {
            "mean": train.mean.tolist(),
            "std": train.std.tolist(),
            "public": experiment.data.public_normalisation,
            "whitening": None,
        },
        "recipe": experiment.recipe.describe(),
        "seed": experiment.seed,
        "versions": versions(),
        "privacy": card,
        "scores": {name: value for name, value in scores.items() if name == "private"},
    }


def _audits(experiment: PrivateExperiment, claim: float, show: ShowProgress) -> dict[str, AuditReport]:
    """The same audit of the private distillation and of the one without privacy."""
    plan, real = experiment.audit, experiment.data.train.to(experiment.device)
    assert plan is not None
    subjects = {
        "private": (lambda train: experiment.make(train).condense(), claim),
        "without privacy": (experiment.without_privacy, None),
    }
    reports = {}
    with show("audit", len(subjects)) as advance:
        for number, (name, (distil, claimed)) in enumerate(subjects.items()):
            reports[name] = audit_distillation(
                distil,
                real,
                score=feature_score(network_factory(experiment.recipe.network, real.image_shape, real.num_classes)),
                num_canaries=plan.num_canaries,
                num_guesses=plan.num_guesses,
                canaries=plan.canaries,
                delta=experiment.delta,
                seed=experiment.seed,
                claimed_epsilon=claimed,
            )
            advance(number + 1, name)
    return reports


def _scores(
    experiment: PrivateExperiment, protocol: Protocol, synthetic: SyntheticSet, show: ShowProgress
) -> dict[str, Any]:
    """Test accuracy of the private set as released, of the same recipe without privacy, and of random real images."""
    real = experiment.data.train.to(experiment.device)
    generator = derive_generator(experiment.seed, "random images", device=real.device)
    random = real.by_class(synthetic.images_per_class, generator)
    candidates: dict[str, Batch] = {
        "private": _released_batch(synthetic),
        "without privacy": _released_batch(experiment.without_privacy(real)),
        "random real images": Batch(random.images.flatten(0, 1), random.labels.flatten(0, 1)),
    }
    scores: dict[str, Any] = {}
    with show("evaluate", len(candidates)) as advance:
        for name, batch in candidates.items():
            scores[name] = evaluate(batch, experiment.data.test, protocol, seed=experiment.seed).as_json()
            advance(len(scores), name)
    return scores


@torch.no_grad()
def _released_batch(synthetic: SyntheticSet) -> Batch:
    return released_form(synthetic).to(synthetic.device).batch()

"""What `stillroom evaluate` measures beside plain accuracy: DD-Ranking, DC-BENCH, and how a set ranks architectures."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core_distill.cli.console import console, print_table, progress
from core_distill.cli.options import megabytes

if TYPE_CHECKING:
    from core_distill.data import DataSplits
    from core_distill.engine import Engine
    from core_distill.evaluation import Protocol
    from core_distill.evaluation.kept import KeptScores
    from core_distill.networks import Architecture
    from core_distill.synthetic.storage import Artefact

TUNED_RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
"""Learning rates that `--tune` tries: those of DD-Ranking's released code."""

_COST = ("seconds", "peak memory")

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A set, the real images it is tested on (`splits.test`), and how.

    Args:
        on: what the test images are called.
        own: the network it is meant for, by name; the protocol has it too.
        others: further architectures.
        out: where files go; beside the artefact without it.
    """

    path: Path
    released: "Artefact"
    splits: "DataSplits"
    on: str
    own: str
    others: "dict[str, Architecture]"
    protocol: "Protocol"
    real_epochs: int
    real_accuracy: float
    tune: bool
    seed: int
    engine: "Engine"
    device: str
    out: Path | None

    def kept(self, kind: str, **plan: object) -> "tuple[Path, KeptScores]":
        """The file of one kind of study, which a stopped one goes on with."""
        from core_distill.environment import versions
        from core_distill.evaluation.kept import KeptScores

        path = (self.out or self.path.parent) / f"{self.path.stem}.{kind}.json"
        identity = {
            "study": kind,
            "artefact": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            "data": {"name": self.splits.name, "digest": self.splits.digest, "on": self.on},
            "plan": plan,
            "seed": self.seed,
            "engine": self.engine.describe(),
            "device": self.device.split(":")[0],
            "versions": versions(),
        }
        return path, KeptScores(path, identity=identity, device=self.device)

    @property
    def title(self) -> str:
        """Of a table: what is tested on what."""
        return f"{self.splits.name} {self.on} ({len(self.splits.test)} images), {self.released.tensor_bytes:,} bytes"


@contextmanager
def _shown(
    what: str, total: int, keep: Callable[[str, Callable[[], Result]], Result]
) -> Iterator[Callable[[str, Callable[[], Result]], Result]]:
    """`keep`, with a bar of what is done."""
    with progress(what, total) as advance:
        done = 0

        def shown(name: str, measure: Callable[[], Result]) -> Result:
            nonlocal done
            advance(done, name)
            found = keep(name, measure)
            done += 1
            advance(done, name)
            return found

        yield shown


def _cost(kept: "KeptScores", name: str) -> tuple[str, str]:
    cost = kept.cost(name)
    return (f"{cost.seconds:.1f} s", megabytes(cost.peak_bytes)) if cost else ("", "")


def show_dd_ranking(study: Study) -> None:
    """Measure and print DD-Ranking's scores."""
    from core_distill.evaluation import RankingPlan, measure_dd_ranking

    plan = RankingPlan(
        protocol=study.protocol,
        learning_rates=TUNED_RATES if study.tune else (),
        real_epochs=study.real_epochs,
        real_accuracy=study.real_accuracy,
    )
    path, kept = study.kept("dd-ranking", **plan.describe())
    soft = study.released.synthetic.batch().labels.is_floating_point()
    total = 4 + soft + (not study.real_accuracy)
    with _shown("dd-ranking", total, kept.keep) as keep:
        found = measure_dd_ranking(
            study.released.synthetic,
            study.splits,
            plan,
            budget_bytes=study.released.tensor_bytes,
            seed=study.seed,
            keep=keep,
            engine=study.engine,
        )
    kept.conclude(found.as_json())
    rows = [(name, str(score), *_cost(kept, name)) for name, score in found.accuracies.items()]
    print_table(f"DD-Ranking on {study.title}", ("trained on", "accuracy", *_COST), rows)
    console().print(f"label-robust score {found.label_robust}", markup=False)
    console().print(f"augmentation-robust score {found.augmentation_robust}", markup=False)
    console().print(f"written: {path}", markup=False)


def show_dc_bench(study: Study) -> None:
    """Measure and print DC-BENCH's grid."""
    from core_distill.evaluation import augmentations_for, measure_dc_bench

    augmentations = augmentations_for(study.released.synthetic, study.splits.name)
    architectures = {study.own: study.protocol.network, **study.others}
    path, kept = study.kept("dc-bench", protocol=study.protocol.describe(), architectures=list(architectures))
    with _shown("dc-bench", len(architectures) * len(augmentations), kept.keep_several) as keep:
        found = measure_dc_bench(
            study.released.synthetic,
            study.splits,
            study.protocol,
            architectures=architectures,
            augmentations=augmentations,
            seed=study.seed,
            keep=keep,
            engine=study.engine,
        )
    kept.conclude(found.as_json())
    rows = [
        (network, augmentation, str(score), str(found.validation[network][augmentation]), *_cost(kept, name))
        for network, scores in found.test.items()
        for augmentation, score in scores.items()
        for name in [f"{network}, {augmentation}"]
    ]
    header = ("network", "augmentation", "accuracy", "validation", *_COST)
    print_table(f"DC-BENCH on {study.title}", header, rows)
    best = found.best(study.own)
    console().print(f"best over augmentations {_percent(found.best_over_augmentations)} ({best})", markup=False)
    console().print(f"mean over augmentations {_percent(found.mean_over_augmentations)}", markup=False)
    if found.mean_transfer is not None:
        console().print(f"mean transfer {_percent(found.mean_transfer)}", markup=False)
    console().print("the best augmentation of each network is chosen on validation images", markup=False)
    console().print(f"written: {path}", markup=False)


def show_architecture_search(study: Study) -> None:
    """Measure and print how a set ranks a small space of networks."""
    from core_distill.evaluation.architecture_search import rank_architectures
    from core_distill.networks.search_space import search_space

    space = search_space()
    plan = {"protocol": study.protocol.describe(), "real_epochs": study.real_epochs, "space": list(space)}
    path, kept = study.kept("nas", chosen_on="validation", **plan)
    with _shown("nas", 2 * len(space), kept.keep_several) as keep:
        found = rank_architectures(
            study.released.synthetic,
            study.splits,
            study.protocol,
            space=space,
            real_epochs=study.real_epochs,
            seed=study.seed,
            keep=keep,
            engine=study.engine,
        )
    kept.conclude(found.as_json())
    rows = [
        (name, str(score), *_cost(kept, f"{name}, synthetic"), str(found.real[name]), *_cost(kept, f"{name}, real"))
        for name, score in found.synthetic.items()
    ]
    header = ("network", "on the set", *_COST, f"on real images, {study.real_epochs} epochs", *_COST)
    print_table(f"Architectures on {study.title}", header, rows)
    told = found.as_json()
    console().print(f"rank correlation {found.correlation:.2f}", markup=False)
    console().print(
        f"chosen by the set, on validation images: {found.chosen}, {_percent(found.real[found.chosen].mean)} on real images; "
        f"the best has {_percent(float(str(told['best_real_accuracy'])))}",
        markup=False,
    )
    console().print(f"written: {path}", markup=False)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"

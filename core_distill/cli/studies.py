"""What `stillroom evaluate` measures: accuracy, DD-Ranking, DC-BENCH, and how a set ranks architectures."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from typing import Protocol as Interface

from core_distill.cli.console import console, print_table, progress
from core_distill.cli.options import megabytes

if TYPE_CHECKING:
    from core_distill.data import DataSplits
    from core_distill.engine import Engine
    from core_distill.evaluation import Protocol, Score
    from core_distill.evaluation.kept import KeptScores
    from core_distill.networks import Architecture
    from core_distill.synthetic.storage import Artefact

TUNED_RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
"""Learning rates that `--tune` tries: those of DD-Ranking's released code."""

_COST = ("seconds", "peak memory")

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A set, the real images it is tested on (`splits.test`), and where.

    Args:
        path: the artefact's file.
        on: what the test images are called.
        out: where files go; beside the artefact without it.
    """

    path: Path
    released: "Artefact"
    splits: "DataSplits"
    on: str
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
        needed = f" and {self.splits.whitening.num_bytes:,} of its whitening" if self.splits.whitening else ""
        size = f"{self.released.tensor_bytes:,} bytes{needed}"
        return f"{self.splits.name} {self.on} ({len(self.splits.test)} images), {size}"


class Study(Interface):
    """Something that is measured of a set, with options of its own."""

    def show(self, subject: Subject) -> None:
        """Measure and print; what takes long is written beside the artefact, and gone on with."""
        ...


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


@dataclass(frozen=True, kw_only=True)
class AccuracyStudy:
    """The accuracy on each of the `architectures`, by name, otherwise by the protocol."""

    protocol: "Protocol"
    architectures: "Mapping[str, Architecture]"

    def show(self, subject: Subject) -> None:
        """Measure and print; where a folder was named, write there too."""
        from core_distill.evaluation.kept import KeptScores

        path, kept = None, KeptScores(None, identity={}, device=subject.device)
        if subject.out is not None:
            plan = {"protocol": self.protocol.describe(), "architectures": list(self.architectures)}
            path, kept = subject.kept("accuracy", **plan)
        rows, found = [], {}
        for name, architecture in self.architectures.items():
            protocol = replace(self.protocol, network=architecture)
            score = kept.keep(name, functools.partial(_score, name, subject, protocol))
            each = ", ".join(f"{100 * value:.1f}" for value in score.accuracies)
            rows.append((name, str(score), each, *_cost(kept, name)))
            found[name] = score.as_json()
        print_table(f"Accuracy on {subject.title}", ("network", "accuracy", "each", "evaluation", "peak memory"), rows)
        kept.conclude(found)
        if path is not None:
            console().print(f"written: {path}", markup=False)


def _score(name: str, subject: Subject, protocol: "Protocol") -> "Score":
    """The protocol's score, with a bar named `name`."""
    from core_distill.evaluation import evaluate as score_of
    from core_distill.progress import Remembering

    with progress(f"evaluate {name}", protocol.num_networks) as advance:
        shown = Remembering(advance)
        return score_of(
            subject.released.synthetic.batch(),
            subject.splits.test,
            protocol,
            seed=subject.seed,
            watch=functools.partial(shown, note="networks"),
            engine=subject.engine,
            tell=shown.note,
        )


@dataclass(frozen=True, kw_only=True)
class DDRankingStudy:
    """DD-Ranking's scores on one network; see `RankingPlan` for the values."""

    protocol: "Protocol"
    real_epochs: int
    real_accuracy: float
    tune: bool

    def show(self, subject: Subject) -> None:
        """Measure, write and print."""
        from core_distill.evaluation import RankingPlan, measure_dd_ranking

        plan = RankingPlan(
            protocol=self.protocol,
            learning_rates=TUNED_RATES if self.tune else (),
            real_epochs=self.real_epochs,
            real_accuracy=self.real_accuracy,
        )
        path, kept = subject.kept("dd-ranking", **plan.describe())
        soft = subject.released.synthetic.batch().labels.is_floating_point()
        total = 4 + soft + (not self.real_accuracy)
        with _shown("dd-ranking", total, kept.keep) as keep:
            found = measure_dd_ranking(
                subject.released.synthetic,
                subject.splits,
                plan,
                budget_bytes=subject.released.tensor_bytes,
                seed=subject.seed,
                keep=keep,
                engine=subject.engine,
            )
        kept.conclude(found.as_json())
        real = "real, as given" if self.real_accuracy else f"real, {self.real_epochs} epochs"
        names = {"random": f"random, {found.random_images:,} images", "real": real}
        rows = [(names.get(name, name), str(score), *_cost(kept, name)) for name, score in found.accuracies.items()]
        print_table(f"DD-Ranking on {subject.title}", ("trained on", "accuracy", *_COST), rows)
        console().print(f"label-robust score {found.label_robust}", markup=False)
        console().print(f"augmentation-robust score {found.augmentation_robust}", markup=False)
        console().print(f"written: {path}", markup=False)


@dataclass(frozen=True, kw_only=True)
class DCBenchStudy:
    """DC-BENCH's grid of `architectures`, by name with the set's own first, and augmentations."""

    protocol: "Protocol"
    architectures: "Mapping[str, Architecture]"

    def show(self, subject: Subject) -> None:
        """Measure, write and print."""
        from core_distill.augment import Dsa
        from core_distill.evaluation import are_pixels, augmentations_for, measure_dc_bench

        augmentations = augmentations_for(subject.released.synthetic, subject.splits.name)
        if not are_pixels(subject.splits):  # which the others change
            augmentations = {name: augment for name, augment in augmentations.items() if isinstance(augment, Dsa)}
        names = list(self.architectures)
        path, kept = subject.kept("dc-bench", protocol=self.protocol.describe(), architectures=names)
        with _shown("dc-bench", len(names) * len(augmentations), kept.keep_several) as keep:
            found = measure_dc_bench(
                subject.released.synthetic,
                subject.splits,
                self.protocol,
                architectures=self.architectures,
                augmentations=augmentations,
                seed=subject.seed,
                keep=keep,
                engine=subject.engine,
            )
        kept.conclude(found.as_json())
        rows = [
            (network, augmentation, str(score), str(found.validation[network][augmentation]), *_cost(kept, name))
            for network, scores in found.test.items()
            for augmentation, score in scores.items()
            for name in [f"{network}, {augmentation}"]
        ]
        header = ("network", "augmentation", "accuracy", "validation", *_COST)
        print_table(f"DC-BENCH on {subject.title}", header, rows)
        best = found.best(names[0])
        console().print(f"best over augmentations {_percent(found.best_over_augmentations)} ({best})", markup=False)
        console().print(f"mean over augmentations {_percent(found.mean_over_augmentations)}", markup=False)
        if found.mean_transfer is not None:
            console().print(f"mean transfer {_percent(found.mean_transfer)}", markup=False)
        console().print("the best augmentation of each network is chosen on validation images", markup=False)
        console().print(f"written: {path}", markup=False)


@dataclass(frozen=True, kw_only=True)
class ArchitectureStudy:
    """How a set ranks a small space of networks, beside `real_epochs` of training on all real images."""

    protocol: "Protocol"
    real_epochs: int

    def show(self, subject: Subject) -> None:
        """Measure, write and print."""
        from core_distill.evaluation.architecture_search import rank_architectures
        from core_distill.networks.search_space import search_space

        if len(subject.splits.train.image_shape) != 3:
            raise ValueError(
                f"--nas ranks convolutional networks, and {subject.splits.name} is not of images: leave it out"
            )
        space = search_space()
        plan = {"protocol": self.protocol.describe(), "real_epochs": self.real_epochs, "space": list(space)}
        path, kept = subject.kept("nas", chosen_on="validation", **plan)
        with _shown("nas", 2 * len(space), kept.keep_several) as keep:
            found = rank_architectures(
                subject.released.synthetic,
                subject.splits,
                self.protocol,
                space=space,
                real_epochs=self.real_epochs,
                seed=subject.seed,
                keep=keep,
                engine=subject.engine,
            )
        told = found.as_json()
        kept.conclude(told)
        rows = [
            (name, str(score), *_cost(kept, f"{name}, synthetic"), str(found.real[name]), *_cost(kept, f"{name}, real"))
            for name, score in found.synthetic.items()
        ]
        header = ("network", "on the set", *_COST, f"on real images, {self.real_epochs} epochs", *_COST)
        print_table(f"Architectures on {subject.title}", header, rows)
        console().print(f"rank correlation {found.correlation:.2f}", markup=False)
        console().print(
            f"chosen by the set, on validation images: {found.chosen}, {_percent(found.real[found.chosen].mean)} on real "
            f"images; the best has {_percent(float(str(told['best_real_accuracy'])))}",
            markup=False,
        )
        console().print(f"written: {path}", markup=False)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"

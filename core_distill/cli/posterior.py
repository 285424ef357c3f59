"""`stillroom evaluate --posterior`: what a set says to a Bayesian, by networks drawn from the posterior that it gives."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core_distill.cli.console import console, print_table, progress
from core_distill.cli.options import megabytes
from core_distill.cli.studies import Subject

if TYPE_CHECKING:
    from core_distill.evaluation import Hmc, PosteriorProtocol, Score, Sghmc
    from core_distill.evaluation.kept import KeptScores
    from core_distill.networks import Architecture
    from core_distill.progress import Remembering

_HEADER = ("network", "accuracy", "NLL, nats", "ECE", "Brier", "seconds", "peak memory")


def pick_sampler(name: str, step_size: float) -> "Hmc | Sghmc":
    """The sampler that `--posterior` and `--step-size` mean; `ValueError` for an unknown one."""
    from core_distill.evaluation import Hmc, Sghmc

    samplers: dict[str, type[Hmc | Sghmc]] = {"hmc": Hmc, "sghmc": Sghmc}
    if name not in samplers:
        raise ValueError(f"--posterior must be one of {', '.join(samplers)}, got {name!r}")
    return samplers[name](step_size=step_size)


@dataclass(frozen=True, kw_only=True)
class PosteriorStudy:
    """How well sampled networks predict together, of several chains for each of the `architectures`, by name.

    Every chain has a seed of its own and is kept by its number, so that further chains and architectures may join.
    """

    sampler: "Hmc | Sghmc"
    burn_in: int
    num_samples: int
    chains: int
    architectures: "Mapping[str, Architecture]"

    def show(self, subject: Subject) -> None:
        """Measure, write and print."""
        from core_distill.evaluation import PosteriorProtocol

        protocol = PosteriorProtocol(sampler=self.sampler, burn_in=self.burn_in, num_samples=self.num_samples)
        plan = {"sampler": type(self.sampler).__name__, **dataclasses.asdict(self.sampler)}
        plan |= {"precision": protocol.precision, "burn_in": self.burn_in, "num_samples": self.num_samples}
        path, kept = subject.kept("posterior", **plan)
        self._refuse_batch_norm(subject)
        found = self._measured(subject, protocol, kept)
        kept.conclude({name: _as_json(scores) for name, scores in found.items()})
        rows = [(name, *_cells(scores), *self._cost(kept, name)) for name, scores in found.items()]
        print_table(f"Posterior on {subject.title}", _HEADER, rows)
        console().print(f"{self.num_samples} networks of a chain predict together; chains: {self.chains}", markup=False)
        console().print(f"written: {path}", markup=False)

    def _refuse_batch_norm(self, subject: Subject) -> None:
        """Raise `ValueError` before anything is sampled where a network normalises over the batch."""
        from core_distill.networks import network_factory
        from core_distill.networks.norms import has_batch_statistics
        from core_distill.randomness import derive_generator

        train = subject.splits.train
        for name, network in self.architectures.items():
            if has_batch_statistics(
                network_factory(network, train.image_shape, train.num_classes)(derive_generator(0))
            ):
                others = ", ".join(other for other in self.architectures if other != name) or "convnet"
                raise ValueError(
                    f"{name} normalises over the batch, so it has no posterior; choose others by --network ({others})"
                )

    def _measured(
        self, subject: Subject, protocol: "PosteriorProtocol", kept: "KeptScores"
    ) -> "dict[str, dict[str, Score]]":
        """By architecture and by what is measured, a number for each chain."""
        from core_distill.evaluation import Score
        from core_distill.progress import Remembering

        draws, done, found = self.burn_in + self.num_samples, 0, {}
        with progress("posterior", len(self.architectures) * self.chains * draws) as advance:
            shown = Remembering(advance)
            for name, network in self.architectures.items():
                chains = []
                for number in range(self.chains):
                    title, own = _title(name, number), replace(protocol, network=network)
                    if kept.cost(title):
                        shown(done + draws, title)
                    measure = functools.partial(_chain, subject, own, number, shown, done)
                    chains.append(kept.keep_several(title, measure))
                    done += draws
                found[name] = {
                    part: Score(tuple(value for chain in chains for value in chain[part].accuracies))
                    for part in chains[0]
                }
        return found

    def _cost(self, kept: "KeptScores", name: str) -> tuple[str, str]:
        costs = [cost for number in range(self.chains) if (cost := kept.cost(_title(name, number)))]
        return f"{sum(cost.seconds for cost in costs):.1f} s", megabytes(max(cost.peak_bytes for cost in costs))


def _chain(
    subject: Subject, protocol: "PosteriorProtocol", number: int, shown: "Remembering", done: int
) -> "dict[str, Score]":
    """What a chain predicts, each number by its name; `done` draws were made before it."""
    from core_distill.evaluation import Score, evaluate_posterior
    from core_distill.randomness import derive_generator

    found = evaluate_posterior(
        subject.released.synthetic.batch(),
        subject.splits.test,
        protocol,
        seed=derive_generator(subject.seed, "chain", number).initial_seed(),
        watch=lambda draw: shown(done + draw, "draws"),
        engine=subject.engine,
        tell=shown.note,
    )
    return {name: Score((value,)) for name, value in found._asdict().items()}


def _title(network: str, number: int) -> str:
    return f"{network}, chain {number}"


def _cells(scores: "Mapping[str, Score]") -> list[str]:
    """Accuracy in percent, the rest as it is; with the standard deviation over chains where there are several."""
    spread = {name: f" ± {score.std:.3f}" if len(score.accuracies) > 1 else "" for name, score in scores.items()}
    others = [f"{scores[name].mean:.3f}{spread[name]}" for name in ("nll", "ece", "brier")]
    return [str(scores["accuracy"]), *others]


def _as_json(scores: "Mapping[str, Score]") -> dict[str, object]:
    return {
        name: {"mean": score.mean, "std": score.std, "chains": list(score.accuracies)} for name, score in scores.items()
    }

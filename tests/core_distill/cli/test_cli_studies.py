"""`stillroom evaluate` with `--dd-ranking`, `--dc-bench` and `--nas`: what they print, write, and do not measure twice."""

import json
import shutil
from contextlib import contextmanager

import pytest

from core_distill.evaluation import Score
from core_distill.synthetic import SoftLabels
from core_distill.synthetic.storage import load_artefact

ONE = ("--epochs", 1, "--networks", 1, "--real-epochs", 1, "--no-compile")


@pytest.fixture
def artefact(finished_run, tmp_path):
    return shutil.copy(finished_run / "synthetic.safetensors", tmp_path / "mine.safetensors")


@pytest.fixture
def trained(monkeypatch):
    """Networks are not trained; says how many would have been, and answers with rising accuracies."""
    seen = []

    def several(train, tests, protocol, **_):
        seen.append(protocol)
        return {name: Score((len(seen) / 1_000,)) for name in tests}

    for module in ("dd_ranking", "dc_bench", "architecture_search"):
        monkeypatch.setattr(f"core_distill.evaluation.{module}.evaluate_on_each", several)
    return seen


def test_dd_ranking_prints_and_writes_both_scores(stillroom, artefact):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--real-accuracy", 0.9)
    assert (said.code, said.error) == (0, "")
    written = artefact.with_name("mine.dd-ranking.json")
    results = json.loads(written.read_text())["results"]
    score = 100 * results["label_robust_score"]["mean"]
    assert f"label-robust score {score:.1f} %" in said.out
    assert "augmentation-robust score" in said.out
    assert f"written: {written}" in said.out
    assert "DD-Ranking on digits test (359 images)" in said.out
    names = ["synthetic", "random", "synthetic, no augmentation", "random, no augmentation", "real"]
    assert all(any(line.startswith(f"  {name}  ") for line in said.out.splitlines()) for name in names)


def test_learning_rates_are_tuned_where_asked(stillroom, artefact, trained):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--tune", "--real-accuracy", 0.9)
    assert said.code == 0
    assert sorted({protocol.learning_rate for protocol in trained}) == [0.001, 0.005, 0.01, 0.05, 0.1]
    assert len(trained) == 4 * 5


def test_dc_bench_takes_the_sets_own_network_and_all_others(stillroom, artefact, trained):
    said = stillroom("evaluate", artefact, "--dc-bench", *ONE)
    assert said.code == 0
    results = json.loads(artefact.with_name("mine.dc-bench.json").read_text())["results"]
    own = "convnet, width 4, depth 2, norm instance"
    assert list(results["best_augmentations"]) == sorted([own, "lenet", "mlp", "resnet18"])
    assert len(trained) == 4 * 4
    assert {protocol.augment.operations[:1] for protocol in trained} == {
        (),
        ("color",),
        ("autoaugment",),
        ("randaugment",),
    }
    assert f"best over augmentations {100 * results['best_over_augmentations']:.1f} % (randaugment)" in said.out
    assert f"mean transfer {100 * results['mean_transfer']:.1f} %" in said.out


def test_dc_bench_on_named_networks_goes_on_where_it_was(stillroom, artefact, trained, tmp_path):
    command = (
        "evaluate",
        artefact,
        "--dc-bench",
        *ONE,
        "--network",
        "mlp",
        "--network",
        "lenet",
        "--out",
        tmp_path / "out",
    )
    first, count = stillroom(*command), len(trained)
    assert count == 8
    again = stillroom(*command)
    assert len(trained) == count
    assert first.out.splitlines()[-5:] == again.out.splitlines()[-5:]
    assert "mean transfer" in again.out
    other = stillroom(*command, "--seed", 1)
    assert other.code == 2
    assert "belongs to another evaluation" in other.error


def test_architectures_are_ranked_on_the_set_and_on_real_images(stillroom, artefact, trained):
    said = stillroom("evaluate", artefact, "--nas", *ONE)
    assert said.code == 0
    assert len(trained) == 2 * 16
    assert "rank correlation 1.00" in said.out
    assert "Architectures on digits test (359 images)" in said.out
    chosen = "width 64, depth 3, norm none, pooling maximum, 3.2 % on real images"
    assert f"chosen by the set, on validation images: {chosen}" in said.out


@pytest.mark.parametrize("options", [["--dd-ranking", "--tune"], ["--dc-bench"], ["--nas"]])
def test_nothing_is_scored_on_the_images_it_is_chosen_by(stillroom, artefact, trained, options):
    said = stillroom("evaluate", artefact, *options, *ONE, "--on", "validation")
    assert (said.code, trained) == (2, [])
    assert f"{options[-1]} chooses on validation images, so leave out --on validation" in said.error


@pytest.mark.parametrize(
    ("labels", "known", "total"), [("hard", 0.9, 4), ("hard", 0, 5), ("soft", 0.9, 5), ("soft", 0, 6)]
)
def test_the_bar_of_dd_ranking_ends_at_its_end(stillroom, artefact, trained, monkeypatch, labels, known, total):
    released = load_artefact(artefact)
    if labels == "soft":
        released.synthetic.labels = SoftLabels.starting_at(released.synthetic.batch().labels, 10)
        monkeypatch.setattr("core_distill.synthetic.storage.load_artefact", lambda path: released)
    seen = []

    @contextmanager
    def bar(what, total):
        yield lambda done, note="": seen.append((done, total))

    monkeypatch.setattr("core_distill.cli.studies.progress", bar)
    assert stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--real-accuracy", known).code == 0
    assert seen[-1] == (total, total)


def test_dd_ranking_without_augmentation_is_refused(stillroom, artefact):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--no-augment")
    assert said.code == 2
    assert "give the protocol one" in said.error


def test_a_percentage_is_no_accuracy(stillroom, artefact):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--real-accuracy", 93)
    assert said.code == 2
    assert "fractions from 0 to 1, got 93" in said.error

"""`stillroom evaluate --posterior`: networks drawn from the posterior that a set gives, chain after chain."""

import inspect
import json
import shutil

import pytest

from core_distill.cli.evaluate import evaluate
from core_distill.cli.posterior import pick_sampler
from core_distill.data import load_data
from core_distill.evaluation import Hmc, PosteriorProtocol, Sghmc, evaluate_posterior
from core_distill.synthetic.storage import load_artefact

SHORT = ("--samples", 2, "--burn-in", 1, "--networks", 2, "--no-compile", "--compute", "float32")


@pytest.fixture
def run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def drawn(monkeypatch):
    """Chains are drawn as they are; says which, by sampler, seed and network."""
    seen = []

    def watched(train, test, protocol, *, seed, **others):
        seen.append((protocol, seed))
        return evaluate_posterior(train, test, protocol, seed=seed, **others)

    monkeypatch.setattr("core_distill.evaluation.evaluate_posterior", watched)
    return seen


@pytest.mark.parametrize("sampler", [Hmc, Sghmc])
def test_a_posterior_is_sampled_scored_written_and_not_sampled_again(stillroom, run, drawn, sampler):
    command = ("evaluate", run, "--posterior", sampler.__name__.lower(), *SHORT, "--step-size", 0.005)
    said = stillroom(*command)
    assert (said.code, said.error) == (0, "")
    assert "Posterior on digits test (359 images), 680 bytes" in said.out
    written = run / "synthetic.posterior.json"
    assert f"written: {written}" in said.out
    content = json.loads(written.read_text())
    assert content["identity"]["plan"]["sampler"] == sampler.__name__
    plan = content["identity"]["plan"]
    assert (plan["step_size"], plan["burn_in"], plan["num_samples"]) == (0.005, 1, 2)
    (protocol, first), (again, second) = drawn
    assert protocol == again
    assert (protocol.sampler, protocol.burn_in, protocol.num_samples) == (sampler(step_size=0.005), 1, 2)
    assert first != second
    ((name, scores),) = content["results"].items()
    assert name == "convnet, width 4, depth 2"
    synthetic = load_artefact(run).synthetic
    test = load_data("digits", mean=synthetic.mean.tolist(), std=synthetic.std.tolist()).test
    for number, seed in enumerate((first, second)):
        alone = evaluate_posterior(synthetic.batch(), test, protocol, seed=seed)
        assert {measure: scores[measure]["chains"][number] for measure in scores} == pytest.approx(alone._asdict())
    (line,) = [line for line in said.out.splitlines() if line.startswith(f"  {name}")]
    told = [
        f"{100 * scores['accuracy']['mean']:.1f} ± {100 * scores['accuracy']['std']:.1f} %",
        *(f"{scores[part]['mean']:.3f} ± {scores[part]['std']:.3f}" for part in ("nll", "ece", "brier")),
    ]
    assert line.removeprefix(f"  {name}").split("  ")[1:5] == told
    assert line.endswith(" MB")

    drawn.clear()
    repeated = stillroom(*command)
    assert (repeated.code, drawn) == (0, [])
    assert repeated.out.splitlines()[-3:] == said.out.splitlines()[-3:]


def test_a_network_with_batch_norm_is_refused_before_anything_is_sampled(stillroom, run, drawn):
    said = stillroom("evaluate", run, "--posterior", "sghmc", *SHORT, "--network", "all")
    assert (said.code, drawn) == (2, [])
    others = "convnet, width 4, depth 2, lenet, mlp"
    told = f"resnet18 normalises over the batch, so it has no posterior; choose others by --network ({others})"
    assert told in said.error


def test_chains_and_networks_join_and_other_settings_do_not(stillroom, run, drawn):
    command = ("evaluate", run, "--posterior", "sghmc", *SHORT)
    assert stillroom(*command, "--networks", 1).code == 0
    drawn.clear()
    said = stillroom(*command, "--network", "mlp", "--network", "lenet", "--networks", 1)
    assert [protocol.network.__name__ for protocol, _ in drawn] == ["MLP", "LeNet"]
    assert [line.split()[0] for line in said.out.splitlines() if " % " in line] == ["mlp", "lenet"]
    drawn.clear()
    assert stillroom(*command).code == 0
    assert len(drawn) == 1
    for other in (
        ["--burn-in", 2],
        ["--step-size", 0.02],
        ["--posterior", "hmc"],
        ["--seed", 1],
        ["--on", "validation"],
    ):
        said = stillroom(*command, *other)
        assert (said.code, len(drawn)) == (2, 1)
        assert "belongs to another evaluation" in said.error


def test_one_that_was_stopped_goes_on_with_the_next_chain(stillroom, run, drawn, monkeypatch):
    command = ("evaluate", run, "--posterior", "sghmc", *SHORT)

    def stopped(train, test, protocol, *, seed, **others):
        if drawn:
            raise KeyboardInterrupt
        drawn.append((protocol, seed))
        return evaluate_posterior(train, test, protocol, seed=seed, **others)

    with monkeypatch.context() as patch:
        patch.setattr("core_distill.evaluation.evaluate_posterior", stopped)
        assert stillroom(*command).code == 130
    first = drawn.copy()
    drawn.clear()
    assert stillroom(*command).code == 0
    assert len(drawn) == 1
    assert drawn != first


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--posterior", "nuts"], "--posterior must be one of hmc, sghmc, got 'nuts'"),
        (["--posterior", "hmc", "--step-size", 0], "step_size must be above 0"),
        (["--posterior", "sghmc", *SHORT, "--step-size", 1e30], "lower the sampler's step_size"),
    ],
)
def test_what_cannot_be_sampled_is_told(stillroom, run, options, told):
    said = stillroom("evaluate", run, *options)
    assert said.code == 2
    assert told in said.error


def test_defaults_are_the_librarys():
    defaults = {name: parameter.default for name, parameter in inspect.signature(evaluate).parameters.items()}
    protocol = PosteriorProtocol()
    assert (defaults["burn_in"], defaults["samples"]) == (protocol.burn_in, protocol.num_samples)
    assert pick_sampler("hmc", defaults["step_size"]) == Hmc()
    assert pick_sampler("sghmc", defaults["step_size"]) == Sghmc()

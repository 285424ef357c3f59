import dataclasses
import functools
import json

import pytest
import torch

from core_distill.checkpoint import Checkpoint
from core_distill.cli.demo_types import DemoContext
from core_distill.data import load_data, whiten
from core_distill.evaluation import Protocol
from core_distill.methods import DistributionMatching
from core_distill.recipes import IMAGE_STARTS, dc, dcc, dm, multilevel
from core_distill.synthetic import Pixels, SoftLabels
from core_distill.synthetic.storage import load_artefact, save_artefact
from core_distill.training.expert_settings import ExpertTraining
from privacy import describe_card, make_private, no_guarantee, privacy_card
from privacy.demo import demo
from privacy.experiment import AuditPlan, PrivateExperiment, run_private_experiment

TINY = {"initialise": "noise", "steps": 6, "batch_size": 5, "width": 4, "depth": 2}
DM = dm(images_per_class=2, data="digits", schedule="cpu").with_values(TINY)
DC = dc(images_per_class=2, data="digits", schedule="cpu").with_values({**TINY, "outer_steps": 3, "inner_epochs": 1})
DCC = dcc(images_per_class=2, data="digits", schedule="cpu").with_values(
    {**TINY, "outer_steps": 3, "inner_epochs": 1, "outer_warmup": 1, "inner_warmup": 1}
)
MULTILEVEL = multilevel(images_per_class=2, data="digits", schedule="cpu").with_values(
    {**TINY, "outer_steps": 3, "inner_schedule": (1,)}
)
RECIPES = pytest.mark.parametrize("recipe", [DM, DC, DCC, MULTILEVEL], ids=lambda recipe: recipe.name)
SETTINGS = {"public_class_size": 20, "public_normalisation": True, "delta": 1e-5, "seed": 0}


@RECIPES
def test_a_run_costs_what_was_aimed_at(records, recipe):
    run = make_private(recipe, records, target_epsilon=8.0, **SETTINGS)
    before = run.synthetic.batch().images.detach().clone()
    synthetic = run.condense()
    assert run.ledger.num_releases == 6
    assert 7.9 < run.ledger.epsilon(1e-5) <= 8.0
    assert torch.isfinite(synthetic.batch().images).all()
    assert not torch.equal(before, synthetic.batch().images)


@RECIPES
def test_a_killed_run_ends_with_the_same_bytes_and_the_same_bill(records, recipe, tmp_path):
    whole = make_private(recipe, records, noise_multiplier=1.0, noise_seed=5, **SETTINGS)
    whole.condense()

    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.step == 4:
            raise KilledError

    def checkpoint():
        return Checkpoint(tmp_path / "checkpoint.safetensors", identity={}, every_seconds=0)

    with pytest.raises(KilledError):
        make_private(recipe, records, noise_multiplier=1.0, noise_seed=5, **SETTINGS).condense(
            checkpoint=checkpoint(), observers=[kill]
        )
    # A new process does not know the secret: it comes out of the checkpoint.
    resumed = make_private(recipe, records, noise_multiplier=1.0, **SETTINGS)
    resumed.condense(checkpoint=checkpoint())
    assert resumed.ledger.digest() == whole.ledger.digest()
    assert torch.equal(resumed.synthetic.batch().images, whole.synthetic.batch().images)


def test_a_given_noise_seed_repeats_a_run_and_none_does_not(records):
    def images(noise_seed):
        run = make_private(DM, records, noise_multiplier=1.0, noise_seed=noise_seed, **SETTINGS)
        return run.condense().batch().images

    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(None), images(None))


def test_the_initial_set_and_the_clipping_norm_know_nothing_of_the_records(records):
    other = records.subset(torch.tensor([0, 35, 55]))
    runs = [make_private(DM, real, noise_multiplier=1.0, **SETTINGS) for real in (records, other)]
    assert torch.equal(runs[0].synthetic.batch().images, runs[1].synthetic.batch().images)
    assert runs[0].clip_norm == runs[1].clip_norm > 0


@pytest.mark.parametrize("images", IMAGE_STARTS)
def test_images_of_every_kind_start_without_the_records_or_are_refused(images, records):
    recipe = dm(images_per_class=8, data="digits", schedule="cpu").with_values({**TINY, "images": images})
    other = records.subset(torch.tensor([0, 35, 55]))
    if images == "latents":
        with pytest.raises(ValueError, match="what makes the images has seen the private records"):
            make_private(recipe, records, noise_multiplier=1.0, **SETTINGS)
        return
    runs = [make_private(recipe, real, noise_multiplier=1.0, **SETTINGS) for real in (records, other)]
    states = [run.synthetic.state_dict() for run in runs]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def own_images(start):
    return Pixels(start.real.by_class(2, start.generator).images.flatten(0, 1))


def own_labels(slots):
    return SoftLabels.starting_at(slots.start.real.labels[: len(slots.targets)], slots.num_classes)


class Peeking(DistributionMatching):
    private = False


@pytest.mark.parametrize(
    ("recipe", "changed", "match"),
    [
        (DM.with_values({"initialise": "real"}), {}, "start from noise"),
        (DM, {"public_normalisation": False}, "normalisation constants"),
        (dataclasses.replace(DM, method=functools.partial(Peeking, batch_size=5)), {}, "private = True"),
        (DM.with_values({"batches": "representative"}), {}, "chosen by looking at the private records"),
        (DM.with_values({"labels": "teacher"}), {}, "gives the labels has seen .*experts are trained"),
        (DM.with_values({"labels": "solved"}), {}, "gives the labels has seen"),
        (dataclasses.replace(DC, labels=own_labels), {}, "gives the labels has seen"),
        (dataclasses.replace(DM, images=own_images), {}, "what makes the images has seen"),
        (dataclasses.replace(DM, experts=ExpertTraining()), {}, "experts are trained on the private records"),
        (DM, {"noise_multiplier": 0.0}, "noise_multiplier"),
        (DM, {"noise_multiplier": None}, "either target_epsilon or noise_multiplier"),
        (DM, {"target_epsilon": 1.0}, "either target_epsilon or noise_multiplier"),
        (DM, {"noise_multiplier": None, "target_epsilon": -1.0}, "target_epsilon"),
        (DM, {"delta": 0.0}, "delta"),
        (DM, {"delta": 1.0}, "delta"),
        (DM, {"clip_norm": -1.0}, "clip_norm"),
        (DM, {"public_class_size": 4}, "batch_size"),
    ],
)
def test_what_would_void_the_guarantee_is_refused(records, recipe, changed, match):
    with pytest.raises(ValueError, match=match):
        make_private(recipe, records, **{"noise_multiplier": 1.0, **SETTINGS, **changed})


def test_the_card_travels_in_the_artefact(records, tmp_path):
    run = make_private(DM, records, target_epsilon=8.0, **SETTINGS)
    run.condense()
    card = privacy_card(run)
    save_artefact(tmp_path / "private.safetensors", run.synthetic, metadata={"privacy": card})
    read = load_artefact(tmp_path / "private.safetensors").metadata["privacy"]
    assert read == json.loads(json.dumps(card))
    guarantee = read["guarantee"]
    assert guarantee["epsilon"] == run.ledger.epsilon(1e-5)
    assert guarantee["ledger_digest"] == run.ledger.digest()
    assert guarantee["noise"] == "unpredictable"
    assert f"epsilon {guarantee['epsilon']:.3f} at delta 1e-05" in describe_card(read)
    assert describe_card(no_guarantee()) == "privacy: no guarantee"


def test_whitened_data_has_seen_the_private_records(digits):
    with pytest.raises(ValueError, match="digits is whitened by what its private images have in common"):
        PrivateExperiment(data=whiten(digits), recipe=DM, public_class_size=125, delta=1e-4, target_epsilon=5.0)


def test_an_experiment_writes_what_may_be_released_and_destroys_the_secret(tmp_path):
    data = load_data("digits")
    recipe = DM.with_values({"steps": 3, "batch_size": 20})
    experiment = PrivateExperiment(
        data=data,
        recipe=recipe,
        public_class_size=125,
        delta=1e-4,
        target_epsilon=5.0,
        protocol=Protocol(network=recipe.network, num_networks=1, epochs=1),
        audit=AuditPlan(num_canaries=40, num_guesses=20),
    )
    results = run_private_experiment(experiment, tmp_path / "run")
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"run.json", "results.json", "synthetic.safetensors", "images.png"}
    assert set(results["scores"]) == {"private", "without privacy", "random real images"}
    assert results["audits"]["private"]["claimed_epsilon"] == pytest.approx(results["privacy"]["guarantee"]["epsilon"])
    assert not results["audits"]["private"]["violated"]
    metadata = load_artefact(tmp_path / "run" / "synthetic.safetensors").metadata
    assert metadata["privacy"]["guarantee"]["epsilon"] <= 5.0
    assert "digest" not in metadata["data"]
    assert set(metadata["scores"]) == {"private"}
    assert run_private_experiment(experiment, tmp_path / "run") == json.loads(json.dumps(results))


@pytest.mark.slow
def test_the_demo_gives_rows_with_baselines(tmp_path):
    data = load_data("digits")
    recipe = dm(images_per_class=10, data="digits", schedule="cpu").with_values({"steps": 200, "width": 32})
    rows = demo(DemoContext(data, recipe, None, tmp_path / "privacy", 0, "cpu"))
    assert len(rows) == 3
    assert all(row.baseline_value for row in rows)


def test_a_delta_of_one_record_warns(records):
    with pytest.warns(UserWarning, match="delta 0.02 is not below 1 over the 60 records"):
        make_private(DM, records, noise_multiplier=1.0, **{**SETTINGS, "delta": 0.02})


def test_noise_from_the_published_seed_is_refused(records):
    with pytest.raises(ValueError, match="noise_seed must differ from seed"):
        make_private(DM, records, noise_multiplier=1.0, noise_seed=SETTINGS["seed"], **SETTINGS)


def test_a_card_says_first_that_known_noise_protects_less(records):
    run = make_private(DM, records, noise_multiplier=1.0, noise_seed=5, **SETTINGS)
    run.condense()
    assert "NOT against anybody who knows the noise seed" in describe_card(privacy_card(run)).splitlines()[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaking(DistributionMatching):
    """Looks at the records by its own way."""

    def episode(self, synthetic, generator):
        real = self.real.by_class(5, generator)
        yield (real.images.mean() - synthetic.by_class(generator).images).square().mean()


def test_real_images_that_no_release_pays_for_end_the_run(records):
    recipe = dataclasses.replace(DM, method=functools.partial(Leaking, batch_size=5))
    run, done = make_private(recipe, records, noise_multiplier=1.0, **SETTINGS), []
    with pytest.raises(ValueError, match=r"data: 1, releases charged: 0; Leaking does not send .*signal=self\.signal"):
        run.condense(observers=[done.append])
    assert done == []

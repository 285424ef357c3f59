"""Distil digits with differential privacy, read the card, and let an audit look for a broken promise."""

import tempfile
from pathlib import Path

from core_distill.data import load_data
from core_distill.evaluation import Protocol, evaluate
from core_distill.networks import network_factory
from core_distill.recipes import condense, find_recipe
from core_distill.synthetic.storage import load_artefact, save_artefact
from privacy import audit_distillation, describe_card, feature_score, make_private, privacy_card

digits = load_data("digits")
recipe = find_recipe("dm", images_per_class=10, data="digits", schedule="cpu").with_values(
    {"initialise": "noise", "steps": 150, "batch_size": 64, "image_learning_rate": 10, "width": 32}
)


def private_run(train):
    """Epsilon 10 at delta 1e-4; that there are about 125 images of each digit is taken as public."""
    return make_private(
        recipe,
        train,
        public_class_size=125,
        public_normalisation=digits.public_normalisation,
        target_epsilon=10,
        delta=1e-4,
        seed=0,
    )


run = private_run(digits.train)
private = run.condense()
plain = condense(digits.train, recipe, seed=0)

protocol = Protocol(network=recipe.network, num_networks=2, epochs=100)
print("accuracy with privacy:   ", evaluate(private.batch(), digits.test, protocol, seed=1))
print("accuracy without privacy:", evaluate(plain.batch(), digits.test, protocol, seed=1))

# The same audit of both: each of 600 records enters the training data by the toss of a coin. Which did?
score = feature_score(network_factory(recipe.network, digits.train.image_shape, digits.train.num_classes))
reports = {}
for name, distil, claim in (
    ("with privacy", lambda train: private_run(train).condense(), run.ledger.epsilon(1e-4)),
    ("without privacy", lambda train: condense(train, recipe, seed=0), None),
):
    reports[name] = audit_distillation(
        distil,
        digits.train,
        score=score,
        num_canaries=600,
        num_guesses=100,
        delta=1e-4,
        seed=0,
        claimed_epsilon=claim,
        canaries="natural",
    )
    print(f"{name}: {reports[name]}")

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "private.safetensors"
    save_artefact(path, private, metadata={"privacy": privacy_card(run, audit=reports["with privacy"])})
    print(describe_card(load_artefact(path).metadata["privacy"]))

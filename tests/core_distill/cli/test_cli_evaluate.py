"""What `stillroom evaluate` does and prints."""

import json
from pathlib import Path

import pytest

from core_distill.cli.evaluate import _network_of
from core_distill.evaluation import Protocol, Score
from core_distill.networks import NETWORKS
from core_distill.partials import fixed
from core_distill.recipes.values import keywords
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.storage import load_artefact, save_artefact


def words(text):
    return " ".join(text.split())


def test_evaluate_takes_the_network_of_the_distillation(stillroom, finished_run, tmp_path, monkeypatch):
    asked = []

    def record(train, test, protocol, **_):
        asked.append(protocol)
        return Score((0.5,))

    monkeypatch.setattr("core_distill.evaluation.evaluate", record)
    said = stillroom("evaluate", finished_run / "synthetic.safetensors")
    assert "convnet, width 4, depth 2 50.0 % 50.0" in words(said.out)
    released = load_artefact(finished_run / "synthetic.safetensors")
    told = {name: value for name, value in released.metadata.items() if name not in ("recipe", "layout")}
    save_artefact(tmp_path / "other.safetensors", released.synthetic, metadata=told)
    assert "convnet 50.0 % 50.0" in words(stillroom("evaluate", tmp_path / "other.safetensors").out)
    assert [protocol.describe()["network_options"].get("width") for protocol in asked] == ["4", None]


def test_evaluate_on_one_network(stillroom, finished_run):
    said = stillroom("evaluate", finished_run / "synthetic.safetensors", "--epochs", 1, "--networks", 2)
    assert (said.code, said.error) == (0, "")
    size = load_artefact(finished_run / "synthetic.safetensors").tensor_bytes
    assert f"Accuracy on digits test (359 images), {size:,} bytes" in said.out
    assert "network accuracy each evaluation peak memory" in words(said.out)
    (line,) = [line for line in said.out.splitlines() if line.startswith("  convnet, width 4, ")]
    assert len(line.split(" % ")[1].split(",")) == 2


def test_where_a_folder_is_named_plain_accuracy_is_written_and_gone_on_with(stillroom, finished_run, monkeypatch):
    asked = []

    def record(train, test, protocol, **_):
        asked.append(protocol)
        return Score((0.5, 0.25))

    monkeypatch.setattr("core_distill.evaluation.evaluate", record)
    command = ("evaluate", finished_run, "--network", "mlp", "--network", "lenet", "--epochs", 7)
    before = sorted(finished_run.iterdir())
    assert stillroom(*command).code == 0
    assert sorted(finished_run.iterdir()) == before
    said = stillroom(*command, "--out", "there")
    assert (said.code, len(asked)) == (0, 4)
    path = Path("there/synthetic.accuracy.json")
    assert said.out.splitlines()[-1] == f"written: {path}"
    written = json.loads(path.read_text())
    assert written["results"]["mlp"]["accuracies"] == [0.5, 0.25]
    assert list(written["results"]) == ["lenet", "mlp"]
    assert written["identity"]["plan"]["protocol"]["epochs"] == 7
    assert stillroom(*command, "--out", "there").out == said.out
    assert len(asked) == 4
    other = stillroom(*command, "--seed", 1, "--out", "there")
    assert other.code == 2
    assert "belongs to another evaluation" in other.error


def test_evaluate_asks_for_the_folder_that_a_set_was_made_from(stillroom, finished_run, tmp_path):
    synthetic = SyntheticSet.load(finished_run / "synthetic.safetensors")
    save_artefact(tmp_path / "mine", synthetic, metadata={"data": {"name": "my-images", "digest": "0" * 16}})
    said = stillroom("evaluate", tmp_path / "mine")
    assert said.code == 2
    assert "was made from a folder or tensors called my-images: name the folder to test on" in said.error


def test_evaluate_takes_every_option_of_the_network(finished_run):
    """A network for KIP's values is as wide as there."""
    released = load_artefact(finished_run / "synthetic.safetensors")
    for values, options in (
        ({"network": "mlp", "hidden": "1024", "width": 9}, {"hidden": (1024,)}),
        ({"network": "text-cnn", "width": 7, "spans": "2,3"}, {"width": 7, "spans": (2, 3)}),
    ):
        told = released._replace(metadata={"recipe": {"values": values}})
        (network,) = _network_of(told).values()
        assert {name: keywords(network)[name] for name in options} == options


def test_evaluate_on_validation_and_several_networks(stillroom, finished_run):
    options = ["--epochs", 1, "--networks", 1, "--network", "mlp", "--network", "lenet", "--on", "validation"]
    said = stillroom("evaluate", finished_run / "synthetic.safetensors", "digits", *options)
    assert "Accuracy on digits validation (143 images)" in said.out
    assert [line.split()[0] for line in said.out.splitlines() if " % " in line] == ["mlp", "lenet"]


def test_evaluate_on_all_networks_without_augmentation(stillroom, finished_run, monkeypatch):
    asked = []

    def record(train, test, protocol, **_):
        asked.append(protocol)
        return Score((0.5,))

    monkeypatch.setattr("core_distill.evaluation.evaluate", record)
    assert stillroom("evaluate", finished_run / "synthetic.safetensors", "--network", "all", "--no-augment").code == 0
    own, *others = [protocol.network for protocol in asked]
    assert fixed(own)["width"] == 4, "the one that the set was distilled with"
    assert others == [NETWORKS[name] for name in ("lenet", "mlp", "resnet18")]
    assert {protocol.augment.operations for protocol in asked} == {()}
    assert {protocol.epochs for protocol in asked} == {Protocol().epochs}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--network", "vgg"], "--network must be all or one of convnet, lenet, mlp, resnet18"),
        (["--on", "train"], "--on test or validation"),
        (["fashion-mnist-of-mine"], "unknown data set"),
    ],
)
def test_what_evaluate_does_not_know(options, told, stillroom, finished_run):
    said = stillroom("evaluate", finished_run / "synthetic.safetensors", *options)
    assert said.code == 2
    assert told in said.error


def test_evaluate_refuses_data_that_does_not_fit(stillroom, make_folder, finished_run):
    path, named = finished_run / "synthetic.safetensors", "name the data that it was made from"
    for folder, told in (
        (make_folder("two", classes=2, mode="L"), f"has 2 classes, the artefact 10; {named}"),
        (make_folder("ten", classes=10, mode="L"), f"of the shape (1, 16, 16), the artefact of (1, 8, 8); {named}"),
        (make_folder("colour", classes=10), f"of the shape (3, 16, 16), the artefact of (1, 8, 8); {named}"),
    ):
        said = stillroom("evaluate", path, folder, "--epochs", 1)
        assert said.code == 2
        assert told in said.error


def test_evaluate_names_a_release_that_does_not_say_its_data(stillroom, finished_run, tmp_path):
    synthetic = SyntheticSet.load(finished_run / "synthetic.safetensors")
    save_artefact(tmp_path / "bare", synthetic, metadata={})
    said = stillroom("evaluate", tmp_path / "bare")
    assert said.code == 2
    assert "does not say what it was made from; name the data to test on" in said.error
    save_artefact(tmp_path / "private", synthetic, metadata={"data": {"name": "digits"}})
    said = stillroom("evaluate", tmp_path / "private")
    assert "names digits without a digest to know it by, as private sets do; name the data to test on" in said.error
    assert stillroom("evaluate", tmp_path / "bare", "digits", "--epochs", 1, "--networks", 1).code == 0
    save_artefact(tmp_path / "other", synthetic, metadata={"data": {"name": "digits", "digest": "0" * 16}})
    said = stillroom("evaluate", tmp_path / "other")
    assert said.code == 2
    assert "digits here is not what the artefact was made from" in said.error

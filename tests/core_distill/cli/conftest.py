"""Running the command in this process, and a small finished run."""

from typing import NamedTuple

import pytest
from PIL import Image

from core_distill.cli.main import main
from core_distill.data import load_data
from core_distill.evaluation import Protocol
from core_distill.experiment import Experiment, run_experiment
from core_distill.recipes import find_recipe


class Said(NamedTuple):
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    error: str


@pytest.fixture
def stillroom(capsys, tmp_path, monkeypatch):
    """`stillroom("distill", "digits")` as typed in an empty folder with its output piped."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(ended.value.code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a tiny distillation of digits, with one score."""
    recipe = find_recipe("dm", images_per_class=1, data="digits", schedule="cpu")
    recipe = recipe.with_values({"steps": 2, "batch_size": 4, "width": 4, "depth": 2})
    protocol = Protocol(network=recipe.network, num_networks=1, epochs=1)
    out = tmp_path_factory.mktemp("cli") / "run"
    run_experiment(Experiment(data=load_data("digits"), recipe=recipe, protocol=protocol, baselines=()), out)
    return out


@pytest.fixture
def make_folder(tmp_path):
    """`make_folder(name, classes=, mode=)`: a folder of six images a class, in colour unless the mode is `L`."""

    def make(name, *, classes, mode="RGB"):
        for number in range(classes):
            place = tmp_path / name / f"class{number}"
            place.mkdir(parents=True)
            for image in range(6):
                shade = Image.new("RGB", (16, 16), (20 * number, 10 * image, 5))
                shade.convert(mode).save(place / f"{image}.png")
        return tmp_path / name

    return make

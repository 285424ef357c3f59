"""`--help`: an example and a word on every argument, quickly, and plain where nobody looks."""

import importlib.metadata
import os
import subprocess
import sys
import uuid

import click
import pytest
import typer

from core_distill.cli import main as cli
from core_distill.recipes import IMAGE_STARTS, LABEL_MODES

COMMANDS = [
    "benchmark",
    "continual",
    "demo",
    "distill",
    "evaluate",
    "experts",
    "federated",
    "inspect",
    "privacy",
    "recipes",
]


@pytest.fixture(scope="module")
def group():
    return typer.main.get_command(cli.app)


def test_every_command_of_the_suite_is_there(group):
    assert sorted(group.list_commands(click.Context(group))) == COMMANDS


def test_the_list_says_what_each_command_does(stillroom):
    said = stillroom("--help")
    assert said.code == 0
    for name in COMMANDS:
        (line,) = [line for line in said.out.split("Commands:")[1].splitlines() if line.startswith(f"  {name} ")]
        assert len(line.strip().removeprefix(name).split()) > 3
        assert not line.endswith("...")
    assert "stillroom distill digits" in said.out


def unbroken(text):
    """Without spaces and the ends of lines, which may come after any hyphen."""
    return "".join(text.split())


def test_distill_names_all_images_and_labels_at_80_columns(stillroom, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    told = unbroken(stillroom("distill", "--help").out)
    assert all(name in told for name in (*IMAGE_STARTS, *LABEL_MODES))


def test_nothing_typed_shows_the_help(stillroom):
    said = stillroom()
    assert "Usage: stillroom" in said.out + said.error


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_shows_an_example_and_every_argument(name, stillroom, group):
    said = stillroom(name, "--help")
    assert said.code == 0
    assert "Example" in said.out
    assert said.out.count(f"stillroom {name}") >= 2, "the usage and at least one example"
    assert "\\" not in said.out
    told = unbroken(said.out)
    command = group.get_command(click.Context(group), name)
    for parameter in command.params:
        assert parameter.help, f"{name} {parameter.name} has no help"
        assert unbroken(parameter.help.split("[")[0]) in told
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in told


def test_the_version(stillroom):
    said = stillroom("--version")
    assert (said.code, said.out) == (0, f"stillroom {importlib.metadata.version('stillroom')}\n")


def test_what_every_run_imports_leaves_out_what_takes_a_second():
    """Torchvision, and the compiler before anything is compiled."""
    program = (
        "import sys, core_distill.experiment, core_distill.recipes; "
        "print(*sorted({'torch._dynamo', 'torchvision', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


_LOADED = """
import sys
from core_distill.cli.main import main
for arguments in (["--help"], *([name, "--help"] for name in sys.argv[1:])):
    try:
        main(arguments)
    except SystemExit:
        pass
heavy = {"avalanche", "dp_accounting", "flwr", "matplotlib", "numpy", "ray", "sklearn", "torch", "torchvision"}
print("loaded:", *sorted(heavy & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def all_help():
    """Every help text, printed by a process whose output is piped."""
    forcing = ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH")
    environment = {key: value for key, value in os.environ.items() if key not in forcing}
    command = [sys.executable, "-c", _LOADED, *COMMANDS]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_help_loads_nothing_heavy(all_help):
    assert all_help.splitlines()[-1] == "loaded:"


def test_piped_help_has_no_colours(all_help):
    assert "\x1b" not in all_help


def broken_adapter(tmp_path, monkeypatch, name, source):
    """An adapter registered as `name` whose module is `source`."""
    module = f"adapter_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    point = importlib.metadata.EntryPoint(name, f"{module}:run", "stillroom.commands")
    others = cli._adapters()
    monkeypatch.setattr(cli, "_adapters", lambda: {**others, name: point})


MISSING = "raise ModuleNotFoundError('no avalanche', name='avalanche')"
BUG = "import avalanche.no_such_part"
MISTAKE = "x = 1 / 0"
ABSENT = "y = 2"


@pytest.mark.parametrize("source", [MISSING, BUG, MISTAKE, ABSENT, "def run(:"])
def test_an_adapter_that_cannot_be_loaded_does_not_break_the_list(source, stillroom, tmp_path, monkeypatch):
    broken_adapter(tmp_path, monkeypatch, "broken", source)
    said = stillroom("--help")
    assert said.code == 0
    assert "distill" in said.out
    (line,) = [line for line in said.out.splitlines() if "broken" in line]
    assert "Not available" in line


@pytest.mark.parametrize("arguments", [[], ["--help"], ["digits", "--memory", "20"]])
def test_a_missing_extra_is_told_with_the_command_that_installs_it(arguments, stillroom, tmp_path, monkeypatch):
    broken_adapter(tmp_path, monkeypatch, "broken", MISSING)
    said = stillroom("broken", *arguments)
    assert said.code == 2
    assert said.error == 'error: avalanche is not installed; run: pip install "stillroom[continual]"\n'


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("avalanche", "continual"),
        ("flwr", "federated"),
        ("flwr_datasets", "federated"),
        ("ray", "cluster"),
        ("dp_accounting", "privacy"),
    ],
)
def test_also_where_it_is_missing_only_when_the_command_runs(module, extra, stillroom, tmp_path, monkeypatch):
    source = f"def run():\n    raise ModuleNotFoundError('gone', name={module!r})"
    broken_adapter(tmp_path, monkeypatch, "late", source)
    said = stillroom("late")
    assert said.code == 2
    assert said.error == f'error: {module} is not installed; run: pip install "stillroom[{extra}]"\n'


@pytest.mark.parametrize("source", [BUG, MISTAKE, ABSENT, "import no_such_module_of_mine", "from json import nothing"])
def test_a_bug_in_an_adapter_is_not_called_a_missing_extra(source, stillroom, tmp_path, monkeypatch):
    broken_adapter(tmp_path, monkeypatch, "broken", source)
    said = stillroom("broken")
    assert said.code == 1
    assert "pip install" not in said.error
    assert "a mistake of ours; run again with --debug" in said.error
    assert "Traceback" not in said.error

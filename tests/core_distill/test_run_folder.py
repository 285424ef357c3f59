"""Run folders: whose they are, what is refused, and what a killed writer leaves behind."""

import json

import pytest

from core_distill.run_folder import RunFolder

IDENTITY = {
    "seed": 0,
    "data": {"name": "digits", "digest": "abc"},
    "recipe": {"paper": "A long title. " * 20, "values": {"steps": 60, "width": 4}},
    "protocol": None,
}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run", identity=IDENTITY)


def changed(**values):
    return {**IDENTITY, **values}


def test_a_new_folder_says_whose_it_is(folder):
    assert json.loads((folder.path / "run.json").read_text()) == IDENTITY
    assert folder.results() == {}


def test_the_same_run_opens_it_again(folder):
    before = (folder.path / "run.json").read_bytes()
    RunFolder(folder.path, identity=dict(reversed(IDENTITY.items())))
    assert (folder.path / "run.json").read_bytes() == before


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert RunFolder(path, identity=IDENTITY).path == path


@pytest.mark.parametrize(
    ("identity", "told"),
    [
        (changed(seed=1), r"\(seed is 0, now 1\)"),
        (changed(data={"name": "mnist", "digest": "abc"}), r'\(data.name is "digits", now "mnist"\)'),
        (
            changed(recipe={**IDENTITY["recipe"], "values": {"steps": 61, "width": 4}}),
            r"\(recipe.values.steps is 60, now 61\)",
        ),
        (changed(protocol={"epochs": 2}), r"\(protocol.epochs is null, now 2\)"),
        ({"seed": 0, "data": IDENTITY["data"], "recipe": IDENTITY["recipe"], "mine": 1}, r"\(mine is null, now 1\)"),
        (changed(seed=1, mine="x"), r'\(mine is null, now "x"; seed is 0, now 1\)'),
    ],
)
def test_another_run_is_told_what_differs(identity, told, folder):
    with pytest.raises(ValueError, match=f"{folder.path} belongs to another run {told}; choose another output folder"):
        RunFolder(folder.path, identity=identity)


def test_a_long_difference_is_shortened(folder):
    with pytest.raises(ValueError, match="belongs to another run") as caught:
        RunFolder(folder.path, identity=changed(mine="x" * 10_000))
    assert len(str(caught.value)) < 500


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=f"{tmp_path} exists and is not a run of stillroom; choose another"):
        RunFolder(tmp_path, identity=IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is not a run of stillroom"):
        RunFolder(tmp_path / "file", identity=IDENTITY)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b'"text"', b"\xff\xfe"])
@pytest.mark.parametrize("name", ["results.json", "run.json"])
def test_a_damaged_file_is_named_with_the_way_out(name, content, folder):
    (folder.path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is damaged \(.*\); delete the folder or choose another with --out"):
        RunFolder(folder.path, identity=IDENTITY).results()


def test_results_come_back(folder):
    results = {"scores": {"dm": {"mean": 0.1 + 0.2}}, "a": None, "text": "±"}
    folder.write_results(results)
    assert RunFolder(folder.path, identity=IDENTITY).results() == results


def test_the_checkpoint_is_this_runs(folder):
    folder.checkpoint().save(3, 2, {})
    checkpoint = RunFolder(folder.path, identity=IDENTITY).checkpoint()
    assert checkpoint.path.parent == folder.path
    assert checkpoint.resume({}) == (3, 2)


@pytest.mark.parametrize(("seconds", "due"), [(0, True), (1000, False)])
def test_the_checkpoint_is_due_as_often_as_asked_for(seconds, due, folder):
    assert folder.checkpoint(every_seconds=seconds).is_due() is due


def test_a_run_killed_while_it_wrote_its_first_file_can_be_started_again(tmp_path):
    (tmp_path / ".run.json.x1y2z3w4.part").write_text('{"se')
    RunFolder(tmp_path, identity=IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_what_killed_writers_left_is_cleaned_up_and_nothing_else(folder):
    mine = [".results.json.swp", ".checkpoint.safetensors", "notes.part", ".x.part"]
    for name in (*mine, ".checkpoint.safetensors.abcdefgh.part", ".results.json.abcdefgh.part", ".images.png._.part"):
        (folder.path / name).touch()
    RunFolder(folder.path, identity=IDENTITY)
    assert {path.name for path in folder.path.iterdir()} == {"run.json", *mine}


def test_a_run_that_left_nothing_gives_its_folder_up_and_one_that_did_keeps_it(tmp_path):
    folder = RunFolder(tmp_path / "run", identity={"seed": 0})
    with pytest.raises(KeyError), folder.given_up_on_failure():
        raise KeyError
    other = RunFolder(tmp_path / "run", identity={"seed": 1})
    other.write_results({"a": 1})
    with pytest.raises(KeyError), other.given_up_on_failure():
        raise KeyError
    with pytest.raises(ValueError, match="belongs to another run"):
        RunFolder(tmp_path / "run", identity={"seed": 0})

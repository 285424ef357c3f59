"""Scores in a file: measured once, for one evaluation."""

import json

import pytest

from core_distill.evaluation import Score
from core_distill.evaluation.kept import KeptScores


def never():
    raise AssertionError("this was measured before")


def test_what_is_there_is_not_measured_again(tmp_path):
    path = tmp_path / "kept.json"
    first = KeptScores(path, identity={"seed": (1, 2)})
    assert first.keep("one", lambda: Score((0.1, 0.7))) == Score((0.1, 0.7))
    both = {"test": Score((0.25,)), "validation": Score((0.5,))}
    assert first.keep_several("two", lambda: both) == both
    first.conclude({"best": "two"})
    again = KeptScores(path, identity={"seed": (1, 2)})
    assert again.keep("one", never) == Score((0.1, 0.7))
    assert again.cost("one") == first.cost("one")
    assert again.cost("one").seconds >= 0
    assert again.cost("one").peak_bytes > 1e6
    assert again.cost("three") is None
    assert again.keep_several("two", never) == both
    assert json.loads(path.read_text())["results"] == {"best": "two"}


def test_a_score_is_written_before_the_next_is_measured(tmp_path):
    kept = KeptScores(tmp_path / "kept.json", identity={})
    kept.keep("one", lambda: Score((0.1,)))
    with pytest.raises(AssertionError):
        kept.keep("two", never)
    assert list(json.loads((tmp_path / "kept.json").read_text())["scores"]) == ["one"]


def test_another_evaluation_and_damage_are_refused(tmp_path):
    path = tmp_path / "kept.json"
    KeptScores(path, identity={"seed": 1}).keep("one", lambda: Score((0.1,)))
    with pytest.raises(ValueError, match="belongs to another evaluation; delete it or choose another with --out"):
        KeptScores(path, identity={"seed": 2})
    for text in ("{", "[]", '{"identity": {}}', '{"identity": {}, "scores": {"one": {"accuracies": {"": ["a"]}}}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="is damaged"):
            KeptScores(path, identity={})

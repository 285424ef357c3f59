"""A class and a partial of it are read alike."""

import functools

from core_distill.partials import fixed, wrapped


def test_a_partial_says_what_it_is_of_and_what_it_fixes():
    target = functools.partial(functools.partial(dict, a=1), b=2, a=3)
    assert wrapped(target) is dict
    assert fixed(target) == {"a": 3, "b": 2}
    fixed(target)["a"] = 0
    assert fixed(target)["a"] == 3


def test_what_is_no_partial_is_itself_and_fixes_nothing():
    assert wrapped(dict) is dict
    assert fixed(dict) == {}

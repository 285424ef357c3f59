"""What two identities have apart: named by dotted names, in order, shortened."""

from core_distill.identity import differences, told


def test_only_what_differs_is_named_in_order():
    found = {"seed": 0, "data": {"name": "digits", "digest": "a"}, "kept": [1, 2]}
    now = {"kept": [1, 2], "seed": 1, "data": {"name": "digits", "digest": "b"}, "mine": None, "added": True}
    apart = differences(found, now)
    assert list(apart.items()) == [
        ("added", "is null, now true"),
        ("data.digest", 'is "a", now "b"'),
        ("seed", "is 0, now 1"),
    ]
    assert told(apart) == 'added is null, now true; data.digest is "a", now "b"; seed is 0, now 1'


def test_equal_ones_have_nothing_apart():
    assert differences({"a": {"b": 1}, "c": 2}, {"c": 2, "a": {"b": 1}}) == {}


def test_a_long_value_is_shortened():
    (values,) = differences({"a": "x" * 1000}, {"a": "y"}).values()
    assert len(values) < 130
    assert values.startswith('is "xxx')
    assert values.endswith('..., now "y"')

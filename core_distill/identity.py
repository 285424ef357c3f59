"""What tells two runs, or two experts, apart: one way to say it wherever something of another is found."""

import json
from collections.abc import Mapping
from typing import Any

_LONGEST = 100


def differences(found: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What two identities, JSON values, have apart: `{"recipe.values.steps": "is 60, now 61"}`, in the order of names.

    Nested values stand under dotted names; long ones are shortened.
    """
    before, after = _flat(found), _flat(now)
    return {
        name: f"is {_short(before.get(name))}, now {_short(after.get(name))}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def told(apart: Mapping[str, str]) -> str:
    """Differences in one line, such as `seed is 0, now 1; steps is 60, now 61`."""
    return "; ".join(f"{name} {values}" for name, values in apart.items())


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return flat


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."

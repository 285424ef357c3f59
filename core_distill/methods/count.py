"""How often something was done in the life of a method, which itself never changes."""

from dataclasses import dataclass


@dataclass
class Count:
    """A number that goes up from one episode to the next, and into the method's state."""

    value: int = 0

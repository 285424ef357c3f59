"""How long work tells how far it is, without knowing who looks."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Advance(Protocol):
    """`advance(done, note)`: how far the work is, and what to say beside it."""

    def __call__(self, done: int, note: str) -> None: ...


ShowProgress = Callable[[str, int], AbstractContextManager[Advance]]
"""`show(what, total)` gives a context whose value is an `Advance`."""


def silent(what: str, total: int) -> AbstractContextManager[Advance]:
    """Progress that nobody sees."""

    def ignore(done: int, note: str) -> None:
        pass

    return nullcontext(ignore)


class Remembering:
    """An `Advance` that knows how far it is, so that a note can be shown in between."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._done = advance, 0

    def __call__(self, done: int, note: str) -> None:
        self._done = done
        self._advance(done, note)

    def note(self, what: str) -> None:
        """Say something where the work stands."""
        self._advance(self._done, what)

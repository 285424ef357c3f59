"""What the command line shows: tables, and progress that is a bar on a terminal and plain lines in a pipe."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from core_distill.progress import Advance

_SECONDS_BETWEEN_LINES = 15.0
_SHORT = 10
"""Letters of a column that is never wrapped, as one of single words is not: what is cut cannot be copied."""
_WIDE = 100
"""Letters of a line from which on columns stand two apart."""


def console() -> Console:
    """Standard output; colours and bars only on a terminal, and lines of a pipe are never wrapped."""
    return Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty(), highlight=False)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a header; plain columns when the output is piped."""
    out = console()
    if not out.is_terminal:
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        out.print(title, markup=False)
        for row in [header, *rows]:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            out.print(f"  {line}".rstrip(), markup=False)
        return
    gap = int(out.width >= _WIDE)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False)
    for cells in zip(header, *rows, strict=True):
        stays_whole = max(map(len, cells)) <= _SHORT or not any(" " in cell for cell in cells)
        longest = max((len(word) for cell in cells for word in cell.split()), default=0)
        table.add_column(cells[0], overflow="fold", no_wrap=stays_whole, min_width=min(longest, _SHORT))
    for row in rows:
        table.add_row(*row)
    out.print(table)


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Progress of `total` pieces of work: a bar with rate and time left, or a line now and then in a pipe."""
    out = console()
    if out.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=out) as bar:
            task = bar.add_task(what, total=total, note="")

            def show(done: int, note: str) -> None:
                bar.update(task, completed=done, note=note)

            yield show
        return
    yield _plain_lines(what, total, out)


def _plain_lines(what: str, total: int, out: Console) -> Advance:
    start = last = time.monotonic()
    first: int | None = None

    def advance(done: int, note: str) -> None:
        nonlocal last, first
        now = time.monotonic()
        if first is None:
            first = done
        if now - last < _SECONDS_BETWEEN_LINES and done < total:
            return
        last = now
        rate = (done - first) / max(now - start, 1e-9)
        pace = f"  {rate:.2f}/s  {(total - done) / rate:.0f} s left" if rate else ""
        out.print(f"{what} {done}/{total}  {note}{pace}", markup=False)

    return advance

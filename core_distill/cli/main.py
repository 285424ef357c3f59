"""The command `stillroom`: the core's commands, the adapters' by entry point, and errors a person can act on."""

import importlib.metadata
import os
import re
import sys
import traceback
import warnings
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from core_distill.cli.benchmark import benchmark
from core_distill.cli.demo import demo
from core_distill.cli.distill import distill
from core_distill.cli.evaluate import evaluate
from core_distill.cli.experts import experts
from core_distill.cli.extras import install_hint
from core_distill.cli.inspect import inspect
from core_distill.cli.recipes import recipes


class _Commands(TyperGroup):
    """The core's commands and those that other packages register under `stillroom.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *sorted(_adapters())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        adapters = _adapters()
        if cmd_name not in adapters:
            return super().get_command(ctx, cmd_name)
        try:
            function = adapters[cmd_name].load()
        except Exception as error:
            return _unavailable(cmd_name, error)
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(name=cmd_name)(function)
        command = typer.main.get_command(single)
        command.name = cmd_name
        return command


def _unavailable(name: str, error: Exception) -> click.Command:
    """Stands in the list of commands for an adapter that cannot be loaded; called, it raises why."""

    def explain() -> None:
        raise error

    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    note = f"Not available: {_explained(error)[1]}"
    single.command(name=name, help=note, add_help_option=False, context_settings=settings)(explain)
    command = typer.main.get_command(single)
    command.name = name
    return command


def _adapters() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group="stillroom.commands")}


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Distil a data set once; use the small synthetic set for continual learning, federated learning and privacy.",
    epilog="Example: `stillroom distill digits --recipe dm --ipc 10`. Any command takes --debug.",
)
app.command()(demo)
app.command()(distill)
app.command()(evaluate)
app.command()(experts)
app.command()(inspect)
app.command()(recipes)
app.add_typer(benchmark, name="benchmark")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stillroom {importlib.metadata.version('stillroom')}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit")
    ] = False,
) -> None:
    """Options of every command; `--debug` is read in `main`, wherever it stands."""


_INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 something went wrong, 2 the input was wrong."""
    try:
        _run(arguments)
    except SystemExit as stop:
        if "core_distill.sharding" in sys.modules:  # what a process that torchrun started has imported by now
            from core_distill.sharding import launched, leave

            if launched():
                leave(stop.code if isinstance(stop.code, int) else int(bool(stop.code)))
        raise


def _run(arguments: list[str] | None) -> None:
    # Threads that sleep between two parallel parts instead of spinning: several times faster where other work shares
    # the cores; on an idle machine the difference was not measured. OpenMP reads this when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    warnings.showwarning = _show_warning
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        app(arguments, prog_name="stillroom", standalone_mode=True)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            typer.echo("stopped; the same command goes on from the last checkpoint, if one was saved yet", err=True)
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        code, text = _explained(error)
        typer.echo(f"error: {text}", err=True)
        sys.exit(code)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as a person reads it, without the line of code that gave it."""
    typer.echo(f"warning: {message}", err=True)


def _explained(error: Exception) -> tuple[int, str]:
    """The exit code and the one line a person can act on."""
    told = " ".join(str(error).split())
    hint = install_hint(error)
    if hint is not None:
        return 2, hint
    if isinstance(error, ValueError | FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return 2, told
    if isinstance(error, OSError):
        return 1, told
    if _is_out_of_memory(error):
        return 1, _what_takes_less(error)
    return 1, f"{type(error).__name__}: {told} (a mistake of ours; run again with --debug and report what it shows)"


_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")
"""What PyTorch's errors say where CUDA, the C library, or cuBLAS and its like have no memory left."""


def _is_out_of_memory(error: Exception) -> bool:
    refused = isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
    return refused or isinstance(error, MemoryError)


def _what_takes_less(error: Exception) -> str:
    asked = re.search(r"allocate ([\d.]+ [KMGTPE]?i?B|\d+ bytes)", str(error))
    size = f" (asked for {asked[1]} more)" if asked else ""
    notes = "; ".join(getattr(error, "__notes__", []))
    kept = (
        f"; {notes}: with more memory free the same command goes on, another one needs another --out" if notes else ""
    )
    return f"out of memory{size}: use fewer images per class, a smaller batch size or --piece, whichever this command has{kept}"


if __name__ == "__main__":
    main()

"""What is shown: plain lines in a pipe, bars and boxes on a terminal; and how options are read."""

import io
import sys

import pytest

from core_distill.cli import console
from core_distill.cli.options import pick_device, pick_schedule, read_settings, typed_command


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """`on_terminal()` makes standard output a terminal for the rest of the test."""

    def switch():
        for name in ("NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setattr(sys, "stdout", Terminal())
        return sys.stdout

    return switch


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(console.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_piped_table_is_aligned_columns(capsys):
    console.print_table("Title [x]", ("a", "long"), [("1", "2"), ("333", "[red]4")])
    assert capsys.readouterr().out == "Title [x]\n  a    long\n  1    2\n  333  [red]4\n"


def test_a_long_piped_line_is_not_wrapped(capsys):
    console.print_table("t", ("a",), [("x" * 500,)])
    assert "x" * 500 in capsys.readouterr().out


def test_a_table_on_a_terminal_has_a_box(on_terminal):
    terminal = on_terminal()
    console.print_table("Title", ("a", "b"), [("1", "2")])
    assert "──" in terminal.getvalue()


def test_names_and_numbers_stay_whole_on_a_narrow_terminal(on_terminal):
    terminal = on_terminal()
    rows = [
        (f"a-name-of-{'more-than-' * 2}some-length-{number}", "A title of many words. " * 3, "12.3 %", "12,345")
        for number in range(3)
    ]
    console.print_table("Title", ("recipe", "what its paper is called", "accuracy", "steps"), rows)
    lines = [line.split() for line in terminal.getvalue().splitlines()]
    assert all(any({name, "12.3", "%", "12,345"} <= {*line} for line in lines) for name, *_ in rows)


def test_words_are_not_broken_while_there_is_room(on_terminal, monkeypatch):
    terminal = on_terminal()
    monkeypatch.setenv("COLUMNS", "80")
    cells = (
        "recipe-name-long",
        "trajectory",
        "2203.11932",
        "images, step size",
        "2000000",
        "600",
        "~83.5 %",
        "~48.9 %",
    )
    console.print_table("T", ("recipe", "family", "paper", "learns", "steps", "cpu", "fmnist", "cifar10"), [cells])
    said = terminal.getvalue().split()
    assert {"images,", "step", "size", *cells[:3], *cells[4:6]} <= {*said}


def test_piped_progress_is_a_line_now_and_then_and_one_at_the_end(capsys, clock):
    with console.progress("distil", 100) as advance:
        for done in range(10, 101, 10):
            clock.now += 4
            advance(done, f"loss {done}")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["40/100", "80/100", "100/100"]
    assert lines[0].startswith("distil 40/100  loss 40  1.")
    assert lines[0].endswith(" s left")


def test_the_rate_of_a_resumed_run_counts_what_was_done_now(capsys, clock):
    with console.progress("distil", 1000) as advance:
        advance(900, "")
        clock.now += 20
        advance(940, "")
    (line,) = capsys.readouterr().out.splitlines()
    assert "940/1000" in line
    assert "2.00/s  30 s left" in line


def test_no_rate_is_told_before_there_is_one(capsys, clock):
    with console.progress("evaluate", 1) as advance:
        advance(1, "networks")
    assert capsys.readouterr().out == "evaluate 1/1  networks\n"


def test_progress_on_a_terminal_is_a_bar(on_terminal):
    terminal = on_terminal()
    with console.progress("distil", 4) as advance:
        advance(3, "loss 0.5")
    shown = terminal.getvalue()
    assert "\x1b[" in shown
    assert "3/4" in shown
    assert "loss 0.5" in shown


def test_settings_are_split_at_the_first_equals_sign():
    assert read_settings(["steps=60", "augment=", "name=a=b", "steps=61"]) == {
        "steps": "61",
        "augment": "",
        "name": "a=b",
    }
    with pytest.raises(ValueError, match="--set takes NAME=VALUE, got 'width'"):
        read_settings(["steps=1", "width"])


def test_the_schedule_follows_the_device_unless_told():
    assert [pick_schedule("auto", device) for device in ("cpu", "cuda", "cuda:1")] == ["cpu", "paper", "paper"]
    assert [pick_schedule(name, "cuda") for name in ("cpu", "paper")] == ["cpu", "paper"]
    with pytest.raises(ValueError, match="--schedule must be one of auto, paper, cpu, got 'x'"):
        pick_schedule("x", "cpu")


def test_the_device_is_what_is_there():
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") in ("cpu", "cuda")
    with pytest.raises(ValueError, match=r"device 'cuda:99' is not usable here \(.*\); try --device cpu"):
        pick_device("cuda:99")


def test_the_command_can_be_typed_again(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/stillroom", "distill", "my images", "--set", "a=$b"])
    assert typed_command() == "stillroom distill 'my images' --set 'a=$b'"

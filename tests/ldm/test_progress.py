"""What commands say while they work: on terminals of any kind, into pipes, with --quiet."""

import io
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm import cli, progress
from ldm.progress import Lines, bar, duration, say
from tests.conftest import ROOT


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, encoding="utf-8"):
        self.held = io.BytesIO()
        super().__init__(self.held, encoding, errors="backslashreplace", write_through=True)

    def isatty(self):
        return True

    def shown(self) -> str:
        return self.held.getvalue().decode(self.encoding)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def work(clock, steps, seconds, **options):
    for _ in bar(range(steps), desc="drawing", **options):
        clock[0] += seconds


def test_in_a_pipe_there_is_a_line_now_and_then_and_no_bar(clock, capsys):
    work(clock, 10, 6.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "drawing: step 2 of 10; 12 s gone, about 48 s left"
    assert lines[-1] == "drawing: step 10 of 10; 60 s gone" and len(lines) == 5
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_what_is_soon_over_says_nothing_in_a_pipe(clock, capsys):
    work(clock, 9, 1.0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_on_a_terminal_there_is_a_bar(monkeypatch, encoding):
    terminal = Terminal(encoding)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("TERM", raising=False)
    for _ in bar(range(3), desc="drawing"):
        say("in between")
    assert "drawing: 100%" in terminal.shown() and "3/3" in terminal.shown()
    assert terminal.shown().count("in between\n") == 3
    assert encoding == "utf-8" or terminal.shown().isascii() and "\\u" not in terminal.shown(), "with signs that it has"


def test_a_terminal_that_draws_no_line_anew_is_as_a_pipe(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(bar(range(3), desc="drawing"), Lines)


def test_quiet_leaves_warnings(monkeypatch, clock, capsys):
    monkeypatch.setattr(progress, "quiet", True)
    work(clock, 10, 60.0)
    say("5 pictures from x\nwarning: one is small\nadvice: take another")
    cli.run_command(lambda: __import__("warnings").warn("take care", stacklevel=1))
    assert capsys.readouterr().err == "warning: one is small\nwarning: take care\n"


def test_every_command_has_quiet_and_forgets_it(capsys):
    for arguments, said in ((["-q"], ""), ([], "a line\n"), (["--quiet"], ""), ([], "a line\n")):
        cli.CommandParser().parse_args(arguments)
        say("a line")
        assert capsys.readouterr().err == said


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5), st.floats(0.01, 100), st.one_of(st.none(), st.integers(1, 50)))
def test_lines_say_where_it_is_and_never_run_ahead(steps, initial, seconds, total):
    now, said = [0.0], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress.time, "monotonic", lambda: now[0])
        patch.setattr(progress, "say", said.append)
        lines = Lines(None, total, "x", "step", initial, False)
        for _ in range(steps):
            now[0] += seconds
            lines.update()
        lines.close()
    assert len(said) <= steps * seconds / progress.SECONDS + 1
    places = [int(line.split()[2].rstrip(";,").replace(",", "")) for line in said]
    assert places == sorted(set(places)) and (not said or places[-1] == initial + steps)


@pytest.mark.parametrize("seconds, text", [(3.4, "3 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_real_terminal_of_60_columns_without_colour(tmp_path):
    """A command on a pseudo-terminal: its bar and tables keep to the width, and no colour is asked for."""
    script = ("import sys; sys.path.insert(0, '.')\nfrom ldm.cli import print_table\nfrom ldm.progress import bar\n"
              "for _ in bar(range(3), desc='drawing', total=3): pass\n"
              "print_table(('name', 'n', 'words'), [('*', 1, 'some words, ' * 12)])\n")
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "60", "NO_COLOR": "1", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    text = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(master)
    assert process.wait() == 0
    shown = text.decode().replace("\r\n", "\n")
    assert "\x1b[3" not in shown and "100%" in shown
    assert all(len(line) <= 60 for part in shown.split("\n") for line in part.split("\r")), shown
    assert shown.count("some words") == 12

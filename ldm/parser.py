"""The parser that all commands share: help with an example, completion, and errors of one line."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any, NoReturn

from ldm import progress
from ldm.errors import UserError
from ldm.targets import trust_targets

MORE = ("Anything else: docs/words.md for what commands do, docs/commands.md for exit statuses, output for scripts and "
        "completion in the shell.")
ON, OFF = ("yes", "true", "t", "y", "1", "on"), ("no", "false", "f", "n", "0", "off")


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that shows defaults and an example, has -q and -d for all commands, says what may come next
    to a shell that asks by way of argcomplete, and reports what is wrong as a UserError."""

    debug = False  # whether the command under way was called with -d

    def __init__(self, *, example: str = "", **kwargs: Any) -> None:
        super().__init__(formatter_class=Formatter, add_help=False, **kwargs)
        self.example = example
        self.general = self.add_argument_group("general")
        self.general.add_argument("-h", "--help", action="help", help="show this")
        self.general.add_argument("-q", "--quiet", action="store_true", help="say nothing but warnings and errors")
        self.general.add_argument("-d", "--debug", action="store_true", help="show tracebacks")

    def add_json(self) -> None:
        """Add --json, for a command that writes files and then calls `print_json`."""
        self.general.add_argument("--json", action="store_true", help="print what was written on stdout, as JSON")

    def given(self, arguments: Sequence[str] | None = None) -> set[str]:
        """Which flags are on a command line, by their names in what `parse_args` gives."""
        nobody = object()
        blank = argparse.Namespace(**{action.dest: nobody for action in self._actions})
        read = vars(self.parse_args(arguments, blank))
        return {action.dest for action in self._actions if read[action.dest] is not nobody}

    def format_help(self) -> str:
        """As argparse has it, with what every command has at the end, and an example."""
        self._action_groups.sort(key=lambda group: group is self.general)
        width = shutil.get_terminal_size().columns
        parts = [super().format_help()]
        if self.example:
            parts.append(f"example:\n{wrap_command(self.example.replace('%(prog)s', self.prog), width - 2)}\n")
        return "\n".join([*parts, fill(MORE, width - 2) + "\n"])

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; see --help")

    def parse_known_args(  # type: ignore[override]  # without typeshed's overloads for a namespace and for none
            self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse has it; -d may be followed by true or false."""
        rest: list[str] = []
        for argument in readable(sys.argv[1:] if args is None else args):
            if rest and rest[-1] in ("-d", "--debug") and argument.lower() in ON + OFF:
                if argument.lower() in OFF:
                    rest.pop()
                continue
            if argument.startswith("--") and argument.endswith("=--"):  # which argparse would take for no value
                self.error(f"argument {argument[:-3]}: invalid value: '--'")
            rest.append(argument)
        CommandParser.debug = bool({"-d", "--debug"} & set(rest))
        if "_ARGCOMPLETE" in os.environ:
            complete(self)
        options, unknown = super().parse_known_args(rest, namespace)
        progress.quiet = options.quiet is True
        if getattr(options, "trust_targets", False) is True:
            trust_targets()
        return options, unknown


class Formatter(argparse.HelpFormatter):
    """Says the default of every flag that has one, unless its help says it in other words, and many choices there too,
    not beside the flag."""

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Callable[[int], tuple[str, ...]]:
        hidden = many_choices(action)
        if not hidden:
            return super()._metavar_formatter(action, default_metavar)
        name = action.dest.upper().removesuffix("S") if action.nargs in ("+", "*") else action.dest.upper()
        return lambda size: (name,) * size

    def _get_help_string(self, action: argparse.Action) -> str:
        text = self._with_default(action)
        return f"{text}; of: {', '.join(map(str, action.choices or ()))}" if many_choices(action) else text

    def _with_default(self, action: argparse.Action) -> str:
        text, unset = action.help or "", action.default in (None, False, "", [], argparse.SUPPRESS)
        silent = unset or not action.option_strings or "default" in text
        return text if silent else f"{text} (default: %(default)s)"


def many_choices(action: argparse.Action, most: int = 36) -> bool:
    """Whether the choices of a flag are too many to stand beside it, or, where it takes several, to do so twice."""
    length = len("".join(map(str, action.choices or ()))) * (2 if action.nargs in ("+", "*") else 1)
    return action.metavar is None and length > most


def complete(parser: CommandParser) -> None:
    """Answer a shell that asks, by way of argcomplete, what may come next, and exit."""
    del os.environ["_ARGCOMPLETE"]  # argcomplete parses too
    with contextlib.suppress(ImportError):
        import argcomplete

        os.environ["_ARGCOMPLETE"] = "1"
        parser.__class__ = type("Parser", (argparse.ArgumentParser,), {})
        argcomplete.autocomplete(parser)


def wrap_command(command: str, width: int) -> str:
    """A command as lines of a shell of at most so many columns, two spaces before each; only a single word may be
    longer."""
    lines = ["  "]
    for part in re.split(r" (?=-\D)", command):  # a flag and its values, together where there is room
        words = [part] if len(part) + 8 <= width else re.findall(r'(?:"[^"]*"|[^\s"])+', part)
        for word in words:
            if len(lines[-1]) + len(word) + 3 <= width or not lines[-1].strip():
                lines[-1] += f" {word}" if lines[-1].strip() else word
            else:
                lines[-1] += " \\"
                lines.append(f"      {word}")
    return "\n".join(lines)


def readable(arguments: Sequence[Any]) -> list[str]:
    """Arguments of a command line as text. Raises UserError for one that is not valid UTF-8."""
    for number, argument in enumerate(texts := [str(a) for a in arguments], 1):
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"argument {number}, {argument.encode('utf-8', 'backslashreplace').decode()!r}, is not "
                            "valid UTF-8") from error
        if "\0" in argument:
            raise UserError(f"argument {number}, {argument!r}, holds a character of code 0")
    return texts

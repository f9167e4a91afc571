"""What the command of an entrypoint starts: which Python program, with which options, arguments and environment.

A master hands a text to `sh -c` and starts a list of words as it is. Here one Python program is started without a shell;
what would be lost by that is said in `Command.lost`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

_PYTHON = re.compile(r"(.*/)?python(3(\.\d+)?)?")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_ENV = re.compile(r"(.*/)?env")
_LAUNCHERS = "determined.launch."

_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'[^']*'|\\.", re.DOTALL)
_OPERATORS = re.compile(r"&&|\|\||[;&|<>()*?\n]|(?:^|(?<=\s))[~#]")
_EXPANSIONS = re.compile(r"[$`]")

_OPTION = re.compile(r"-(?=.)([^WXmc]*)(?:([WXmc])(.*))?", re.DOTALL)  # flags, then one that takes a value
_NO_OPTION_HERE = {"i": "waits for input", "x": "skips the first line of the program", "h": "runs no program"}
_NO_OPTION_HERE |= {"V": "runs no program", "?": "runs no program"}


@dataclass(frozen=True)
class Command:
    """One Python program.

    Attributes:
        program: `("-m", module)` or `(script,)`; empty if there is none.
        options: Python's own; `-u` is left out, for output is never held back here.
        arguments: the program's.
        environment: variables that are set for it.
        launcher: module of the launcher in front of it, such as `determined.launch.torch_distributed`.
        lost: what of the command cannot be kept here, a sentence each.
    """

    program: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    launcher: str | None = None
    lost: tuple[str, ...] = ()


def read_command(entrypoint: str | Sequence[str]) -> Command:
    """Read an entrypoint. Raises ValueError if the quotes of a text do not match."""
    if not isinstance(entrypoint, str):
        return _read(list(entrypoint))
    words = shlex.shlex(entrypoint, posix=True, punctuation_chars=True)  # `a.py;` is two words
    words.whitespace_split, words.commenters = True, ""
    found = _read(list(words))
    return replace(found, lost=tuple(_shell(entrypoint.strip())) or found.lost)


def _shell(text: str) -> list[str]:
    """What only a shell understands."""
    signs = _OPERATORS.findall(_QUOTED.sub("x", text)) + _EXPANSIONS.findall(_SINGLE_QUOTED.sub("x", text))
    named = ", ".join(dict.fromkeys("a new line" if sign == "\n" else sign for sign in signs))
    return [f"it needs a shell for {named}, and here it is started without one"] if signs else []


def _read(words: list[str]) -> Command:
    """The program that is started in the end: launchers start another one."""
    start = next((i for i, word in enumerate(words) if _PYTHON.fullmatch(word)), None)
    if start is None:
        return Command()
    environment, lost = _in_front(words[:start])
    found = _after_python(words[start + 1 :])
    environment, lost = (*environment, *found.environment), (*lost, *found.lost)
    if not found.program or not found.program[-1].startswith(_LAUNCHERS):
        return replace(found, environment=environment, lost=lost)
    inner = _read(list(found.arguments))
    return replace(
        inner, launcher=found.program[-1], environment=(*environment, *inner.environment), lost=(*lost, *inner.lost)
    )


def _in_front(words: list[str]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The variables that are set in front of Python, and what else stands there."""
    pairs, lost = [], []
    for word in words:
        if match := _ASSIGNMENT.fullmatch(word):
            pairs.append((match[1], match[2]))
        elif not _ENV.fullmatch(word) and word not in ("exec", "--"):
            lost.append(word)
    what = f"{' '.join(lost)} in front of python3 is not kept here, only variables are, like NAME=VALUE"
    return tuple(pairs), (what,) if lost else ()


def _after_python(words: list[str]) -> Command:
    """Options, program and arguments, as Python reads them."""
    options: list[str] = []
    lost: list[str] = []
    rest = list(words)
    while rest and (match := _OPTION.fullmatch(rest[0])):
        word, (flags, letter, value) = rest.pop(0), match.groups()
        if word.startswith("--"):
            options += [word, *([rest.pop(0)] if rest and word == "--check-hash-based-pycs" else [])]
            continue
        lost += [f"Python's option -{flag} {_NO_OPTION_HERE[flag]}" for flag in flags if flag in _NO_OPTION_HERE]
        options += [f"-{flag}" for flag in flags if flag != "u" and flag not in _NO_OPTION_HERE]
        value = value or (rest.pop(0) if rest and letter else "")
        if letter in ("m", "c"):
            program = ("-m", value) if letter == "m" and value else ()
            return Command(program, tuple(options), tuple(rest), lost=tuple(lost))
        options += [f"-{letter}{value}"] if letter else []
    return Command(tuple(rest[:1]) if rest[:1] != ["-"] else (), tuple(options), tuple(rest[1:]), lost=tuple(lost))

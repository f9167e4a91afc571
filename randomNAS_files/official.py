"""The strings in which the programs of ENAS's authors take recurrent cells, such as `--fixed_arc='0 2 1 0 ...'`.

Two programs number the activations differently, so that a string has to say whose it is:

- `enas`, melodyguan/enas (Pham et al. 2018, arXiv 1802.03268): the activation of the first node, then predecessor and
  activation of each other node; the output is the mean of the loose ends. Bars may stand between nodes: `0 | 0 0 | 1 1`.
- `enas_lm`, google-research/enas_lm, the corrected one: predecessor and activation of each node after the first, which is tanh;
  the output is the mean of all of them.

Both count the first node as 0. It is the initial state s_0 of our cells.
"""

from __future__ import annotations

import re

from nas.core.errors import ConfigError
from randomNAS_files.architecture import Genotype
from randomNAS_files.outputs import with_output

CODES = {"enas": ("tanh", "relu", "identity", "sigmoid"), "enas_lm": ("tanh", "relu", "sigmoid", "identity")}
"""What 0, 1, 2 and 3 mean, by program."""

_MARKED = re.compile(r"\s*(enas|enas_lm)(?:\s*:|\s)(.*)", re.IGNORECASE | re.DOTALL)
_BARE = re.compile(r"\s*\d+(?:[\s|,]+\d+)+[\s|,]*")
_NUMBER = re.compile(r"\d{1,4}")  # more digits than a cell has nodes


def is_string(text: str) -> bool:
    """Whether a text is such a string: a program's name and more, or numbers alone, of which `read` asks whose they are."""
    return not set(text) & set("([{=") and bool(_MARKED.fullmatch(text) or _BARE.fullmatch(text))


def read(text: str) -> Genotype:
    """The cell of a string with the program's name before it: `enas 0 | 0 0 | 1 1` or `enas_lm: 0 2 1 0`.

    Raises:
        ConfigError: with one sentence, which says what is wrong and how many more mistakes there are.
    """
    marked = _MARKED.fullmatch(text)
    if not marked:
        codes = " or ".join(f"{name} ({' '.join(functions)} are 0 1 2 3)" for name, functions in CODES.items())
        raise ConfigError([f"a cell in numbers must begin with the program it is of, {codes}, got {_short(text)}"])
    return from_enas(marked[2]) if marked[1].lower() == "enas" else from_enas_lm(marked[2])


def from_enas(numbers: str) -> Genotype:
    """The cell of a string of melodyguan/enas, averaged over its loose ends.

    Raises:
        ConfigError: it is none, or the first node is not tanh: a genotype leaves that to the config, as `init_op`.
    """
    values, functions = _values("enas", numbers), CODES["enas"]
    if len(values) < 3 or len(values) % 2 == 0:
        pairs = "the first node's activation, then a predecessor and an activation for each of one or more nodes"
        raise ConfigError([f"a string of enas must have an odd count of numbers, {pairs}, got {len(values)}"])
    first = functions[values[0]] if values[0] < len(functions) else None
    if first is None:
        raise ConfigError([f"number 1 of a string of enas, the first node's activation, must be 0..3, got {values[0]}"])
    if first != "tanh":
        instead = f"begin the string with 0 and set init_op: {first} in the config"
        raise ConfigError([f"number 1 of a string of enas must be 0 (tanh), got {values[0]} ({first}); {instead}"])
    return with_output(_cell("enas", values[1:], offset=1), "loose_ends")


def from_enas_lm(numbers: str) -> Genotype:
    """The cell of a string of google-research/enas_lm, averaged over all its nodes.

    Raises:
        ConfigError: it is none.
    """
    values = _values("enas_lm", numbers)
    if not values or len(values) % 2:
        pairs = "a predecessor and an activation for each node"
        raise ConfigError([f"a string of enas_lm must have an even count of numbers, {pairs}, got {len(values)}"])
    return _cell("enas_lm", values, offset=0)


def _values(program: str, text: str) -> list[int]:
    words = re.split(r"[\s|,]+", text.strip(" \t\r\n|,"))
    wrong = [word for word in words if word and not _NUMBER.fullmatch(word)]
    if wrong:
        raise ConfigError([f"a string of {program} must hold whole numbers, got {_short(wrong[0])}{_more(wrong)}"])
    return [int(word) for word in words if word]


def _cell(program: str, pairs: list[int], offset: int) -> Genotype:
    """The cell of predecessors and activations in turns, before which the string has so many other numbers."""
    functions, nodes, problems = CODES[program], [], []
    for i, (pred, function) in enumerate(zip(pairs[::2], pairs[1::2], strict=True), start=1):
        place = offset + 2 * i - 1
        if pred >= i:
            problems.append(f"number {place} of a string of {program}, a predecessor, must be 0..{i - 1}, got {pred}")
        if function >= len(functions):
            problems.append(f"number {place + 1} of a string of {program}, an activation, must be 0..3, got {function}")
        nodes.append((functions[min(function, 3)], pred))
    if problems:
        raise ConfigError([f"{problems[0]}{_more(problems)}"])
    return Genotype(tuple(nodes))


def _more(found: list[str]) -> str:
    count = len(found) - 1
    return f"; and {count} more {'mistake' if count == 1 else 'mistakes'}" if count else ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")

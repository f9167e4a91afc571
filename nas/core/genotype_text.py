"""What the codecs of all spaces share: genotypes as people have them in text, read without evaluating any of it.

Logs print `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), ...)`, and people copy the whole line, or
have it as `NAME = Genotype(...)`, with positional arguments, as a dict or as JSON, with NumPy's or torch's integers.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nas.core.errors import ConfigError, unknown

T = TypeVar("T")

ALL_NODES: tuple[int, ...] = (-1,)  # told from a concat that was given by its identity
"""As a concat: all nodes of the cell."""

_LONGEST_RANGE = 1000  # more than any cell has nodes; a longer one would only fill memory
_CALL = re.compile(r"\b\w*Genotype\w*\s*\(")
_NUMBERS = re.compile(r"u?int\d*|int_|u?intp|u?byte|long|tensor|array|asarray|Tensor|str_|str")
"""What libraries print around a number, a text or a list: `np.int64(1)`, `tensor(1, device='cuda:0')`, `array([2, 3])`."""
_JSON = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Written:
    """A genotype that was written out.

    Attributes:
        fields: its values, by name.
        places: of each value, where it stands in the text; of a list, where each of its pieces does.
    """

    fields: dict[str, Any]
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def build(self, make: Callable[[dict[str, Any]], T], names: Callable[[str, int], Sequence[str]]) -> T:
        """The genotype of these fields.

        Args:
            make: makes it of them.
            names: what its errors call the pieces of a field that has so many.

        Raises:
            ConfigError: with one sentence, which says how many more mistakes there are.
        """
        try:
            return make(self.fields)
        except ConfigError as error:
            first, more = error.problems[0], len(error.problems) - 1
            by_name = {
                name: place
                for key, places in self.places.items()
                for name, place in [(key, places[0]), *zip(names(key, len(places) - 1), places[1:], strict=False)]
            }
            said = first.split()[0].strip("'").removesuffix("_op").removesuffix("_edge")
            where = f" ({by_name[said]})" if said in by_name else ""
            others = f"; and {more} more {'mistake' if more == 1 else 'mistakes'}" if more else ""
            raise ConfigError([f"{first}{where}{others}"]) from error


def read_written(text: str, order: Sequence[str]) -> Written:
    """The fields of a genotype in a text: a call, a dict, JSON, or a list that is its first field.

    Args:
        text: of one genotype; what a log or a program has before it, and a comma or semicolon after it, do not count.
        order: the fields' names, in the order of positional arguments.

    Raises:
        ConfigError: with one sentence, which says what is wrong and where.
    """
    start = _start(text)
    end = len(text.rstrip().rstrip(",;").rstrip())
    try:
        body = ast.parse(f"({text[start:end]}\n)", mode="eval").body
    except SyntaxError as error:
        place = start + _offset(text[start:], error.lineno or 1, (error.offset or 1) - 1)
        ours = (error.lineno, error.offset) == (1, 1)  # the bracket before the text
        if error.msg.startswith("unmatched") or place > end or ours:
            raise _unread(text, min(place, end), "has a bracket too many or too few") from error
        raise _unread(text, min(place, end), error.msg) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(["a genotype's text must be nested less deeply, and hold no NUL byte"]) from error
    try:
        return _Reader(text, start).written(body, order)
    except RecursionError as error:
        raise ConfigError(["a genotype's text must be nested less deeply"]) from error


def is_written(text: str) -> bool:
    """Whether a text spells a genotype out, and does not only name one."""
    return any(sign in text for sign in "([{")


def each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Names and values as a mapping.

    Raises:
        ConfigError: with every name that is there more than once.
    """
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise ConfigError(f"a genotype must have {name} once, got it {names.count(name)} times" for name in twice)
    return found


def check_fields(data: Mapping[str, Any], required: Collection[str], optional: Collection[str]) -> None:
    """Refuse what is no field of a genotype, for a misspelt one would silently mean its default.

    Raises:
        ConfigError: with every field that is not known, the nearest known names beside it, and every one that is missing.
    """
    known = [*required, *optional]
    problems = [
        unknown(f"{name!r}", str(name), known, "is no field of a genotype") for name in data if name not in known
    ]
    problems += [f"a genotype must have {name}, which is missing" for name in required if name not in data]
    if problems:
        raise ConfigError(problems)


def edges_of(name: str, value: Any) -> tuple[tuple[Any, Any], ...]:
    """Pairs of a name and a predecessor, which may be grouped by node, as in `[[('sep_conv_3x3', 0), ...], ...]`.

    Raises:
        ConfigError: with the first piece that is no pair.
    """
    if not isinstance(value, list | tuple):
        raise ConfigError([f"{name} must be a list of pairs (name, predecessor), got {_short(value)}"])
    grouped = bool(value) and all(
        isinstance(node, list | tuple) and node and all(isinstance(edge, list | tuple) for edge in node)
        for node in value
    )
    edges = [edge for node in value for edge in node] if grouped else list(value)
    for i, edge in enumerate(edges, start=1):
        if not isinstance(edge, list | tuple) or len(edge) != 2:
            raise ConfigError([f"{name} must be a list of pairs (name, predecessor), got {_short(edge)} as number {i}"])
    return tuple((operation, integral(state)) for operation, state in edges)


def states_of(name: str, value: Any) -> tuple[Any, ...]:
    """The entries of a concat. Raises ConfigError if it is no list."""
    if not isinstance(value, list | tuple):
        raise ConfigError([f"{name} must be a list of numbers, got {_short(value)}"])
    return tuple(map(integral, value))


def integral(value: Any) -> Any:
    """3 for 3.0, which JSON makes of a whole number at times; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def misspelt(names: Iterable[str], wanted: Collection[str]) -> list[str]:
    """What is wrong with hyperparameters that are none of the wanted names, but look so much like one that they are meant."""
    near = {name: difflib.get_close_matches(str(name), wanted, n=1, cutoff=0.8) for name in names if name not in wanted}
    return [
        f"{name} spells out nothing of an architecture; did you mean {found[0]}?"
        for name, found in near.items()
        if found
    ]


def _start(text: str) -> int:
    """Where the genotype begins. Raises ConfigError if there are two."""
    calls = [match.start() for match in _CALL.finditer(text)]
    if len(calls) > 1:
        raise ConfigError([f"a text must hold one genotype, got {len(calls)}, the second at {_place(text, calls[1])}"])
    brackets = [place for sign in "([{" if (place := text.find(sign)) >= 0]
    if calls:
        return calls[0]
    start = min(brackets, default=0)
    name = re.search(r"[\w.]+\s*$", text[:start]) if text[start : start + 1] == "(" else None
    return name.start() if name else start


class _Reader:
    """Makes values of a parsed text, and knows where each of them stands."""

    def __init__(self, text: str, start: int) -> None:
        self._text, self._start = text, start

    def written(self, body: ast.expr, order: Sequence[str]) -> Written:
        """The fields of a call, a dict or a list."""
        pairs: list[tuple[str, ast.expr]] = []
        if isinstance(body, ast.Dict):
            pairs = [
                (str(self._value(key)) if key else "**", value)
                for key, value in zip(body.keys, body.values, strict=True)
            ]
        elif isinstance(body, ast.List | ast.Tuple):
            pairs = [(order[0], body)]
        elif isinstance(body, ast.Call) and "Genotype" in _last_name(body.func):
            if len(body.args) > len(order):
                raise self._refusal(
                    body.args[len(order)], f"a Genotype has {len(order)} fields, {', '.join(order)}; got more"
                )
            pairs = [*zip(order, body.args, strict=False), *((str(each.arg), each.value) for each in body.keywords)]
        else:
            raise self._refusal(body, f"must be Genotype(...), a dict or JSON, got {_short(ast.unparse(body))}")
        fields = each_once([(name, self._value(node)) for name, node in pairs])
        return Written(fields, {name: self._places(node) for name, node in pairs})

    def _places(self, node: ast.expr) -> list[str]:
        """Of a value, and of its pieces; a list of lists of pairs counts as one list of pairs."""
        pieces = list(node.elts) if isinstance(node, ast.List | ast.Tuple) else []
        inner = [piece.elts for piece in pieces if isinstance(piece, ast.List | ast.Tuple)]
        if (
            pieces
            and len(inner) == len(pieces)
            and all(isinstance(e, ast.List | ast.Tuple) for each in inner for e in each)
        ):
            pieces = [edge for each in inner for edge in each]
        return [self._where(each) for each in (node, *pieces)]

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str | int | float)):
            return node.value
        if isinstance(node, ast.Name) and node.id in _JSON:
            return _JSON[node.id]
        if isinstance(node, ast.List | ast.Tuple):
            return [self._value(each) for each in node.elts]
        if isinstance(node, ast.Dict) and all(node.keys):
            return each_once(
                [
                    (str(self._value(key)), self._value(value))
                    for key, value in zip(node.keys, node.values, strict=True)
                    if key
                ]
            )
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._value(node.operand)
            if type(value) in (int, float):
                return -value
        if isinstance(node, ast.Call) and len(node.args) >= 1:
            name = _last_name(node.func)
            if name == "range":
                return self._range(node)
            if name in ("list", "tuple") or _NUMBERS.fullmatch(name):
                return self._value(node.args[0])  # device and dtype do not count
        raise self._refusal(node, f"must hold names, numbers and lists only, got {_short(ast.unparse(node))}")

    def _range(self, node: ast.Call) -> list[int]:
        ends = [integral(self._value(each)) for each in node.args]
        if node.keywords or not 1 <= len(ends) <= 3 or any(type(end) is not int for end in ends) or ends[2:] == [0]:
            raise self._refusal(node, f"must have a range of whole numbers, got {_short(ast.unparse(node))}")
        numbers = range(*ends)
        if len(numbers[: _LONGEST_RANGE + 1]) > _LONGEST_RANGE:
            raise self._refusal(node, f"must have a range of at most {_LONGEST_RANGE} numbers, got {ast.unparse(node)}")
        return list(numbers)

    def _refusal(self, node: ast.expr, rule: str) -> ConfigError:
        return ConfigError(
            [f"a genotype's text {rule} ({self._where(node)})".replace("text a Genotype", "text: a Genotype")]
        )

    def _where(self, node: ast.expr) -> str:
        text = self._text[self._start :]
        return _place(self._text, self._start + _offset(text, node.lineno, node.col_offset, of_bytes=True))


def _unread(text: str, place: int, why: str) -> ConfigError:
    near = text[max(0, place - 12) : place + 12].strip()
    return ConfigError([f"a genotype's text cannot be read at {_place(text, place)}, near {near!r}: {why}"])


def _offset(text: str, line: int, column: int, of_bytes: bool = False) -> int:
    """Of a place in a text that was parsed in brackets, which make the first line longer by one."""
    lines = text.split("\n")
    before = sum(len(each) + 1 for each in lines[: line - 1])
    column -= line == 1
    if of_bytes and line <= len(lines):  # as Python counts
        column = len(lines[line - 1].encode()[: max(column, 0)].decode(errors="ignore"))
    return before + max(column, 0)


def _place(text: str, place: int) -> str:
    """Such as `column 57`, or `line 2, column 5` of several lines; both from 1."""
    line = text.count("\n", 0, place) + 1
    column = place - (text.rfind("\n", 0, place) + 1) + 1
    return f"line {line}, column {column}" if "\n" in text.strip() else f"column {column}"


def _last_name(node: ast.expr) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

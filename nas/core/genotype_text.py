"""The `Genotype(...)` text that DARTS logs print and `genotypes.py` holds, read without evaluating it."""

from __future__ import annotations

import ast
from typing import Any

from nas.core.errors import ConfigError

_LONGEST_RANGE = 1000  # more than any cell has nodes; a longer one would only fill memory


def named_arguments(text: str, example: str) -> dict[str, Any]:
    """The arguments of a `Genotype(name=value, ...)` call whose values are literals or `range(...)`.

    Args:
        text: what a log prints; blanks around it do not count.
        example: what such a text looks like in this search space, for the error.

    Raises:
        ConfigError: if the text is anything else; nothing of it is ever run.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or getattr(call.func, "id", None) != "Genotype" or call.args:
            raise ValueError("not a Genotype(...) call with named arguments")
        return {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError([f"a genotype's text must read {example}, got {text!r}"]) from error


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range" and not node.keywords:
        numbers = range(*(int(ast.literal_eval(argument)) for argument in node.args))
        if len(numbers) > _LONGEST_RANGE:
            raise ValueError(f"a range of {len(numbers)} numbers")
        return list(numbers)
    return ast.literal_eval(node)

"""Errors that name the field, the rule and the value, and the sentence for a name that is not known.

`ConfigError` is for what a user wrote, `DataError` for what lies on the disk or in the network. Both say what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any


class ConfigError(ValueError):
    """A config that makes no sense. `problems` holds one sentence a problem, each naming field, rule and value."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class ErrorCollector:
    """Collects what several readers complain of, so that a user sees all of it at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def catch(self, reader: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What the reader returns, or None if it raised a ConfigError, whose problems are kept."""
        try:
            return reader(*arguments, **options)
        except ConfigError as error:
            self.found += error.problems
            return None

    def raise_any(self) -> None:
        """Raises ConfigError with everything that was found, each problem once."""
        if self.found:
            raise ConfigError(dict.fromkeys(self.found))


class DataError(RuntimeError):
    """Data cannot be had or is not what it should be: nothing that other hyperparameters would change."""


_LONGEST = 400

CANNOT_WORK = "this run cannot work: "
"""On a cluster this stands before a problem that no restart would mend. The `log_policies` of our YAMLs look for it, and the
master then does not start the trial again."""


def unknown(what: str, name: str, known: Iterable[str], says: str = "is not known") -> str:
    """The sentence for a name that is not among the known ones, with the nearest of them."""
    known = list(known)
    near = closest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {_listed(known)}"
    return f"{what} {says}; {hint}"


def _listed(names: list[str]) -> str:
    """The names with commas, as many of them as a reader will look at."""
    shown = ", ".join(names)
    return f"{shown[: shown.rfind(', ', 0, _LONGEST)]}, ..." if len(shown) > _LONGEST else shown or "none"


def closest(name: str, known: Iterable[str]) -> list[str]:
    """At most three of the known names that look like `name`, the most alike first; case does not count."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.7)]

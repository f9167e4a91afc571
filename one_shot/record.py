"""What a search has chosen so far, as plain data that checkpoints and files hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from nas.core.relaxation import Path, Paths, short_tables
from nas.core.space import Space
from one_shot.strategy import Choice


@dataclass
class SearchRecord:
    """What was chosen, when, and why a search stopped.

    Attributes:
        chosen: the path of the architecture chosen last; None before the first validation.
        trace: for each validation, and for the last choice, what was chosen and by what weights.
        others: of random search and ENAS, the best architectures scored again.
        random_summary: of all that it scored, see `Choice.summary`.
        eigenvalues: of the Hessian, as they were computed.
        stopped: why, if a rule stopped the search.
        front: of a search for all budgets, the best cells of all sizes, see `one_shot.front.Front`.
    """

    chosen: dict[str, list[list[int]]] | None = None
    trace: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    random_summary: dict[str, float] = field(default_factory=dict)
    eigenvalues: list[float] = field(default_factory=list)
    stopped: str = ""
    front: dict[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> Paths | None:
        """The path of the architecture chosen last."""
        return None if self.chosen is None else {name: _path(rows) for name, rows in self.chosen.items()}

    def choose(
        self,
        space: Space[Any],
        paths: Paths,
        scores: Mapping[str, float],
        weights: Mapping[str, torch.Tensor],
        **entry: Any,
    ) -> dict[str, Any]:
        """Take an architecture for the result so far; returns the entry of the trace.

        Args:
            weights: by which it was ranked, `(edges, operations)` for each kind of cell; empty if it was not.
            entry: what else belongs into the trace.
        """
        self.chosen = {name: [list(each) for each in path] for name, path in paths.items()}
        tables = short_tables({name: table.tolist() for name, table in weights.items()})
        genotype = space.genotype_of(paths).to_json()
        self.trace.append(
            {**entry, **space.beside(paths), "genotype": genotype, "scores": dict(scores), "weights": tables}
        )
        return self.trace[-1]

    def back(self, epochs: int) -> dict[str, Any]:
        """The entry of the trace that many epochs ago, or the first."""
        return self.trace[-1 - min(epochs, len(self.trace) - 1)]

    def finish(self, space: Space[Any], choice: Choice) -> None:
        """Keep what else was scored."""
        self.front = {} if choice.front is None else choice.front.to_json(space)
        self.others = [
            {"genotype": space.genotype_of(paths).to_json(), **space.beside(paths), **each}
            for paths, each in choice.others
        ]
        self.random_summary = choice.summary

    def files(self, space: Space[Any]) -> dict[str, Any]:
        """JSON by file name; nothing before the first choice."""
        if self.paths is None:
            return {}
        found: dict[str, Any] = {"genotype.json": space.genotype_of(self.paths).to_json(), "search.json": self.trace}
        if self.front:
            found["front.json"] = self.front
        if self.others:
            found["architectures.json"] = {"summary": self.random_summary, "best": self.others}
        return found

    def to_state(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SearchRecord:
        """The inverse of `to_state`."""
        return cls(**state)


def on_cpu(state: Any) -> Any:
    """Nested dicts and lists with their tensors detached and on the CPU."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu()
    if isinstance(state, Mapping):
        return {key: on_cpu(value) for key, value in state.items()}
    return [on_cpu(value) for value in state] if isinstance(state, list) else state


def _path(rows: Sequence[Sequence[int]]) -> Path:
    return tuple(tuple(row) for row in rows)

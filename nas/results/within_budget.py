"""Another architecture of a finished search: the one for a budget, or for a level of complexity.

A search leaves more than the architecture that it ends with: the weights of all edges and operations, and with strategy
`budget` a front. Both are counted for the network that the search's `retrain.yaml` trains, exactly, before anything is
written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.budget import MEASURES, OPEN, Budget, Decoder, limit
from nas.core.errors import ConfigError
from nas.core.front import FILE, Front, Row, read_front
from nas.core.program import importing_from
from nas.core.relaxation import derive
from nas.core.space import Size
from nas.results.architecture import Found
from nas.results.retraining import with_genotype


@dataclass(frozen=True)
class Wish:
    """What a user asks for: a budget, or a level."""

    budget: Budget | None = None
    level: float | None = None

    @property
    def option(self) -> str:
        """The first one that says it."""
        if self.budget is None:
            return "--level"
        return self.budget.names[self.budget.parameters == OPEN]

    def __str__(self) -> str:
        if self.budget is None:
            return f"level {self.level:g}"
        asked = [(getattr(self.budget, measure), measure) for measure in MEASURES]
        return ", ".join(f"{allowed} {'MACs' if of == 'macs' else of}" for allowed, of in asked if allowed != OPEN)


def wish(parameters: str | None, macs: str | None, level: str | None, both_ends: Sequence[str] | None) -> Wish | None:
    """What the options `--parameters`, `--macs`, `--level` and `--range` ask for; None without any.

    Raises:
        ConfigError: for what is no number, and options that exclude each other.
    """
    problems: list[str] = []
    if level is not None:
        if parameters or macs or both_ends:
            raise ConfigError(["--level chooses on its own; leave --parameters, --range and --macs out"])
        value = _number(level)
        if not isinstance(value, float) or not 0 <= value <= 1:
            raise ConfigError([f"--level must be 0..1, from free to smallest, got {level}"])
        return Wish(level=value)
    if parameters and both_ends:
        raise ConfigError(["--range is of parameters too; leave --parameters out"])
    name = "--range" if both_ends else "--parameters"
    asked = OPEN
    if both_ends:
        asked = limit([_number(end) for end in both_ends], name, problems)
    elif parameters:
        asked = limit(_number(parameters), name, problems)
    of_macs = limit(_number(macs), "--macs", problems) if macs else OPEN
    if problems:
        raise ConfigError(problems)
    return Wish(Budget(asked, of_macs, (name, "--macs"))) if (asked, of_macs) != (OPEN, OPEN) else None


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def within_budget(found: Found, asked: Wish) -> Found:
    """The architecture of a finished search that a wish means, with the config that trains it.

    Raises:
        ConfigError: it is no search that leaves weights or a front, they were edited, or nothing there fits.
    """
    trial = found.trial
    if trial is None or not trial.search:
        raise ConfigError([f"{asked.option} chooses from a search with shared weights, and {found.origin} is none"])
    with importing_from(found.experiment.program_folder if found.experiment else None):
        size, genotype, how = _Search(found).choose(asked)
    plain, words = genotype.to_json(), str(genotype)
    new = replace(trial, genotype=plain, architecture=words, parameters=size.parameters, macs=size.macs)
    origin = f"{found.origin}, {asked} ({size.parameters:,} parameters, {size.macs:,} MACs; {how})"
    config = with_genotype(trial, found.genotype, genotype)
    if config:
        config["description"] = f"Retrains an architecture from {origin}"
    return replace(found, genotype=genotype, trial=new, config=config or {}, origin=origin)


class _Search:
    """The record of a search."""

    def __init__(self, found: Found) -> None:
        assert found.trial is not None
        self.found, self.space, self.trial = found, found.space, found.trial
        if not self.space.sized:
            raise ConfigError([f"networks of {self.space.title} all cost the same, so that a budget decides nothing"])
        network = self.trial.search[-1].get("retrained")
        if not isinstance(network, dict):
            what = f"{found.origin} does not say how large the network is that it is retrained as"
            raise ConfigError([f"{what}, as searches of earlier versions do not; search again"])
        self.network = {name: value for name, value in network.items() if name not in MEASURES}
        path = Path(self.trial.folder or "/nowhere", FILE)
        self.front: Front | None = read_front(path, self.space) if path.is_file() else None
        if self.front and dict(self.front.network) != self.network:
            what = f"{path} is of networks of {dict(self.front.network)}, and the search of {self.network}"
            raise ConfigError([f"{what}; restore the file, or search again"])

    def choose(self, asked: Wish) -> tuple[Size, Any, str]:
        """What the network costs, the architecture, and where it is from."""
        if asked.budget is None:
            return self._at_level(asked.level or 0.0)
        name, rules = self.found.origin, self.trial.hyperparameters.get("constraints")
        of = f"the network that {name} is retrained as"
        decoder = self.space.decoder(asked.budget, rules, of, **self.network)
        rows = [row for row in self.front.rows if self._paths(row) in decoder] if self.front else []
        if self.front and rows:
            return self._of_row(self.front.best(rows))
        paths = decoder.decode(self._weights(decoder, asked.budget))
        if paths not in decoder:
            raise AssertionError("what was decoded is not within the budget")
        genotype = self.space.genotype_of(paths)
        return self.space.size(genotype, **self.network), genotype, "decoded from the weights of the search"

    def _paths(self, row: Row) -> Any:
        return self.space.paths_of(self.space.from_json(row.genotype))

    def _at_level(self, level: float) -> tuple[Size, Any, str]:
        if self.front is None:
            raise ConfigError(
                [f"--level is for searches with levels, which leave a {FILE}; {self.found.origin} has none"]
            )
        return self._of_row(self.front.at(level))

    def _of_row(self, row: Row) -> tuple[Size, Any, str]:
        how = f"level {row.level:g} of {FILE}" + (", by projection" if row.by == "projection" else "")
        return Size(row.parameters, row.macs), self.space.from_json(row.genotype), how

    def _weights(self, decoder: Decoder, budget: Budget) -> Mapping[str, Any]:
        """Those of the search; of a front, at the level whose own architecture is nearest to the budget."""
        known = [each["weights"] for each in self.front.weights] if self.front else []
        if not known:
            known = [entry["weights"] for entry in self.trial.search if entry.get("weights")][-1:]
        if not known:
            what = f"{self.found.origin} has no weights of edges and operations to choose by (strategy random has none)"
            raise ConfigError([f"{what}; search with hyperparameters.budget"])
        for tables in known:
            _check_weights(tables, self.space.relaxation, self.found.origin)
        return min(known, key=lambda tables: self._distance(tables, budget))

    def _distance(self, tables: Mapping[str, Any], budget: Budget) -> float:
        """How far what is derived without a budget is outside, relatively."""
        size = self.space.size(self.space.genotype_of(derive(self.space.relaxation, tables)), **self.network)
        far = 0.0
        for measure in MEASURES:
            allowed, value = getattr(budget, measure), getattr(size, measure)
            far += max(0.0, (allowed.low or 0) / value - 1, 0.0 if allowed.high is None else value / allowed.high - 1)
        return far


def _check_weights(tables: Any, relaxation: Mapping[str, Any], origin: str) -> None:
    """Raises ConfigError unless there is a finite number for each operation of each edge."""
    for kind, shape in relaxation.items():
        try:
            table = np.asarray(tables[kind], np.float64)
            fits = table.shape == (len(shape.edges), len(shape.operations)) and bool(np.isfinite(table).all())
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            rule = f"{len(shape.edges)} x {len(shape.operations)} finite numbers for {kind} cells"
            raise ConfigError(
                [f"the weights of {origin} must be {rule}; somebody edited them, or they are of another space"]
            )

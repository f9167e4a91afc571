"""Which cell a config means: by name, from a seed, or node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.core.contenders import CELLS, DRAWN_BY, GROUPS, PAIR, TRAINED, read_contenders
from nas.core.errors import ConfigError, ErrorCollector
from nas.core.fields import exactly_one, field, named
from nas.core.genotype_text import integral
from randomNAS_files import architecture
from randomNAS_files.space import SPACE, Cell


@dataclass(frozen=True)
class ArchitectureConfig:
    """Hyperparameters that say which cell to train, and whether to score others with its weights."""

    arch_to_use: str | None = None  # a constant of randomNAS_files/genotypes.py, a text or a file
    arch_seed: int | None = field(None, ge=0)  # a cell drawn at random from this seed
    eval_same_arch: bool = True  # false: at the end, score num_archs_to_eval random cells with the trained weights
    num_archs_to_eval: int | None = field(None, ge=1, most=10_000_000)
    cells: Mapping[str, Any] | None = None  # those that are compared, see nas/core/contenders.py: a search writes them
    drawn_by: str | None = field(None, choices=GROUPS)  # which group of them this cell is of
    pair: int | None = field(None, ge=0)  # its place in that group; a pair is trained alike

    def problems(self) -> list[str]:
        """Rules over several fields."""
        found = []
        if not self.eval_same_arch and self.num_archs_to_eval is None:
            found.append("num_archs_to_eval is missing; eval_same_arch: false needs it")
        if len({self.cells is None, self.drawn_by is None, self.pair is None}) > 1:
            given = [name for name in (CELLS, DRAWN_BY, PAIR) if getattr(self, name) is not None]
            found.append(f"{CELLS}, {DRAWN_BY} and {PAIR} go together, got {' and '.join(given)} only")
        return found

    def training_seed(self, seed: int) -> int:
        """What everything random in a training follows from: the trial's own seed, or that of its pair."""
        return seed if self.cells is None or self.pair is None else read_contenders(self.cells).seed(self.pair)


def from_config(hparams: Mapping[str, Any]) -> Cell:
    """The one cell that the hyperparameters name, seed or spell out.

    Raises:
        ConfigError: unless they do exactly one of these, and the cell is valid.
    """
    nodes = architecture.node_hparams(hparams)
    name, seed = hparams.get("arch_to_use"), hparams.get("arch_seed")
    given = {"arch_to_use": name is not None, "arch_seed": seed is not None, "node1_op...": bool(nodes)}
    if hparams.get(CELLS) is not None:
        given[CELLS] = True
    exactly_one(
        given, "arch_to_use (a name or a Genotype(...)), arch_seed (a random cell) or node1_op, node1_edge, ..."
    )
    if given.get(CELLS):
        return _contender(hparams)
    if nodes:
        return architecture.from_hparams(nodes)
    if seed is None:
        with named("hyperparameters.arch_to_use"):
            named_cell: Cell = SPACE.read(str(name))
            return named_cell
    seed = integral(seed)
    if type(seed) is not int:
        raise ConfigError([f"hyperparameters.arch_seed must be a whole number, got {seed!r}"])
    return architecture.sample(seed)


def _contender(hparams: Mapping[str, Any]) -> Cell:
    """The cell of this trial; all others are read too, so that the first trial finds what is wrong with any."""
    cells, problems = read_contenders(hparams[CELLS]), ErrorCollector()
    count = len(cells.trained)
    genotypes = {
        group: [
            problems.catch(_read, f"hyperparameters.{CELLS}.{group}[{k}]", cells.cell(group, k)) for k in range(count)
        ]
        for group in GROUPS
    }
    problems.raise_any()
    drawn_by, pair = hparams.get(DRAWN_BY), integral(hparams.get(PAIR))
    if type(pair) is not int or not 0 <= pair < count:
        raise ConfigError(
            [f"hyperparameters.{PAIR} must be 0..{count - 1}, as a group has {count} cells, got {pair!r}"]
        )
    found: Cell = genotypes[drawn_by if drawn_by in GROUPS else TRAINED][pair]  # the field's rule names a wrong group
    return found


def _read(name: str, text: str) -> Cell:
    with named(name):
        found: Cell = SPACE.read(text)
        return found

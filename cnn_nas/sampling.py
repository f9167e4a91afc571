"""Architectures drawn so that they satisfy constraints, and the share of random ones that does.

A master of Determined 0.38 does not replace a trial that reports InvalidHP. So a search draws seeds, and `draw` makes of each
an architecture that satisfies the constraints. It draws until one does, which gives the uniform distribution over those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn_nas.architecture import CELLS, NODES, Edge, Genotype, draw_cell, edge_names
from cnn_nas.constraints import SECTION, Constraints, Range
from cnn_nas.counting import NetworkSize, count_size
from nas.core.errors import ConfigError
from nas.core.seeds import numpy_generator

_ASKED_ABOUT_FAILURE = 2000  # samples that tell which rule made a draw fail, in about half a second


def draw(
    seed: int, rules: Constraints, size: NetworkSize, distinct_predecessors: bool = True, max_attempts: int = 10_000
) -> Genotype:
    """The architecture of that seed: uniform among those that satisfy the rules, the same with every library version.

    Without rules it is `architecture.sample(seed)`. The rules of one cell say nothing about the other, so each cell is drawn
    until it satisfies its own; both are drawn again if the network does not satisfy those over it. That is the distribution of
    drawing whole architectures until one satisfies all rules, in fewer draws.

    Raises:
        ConfigError: if nothing is found in `max_attempts` draws of a cell, with the rule that rejects the most.
    """
    _check_twins(rules, distinct_predecessors)
    generator, attempts = numpy_generator(seed, "architecture"), iter(range(max_attempts))
    while True:
        cells = [_draw_cell(generator, rules, cell, distinct_predecessors, attempts) for cell in CELLS]
        if cells[0] is None or cells[1] is None:
            break
        genotype = Genotype(normal=cells[0], reduce=cells[1])
        if all(has in allowed for _, has, allowed in rules.in_network(genotype, size)):
            return genotype
    found = survey(rules, size, _ASKED_ABOUT_FAILURE, seed, distinct_predecessors)
    worst_first = sorted(found.rejected_by.items(), key=lambda rule: -rule[1])
    why = (
        f"{found.unsatisfiable} is satisfied by none"
        if found.unsatisfiable
        else "; ".join(f"{n} rejects {s:.1%}" for n, s in worst_first)
    )
    samples = f"{_ASKED_ABOUT_FAILURE:,} samples"
    raise ConfigError(
        [f"{SECTION}: no architecture in {max_attempts:,} draws for arch_seed {seed}; of {samples}, {why}"]
    )


@dataclass(frozen=True, eq=False)
class Survey:
    """What random architectures with the given operations and fixed values came to; arrays have one entry a sample."""

    share: float  # of the samples that satisfy all rules
    rejected_by: dict[str, float]  # the share that each rule rejects, on its own
    unsatisfiable: str | None  # the rule, or the fewest rules together, that no sample satisfies
    satisfies: npt.NDArray[np.bool_]
    parameters: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]


def survey(
    rules: Constraints, size: NetworkSize, samples: int, seed: int = 0, distinct_predecessors: bool = True
) -> Survey:
    """Draw architectures with the given operations and fixed values, and measure how many satisfy the other rules.

    Raises:
        ConfigError: if fixed predecessors contradict `distinct_predecessors`.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    _check_twins(rules, distinct_predecessors)
    generator, anything = numpy_generator(seed, "survey"), Constraints(rules.operations, fixed=rules.fixed)
    measured, counts = [], []
    for _ in range(samples):
        normal, reduce = (_draw_cell(generator, anything, cell, distinct_predecessors, iter("1")) for cell in CELLS)
        assert normal is not None and reduce is not None  # nothing rejects them
        genotype = Genotype(normal=normal, reduce=reduce)
        found = count_size(genotype, size)
        counts.append((found.parameters, found.macs))
        rows = rules.in_cell("normal", normal) + rules.in_cell("reduce", reduce) + rules.in_network(genotype, size)
        measured.append(rows)
    broken = np.array([[has not in allowed for _, has, allowed in rows] for rows in measured], bool)
    sizes = np.array(counts, np.int64)
    satisfies: npt.NDArray[np.bool_] = np.logical_not(broken.any(axis=1))
    rejected_by = {rule: float(share) for (rule, _, _), share in zip(measured[0], broken.mean(axis=0), strict=True)}
    return Survey(
        float(satisfies.mean()), rejected_by, _unsatisfiable(measured, broken), satisfies, sizes[:, 0], sizes[:, 1]
    )


def _unsatisfiable(measured: Sequence[Sequence[tuple[str, int, Range]]], broken: npt.NDArray[np.bool_]) -> str | None:
    """The fewest rules that no sample satisfies together, with what the samples have; None if one satisfies all."""
    if not broken.any(axis=1).all():
        return None
    guilty = list(range(broken.shape[1]))
    for rule in np.argsort(broken.mean(axis=0), kind="stable"):  # the mildest rules are dropped first
        rest = [other for other in guilty if other != rule]
        guilty = rest if broken[:, rest].any(axis=1).all() else guilty
    ends = {rule: [f"{end(rows[rule][1] for rows in measured):,}" for end in (min, max)] for rule in guilty}
    rules = [(measured[0][rule][0], measured[0][rule][2], "..".join(ends[rule])) for rule in guilty]
    return " and ".join(f"{name} {allowed} (samples have {has})" for name, allowed, has in rules)


def _draw_cell(
    generator: np.random.RandomState, rules: Constraints, cell: str, distinct: bool, attempts: Iterator[Any]
) -> tuple[Edge, ...] | None:
    """A cell that satisfies its own rules, or None if the attempts run out before."""
    fixed = [(rules.fixed.get(f"{name}_op"), rules.fixed.get(name)) for name in edge_names(cell)]
    for _ in attempts:
        edges = draw_cell(generator, rules.operations, distinct, fixed)
        if all(has in allowed for _, has, allowed in rules.in_cell(cell, edges)):
            return edges
    return None


def _check_twins(rules: Constraints, distinct_predecessors: bool) -> None:
    """Raises ConfigError if fixed predecessors of one node are equal though they must differ."""
    pairs = [names[i : i + 2] for cell in CELLS for names in [edge_names(cell)] for i in range(0, 2 * NODES, 2)]
    twins = [pair for pair in pairs if rules.fixed.get(pair[0], pair[0]) == rules.fixed.get(pair[1], pair[1])]
    if distinct_predecessors and twins:
        raise ConfigError(
            f"{SECTION}.fixed: {one} and {two} must differ with distinct_predecessors, both are {rules.fixed[one]}"
            for one, two in twins
        )

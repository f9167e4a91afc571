"""Random architectures of a convolutional search space: how many keep the constraints, and how large they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn_nas import genotypes, sampling
from cnn_nas.architecture import CELLS, Genotype, edge_hparams, from_hparams
from cnn_nas.constraints import SECTION, Constraints, Range
from cnn_nas.counting import NetworkSize, count_size
from nas.core.fields import ConfigError
from nas.core.seeds import numpy_generator

SIZES = ("init_channels", "layers")


@dataclass(frozen=True, eq=False)
class Space:
    """What samples of a search space came to."""

    what: str  # the samples, in words
    redrawn: bool  # whether a trial draws again where one does not hold; otherwise it fails
    rejected_by: dict[str, float]  # the share of them that each rule rejects, on its own
    killer: str | None  # the rule, or rules together, that no sample keeps
    rules: Constraints
    holds: npt.NDArray[np.bool_]
    parameters: npt.NDArray[np.int64]
    macs: npt.NDArray[np.int64]

    @property
    def share(self) -> float:
        """Of the samples that keep all rules."""
        return float(self.holds.mean())

    @property
    def bounds(self) -> dict[str, Range]:
        """What the rules allow for parameters and MACs."""
        return {"parameters": self.rules.parameters, "macs": self.rules.macs}

    def allowed(self, rule: str) -> str:
        """What a rule of `rejected_by` allows, in words."""
        cell, _, operation = rule.partition(": ")
        if operation:
            return str(getattr(self.rules, cell)[operation])
        return str(self.bounds[rule]) if rule in self.bounds else "as listed"


def interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a binomial share, after Wilson (1927), which is right for shares near 0 and 1 too."""
    z2, share = 1.959964**2, hits / count
    centre, scale = share + z2 / (2 * count), 1 + z2 / count
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2)))
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def of_seeds(rules: Constraints, size: NetworkSize, samples: int, distinct_predecessors: bool) -> Space:
    """The space from which a trial draws by `arch_seed`: before anything is rejected."""
    found = sampling.survey(rules, size, samples, distinct_predecessors=distinct_predecessors)
    given = " with the given operations and fixed values" if rules != Constraints() else ""
    what = f"random architectures{given}"
    return Space(what, True, found.rejected_by, found.killer, rules, found.holds, found.parameters, found.macs)


def refuse_if_empty(space: Space, size: NetworkSize, distinct_predecessors: bool) -> None:
    """Raises ConfigError where no sample holds and a trial, which draws more and cell by cell, finds none either."""
    if space.holds.any():
        return
    try:
        sampling.draw(0, space.rules, size, distinct_predecessors)
    except ConfigError as error:
        raise ConfigError([f"{SECTION}: {_nothing_holds(space)}"]) from error


def of_points(
    hparams: Mapping[str, Any],
    rules: Constraints | None,
    sizes: Mapping[str, int],
    shape: tuple[int, tuple[int, int, int]],
    samples: int,
) -> Space:
    """The space of the hyperparameters themselves, where a searcher draws edges, names, or the network's size.

    Args:
        hparams: of the config, with the values to draw from, as `{type: categorical, vals: [...]}`.
        rules: what each point must keep, else its trial fails.
        sizes: `init_channels` and `layers` where they are not searched.
        shape: outputs of the network, and channels, height and width of an image.

    Raises:
        ConfigError: for values that make no architecture, or if no point keeps the rules.
    """
    named = ("arch_to_use", *SIZES)
    wanted = {name: spec for name, spec in hparams.items() if name in named or edge_hparams({name: spec})}
    columns = {name: _column(name, spec, samples) for name, spec in wanted.items()}
    points = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rules = rules or Constraints()
    constrained = rules != Constraints()
    broken, counts, problems = [], [], []
    for point in points:
        try:
            genotype = from_hparams(point) if edge_hparams(point) else genotypes.by_name(str(point["arch_to_use"]))
        except ConfigError as error:
            problems += error.problems
            continue
        own = {name: int(point.get(name, sizes[name])) for name in SIZES}
        size = NetworkSize(own["init_channels"], own["layers"], *shape)
        found = count_size(genotype, size)
        counts.append((found.parameters, found.macs))
        broken.append(_broken(rules, genotype, size) if constrained else {})
    if problems:
        raise ConfigError(dict.fromkeys(f"hyperparameters: {problem}" for problem in problems))
    space = _gather(broken, np.array(counts, np.int64), rules)
    if not space.holds.any():
        raise ConfigError([f"{SECTION}: {_nothing_holds(space)}"])
    return space


def _nothing_holds(space: Space) -> str:
    what = f"none of {len(space.holds):,} {space.what} holds"
    return f"{what}, no sample keeps {space.killer}; widen it or what it contradicts"


def _column(name: str, spec: Any, samples: int) -> Sequence[Any]:
    """Values of one hyperparameter at all points; a draw for each point and name would take seconds."""
    if not isinstance(spec, Mapping) or "type" not in spec:
        return [spec] * samples
    kind = spec["type"]
    if kind == "int":
        values: Sequence[Any] = range(spec["minval"], max(spec["maxval"], spec["minval"] + 1))
    elif kind in ("categorical", "const"):
        values = spec["vals"] if kind == "categorical" else [spec["val"]]
    else:
        raise ConfigError([f"hyperparameters.{name}.type must be categorical, int or const, got {kind}"])
    return [values[i] for i in numpy_generator(0, "check", name).randint(len(values), size=samples)]


def _broken(rules: Constraints, genotype: Genotype, size: NetworkSize) -> dict[str, bool]:
    """Each rule, and whether the architecture breaks it."""
    rows = [row for cell in CELLS for row in rules.in_cell(cell, getattr(genotype, cell))]
    found = {name: has not in allowed for name, has, allowed in rows + rules.in_network(genotype, size)}
    values = genotype.named_values()
    used = [value for name, value in values.items() if name.endswith("_op")]
    found["operations"] = any(name not in rules.operations for name in used)
    found["fixed"] = any(values.get(name) != value for name, value in rules.fixed.items())
    return found


def _gather(broken: Sequence[Mapping[str, bool]], sizes: npt.NDArray[np.int64], rules: Constraints) -> Space:
    names = list(broken[0])
    table = np.array([[row[name] for name in names] for row in broken], bool).reshape(len(broken), len(names))
    holds: npt.NDArray[np.bool_] = np.logical_not(table.any(axis=1))
    rejected_by = {name: float(share) for name, share in zip(names, table.mean(axis=0), strict=True)}
    for name in ("operations", "fixed"):  # mostly there is nothing to say about them
        if not rejected_by.get(name):
            rejected_by.pop(name, None)
    alone = [name for name, share in rejected_by.items() if share == 1]
    worst_first = sorted(rejected_by, key=lambda name: -rejected_by[name])
    killer = " or ".join(alone) or f"all of {', '.join(worst_first)} together"
    what, dead = "points of the search space", None if holds.any() else killer
    return Space(what, False, rejected_by, dead, rules, holds, sizes[:, 0], sizes[:, 1])

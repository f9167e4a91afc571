"""Random samples of the search space that an experiment's config describes: see `nas.core.survey.SpaceSurvey`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn_nas import sampling
from cnn_nas.architecture import CELLS, Genotype, edge_hparams, from_hparams
from cnn_nas.constraints import SECTION, Constraints, Range
from cnn_nas.counting import NetworkSize, count_size
from cnn_nas.images.data import expected
from cnn_nas.settings import read_settings, sized
from cnn_nas.space import SPACE
from nas.core.errors import ConfigError, ErrorCollector
from nas.core.seeds import numpy_generator
from nas.core.survey import Rule, SpaceSurvey

_ANY = "DARTS_V2"  # an architecture, where any would do
SIZES = ("init_channels", "layers")
"""Hyperparameters beside the architecture that decide parameters and MACs."""


def survey_config(
    config: Mapping[str, Any], first: Mapping[str, Any], searched: Sequence[str], processes: int, samples: int
) -> SpaceSurvey | None:
    """Sample the space that an experiment searches, if it is one of architectures or of their network's size.

    See `nas.trial.Trial.survey`, which this is for image trials. All but the architecture must make sense before.
    """
    edges = edge_hparams(first)
    section = first.get("constraints")
    rest = {name: value for name, value in first.items() if name not in (*edges, "arch_seed", "constraints")}
    problems = ErrorCollector()
    settings = problems.catch(read_settings, {**rest, "arch_to_use": _ANY}, config.get("data") or {}, processes)
    rules = problems.catch(Constraints.from_mapping, section) if section is not None else Constraints()
    problems.raise_any()
    shape = expected(settings.data)
    if "arch_seed" in searched:
        distinct = first.get("distinct_predecessors", True)
        return survey_seeds(rules, sized(settings.model, *shape), samples, distinct)
    if not {*edges, "arch_to_use", *SIZES} & {*searched} or not (edges or first.get("arch_to_use")):
        return None
    sizes = {name: getattr(settings.model, name) for name in SIZES}
    return survey_points(config["hyperparameters"], rules, sizes, shape, samples)


def survey_seeds(rules: Constraints, size: NetworkSize, samples: int, distinct_predecessors: bool) -> SpaceSurvey:
    """Sample the space from which trials draw by `arch_seed`, before anything is rejected.

    Raises:
        ConfigError: where no sample satisfies the constraints and a trial, which draws more and cell by cell, finds none.
    """
    found = sampling.survey(rules, size, samples, distinct_predecessors=distinct_predecessors)
    what = f"random architectures{' with the given operations and fixed values' if rules != Constraints() else ''}"
    sizes = np.stack([found.parameters, found.macs], axis=1)
    if not found.satisfies.any():
        try:
            sampling.draw(0, rules, size, distinct_predecessors)
        except ConfigError as error:
            raise _nothing_satisfies(len(found.satisfies), what, found.unsatisfiable) from error
    return _survey(what, found.satisfies, sizes, rules, found.rejected_by, redrawn=True)


def survey_points(
    hparams: Mapping[str, Any],
    rules: Constraints | None,
    sizes: Mapping[str, int],
    shape: tuple[int, tuple[int, int, int]],
    samples: int,
) -> SpaceSurvey:
    """Sample the hyperparameters themselves, where a searcher draws edges, names, or the network's size.

    Args:
        hparams: of the config, with the values to draw from, as `{type: categorical, vals: [...]}`.
        rules: what each point must satisfy, else its trial fails.
        sizes: `init_channels` and `layers` where they are not searched.
        shape: outputs of the network, and channels, height and width of an image.

    Raises:
        ConfigError: for values that make no architecture, or if no point satisfies the constraints.
    """
    named = ("arch_to_use", *SIZES)
    wanted = {name: spec for name, spec in hparams.items() if name in named or edge_hparams({name: spec})}
    columns = {name: _column(name, spec, samples) for name, spec in wanted.items()}
    points = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    rules = rules or Constraints()
    constrained = rules != Constraints()
    broken: list[dict[str, bool]] = []
    counts, problems = [], []
    for point in points:
        try:
            genotype = from_hparams(point) if edge_hparams(point) else SPACE.by_name(str(point["arch_to_use"]))
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
    return _gather(broken, np.array(counts, np.int64), rules)


def _gather(broken: Sequence[Mapping[str, bool]], sizes: npt.NDArray[np.int64], rules: Constraints) -> SpaceSurvey:
    what = "points of the search space"
    names = list(broken[0])
    table = np.array([[row[name] for name in names] for row in broken], bool).reshape(len(broken), len(names))
    satisfies: npt.NDArray[np.bool_] = np.logical_not(table.any(axis=1))
    rejected_by = {name: float(share) for name, share in zip(names, table.mean(axis=0), strict=True)}
    for name in ("operations", "fixed"):  # mostly there is nothing to say about them
        if not rejected_by.get(name):
            rejected_by.pop(name, None)
    if not satisfies.any():
        alone = [name for name, share in rejected_by.items() if share == 1]
        worst_first = sorted(rejected_by, key=lambda name: -rejected_by[name])
        guilty = " or ".join(alone) or f"all of {', '.join(worst_first)} together"
        raise _nothing_satisfies(len(satisfies), what, guilty)
    return _survey(what, satisfies, sizes, rules, rejected_by, redrawn=False)


def _survey(
    what: str,
    satisfies: npt.NDArray[np.bool_],
    sizes: npt.NDArray[np.int64],
    rules: Constraints,
    rejected_by: Mapping[str, float],
    redrawn: bool,
) -> SpaceSurvey:
    worst_first = sorted(rejected_by.items(), key=lambda rule: -rule[1])
    bounds = {"parameters": rules.parameters, "MACs": rules.macs}
    return SpaceSurvey(
        what,
        satisfies,
        {"parameters": sizes[:, 0], "MACs": sizes[:, 1]},
        {name: (allowed.low, allowed.high) for name, allowed in bounds.items()},
        tuple(Rule(name, _allowed(rules, name), share) for name, share in worst_first),
        redrawn,
        covers=() if redrawn else ("constraints",),
    )


def _allowed(rules: Constraints, name: str) -> str:
    """What a rule allows, in words."""
    cell, _, operation = name.partition(": ")
    if operation:
        return str(getattr(rules, cell)[operation])
    bounds: Mapping[str, Range] = {"parameters": rules.parameters, "macs": rules.macs}
    return str(bounds[name]) if name in bounds else "as listed"


def _nothing_satisfies(samples: int, what: str, guilty: str | None) -> ConfigError:
    none = f"{SECTION}: none of {samples:,} {what} satisfies the constraints"
    return ConfigError([f"{none}, no sample satisfies {guilty}; widen it or what it contradicts"])


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

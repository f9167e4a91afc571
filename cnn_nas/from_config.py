"""Which architecture a config means: by name, from a seed, or edge by edge; and whether it satisfies the constraints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnn_nas import architecture, sampling
from cnn_nas.architecture import Genotype
from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize
from cnn_nas.space import SPACE
from nas.core.errors import ConfigError
from nas.core.fields import exactly_one, field, named
from nas.core.genotype_text import integral


@dataclass(frozen=True)
class ArchitectureConfig:
    """Hyperparameters that say which architecture to train."""

    arch_to_use: str | None = None  # a constant of cnn_nas/genotypes.py, a text or a file
    arch_seed: int | None = field(None, ge=0)  # one drawn at random from this seed, within the constraints
    distinct_predecessors: bool = True  # whether a drawn node's two edges come from two different states


def from_config(hparams: Mapping[str, Any], rules: Constraints | None, size: NetworkSize) -> Genotype:
    """The one architecture that the hyperparameters name, seed or spell out.

    A seed draws within the constraints; with none, uniformly over all operations but `none`. What is named or spelt out is
    taken as it is: `distinct_predecessors` is about drawing only, as published architectures have nodes with twin edges.

    Args:
        hparams: those of `ArchitectureConfig` and `normal_node1_edge1`, ...; others are ignored.
        rules: the constraints, if there are any.
        size: the network that parameters and MACs are counted for.

    Raises:
        ConfigError: unless the hyperparameters do exactly one of these, and the architecture is valid and satisfies every
            constraint; each that it breaks is named.
    """
    edges = architecture.edge_hparams(hparams)
    name, seed = hparams.get("arch_to_use"), hparams.get("arch_seed")
    given = {"arch_to_use": name is not None, "arch_seed": seed is not None, "normal_node1_edge1...": bool(edges)}
    exactly_one(
        given,
        "arch_to_use (a name or a Genotype(...)), arch_seed (a random one) or normal_node1_edge1, normal_node1_edge1_op, ...",
    )
    if seed is not None:
        return _drawn(seed, hparams.get("distinct_predecessors", True), rules, size)
    with named("hyperparameters" if edges else "hyperparameters.arch_to_use"):
        chosen = architecture.from_hparams(edges) if edges else SPACE.read(str(name))
    broken = rules.broken(chosen, size) if rules else []
    if broken:
        what = "the architecture of the hyperparameters" if edges else f"arch_to_use {name}"
        raise ConfigError([f"hyperparameters: {what} breaks constraints.{rule}" for rule in broken])
    return chosen


def _drawn(seed: Any, distinct: Any, rules: Constraints | None, size: NetworkSize) -> Genotype:
    seed = integral(seed)
    problems = []
    if type(seed) is not int or seed < 0:
        problems.append(f"hyperparameters.arch_seed must be a whole number of at least 0, got {seed!r}")
    if type(distinct) is not bool:
        problems.append(f"hyperparameters.distinct_predecessors must be true or false, got {distinct!r}")
    if problems:
        raise ConfigError(problems)
    return sampling.draw(seed, rules or Constraints(), size, distinct)

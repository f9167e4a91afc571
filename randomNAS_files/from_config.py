"""Which cell a config means: by name, from a seed, or node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.core.errors import ConfigError
from nas.core.fields import exactly_one, field, named
from nas.core.genotype_text import integral
from randomNAS_files import architecture
from randomNAS_files.architecture import Genotype
from randomNAS_files.space import SPACE


@dataclass(frozen=True)
class ArchitectureConfig:
    """Hyperparameters that say which cell to train, and whether to score others with its weights."""

    arch_to_use: str | None = None  # a constant of randomNAS_files/genotypes.py, a text or a file
    arch_seed: int | None = field(None, ge=0)  # a cell drawn at random from this seed
    eval_same_arch: bool = True  # false: at the end, score num_archs_to_eval random cells with the trained weights
    num_archs_to_eval: int | None = field(None, ge=1, most=10_000_000)

    def problems(self) -> list[str]:
        """Rules over several fields."""
        if self.eval_same_arch or self.num_archs_to_eval is not None:
            return []
        return ["num_archs_to_eval is missing; eval_same_arch: false needs it"]


def from_config(hparams: Mapping[str, Any]) -> Genotype:
    """The one cell that the hyperparameters name, seed or spell out.

    Raises:
        ConfigError: unless they do exactly one of these, and the cell is valid.
    """
    nodes = architecture.node_hparams(hparams)
    name, seed = hparams.get("arch_to_use"), hparams.get("arch_seed")
    given = {"arch_to_use": name is not None, "arch_seed": seed is not None, "node1_op...": bool(nodes)}
    exactly_one(
        given, "arch_to_use (a name or a Genotype(...)), arch_seed (a random cell) or node1_op, node1_edge, ..."
    )
    if nodes:
        return architecture.from_hparams(nodes)
    if seed is None:
        with named("hyperparameters.arch_to_use"):
            return SPACE.read(str(name))
    seed = integral(seed)
    if type(seed) is not int:
        raise ConfigError([f"hyperparameters.arch_seed must be a whole number, got {seed!r}"])
    return architecture.sample(seed)

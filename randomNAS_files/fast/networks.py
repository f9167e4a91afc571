"""Which class computes a cell, or all cells of a supernet: the fast form where it is wanted and there is one."""

from __future__ import annotations

from typing import Any

from randomNAS_files.architecture import Genotype
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.hadamard_model import HadamardLanguageModel
from randomNAS_files.hadamard_supernet import HadamardSupernet
from randomNAS_files.model import LanguageModel
from randomNAS_files.supernet import Supernet, SupernetConfig


def network_type(genotype: Genotype | HadamardGenotype, fast: bool) -> Any:
    """A subclass of `LanguageModel` that takes this genotype."""
    if isinstance(genotype, HadamardGenotype):
        return HadamardLanguageModel
    return FastLanguageModel if fast else LanguageModel


def supernet_type(config: SupernetConfig, fast: bool) -> type[Supernet]:
    """Of the cells that a supernet is to hold."""
    if config.hadamard:
        return HadamardSupernet
    return FastSupernet if fast else Supernet


def has_fast_form(cells: Genotype | HadamardGenotype | SupernetConfig) -> bool:
    """Whether there is one at all."""
    return not (isinstance(cells, HadamardGenotype) or (isinstance(cells, SupernetConfig) and cells.hadamard))

"""Which class computes a cell, or all cells of a supernet: the fast form where it is wanted and there is one."""

from __future__ import annotations

from typing import Any

import torch

from nas.core.errors import ErrorCollector
from randomNAS_files.architecture import Genotype
from randomNAS_files.fast.kernels.choice import check_kernels
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.precision import check_precision
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.hadamard_model import HadamardLanguageModel
from randomNAS_files.hadamard_supernet import HadamardSupernet
from randomNAS_files.model import LanguageModel
from randomNAS_files.settings import GpuConfig, Settings
from randomNAS_files.supernet import Supernet, SupernetConfig


def network_type(genotype: Genotype | HadamardGenotype, fast: bool) -> Any:
    """A subclass of `LanguageModel` that takes this genotype."""
    if isinstance(genotype, HadamardGenotype):
        return HadamardLanguageModel
    return FastLanguageModel if fast else LanguageModel


def check_device(gpu: GpuConfig, device: torch.device) -> None:
    """Raises ConfigError if a device, or what is installed, does not go with the settings for GPUs."""
    problems = ErrorCollector()
    problems.catch(check_kernels, gpu.kernels, device)
    problems.catch(check_precision, gpu.precision, device)
    problems.raise_any()


def language_model(settings: Settings, words: int, generator: torch.Generator, fast: bool) -> LanguageModel:
    """The network of a trial, for a vocabulary of so many words."""
    kind = network_type(settings.genotype, fast)
    net: LanguageModel = kind(settings.model, settings.genotype, words, generator)
    if isinstance(net, FastLanguageModel):
        net.use_precision(settings.gpu.precision)
        net.use_kernels(settings.gpu.kernels)
    return net


def supernet_type(config: SupernetConfig, fast: bool) -> type[Supernet]:
    """Of the cells that a supernet is to hold."""
    if config.hadamard:
        return HadamardSupernet
    return FastSupernet if fast else Supernet


def has_fast_form(cells: Genotype | HadamardGenotype | SupernetConfig) -> bool:
    """Whether there is one at all."""
    return not (isinstance(cells, HadamardGenotype) or (isinstance(cells, SupernetConfig) and cells.hadamard))

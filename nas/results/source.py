"""Where results are read: a folder on this machine, or an experiment on a Determined master by its id."""

from __future__ import annotations

import os
from pathlib import Path

from nas.core.errors import ConfigError
from nas.results.determined_master import find_experiment
from nas.results.determined_source import read_determined
from nas.results.experiment import ExperimentResult
from nas.results.local import read_local


def is_experiment(reference: str) -> bool:
    """Whether this means an experiment or a run, here or on a master; reads neither."""
    if os.path.exists(reference):
        return (Path(reference) / "run.json").is_file()
    return find_experiment(reference) is not None


def read(reference: str) -> ExperimentResult:
    """The experiment that a user means.

    Args:
        reference: the folder of an experiment or of a run; the id of an experiment on a Determined master, such as `17`; or
            the address of its page in the web UI. A folder that is called like a number wins over the id.

    Raises:
        ConfigError: if there is no such experiment, or it cannot be read.
    """
    path = Path(reference)
    if path.is_dir():
        return read_local(path)
    if find_experiment(reference):
        return read_determined(reference)
    raise ConfigError(
        [f"experiment {reference!r} is neither a folder nor the id of an experiment on a Determined master"]
    )

"""What runs in another way than its settings say is no result: CUDA graphs, Triton's kernels and `torch.compile` may fail.

Training then goes on without them, and one warning says why. A measurement ends there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from benchmarks.gpu_parts.task import ToldError

SETTINGS = {
    "nas.trial.capture": "cuda_graphs",
    "randomNAS_files.fast.kernels.choice": "kernels",
    "cnn_nas.fast.compiling": "compile",
}
"""Which setting the warnings of a logger are about."""
_told: dict[str, str] = {}


class _Ear(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _told[SETTINGS[record.name]] = record.getMessage()


_EAR = _Ear(logging.WARNING)


def listen() -> None:
    """Forget what was told, but of kernels: a process tries them once."""
    for name, setting in SETTINGS.items():
        logging.getLogger(name).addHandler(_EAR)  # once, however often
        if setting != "kernels":
            _told.pop(setting, None)


def check(setting: str) -> None:
    """Raises ToldError if since `listen` something did not work that the setting asks for, such as `cuda_graphs=true`."""
    for name, sentence in _told.items():
        if f"{name}=" in setting:
            raise ToldError(sentence)


def strict(step: Callable[[], object], setting: str) -> Callable[[], object]:
    """A step that ends with ToldError where it would go on in another way than its setting says."""
    listen()

    def run() -> object:
        found = step()
        check(setting)
        return found

    return run

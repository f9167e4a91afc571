"""On a cluster, errors that a user can mend end in one sentence without a traceback.

A restart mends nothing of a wrong path or setting. Its sentence begins with `CANNOT_WORK`, which the `log_policies` of our
YAMLs look for: the master cancels the retries and shows the sentence as the last line of the log. What a restart may mend,
such as a download that failed, is said without these words; everything else keeps its traceback.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.config.log_policies import cancels_retries
from nas.core.downloads import MirrorError
from nas.core.errors import CANNOT_WORK, ConfigError, DataError
from nas.core.named_files import path_problem

logger = logging.getLogger(__name__)

GRACE = 10.0
"""Seconds that the other processes wait before they speak: the first one has mostly the same to say, and its end ends them."""

_FULL_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "Unable to allocate")
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)


def no_trial_can_work(config: Mapping[str, Any]) -> bool:
    """Whether a ConfigError means that the experiment cannot work, and its trial should fail without a restart.

    The trials of a search may differ, so there it is the hyperparameters of one that are invalid. Where nothing would cancel
    the retries, invalid hyperparameters are the way to have none.
    """
    return (config.get("searcher") or {}).get("name") == "single" and cancels_retries(config)


def out_of_memory(error: BaseException) -> str | None:
    """The sentence for an error that says that memory is full, a GPU's or the machine's; None for any other."""
    text = str(error)
    if not isinstance(error, MemoryError) and not any(sign in text for sign in _FULL_MEMORY):
        return None
    where = "the GPU" if "CUDA" in text or "MPS" in text else "this machine"
    wants = re.search(r"(?:allocate|load) ([\d.]+ ?[KMGT]?i?B(?:ytes)?|\d+ bytes)", text)
    asked = f" (one tensor asked for {wants[1]})" if wants else ""
    advice = "lower hyperparameters.global_batch_size or eval_batch_size, or the size of the network"
    return (
        f"{where} has not enough memory free{asked}; {advice}; nas check CONFIG --batch-memory estimates what it takes"
    )


def sentences(error: BaseException, config: Mapping[str, Any]) -> list[str]:
    """What to say to the user instead of a traceback; nothing if it is no error of theirs."""
    if isinstance(error, ConfigError):
        return [CANNOT_WORK + problem for problem in error.problems]
    if full := out_of_memory(error):
        return [CANNOT_WORK + full]
    if isinstance(error, DataError):
        return [f"this run failed: {error}; a restart may help" if _may_pass(error) else f"{CANNOT_WORK}{error}"]
    if isinstance(error, _NOT_THERE) and _among_data(error.filename, config):
        what = f"{error.filename} cannot be read ({error.strerror})"
        return [f"{CANNOT_WORK}{what}; check the path, permissions and, in a container, the bind mount"]
    return []


def fail(lines: list[str]) -> int:
    """Say it as the last thing in the log, in one process if possible; returns the exit status."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(GRACE)
    for line in lines:
        logger.error("%s", line.replace("\n", " "))
    _tell_launcher(lines)
    return 2


def _may_pass(error: DataError) -> bool:
    """Whether the same files may be there another time: a network or a disk failed."""
    cause = error.__cause__
    broken = isinstance(cause, OSError) and (cause.errno is not None or isinstance(cause, TimeoutError))
    return isinstance(error, MirrorError) or (broken and not isinstance(cause, _NOT_THERE))


def _among_data(name: Any, config: Mapping[str, Any]) -> bool:
    """Whether a file lies in a folder that the data section names."""
    if not isinstance(name, str | os.PathLike):
        return False
    values = (config.get("data") or {}).items()
    folders = [Path(value) for key, value in values if key.endswith("_dir") and value and isinstance(value, str)]
    folders = [folder.expanduser().absolute() for folder in folders if path_problem(str(folder)) is None]
    path = Path(name).absolute()
    return any(folder in (path, *path.parents) for folder in folders)


def _tell_launcher(lines: list[str]) -> None:
    """PyTorch's launcher ends with a traceback of its own; give it the sentences to print there."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        message = {"message": "; ".join(lines), "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(file).write_text(json.dumps({"message": message}), encoding="utf-8")

"""Where an architecture that a user names is written: in a file or a run's folder, or in the text itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.core.errors import ConfigError, DataError
from nas.core.genotype_text import is_written, read_written
from nas.core.named_files import NotThereError, exists, expanded, read_text

_ENDINGS = (".json", ".arch")  # ours, and that of DARTS's forks that save the genotype beside the weights


def path_in(text: str) -> str | None:
    """The path that a text means, if it looks like one."""
    if is_written(text) and not text.endswith(_ENDINGS):
        return None
    if "/" not in text and not text.endswith(_ENDINGS):
        return None
    return str(expanded(text, "arch_to_use"))


def text_of_file(path: str) -> str:
    """What a file holds, or the `genotype.json` in a run's folder. Raises ConfigError if it cannot be read."""
    inside = f"{path}/genotype.json"
    try:
        return read_text(inside if exists(inside) else path).strip()
    except NotThereError as error:
        where = "on a cluster it must lie in the context folder, and be named by its path from there"
        raise ConfigError([f"{error}; {where}"]) from error
    except DataError as error:
        more = "; name the folder of one of its trials, such as trials/0" if exists(f"{path}/trials") else ""
        raise ConfigError([f"{error}{more}"]) from error


def hparams_in(text: str) -> Mapping[str, Any] | None:
    """Hyperparameters as a dict or JSON, none of which is a list; None if it is no such text."""
    try:
        fields = read_written(text, ("",)).fields
    except ConfigError:
        return None
    return None if not fields or any(isinstance(value, list) for value in fields.values()) else fields

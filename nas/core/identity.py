"""What weights belong to: an architecture, data, a seed and versions; and whether a run may go on with them.

A checkpoint carries its `Identity`. A run that goes on has the same architecture, data and seed, or is refused with what
differs. A warm start takes the weights of another trial: the architecture must be the same, other data is told. Other
versions and hyperparameters are told in either case, as they may be meant.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.core.space import load_space

SHOWN = 8
"""Differences that a message lists."""


class MismatchError(ConfigError):
    """Weights or a run belong to another architecture or to other data. Nothing was written."""


@dataclass(frozen=True)
class DataPart:
    """A part of the data, such as what is trained on.

    Attributes:
        digest: hex SHA-256 of what was read of it, in order.
        count: how much that is.
        unit: of the count, such as `tokens`.
        source: where it was read, for messages only.
    """

    digest: str
    count: int
    unit: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.count:,} {self.unit}, SHA-256 {self.digest[:12]}"


@dataclass(frozen=True)
class Identity:
    """What weights belong to. What is empty is not known, and not compared.

    Attributes:
        architecture: JSON that says what network the weights are of.
        data: by name of the part.
        seed: of the trial.
        hyperparameters: all of the trial.
        versions: of the code (a digest) and of the libraries that decide results.
        space: package of the search space, if the architecture is one of a space.
    """

    architecture: Any = None
    data: dict[str, DataPart] = field(default_factory=dict)
    seed: int | None = None
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    space: str = ""

    def to_json(self, only: Iterable[str] = ()) -> dict[str, Any]:
        """Plain types, ready for `json.dump` and for a checkpoint; of some fields only, if any are named."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {name: plain[name] for name in only or plain}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Identity:
        """The inverse of `to_json`; a field may be missing. Raises ConfigError for what `to_json` does not write."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if data.get(name) is not None}
        seed, parts = known.get("seed", 0), known.get("data", {})
        holds = {
            "data": isinstance(parts, dict) and all(map(_is_part, parts.values())),
            "seed": isinstance(seed, int) and not isinstance(seed, bool),
            "hyperparameters": isinstance(known.get("hyperparameters", {}), dict),
            "versions": isinstance(known.get("versions", {}), dict),
            "space": isinstance(known.get("space", ""), str),
        }
        if wrong := [name for name in holds if not holds[name]]:
            raise ConfigError([f"identity.{name} is damaged, got {str(data[name])[:60]!r}" for name in wrong])
        return cls(**{**known, "data": {name: DataPart(**part) for name, part in parts.items()}})

    def architecture_changes(self, now: Identity) -> list[str]:
        """Where another architecture differs from this one, in the words of its hyperparameters where it has any."""
        if self.architecture is None or now.architecture is None or self.architecture == now.architecture:
            return []
        spelt = [_hparams(each) for each in (self, now)]
        return (_changes(*spelt) if all(spelt) else []) or _changes(self.architecture, now.architecture)

    def data_changes(self, now: Identity, words: tuple[str, str] = ("then", "now")) -> list[str]:
        """Which parts differ of the data that both know; `words` tell this one from the other."""
        changed = []
        for name, part in self.data.items():
            other = now.data.get(name)
            if other is not None and (part.digest, part.count) != (other.digest, other.count):
                place = f" ({other.source})" if other.source else ""
                changed.append(f"{name}{place}: {part} {words[0]}, {other} {words[1]}")
        return changed

    def version_changes(self, now: Identity) -> list[str]:
        """Which versions differ of those that both know."""
        return _changes(*({name: each.versions[name] for name in _both(self, now)} for each in (self, now)))


def check_resume(then: Identity, now: Identity, whose: str) -> str:
    """Whether a run may go on; returns what it should be told, "" if there is nothing.

    Args:
        then: what the run, or its checkpoint, belongs to.
        now: what the trial is.
        whose: "the checkpoint" or the folder of the run, for messages.

    Raises:
        MismatchError: architecture, data or seed differ.
    """
    problems = [*_other_architecture(then, now, whose, "start a new run"), *_other_data(then, now, whose)]
    if None not in (then.seed, now.seed) and then.seed != now.seed:
        problems.append(f"{whose} is of another trial: its seed is {then.seed}, that of this one {now.seed}")
    if problems:
        raise MismatchError(problems)
    hparams = _changes(then.hyperparameters, now.hyperparameters) if then.hyperparameters else []
    told = [*then.version_changes(now), *(f"hyperparameters.{change}" for change in hparams)]
    return f"{whose} was written with other settings: {_listed(told)}" if told else ""


def check_warm_start(then: Identity, now: Identity, whose: str) -> str:
    """Whether a trial may begin with the weights of another one; returns what it should be told, as `check_resume` does.

    Raises:
        MismatchError: the architecture differs.
    """
    if problems := _other_architecture(then, now, whose, "start without its weights"):
        raise MismatchError(problems)
    told = [*(f"data {change}" for change in then.data_changes(now)), *then.version_changes(now)]
    return f"{whose} was trained with other data or versions: {_listed(told)}" if told else ""


def check_processes(identities: Sequence[Identity]) -> None:
    """Raises MismatchError if the processes of one trial, by rank, do not train the same network on the same data."""
    first, problems = identities[0], []
    for rank, other in enumerate(identities[1:], start=1):
        changes = first.data_changes(other, ("in process 0", f"in process {rank}"))
        if first.architecture != other.architecture:
            changes.append(f"architecture: {_text(first)} in process 0, {_text(other)} in process {rank}")
        if changes:
            problems.append(f"the processes differ: {_listed(changes)}; give every host the same code and data")
    if problems:
        raise MismatchError(problems)


def code_digest(packages: Iterable[str]) -> str:
    """A short digest of the Python files of imported packages and modules, by their top-level names."""
    return _code_digest(tuple(sorted({name.partition(".")[0] for name in packages if name})))


@lru_cache
def _code_digest(names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None:
            continue
        whole = Path(file).name == "__init__.py"
        for path in sorted(Path(file).parent.rglob("*.py")) if whole else [Path(file)]:
            digest.update(f"{name}/{path.relative_to(Path(file).parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _other_architecture(then: Identity, now: Identity, whose: str, instead: str) -> list[str]:
    changes = then.architecture_changes(now)
    if not changes:
        return []
    what = f"{whose} is of another architecture: {_listed(changes)}"
    return [f"{what}; put the architecture {_text(then)} back, or {instead}"]


def _other_data(then: Identity, now: Identity, whose: str) -> list[str]:
    changes = then.data_changes(now)
    return [f"{whose} is of other data: {_listed(changes)}; put the data back, or start a new run"] if changes else []


def check_shapes(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises MismatchError if weights of these names and shapes do not fit into a network of those."""
    if changes := _changes(then, now):
        what = f"the checkpoint is of a network of other shapes: {_listed(changes)}"
        raise MismatchError([f"{what}; set the hyperparameters and data that they follow from, or start anew"])


def _is_part(part: Any) -> bool:
    """Whether it is a `DataPart` in plain types."""
    if (
        not isinstance(part, dict)
        or not {"digest", "count", "unit"} <= part.keys() <= DataPart.__dataclass_fields__.keys()
    ):
        return False
    texts = (part["digest"], part["unit"], part.get("source", ""))
    count = part["count"]
    return all(isinstance(each, str) for each in texts) and isinstance(count, int) and abs(count) < 1 << 63


def _both(one: Identity, other: Identity) -> list[str]:
    return [name for name in one.versions if name in other.versions]


def _hparams(identity: Identity) -> dict[str, Any]:
    """The hyperparameters that spell the architecture out; none if it belongs to no space or cannot be spelt out."""
    try:
        spelt: dict[str, Any] = load_space(identity.space).from_json(identity.architecture).to_hparams()
    except (ConfigError, AttributeError, ValueError, TypeError):
        return {}
    return spelt


def _text(identity: Identity) -> str:
    try:
        return str(load_space(identity.space).from_json(identity.architecture).to_text())
    except (ConfigError, AttributeError, ValueError, TypeError):
        return json.dumps(identity.architecture)


def _changes(then: Any, now: Any) -> list[str]:
    """Where nested JSON differs, such as `recurrent[0][1]: 0 then, 1 now`."""
    one, other = dict(_flat(then)), dict(_flat(now))
    missing = "nothing"
    return [
        f"{name}: {one.get(name, missing)} then, {other.get(name, missing)} now".removeprefix(": ")
        for name in dict.fromkeys([*one, *other])
        if one.get(name, missing) != other.get(name, missing)
    ]


def _flat(data: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Every value of nested JSON with its place, such as `recurrent[0][1]`."""
    if isinstance(data, Mapping):
        pairs = [(f"{name}.{key}".removeprefix("."), value) for key, value in data.items()]
    elif isinstance(data, list | tuple):
        pairs = [(f"{name}[{i}]", value) for i, value in enumerate(data)]
    else:
        return [(name, data)]
    return [leaf for place, value in pairs for leaf in _flat(value, place)]


def _listed(changes: list[str]) -> str:
    """The first of the differences, and how many there are."""
    rest = [f"and so on, {len(changes)} differences"] if len(changes) > SHOWN else []
    return "; ".join([*changes[:SHOWN], *rest])

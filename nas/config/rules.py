"""What a Determined 0.38.1 master refuses in an experiment's config, in sentences, and what is otherwise there than here.

`schema.py` holds the rules about single fields, as data; those about several are functions at the end of this file.
"""

from __future__ import annotations

import functools
import os.path
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from nas.config.log_policies import is_for_hopeless_runs
from nas.config.old_words import old_length
from nas.config.schema import EXPERIMENT, KINDS, REMOVED, SEARCHERS
from nas.config.schema_cluster import SAVES, STORAGES
from nas.core.errors import closest, unknown

_LONGEST = 60
_IN_WORDS = {
    **{"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"},
    **{"array": "a list", "object": "a section of names and values", "null": "left out"},
}
_LIMITS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above"}
_FAMILIES = (SEARCHERS, KINDS, STORAGES)

_BY_A_SCRIPT = {
    "checkpoint_policy": "Trainer.fit(checkpoint_policy=...) says it",
    "data_layer": "it was removed",
    "min_checkpoint_period": "Trainer.fit(checkpoint_period=...) says it",
    "min_validation_period": "Trainer.fit(validation_period=...) says it",
    "optimizations": "pytorch.init(aggregation_frequency=...) and the training code say it",
    "perform_initial_validation": "Trainer.fit(step_zero_validation=...) says it",
    "profiling": "Trainer.fit(profiling_enabled=...) says it",
    "records_per_epoch": "the length of the training loader says it",
    "scheduling_unit": "Trainer.fit(reporting_period=...) says it",
    "searcher.max_length": "the training code says it, such as hyperparameters.train_epochs",
    "searcher.stop_once": "leave it out",
}
"""Fields of the time when the entrypoint was a trial class, and who says today what they said."""

_ON_A_CLUSTER = (
    *("bind_mounts", "debug", "environment", "integrations", "log_policies", "pbs", "preemption_timeout", "project"),
    *("resources", "retention_policy", "checkpoint_storage", "security", "slurm", "tensorboard_storage", "workspace"),
    *("searcher.source_trial_id", "searcher.source_checkpoint_uuid"),
)
_IN_PART = {"environment": (), "resources": ("slots_per_trial",), "checkpoint_storage": SAVES}
"""Sections that are named field by field, and the fields that count on one machine as well."""


def refusals(config: Mapping[str, Any]) -> list[str]:
    """What a master would refuse: a line a problem, with field, rule, value and what to do. Empty if it takes the config."""
    values = dict(config)
    try:
        problems = [line for error in _validator().iter_errors(values) for line in _sentences(error)]
        for rule in (_bounds, _counts, _profiling, _storage):
            problems += rule(values)
    except RecursionError:
        return ["the config must be nested less deeply; an anchor (&name) may hold itself (*name)"]
    old, covered = old_length(values)
    others = [problem for problem in problems if problem.split()[0] not in covered]
    if old and len(others) < len(problems):
        problems = [*others, old]
    return list(dict.fromkeys(problems))


def warnings(config: Mapping[str, Any]) -> list[str]:
    """What the master takes and has no effect, with an entrypoint that is a script or on one machine, or other draws there."""
    lines = []
    entrypoint = config.get("entrypoint")
    if isinstance(entrypoint, str) and re.fullmatch(r"[\w.]+:\w+", entrypoint):
        lines.append(f"entrypoint {_short(entrypoint)} is a trial class, which is deprecated since 0.38; name a script")
    for field, instead in _BY_A_SCRIPT.items():
        if _says(config, *field.split(".")):
            lines.append(f"{field} has no effect with a script as entrypoint; {instead}")
    for field in _ON_A_CLUSTER:
        if _says(config, *field.split(".")):
            lines += [f"{name} has no effect on one machine" for name in _parts(config, field)]
    return [*lines, *_draws_in_random_order(config)]


def _says(value: Any, *route: str) -> bool:
    """Whether the value, or what lies at the end of the route, is there and not empty."""
    for key in route:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value not in (None, "", [], {})


def _parts(config: Mapping[str, Any], field: str) -> list[str]:
    section = config.get(field)
    if field == "log_policies" and isinstance(section, list) and all(map(is_for_hopeless_runs, section)):
        return []  # on one machine such a run is not started again either
    if field not in _IN_PART or not isinstance(section, Mapping):
        return [field]
    names = [name for name, value in section.items() if name not in _IN_PART[field] and _says(value)]
    return [f"{field}.{_short(str(name))}" for name in names]


def _draws_in_random_order(config: Mapping[str, Any]) -> Iterator[str]:
    """Nested sections with several searched members, which a master visits in random order; a grid it walks by name."""
    if _section(config, "searcher").get("name") == "grid":
        return
    for key, value in _section(config, "hyperparameters").items():
        members = list(_searched({key: value}, in_lists=False))
        searched = sum(spec["type"] != "const" for _, spec in members)
        if searched > 1:
            name = f"hyperparameters.{_short(str(key))}"
            yield (
                f"{name} has {searched} searched members, which a cluster draws in random order: from here on its values and"
                " trial seeds are not those of this machine; they agree without the section, or with the searcher grid"
            )


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # here, because its import takes long

    return Draft202012Validator(EXPERIMENT)


# One broken rule of the schema, in sentences


def _sentences(error: Any) -> list[str]:
    if error.validator in _LIMITS:
        return [_must_be(error, f"{_LIMITS[error.validator]} {error.validator_value}")]
    if "propertyNames" in error.schema_path:
        return _extra(error)
    ways: dict[str, Callable[[Any], list[str]]] = {"required": _missing, "enum": _other}
    return ways.get(error.validator, _wrong)(error)


def _missing(error: Any) -> list[str]:
    lines = []
    for name in error.validator_value:
        if name not in error.instance:
            hint = error.schema["properties"].get(name, {}).get("description")
            why = f"{error.schema['title']} needs it" + (f" ({hint})" if hint else "")
            lines.append(f"{_field(error, name)} is missing; {why}")
    return lines


def _extra(error: Any) -> list[str]:
    """A field that its section does not have."""
    key, known, title = error.instance, error.validator_value, error.schema["title"]
    name, says = _field(error, key), f"is not a field of {title}"
    family = next((members for members in _FAMILIES if title in map(_title, members.values())), {})
    homes = [_title(member) for member in family.values() if key in member["properties"]]
    if homes:
        return [f"{name} {says}, but of {', '.join(homes)}; leave it out"]
    if not error.absolute_path and not closest(str(key), known):
        return [f"{name} {says}; what your code reads belongs in hyperparameters or data"]
    return [unknown(name, str(key), known, says)]


def _other(error: Any) -> list[str]:
    """A value that is not among the known ones."""
    name, value, title = _field(error), error.instance, error.schema.get("title")
    known = [choice for choice in error.validator_value if isinstance(choice, str)]
    if name == "searcher.name" and value in REMOVED:
        return [f"searcher.name {value} was removed from Determined; use adaptive_asha or random"]
    near = closest(value, known) if isinstance(value, str) else []
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    note = error.schema.get("$comment")
    if title is None or value is None:
        return [_must_be(error, f"one of {', '.join(known)}") + hint]
    return [f"{name} {_show(value)} is not {title}{hint} (known: {', '.join(known)})" + (f"; {note}" if note else "")]


def _wrong(error: Any) -> list[str]:
    kinds = error.schema.get("type", [])
    wanted = " or ".join(_IN_WORDS[kind] for kind in kinds if kind != "null" or len(kinds) == 1)
    sentence = _must_be(error, error.schema.get("description") or wanted)
    quoted = isinstance(error.instance, str) and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", error.instance)
    return [f"{sentence}; leave the quotes out" if quoted and {"integer", "number"} & {*kinds} else sentence]


def _must_be(error: Any, rule: str) -> str:
    return f"{_field(error)} must be {rule}, got {_show(error.instance)}"


def _title(section: Mapping[str, Any]) -> str:
    return str(section["title"])


def _field(error: Any, *more: Any) -> str:
    return ".".join(_short(str(part)) for part in (*error.absolute_path, *more))


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return _short(f"a section ({', '.join(map(str, value))})") if value else "an empty section"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


# Rules about several fields; what has the wrong type is the schema's matter


def _bounds(config: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, spec in _searched(config.get("hyperparameters"), in_lists=False):
        low, high = spec.get("minval"), spec.get("maxval")
        if spec["type"] in ("int", "double", "log") and _is_number(low) and _is_number(high) and not low < high:
            lines.append(f"{name}.minval must be below maxval, got {_show(low)} and {_show(high)}")
    return lines


def _counts(config: Mapping[str, Any]) -> list[str]:
    """The grid searcher's rule, which looks into lists too, though nothing in a list is ever searched."""
    lines: list[str] = []
    if _section(config, "searcher").get("name") != "grid":
        return lines
    for name, spec in _searched(config.get("hyperparameters"), in_lists=True):
        kind = spec["type"]
        if not isinstance(kind, str):
            lines.append(f"{name}.type must be text, got {_show(kind)}")
        elif kind in ("int", "double", "log") and spec.get("count") is None:
            lines.append(f"{name}.count is missing; searcher grid needs it (how many values of this {kind} to try)")
    return lines


def _searched(
    value: Any, name: str = "hyperparameters", *, in_lists: bool, at_top: bool = True
) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Every section with a `type` among the hyperparameters, and its full name."""
    members: Any = ()
    if isinstance(value, dict) and "type" in value and not at_top:
        yield name, value
    elif isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list) and in_lists and not at_top:
        members = enumerate(value)
    for key, inner in members:
        yield from _searched(inner, f"{name}.{_short(str(key))}", in_lists=in_lists, at_top=False)


def _profiling(config: Mapping[str, Any]) -> list[str]:
    profiling = _section(config, "profiling")
    first, last = profiling.get("begin_on_batch"), profiling.get("end_after_batch")
    if _is_number(first) and _is_number(last) and first > last:
        return [f"profiling.begin_on_batch must be at most end_after_batch, got {_show(first)} and {_show(last)}"]
    return []


def _storage(config: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in ("checkpoint_storage", "tensorboard_storage"):
        storage = _section(config, name)
        path, host = storage.get("storage_path"), storage.get("host_path")
        if storage.get("type") == "shared_fs" and isinstance(path, str) and isinstance(host, str):
            inside = os.path.normpath(path)
            if not inside.startswith(os.path.normpath(host)) if os.path.isabs(inside) else inside.startswith(".."):
                lines.append(f"{name}.storage_path must be below host_path, got {_show(path)} and {_show(host)}")
        both = isinstance(storage.get("connection_string"), str) and isinstance(storage.get("credential"), str)
        if storage.get("type") == "azure" and both:
            lines.append(f"{name}.credential must be left out where connection_string is given")
    return lines


def _section(config: Mapping[str, Any], name: str) -> dict[Any, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)

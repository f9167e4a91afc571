"""What a Determined 0.38.1 master takes as an experiment's config, as one JSON schema: `EXPERIMENT`.

A union's member is chosen by its key, such as `searcher.name`, so that what is wrong is said of that member.
"""

from __future__ import annotations

from collections.abc import Mapping

from nas.config.schema_cluster import CHECKPOINT_STORAGE, CLUSTER_SECTIONS
from nas.config.schema_fields import (
    ANYTHING,
    FLAG,
    NUMBER,
    TEXT,
    Schema,
    chosen,
    length,
    list_of,
    may_be,
    section,
    whole,
)

REMOVED = ("adaptive", "adaptive_simple", "sync_halving", "custom")
"""Searchers of earlier releases."""

# Searchers


def _searcher(name: str, needs: Mapping[str, Schema] | None = None, **fields: Schema) -> Schema:
    metric = {"metric": may_be("string", description="the name of a validation metric")}
    warm_start = {"source_trial_id": whole(), "source_checkpoint_uuid": TEXT}
    return section(name, {**metric, **(needs or {})}, name=ANYTHING, smaller_is_better=FLAG, **warm_start, **fields)


_TRIALS = {"max_trials": whole(1)}
_TIME = {
    "time_metric": may_be("string", description="the name of what measures training, such as epochs"),
    "max_time": whole(description="a whole number, the longest training in units of time_metric"),
}
_CONCURRENT = {"max_concurrent_trials": whole(0)}
_HALVING = {"divisor": may_be("number", exclusiveMinimum=1), "stop_once": FLAG, **_CONCURRENT}
_OLD_LENGTH = {"max_length": length(1, "integer")}

SEARCHERS = {
    "single": _searcher("single", **_OLD_LENGTH),
    "random": _searcher("random", _TRIALS, **_CONCURRENT, **_OLD_LENGTH),
    "grid": _searcher("grid", **_CONCURRENT, **_OLD_LENGTH),
    "adaptive_asha": _searcher(
        "adaptive_asha",
        {**_TRIALS, **_TIME},
        mode={"enum": [None, "aggressive", "standard", "conservative"]},
        max_rungs=whole(1),
        bracket_rungs=list_of(whole()),
        **_HALVING,
        **_OLD_LENGTH,
    ),
    "async_halving": _searcher(
        "async_halving", {**_TRIALS, **_TIME, "num_rungs": whole(1)}, **_HALVING, max_length=length(1)
    ),
}


# Hyperparameters


def _range(kind: str, bound: Schema, **needs: Schema) -> Schema:
    return section(f"type {kind}", {"minval": bound, "maxval": bound, **needs}, type=ANYTHING, count=whole(1))


KINDS = {
    "const": section("type const", {"val": ANYTHING}, type=ANYTHING),
    "int": _range("int", whole()),
    "double": _range("double", NUMBER),
    "log": _range("log", NUMBER, base=may_be("number", exclusiveMinimum=0)),
    "categorical": section("type categorical", {"vals": may_be("array")}, type=ANYTHING),
}
_NO_TYPE = "a hyperparameter of your own needs another name than type"
_HYPERPARAMETER = {
    "if": {"type": "object", "required": ["type"]},
    "then": chosen("a type of hyperparameter", "type", KINDS, _NO_TYPE),
    "else": {"additionalProperties": {"$ref": "#/$defs/hyperparameter"}},
}


# What configured a trial class before entrypoints were scripts

_OPTIMIZATIONS = section(
    "optimizations",
    aggregation_frequency=whole(1),
    tensor_fusion_threshold=whole(0),
    tensor_fusion_cycle_time=whole(0),
    mixed_precision={"enum": [None, "O0", "O1", "O2", "O3"]},
    grad_updates_size_file=TEXT,
    **dict.fromkeys(("average_aggregated_gradients", "average_training_metrics", "gradient_compression"), FLAG),
    auto_tune_tensor_fusion=FLAG,
)
_PROFILING = section(
    "profiling", None, enabled=FLAG, begin_on_batch=whole(0), end_after_batch=whole(0), sync_timings=FLAG
)
_OLD_SECTIONS = {
    "checkpoint_policy": {"enum": [None, "best", "all", "none"]},
    "data_layer": may_be("object"),
    "internal": {"type": ["null"]},
    "min_checkpoint_period": length(0),
    "min_validation_period": length(0),
    "optimizations": _OPTIMIZATIONS,
    "perform_initial_validation": FLAG,
    "profiling": _PROFILING,
    "records_per_epoch": whole(),
    "scheduling_unit": whole(1),
}

EXPERIMENT: Schema = {
    **section(
        "an experiment",
        {
            "entrypoint": may_be(
                *("string", "array"),
                description="a command such as python3 model_def.py",
                **{"items": {"type": ["string"]}, "minLength": 1, "minItems": 1},
            ),
            "searcher": chosen("a searcher", "name", SEARCHERS),
        },
        checkpoint_storage=CHECKPOINT_STORAGE,
        data=may_be("object"),
        debug=FLAG,
        description=TEXT,
        hyperparameters=may_be("object", additionalProperties={"$ref": "#/$defs/hyperparameter"}),
        labels=list_of(TEXT),
        max_restarts=whole(0),
        name=TEXT,
        reproducibility=section("reproducibility", None, experiment_seed=whole(0)),
        **CLUSTER_SECTIONS,
        **_OLD_SECTIONS,
    ),
    "$defs": {"hyperparameter": _HYPERPARAMETER},
}

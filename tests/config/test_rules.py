"""What a master refuses, rule by rule, each with the field that the sentence names; and what has no effect here."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs import ROOT

from nas.config.load import load, override
from nas.config.rules import refusals, warnings
from nas.config.schema import EXPERIMENT, KINDS, SEARCHERS

YAMLS = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.yaml"), *ROOT.glob("cnn_nas/*.yaml")])
SINGLE: dict[str, Any] = {
    "entrypoint": "python3 model_def.py",
    "searcher": {"name": "single", "metric": "loss"},
    "hyperparameters": {"lr": 0.1},
}
RANDOM = {"name": "random", "metric": "loss", "max_trials": 8}
ASHA = {"name": "adaptive_asha", "metric": "loss", "max_trials": 8, "time_metric": "epochs", "max_time": 9}
HALVING = {**ASHA, "name": "async_halving", "num_rungs": 3}
GRID = {"name": "grid", "metric": "loss"}


def searching(searcher: dict[str, Any], **hyperparameters: Any) -> dict[str, Any]:
    return {**SINGLE, "searcher": searcher, "hyperparameters": hyperparameters}


def problem(config: dict[str, Any], *overrides: str) -> str:
    """The one problem of a config with overrides."""
    (line,) = refusals(override(config, overrides))
    return line


# What is taken


@pytest.mark.parametrize("name", YAMLS)
def test_every_yaml_is_taken_and_all_of_it_counts(name: str) -> None:
    config = load(ROOT / name)
    assert refusals(config) == []
    assert warnings(config) == []


@pytest.mark.parametrize("searcher", [SINGLE["searcher"], RANDOM, ASHA, HALVING, GRID], ids=lambda it: str(it["name"]))
def test_each_searcher_is_taken_with_what_it_needs_and_nothing_less(searcher: dict[str, Any]) -> None:
    assert refusals(searching(searcher)) == []
    for name in searcher:
        for less in ({key: value for key, value in searcher.items() if key != name}, {**searcher, name: None}):
            assert refusals(searching(less))[0].startswith(f"searcher.{name} ")


@pytest.mark.parametrize("field", sorted({*EXPERIMENT["properties"]} - {"entrypoint", "searcher"}))
def test_sections_may_be_null(field: str) -> None:
    assert refusals({**SINGLE, field: None}) == []


@pytest.mark.parametrize(
    "given",
    [
        *("searcher.smaller_is_better=null", "searcher.source_trial_id=null", "searcher.max_length=null"),
        *("reproducibility.experiment_seed=null", "resources.slots_per_trial=null", "resources.devices=null"),
        *("checkpoint_storage.save_trial_best=null", "environment.image=null", "max_restarts=null"),
        *("environment.environment_variables={cpu: null}", "hyperparameters.lr={type: const, val: null}"),
        *("hyperparameters.lr={type: int, minval: 1, maxval: 2, count: null}", "hyperparameters.lr=null"),
        *("profiling={begin_on_batch: 3, end_after_batch: null}", "log_policies=[{name: null}]"),
    ],
)
def test_fields_may_be_null(given: str) -> None:
    assert refusals(override(SINGLE, [given])) == []


@pytest.mark.parametrize(
    "given",
    [
        *("searcher.max_trials=8.0", "searcher.max_concurrent_trials=0", "searcher.max_length=0"),
        *("searcher.max_length={epochs: 1}", "hyperparameters.x={type: int, minval: 1.0, maxval: 2.0}"),
        *("entrypoint=[python3, model_def.py]", "resources.shm_size=1073741824", "resources.shm_size=4 GiB"),
        *("resources.devices=['/dev/a:/dev/b', {host_path: /a, container_path: /b}]", "max_restarts=0"),
        *("environment.image={cpu: x}", "environment.environment_variables=[A=b]", "data={any: {thing: [1]}}"),
        *("min_validation_period={batches: 0}", "checkpoint_storage={save_trial_best: 3}", "resources.weight=0.5"),
        *("checkpoint_storage={type: shared_fs, host_path: /a, storage_path: b}", "labels=[a, b]"),
        *("checkpoint_storage={type: shared_fs, host_path: /a, storage_path: /a/b}", "tensorboard_storage={type: s3}"),
        *("checkpoint_storage={type: s3, bucket: b, prefix: a..b/c}", "checkpoint_storage={type: azure}"),
        *("log_policies=[{pattern: x, action: exclude_node}, {name: z}]", "reproducibility.experiment_seed=0"),
        *("log_policies=[{pattern: x, action: {type: cancel_retries}}]", "retention_policy={log_retention_days: -1}"),
        "environment.pod_spec={metadata: {}, spec: {containers: [{name: other, image: x}, {env: []}]}}",
        "hyperparameters.x=[{type: anything}]",  # nothing in a list is searched
    ],
)
def test_other_ways_to_say_it_are_taken(given: str) -> None:
    assert refusals(override(searching(RANDOM), [given])) == []


# What is refused


def refused(config: dict[str, Any], table: dict[str, str]) -> Any:
    """Parameters: a config, an override that spoils it, and the sentence about it, or its beginning if it ends in ..."""
    return [pytest.param(config, spoilt, sentence, id=spoilt[:60]) for spoilt, sentence in table.items()]


TOP = {
    "entrypoint=null": "entrypoint must be a command such as python3 model_def.py, got null",
    "entrypoint=''": "entrypoint must be a command such as python3 model_def.py, got ''",
    "entrypoint=[]": "entrypoint must be a command such as python3 model_def.py, got []",
    "entrypoint=[python3, 3]": "entrypoint.1 must be text, got 3",
    "hyperparamters={}": "hyperparamters is not a field of an experiment; did you mean hyperparameters?",
    "epochs=3": "epochs is not a field of an experiment; what your code reads belongs in hyperparameters or data",
    "hyperparameters=[1]": "hyperparameters must be a section of names and values, got [1]",
    "data=3": "data must be a section of names and values, got 3",
    "internal={}": "internal must be left out, got an empty section",
    "name=3": "name must be text, got 3",
    "labels=[a, null]": "labels.1 must be text, got null",
    "debug=1": "debug must be true or false, got 1",
    "max_restarts=-1": "max_restarts must be at least 0, got -1",
    "max_restarts=true": "max_restarts must be a whole number, got true",
    "max_restarts='3'": "max_restarts must be a whole number, got '3'; leave the quotes out",
    "reproducibility.experiment_seed=1.5": "reproducibility.experiment_seed must be a whole number, got 1.5",
    "reproducibility.seed=1": "reproducibility.seed is not a field of reproducibility; known: experiment_seed",
    "scheduling_unit=0": "scheduling_unit must be at least 1, got 0",
    "checkpoint_policy=bst": "checkpoint_policy must be one of best, all, none, got 'bst'; did you mean best?",
    "optimizations.mixed_precision=o1": "optimizations.mixed_precision must be one of O0, O1, O2, O3, got 'o1'; ...",
    "min_validation_period={epoch: 1}": "min_validation_period.epoch is not a field of a length; did you mean epochs?",
    "min_validation_period={epochs: null}": "min_validation_period.epochs must be a whole number, got null",
    "profiling={begin_on_batch: 3, end_after_batch: 1}": "profiling.begin_on_batch must be at most end_after_batch, ...",
}
SEARCHER = {
    "searcher=null": "searcher must be a section of names and values, got null",
    "searcher=random": "searcher must be a section of names and values, got 'random'",
    "searcher={metric: loss}": "searcher.name is missing; a searcher needs it (one of single, random, grid, ...",
    "searcher.name=null": "searcher.name must be one of single, random, grid, adaptive_asha, async_halving, got null",
    "searcher.name=adaptive_ahsa": "searcher.name 'adaptive_ahsa' is not a searcher; did you mean adaptive_asha? (known:...",
    "searcher.name=custom": "searcher.name custom was removed from Determined; use adaptive_asha or random",
    "searcher.name=adaptive": "searcher.name adaptive was removed ...",
    "searcher.name=adaptive_simple": "searcher.name adaptive_simple was removed ...",
    "searcher.name=sync_halving": "searcher.name sync_halving was removed ...",
    "searcher.name=[random]": "searcher.name ['random'] is not a searcher ...",
    "searcher.name=grid": "searcher.max_trials is not a field of grid, but of random, adaptive_asha, async_halving; ...",
    "searcher.max_trails=8": "searcher.max_trails is not a field of random; did you mean max_trials?",
    "searcher.max_trials=0": "searcher.max_trials must be at least 1, got 0",
    "searcher.max_trials=many": "searcher.max_trials must be a whole number, got 'many'",
    "searcher.metric=null": "searcher.metric must be the name of a validation metric, got null",
    "searcher.max_length={}": "searcher.max_length must be one of batches, records and epochs with a number, ...",
    "searcher.max_length={epochs: 0}": "searcher.max_length.epochs must be at least 1, got 0",
    "searcher.max_length={epochs: 1, batches: 1}": "searcher.max_length must be one of batches, records and epochs ...",
    "searcher.max_length=-1": "searcher.max_length must be at least 0, got -1",
    "searcher.source_trial_id=x": "searcher.source_trial_id must be a whole number, got 'x'",
}
BRACKETS = {
    "searcher.mode=agressive": "searcher.mode must be one of aggressive, standard, conservative, got 'agressive'; did...",
    "searcher.divisor=1": "searcher.divisor must be above 1, got 1",
    "searcher.max_rungs=0": "searcher.max_rungs must be at least 1, got 0",
    "searcher.bracket_rungs=[a]": "searcher.bracket_rungs.0 must be a whole number, got 'a'",
    "searcher.max_concurrent_trials=-1": "searcher.max_concurrent_trials must be at least 0, got -1",
    "searcher.max_time=null": "searcher.max_time must be a whole number, the longest training in units of time_metric, ...",
    "searcher.time_metric=3": "searcher.time_metric must be the name of what measures training, such as epochs, got 3",
}
HYPERPARAMETERS = {
    "hyperparameters.lr={type: float}": "hyperparameters.lr.type 'float' is not a type of hyperparameter (known: const,...",
    "hyperparameters.lr={type: intt}": "hyperparameters.lr.type 'intt' is not a type of hyperparameter; did you mean int? ...",
    "hyperparameters.lr={type: null}": "hyperparameters.lr.type must be one of const, int, double, log, categorical, got null",
    "hyperparameters.lr={type: {a: 1}}": "hyperparameters.lr.type a section (a) is not a type of hyperparameter (known: ...",
    "hyperparameters.lr={type: const}": "hyperparameters.lr.val is missing; type const needs it",
    "hyperparameters.lr={type: categorical, vals: 3}": "hyperparameters.lr.vals must be a list, got 3",
    "hyperparameters.lr={type: int, minval: 1}": "hyperparameters.lr.maxval is missing; type int needs it",
    "hyperparameters.lr={type: int, minval: 1, maxval: 2.5}": "hyperparameters.lr.maxval must be a whole number, got 2.5",
    "hyperparameters.lr={type: int, minval: 3, maxval: 3}": "hyperparameters.lr.minval must be below maxval, got 3 and 3",
    "hyperparameters.lr={type: double, minval: 1, maxval: -1}": "hyperparameters.lr.minval must be below maxval, got 1 ...",
    "hyperparameters.lr={type: double, minval: '1e-4', maxval: 1}": "hyperparameters.lr.minval must be a number, got '1e-4'...",
    "hyperparameters.lr={type: log, minval: -3, maxval: 0}": "hyperparameters.lr.base is missing; type log needs it",
    "hyperparameters.lr={type: log, base: 0, minval: -3, maxval: 0}": "hyperparameters.lr.base must be above 0, got 0",
    "hyperparameters.lr={type: double, minval: 0, maxval: 1, base: 2}": "hyperparameters.lr.base is not a field of type ...",
    "hyperparameters.lr={type: double, minval: 0, maxval: 1, count: 0}": "hyperparameters.lr.count must be at least 1, ...",
    "hyperparameters={opt: {sgd: {lr: {type: int, minval: 2, maxval: 1}}}}": "hyperparameters.opt.sgd.lr.minval must be ...",
    "hyperparameters={opt: {type: adam, lr: 3}}": "hyperparameters.opt.type 'adam' is not a type ...",
}
STORAGE = {
    "checkpoint_storage={type: s4}": "checkpoint_storage.type 's4' is not a checkpoint storage ...",
    "checkpoint_storage={type: s3, container: x}": "checkpoint_storage.container is not a field of s3, but of azure; ...",
    "checkpoint_storage={type: gcs, bucket: 3}": "checkpoint_storage.bucket must be text, got 3",
    "checkpoint_storage={type: s3, prefix: a/..}": "checkpoint_storage.prefix must be a path without .., got 'a/..'",
    "checkpoint_storage={type: directory, save_trial_best: -1}": "checkpoint_storage.save_trial_best must be at least 0, ...",
    "checkpoint_storage={save_trial_latest: x}": "checkpoint_storage.save_trial_latest must be a whole number, got 'x'",
    "checkpoint_storage={save_trial_lates: 1}": "checkpoint_storage.save_trial_lates is not a field of a checkpoint ...",
    "checkpoint_storage={type: shared_fs, host_path: /a, storage_path: /b}": "checkpoint_storage.storage_path must be ...",
    "checkpoint_storage={type: shared_fs, host_path: /a, storage_path: ../b}": "checkpoint_storage.storage_path must be ...",
    "checkpoint_storage={type: azure, connection_string: a, credential: b}": "checkpoint_storage.credential must be ...",
    "tensorboard_storage={type: directory}": "tensorboard_storage.type 'directory' is not a storage for TensorBoard ...",
    "tensorboard_storage={bucket: x}": "tensorboard_storage.type is missing; a storage for TensorBoard needs it ...",
    "tensorboard_storage={type: s3, save_trial_best: 1}": "tensorboard_storage.save_trial_best is not a field of s3 for ...",
}
CLUSTER = {
    "resources.slot_per_trial=1": "resources.slot_per_trial is not a field of resources; did you mean slots_per_trial?",
    "resources.slots_per_trial=-1": "resources.slots_per_trial must be at least 0, got -1",
    "resources.priority=100": "resources.priority must be at most 99, got 100",
    "resources.weight=heavy": "resources.weight must be a number, got 'heavy'",
    "resources.shm_size=4 GBB": "resources.shm_size must be a size such as 4 GiB, or a number of bytes, got '4 GBB'",
    "resources.devices=[x]": "resources.devices.0 must be a section, or text such as /dev/here:/dev/there:rwm, got 'x'",
    "resources.devices=[{host_path: /a}]": "resources.devices.0.container_path is missing; a device needs it",
    "bind_mounts=[{host_path: a, container_path: b}]": "bind_mounts.0.host_path must be an absolute path, got 'a'",
    "bind_mounts=[{host_path: /a, container_path: .}]": "bind_mounts.0.container_path must be a path other than ., got '.'",
    "bind_mounts=[{host_path: /a, container_path: b, readonly: true}]": "bind_mounts.0.readonly is not a field of a bind ...",
    "environment.image=3": "environment.image must be a section of names and values or text, got 3",
    "environment.image={tpu: x}": "environment.image.tpu is not a field of image; ...",
    "environment.environment_variables={cpu: [3]}": "environment.environment_variables.cpu.0 must be text, got 3",
    "environment.ports={a: b}": "environment.ports.a must be a whole number, got 'b'",
    "environment.proxy_ports=[{}]": "environment.proxy_ports.0.proxy_port is missing; a proxy port needs it",
    "environment.pod_spec={name: x}": "environment.pod_spec.name must be left out; the cluster sets it, got 'x'",
    "environment.pod_spec={spec: {containers: [{image: x}]}}": "environment.pod_spec.spec.containers.0.image must be left ...",
    "environment.registry_auth={user: x}": "environment.registry_auth.user is not a field of registry_auth; ...",
    "log_policies=[{pattern: x}]": "log_policies.0.action is missing; a log policy without a name needs it",
    "log_policies=[{name: x, action: cancel}]": "log_policies.0.action must be one of cancel_retries, exclude_node, ...",
    "retention_policy={log_retention_days: 32768}": "retention_policy.log_retention_days must be at most 32767, got 32768",
    "integrations={webhooks: {webhook_id: [a]}}": "integrations.webhooks.webhook_id.0 must be a whole number, got 'a'",
    "security={kerberos: {}}": "security.kerberos.config_file is missing; kerberos needs it",
    "slurm={slots_per_node: 0}": "slurm.slots_per_node must be at least 1, got 0",
    "pbs={pbsbatch_args: x}": "pbs.pbsbatch_args must be a list, got 'x'",
    "preemption_timeout=soon": "preemption_timeout must be a whole number, got 'soon'",
}
REFUSED = [
    *(case for table in (TOP, HYPERPARAMETERS, STORAGE, CLUSTER) for case in refused(SINGLE, table)),
    *refused(searching(RANDOM), SEARCHER),
    *refused(searching(ASHA), BRACKETS),
    *refused(searching(HALVING), {"searcher.max_length=3": "searcher.max_length must be one of batches, records ..."}),
]


@pytest.mark.parametrize(("config", "spoilt", "sentence"), REFUSED)
def test_a_rule_that_is_broken_is_named_with_its_field(config: dict[str, Any], spoilt: str, sentence: str) -> None:
    line = problem(config, spoilt)
    start = sentence.removesuffix("...")
    assert line.startswith(start) if start != sentence else line == sentence


@pytest.mark.parametrize("kind", ["int", "double", "log"])
@pytest.mark.parametrize("count", [{}, {"count": None}])
def test_a_grid_counts_every_range_wherever_it_is(kind: str, count: dict[str, None]) -> None:
    spec = {"type": kind, "minval": 1, "maxval": 4, **({"base": 10} if kind == "log" else {}), **count}
    config = searching(GRID, head={"width": spec}, listed=[1, {"a": spec}], act={"type": "categorical", "vals": [spec]})
    why = f"is missing; searcher grid needs it (how many values of this {kind} to try)"
    assert refusals(config) == [
        f"hyperparameters.head.width.count {why}",
        f"hyperparameters.listed.1.a.count {why}",
    ]
    assert refusals({**config, "searcher": RANDOM}) == []
    assert refusals(searching(GRID, head={"width": {**spec, "count": 3}})) == []


def test_a_grid_takes_no_odd_type_in_a_list() -> None:
    config = searching(GRID, listed=[{"type": 3}])
    assert refusals(config) == ["hyperparameters.listed.0.type must be text, got 3"]


def test_all_of_a_section_is_needed() -> None:
    lines = refusals({**SINGLE, "integrations": {"pachyderm": {"pachd": {"host": "a", "port": "b"}}}})
    assert lines == [
        "integrations.pachyderm.proxy is missing; pachyderm needs it",
        "integrations.pachyderm.dataset is missing; pachyderm needs it",
        "integrations.pachyderm.pachd.port must be a whole number, got 'b'",
    ]


def test_every_problem_is_said_at_once() -> None:
    config = {"searcher": {**ASHA, "max_trials": 0, "mode": "fast"}, "max_restarts": -1, "nmae": "x"}
    fields = {line.split(" ")[0] for line in refusals(config)}
    assert fields == {"entrypoint", "searcher.max_trials", "searcher.mode", "max_restarts", "nmae"}


def test_nothing_at_all_is_refused() -> None:
    assert refusals({}) == [
        "entrypoint is missing; an experiment needs it (a command such as python3 model_def.py)",
        "searcher is missing; an experiment needs it",
    ]


def test_values_are_shortened() -> None:
    huge = {f"key{i}": i for i in range(1000)}
    assert all(len(line) < 200 for line in refusals({**SINGLE, "name": huge, "labels": [huge, [huge]], "k" * 999: 1}))


def test_a_config_that_holds_itself_is_refused() -> None:
    config = copy.deepcopy(SINGLE)
    config["hyperparameters"]["again"] = config["hyperparameters"]
    (line,) = refusals(config)
    assert "anchor" in line


def test_configs_are_left_alone() -> None:
    config = {**copy.deepcopy(SINGLE), "searcher": {**ASHA, "mode": "x"}, "resources": {"priority": 1}}
    before = copy.deepcopy(config)
    refusals(config), warnings(config)
    assert config == before


# What has no effect


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            "entrypoint=model_def:Trial",
            ["entrypoint model_def:Trial is a trial class, which is deprecated since 0.38; ..."],
        ),
        (
            "scheduling_unit=10",
            ["scheduling_unit has no effect with a script as entrypoint; Trainer.fit(reporting_period=...)..."],
        ),
        ("min_validation_period={epochs: 1}", ["min_validation_period has no effect ..."]),
        ("min_checkpoint_period={epochs: 1}", ["min_checkpoint_period has no effect ..."]),
        ("checkpoint_policy=all", ["checkpoint_policy has no effect ..."]),
        ("perform_initial_validation=false", ["perform_initial_validation has no effect ..."]),
        ("profiling={enabled: true}", ["profiling has no effect ..."]),
        ("optimizations={aggregation_frequency: 2}", ["optimizations has no effect ..."]),
        ("records_per_epoch=100", ["records_per_epoch has no effect ..."]),
        ("data_layer={type: s3}", ["data_layer has no effect ..."]),
        ("searcher.max_length={epochs: 3}", ["searcher.max_length has no effect ..."]),
        ("searcher.stop_once=true", ["searcher.stop_once has no effect ..."]),
        ("searcher.source_trial_id=3", ["searcher.source_trial_id has no effect on one machine"]),
        ("resources.resource_pool=a100", ["resources.resource_pool has no effect on one machine"]),
        ("resources.is_single_node=false", ["resources.is_single_node has no effect on one machine"]),
        ("resources.weight=0", ["resources.weight has no effect on one machine"]),
        ("environment.image=x", ["environment.image has no effect on one machine"]),
        (
            "checkpoint_storage={type: s3, bucket: b, save_trial_best: 2}",
            [
                "checkpoint_storage.type has no effect on one machine",
                "checkpoint_storage.bucket has no effect on one machine",
            ],
        ),
        ("bind_mounts=[{host_path: /a, container_path: /b}]", ["bind_mounts has no effect on one machine"]),
        ("workspace=mine", ["workspace has no effect on one machine"]),
        ("project=mine", ["project has no effect on one machine"]),
        ("slurm={gpu_type: x}", ["slurm has no effect on one machine"]),
        ("pbs={slots_per_node: 1}", ["pbs has no effect on one machine"]),
        ("security={kerberos: {config_file: x}}", ["security has no effect on one machine"]),
        ("tensorboard_storage={type: s3}", ["tensorboard_storage has no effect on one machine"]),
        ("preemption_timeout=60", ["preemption_timeout has no effect on one machine"]),
        ("log_policies=[{name: x}]", ["log_policies has no effect on one machine"]),
        ("log_policies=[{pattern: work, action: exclude_node}]", ["log_policies has no effect on one machine"]),
        ("log_policies=[{pattern: other, action: cancel_retries}]", ["log_policies has no effect on one machine"]),
        ("log_policies=[{pattern: '(', action: cancel_retries}]", ["log_policies has no effect on one machine"]),
        ("retention_policy={log_retention_days: 3}", ["retention_policy has no effect on one machine"]),
        ("integrations={webhooks: {exclude: true}}", ["integrations has no effect on one machine"]),
    ],
)
def test_what_has_no_effect_is_said(given: str, lines: list[str]) -> None:
    config = override(searching({**ASHA}), [given])
    assert refusals(config) == []
    found = warnings(config)
    assert len(found) == len(lines)
    for line, wanted in zip(found, lines, strict=True):
        start = wanted.removesuffix("...")
        assert line.startswith(start) if start != wanted else line == wanted


RANGE = "{type: double, minval: 0, maxval: 1}"
MIXED = f"{{width: {RANGE}, deep: {{rate: {RANGE}}}, fixed: {{type: const, val: 1}}, plain: 3}}"


@pytest.mark.parametrize("searcher", [SINGLE["searcher"], RANDOM, ASHA, HALVING], ids=lambda it: str(it["name"]))
def test_a_section_that_a_master_draws_in_random_order_is_said(searcher: dict[str, Any]) -> None:
    config = override(searching(searcher), [f"hyperparameters.head={MIXED}", f"hyperparameters.lr={RANGE}"])
    (line,) = warnings(config)
    assert line.startswith("hyperparameters.head has 2 searched members, ") and "random order" in line


@pytest.mark.parametrize(
    ("searcher", "hyperparameters"),
    [
        (GRID, f"{{head: {MIXED}}}"),  # it walks by name
        (RANDOM, f"{{head: {{width: {RANGE}, plain: 3}}, tail: {{deep: {{rate: {RANGE}}}}}}}"),  # one has no order
        (RANDOM, f"{{a: {RANGE}, b: {RANGE}, head.a: {RANGE}, head.b: {RANGE}}}"),  # no sections
        (RANDOM, "{head: {a: 1, b: {type: const, val: 1}, c: {type: const, val: 2}}}"),  # nothing is drawn
    ],
)
def test_what_a_master_draws_as_it_is_drawn_here_is_not_warned_of(
    searcher: dict[str, Any], hyperparameters: str
) -> None:
    assert warnings(override(searching(searcher), [f"hyperparameters={hyperparameters}"])) == []


@pytest.mark.parametrize(
    "given",
    [
        *("resources.slots_per_trial=2", "checkpoint_storage={save_experiment_best: 1, save_trial_latest: 2}"),
        *("labels=[a]", "description=x", "max_restarts=0", "environment={}", "bind_mounts=[]", "profiling=null"),
        "log_policies=[{name: x, pattern: 'run cannot work[:]', action: cancel_retries}]",
        "log_policies=[{pattern: cannot work, action: {type: cancel_retries}}]",
        *("resources.resource_pool=''", "resources.priority=null", "entrypoint=[python3, -m, cnn_nas.trial]"),
    ],
)
def test_what_counts_or_is_empty_is_not_warned_of(given: str) -> None:
    assert warnings(override(SINGLE, [given])) == []


# Whatever comes

SOME_KEYS = sorted({*EXPERIMENT["properties"], *SEARCHERS["adaptive_asha"]["properties"], *KINDS["log"]["properties"]})
SOME_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(SOME_KEYS) | st.text(max_size=5)
JSON = st.recursive(
    SOME_VALUES | st.sampled_from([*SEARCHERS, *KINDS]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_any_mapping_is_answered_in_short_single_lines(config: dict[str, Any]) -> None:
    for line in (*refusals(config), *warnings(config)):
        assert "is not valid under" not in line and len(line) < 1000


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SOME_KEYS), st.sampled_from(["", "searcher.", "hyperparameters.lr.", "resources."]), JSON)
def test_any_value_anywhere_is_answered(key: str, section: str, value: Any) -> None:
    config: dict[str, Any] = {
        **copy.deepcopy(SINGLE),
        "searcher": {**ASHA},
        "hyperparameters": {"lr": {}},
        "resources": {},
    }
    place = config
    for name in section.split(".")[:-1]:
        place = place[name]
    place[key] = value
    assert isinstance(refusals(config), list) and isinstance(warnings(config), list)


def test_import_is_lean() -> None:
    code = "import sys, nas.config.rules; print({'torch', 'determined', 'jsonschema', 'numpy'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"

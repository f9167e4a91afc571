"""The sections of an experiment's config that only a cluster reads, as JSON schemas: storage, resources, containers."""

from __future__ import annotations

from nas.config.schema_fields import (
    ANYTHING,
    FLAG,
    NUMBER,
    TEXT,
    Schema,
    chosen,
    given,
    list_of,
    may_be,
    section,
    whole,
)

# Storage

SAVES = ("save_experiment_best", "save_trial_best", "save_trial_latest")
_PREFIX = may_be("string", description="a path without ..", **{"not": {"type": "string", "pattern": r"(^|/)\.\.(/|$)"}})
_SHARED_PATHS = ("host_path", "storage_path", "propagation", "container_path", "checkpoint_path", "tensorboard_path")
_S3_TEXTS = ("access_key", "bucket", "secret_key", "endpoint_url")
_AZURE_TEXTS = ("container", "connection_string", "account_url", "credential")


_FIELDS = {
    "shared_fs": dict.fromkeys(_SHARED_PATHS, TEXT),
    "directory": {"container_path": TEXT},
    "s3": {**dict.fromkeys(_S3_TEXTS, TEXT), "prefix": _PREFIX},
    "gcs": {"bucket": TEXT, "prefix": _PREFIX},
    "azure": dict.fromkeys(_AZURE_TEXTS, TEXT),
}
_SAVED = dict.fromkeys(SAVES, whole(0))
STORAGES = {name: section(name, None, type=ANYTHING, **fields, **_SAVED) for name, fields in _FIELDS.items()}
_ANY_STORAGE = {"type": ANYTHING, **{name: ANYTHING for fields in _FIELDS.values() for name in fields}, **_SAVED}
CHECKPOINT_STORAGE = may_be(
    "object",
    **{"if": {"required": ["type"]}, "then": chosen("a checkpoint storage", "type", STORAGES)},
    **{"else": section("a checkpoint storage", None, **_ANY_STORAGE)},
)
_OLD_STORAGES = {
    name: section(f"{name} for TensorBoard", None, type=ANYTHING, **_FIELDS[name])
    for name in ("shared_fs", "s3", "gcs")
}


# The cluster

_CLUSTERS: Schema = {"not": {}, "description": "left out; the cluster sets it"}
_CONTAINER_FIELDS = (
    *("image", "command", "args", "working_dir", "ports", "lifecycle", "image_pull_policy", "security_context"),
    *("liveness_probe", "readiness_probe", "startup_probe"),
    *("termination_message_path", "termination_message_policy"),
)
_CONTAINER = {  # the trial's own, which is also the one without a name
    "if": {"properties": {"name": {"const": "determined-container"}}},
    "then": given(may_be("object", properties=dict.fromkeys(_CONTAINER_FIELDS, _CLUSTERS))),
}
_POD_SPEC = may_be(
    "object",
    properties={
        **{"name": _CLUSTERS, "name_space": _CLUSTERS},
        "spec": may_be("object", properties={"containers": may_be("array", items=_CONTAINER)}),
    },
)
_DEVICE = {
    **section("a device", {"host_path": TEXT, "container_path": TEXT}, mode=TEXT),
    **{"type": ["object", "string"], "pattern": "^/[^:]*:/[^:]*(:[rwm]*)?"},
    "description": "a section, or text such as /dev/here:/dev/there:rwm",
}
_BIND_MOUNT = section(
    "a bind mount",
    {
        "host_path": may_be("string", pattern="^/", description="an absolute path"),
        "container_path": may_be("string", description="a path other than .", **{"not": {"const": "."}}),
    },
    read_only=FLAG,
    propagation=TEXT,
)
_MEMORY = r"^([0-9]*[.])?[0-9]+ ?(([kmgtpKMGTP]([iI]?[bB])?)|[bB])?$"
_RESOURCES = section(
    "resources",
    **{"slots_per_trial": whole(0), "slots": whole(), "max_slots": whole(), "weight": NUMBER, "priority": whole(1, 99)},
    **{"resource_pool": TEXT, "agent_label": TEXT, "is_single_node": FLAG, "native_parallel": FLAG},
    devices=list_of(_DEVICE),
    shm_size=may_be("integer", "string", pattern=_MEMORY, description="a size such as 4 GiB, or a number of bytes"),
)


def _per_device(title: str, value: Schema) -> Schema:
    return section(title, None, cpu=value, cuda=value, rocm=value, gpu=value)


_REGISTRY_TEXTS = ("username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken")
_ENVIRONMENT = section(
    "environment",
    image={**_per_device("image", TEXT), "type": ["object", "string", "null"]},
    environment_variables={
        **_per_device("environment_variables", list_of(TEXT)),
        **{"type": ["object", "array", "null"], "items": {"type": ["string"]}},
    },
    proxy_ports=list_of(
        section("a proxy port", {"proxy_port": NUMBER}, proxy_tcp=FLAG, unauthenticated=FLAG, default_service_id=FLAG)
    ),
    ports=may_be("object", additionalProperties=given(whole())),
    force_pull_image=FLAG,
    registry_auth=section("registry_auth", None, **dict.fromkeys(_REGISTRY_TEXTS, TEXT)),
    add_capabilities=list_of(TEXT),
    drop_capabilities=list_of(TEXT),
    pod_spec=_POD_SPEC,
)
_ACTIONS = ("cancel_retries", "exclude_node")
_LOG_POLICY = {
    **section(
        "a log policy",
        None,
        name=TEXT,
        pattern=TEXT,
        action={"enum": [None, *_ACTIONS, *({"type": action} for action in _ACTIONS)]},
    ),
    "if": {"not": {"required": ["name"]}},
    "then": {"required": ["pattern", "action"], "title": "a log policy without a name", "properties": {}},
}
_PACHYDERM = section(
    "pachyderm",
    {
        "pachd": section("pachd", {"host": TEXT, "port": whole()}),
        "proxy": section("proxy", {"scheme": TEXT, "host": TEXT, "port": whole()}),
        "dataset": section("dataset", dict.fromkeys(("project", "repo", "commit", "branch", "token"), TEXT)),
    },
)
_WEBHOOKS = section("webhooks", None, webhook_id=list_of(whole()), webhook_name=list_of(TEXT), exclude=FLAG)
CLUSTER_SECTIONS = {
    "bind_mounts": list_of(_BIND_MOUNT),
    "environment": _ENVIRONMENT,
    "integrations": section("integrations", None, pachyderm=_PACHYDERM, webhooks=_WEBHOOKS),
    "log_policies": list_of(_LOG_POLICY),
    "pbs": section("pbs", None, slots_per_node=whole(1), pbsbatch_args=list_of(TEXT)),
    "preemption_timeout": whole(),
    "project": TEXT,
    "resources": _RESOURCES,
    "retention_policy": section("retention_policy", None, log_retention_days=whole(-1, 32767)),
    "security": section("security", None, kerberos=section("kerberos", {"config_file": TEXT})),
    "slurm": section("slurm", None, slots_per_node=whole(1), gpu_type=TEXT, sbatch_args=list_of(TEXT)),
    "tensorboard_storage": chosen("a storage for TensorBoard", "type", _OLD_STORAGES),
    "workspace": TEXT,
}

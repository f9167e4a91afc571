"""Determined's private parts that this project uses, all of them, checked when this module is imported.

0.38.1 is the last release, so they will not change. A version that lacks one of them is refused here, by name, instead of
failing in the middle of a training. Why each is needed: off a cluster the public interface knows no seed, no progress that
was made before, no folder to write to, and copies the working folder into every checkpoint.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import determined as det
from determined import core, pytorch, util
from determined.common import storage

from nas.runs.checkpoint_files import WEIGHTS, DamagedCheckpointError, check_whole

TESTED = "0.38.1"
LOCAL_TRIAL = 0
"""The id that Determined gives a trial without a master."""
OTHER_TRIAL = -1
"""The id of no trial: whoever loads the checkpoint of another trial takes its weights only, and begins anew."""

_NEEDED = {
    "determined.core": (
        *("Context", "DistributedContext", "DummyCheckpointContext", "DummyDistributedContext", "DummyPreemptContext"),
        *("DummyProfilerContext", "DummySearcherContext", "DummyTrainContext"),
    ),
    "determined.core.DummyTrainContext": ("_report_trial_metrics", "_get_last_validation"),
    "determined.core.CheckpointContext": ("restore_path",),
    "determined.core.TrainContext": ("_get_last_validation",),
    "determined.pytorch": ("PyTorchTrialContext", "_PyTorchTrialController"),
    "determined.util": ("write_user_code",),
    "determined.common.storage": ("SharedFSStorageManager",),
}
_SET_BY_INIT = {
    pytorch.PyTorchTrialContext: ("_core", "_epoch_len", "_exp_conf", "_trial_seed"),
    core.DummyPreemptContext: ("_dist",),
    core.TrainContext: ("_trial_id",),
    det.TrialInfo: ("_config",),
}


def missing_parts() -> list[str]:
    """What of the parts that are used here this installation of Determined does not have."""
    found = []
    for place, names in _NEEDED.items():
        try:
            owner: Any = importlib.import_module(place)
        except ImportError:
            module, _, name = place.rpartition(".")
            owner = getattr(importlib.import_module(module), name, None)
        found += [f"{place}.{name}" for name in names if not hasattr(owner, name)]
    for kind, names in _SET_BY_INIT.items():
        found += [f"{kind.__name__}.{name}" for name in names if name not in kind.__init__.__code__.co_names]
    return found


if _missing := missing_parts():
    raise ImportError(
        f"determined {getattr(det, '__version__', 'of unknown version')} lacks {', '.join(_missing)}, "
        f"which this project uses; install determined=={TESTED}"
    )

DummyDistributedContext = core.DummyDistributedContext
DummyPreemptContext = core.DummyPreemptContext
DummyTrainContext = core.DummyTrainContext


def trial_seed(context: pytorch.PyTorchTrialContext) -> int:
    """The seed that the master, or whoever made the context, gave the trial; 0 if nobody did."""
    return int(context._trial_seed or 0)


def epoch_length(context: pytorch.PyTorchTrialContext) -> int:
    """Batches of an epoch; 0 before the training loader is there."""
    return int(context._epoch_len or 0)


def train_context(context: pytorch.PyTorchTrialContext) -> Any:
    """Where metrics and metadata are reported to: `core.TrainContext`, or the folder of a run on this machine."""
    return context._core.train


def trial_id(context: pytorch.PyTorchTrialContext) -> int:
    """Of the trial on a cluster; 0 on this machine."""
    return int(getattr(context._core.train, "_trial_id", LOCAL_TRIAL))


def tensorboard_writer(context: pytorch.PyTorchTrialContext) -> Any:
    """The writer of TensorBoard files of a trial on a cluster; None on this machine, or where TensorBoard is not installed."""
    if trial_id(context) == LOCAL_TRIAL or importlib.util.find_spec("tensorboard") is None:
        return None
    return context.get_tensorboard_writer()


def write_progress(checkpoint: Path, state: Mapping[str, Any]) -> None:
    """What the Trainer notes of a trial beside its weights; see `nas.runs.checkpoint_files.read_progress`."""
    (checkpoint / "trial_state.pkl").write_bytes(pickle.dumps(dict(state)))


def last_validation(context: pytorch.PyTorchTrialContext) -> int | None:
    """Batches trained at the last validation that the master knows of."""
    batches: int | None = context._core.train._get_last_validation()
    return batches


def experiment_config(context: pytorch.PyTorchTrialContext) -> dict[str, Any]:
    """The experiment's config; empty if the context has none."""
    return dict(context._exp_conf or {})


def ask_about_trial(context: pytorch.PyTorchTrialContext, timeout: int) -> Any:
    """What the master knows of the trial (`GET /api/v1/trials/ID`), unread. Asks once; raises whatever goes wrong.

    The session is not among the parts that are checked at import: a trial that cannot ask trains all the same.

    Args:
        timeout: seconds to wait for an answer.
    """
    session = context._core._session.with_retry(0)
    return session.get(f"/api/v1/trials/{trial_id(context)}", timeout=timeout).json()


def leave_as_well_when(context: pytorch.PyTorchTrialContext, stopped: Callable[[], bool]) -> None:
    """Wherever the Trainer asks for preemption it leaves as well, on all processes, if `stopped()` is true.

    Only the first process calls `stopped`, and the others take over its answer, as they do with a preemption. The master
    is told nothing: to acknowledge a preemption would mean that the trial is to be started again.
    """
    preempt, distributed = context._core.preempt, context.distributed
    preempted = preempt.should_preempt

    def should_preempt(auto_ack: bool = True) -> bool:
        if preempted(auto_ack):  # on all processes alike
            return True
        return bool(distributed.broadcast(stopped() if distributed.rank == 0 else None))

    preempt.should_preempt = should_preempt


def load_plain(checkpoints: Any, instead: str = "") -> None:
    """Have a checkpoint checked before the Trainer loads it, and its weights loaded as tensors and plain types.

    The Trainer unpickles what lies beside the weights, and before torch 2.6 the weights too: that would run whatever somebody
    put there. The first check is of digests, the second of `trial_state.pkl`, which must hold whole numbers only.

    Args:
        checkpoints: `core.CheckpointContext`; what it restores raises DamagedCheckpointError if it is not what was written.
        instead: what to do then.
    """
    restore = checkpoints.restore_path

    @contextmanager
    def restore_path(*arguments: Any, **options: Any) -> Iterator[Path]:
        with restore(*arguments, **options) as path, _environment(TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):
            check_whole(Path(path), instead)
            try:
                yield path
            except pickle.UnpicklingError as error:
                what = f"checkpoint {path} is not loaded: {WEIGHTS} holds more than tensors and plain values"
                raise DamagedCheckpointError(what) from error

    checkpoints.restore_path = restore_path


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def load_plain_on(context: pytorch.PyTorchTrialContext, instead: str) -> None:
    """`load_plain` for a trial on a cluster."""
    load_plain(context._core.checkpoint, instead)


def config_of(info: det.ClusterInfo) -> dict[str, Any]:
    """The experiment's config on a cluster, which alone says `searcher.max_time`."""
    config: dict[str, Any] = info.trial._config
    return config


def local_core_context(
    distributed: core.DistributedContext,
    checkpoints: str,
    preempt: core.DummyPreemptContext,
    train: core.DummyTrainContext,
) -> core.Context:
    """A core context without a master, that keeps checkpoints in a folder."""
    checkpoint = core.DummyCheckpointContext(distributed, storage.SharedFSStorageManager(checkpoints))
    load_plain(checkpoint)
    return core.Context(
        checkpoint=checkpoint,
        distributed=distributed,
        preempt=preempt,
        train=train,
        searcher=core.DummySearcherContext(distributed),
        profiler=core.DummyProfilerContext(),
    )


def trial_context(
    core_context: core.Context,
    *,
    seed: int,
    hparams: dict[str, Any],
    config: dict[str, Any],
    gpus: int,
    batches: int,
) -> pytorch.PyTorchTrialContext:
    """What `pytorch.init` makes, with a seed and a start of our choice."""
    return pytorch.PyTorchTrialContext(
        core_context=core_context,
        trial_seed=seed,
        hparams=hparams,
        slots_per_trial=core_context.distributed.size,
        num_gpus=gpus,
        exp_conf=config,
        aggregation_frequency=1,
        steps_completed=batches,
        managed_training=True,
        debug_enabled=False,
        enable_tensorboard_logging=False,
    )


def fit(
    trial: pytorch.PyTorchTrial,
    context: pytorch.PyTorchTrialContext,
    *,
    reporting: Any,
    length: tuple[str, int],
    batches: int,
    checkpoint: str | None,
) -> None:
    """`pytorch.Trainer.fit` with what it does not let us say off a cluster: how many batches are done already.

    Args:
        reporting: a container of the batches after which training metrics are reported.
        length: ("epochs" or "batches", how many).
        batches: those trained before.
        checkpoint: id of the one to go on from.
    """
    unit, count = length
    controller = pytorch._PyTorchTrialController(
        trial_inst=trial,
        context=context,
        checkpoint_period=pytorch.Epoch(1),
        validation_period=pytorch.Epoch(1),
        reporting_period=pytorch.Batch(reporting),
        max_length=pytorch.Epoch(count) if unit == "epochs" else pytorch.Batch(count),
        smaller_is_better=True,
        steps_completed=batches,
        latest_checkpoint=checkpoint,
        local_training=True,
        test_mode=False,
        searcher_metric_name=None,
        checkpoint_policy="none",
        step_zero_validation=False,
        global_batch_size=None,
        profiling_enabled=False,
    )
    with _without_copies_of_the_code():
        controller.run()


@contextmanager
def _without_copies_of_the_code() -> Iterator[None]:
    """Off a cluster Determined copies the working folder, whatever that is, into every checkpoint; not within this block."""
    original = util.write_user_code
    util.write_user_code = lambda path, on_cluster: None
    try:
        yield
    finally:
        util.write_user_code = original

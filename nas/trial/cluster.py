"""A trial of a Determined experiment, in its container on a cluster."""

from __future__ import annotations

import importlib.util
import logging
from functools import partial
from typing import Any

import determined as det
from determined import pytorch
from determined.common.api.errors import BadRequestException

from nas.config import load as configs
from nas.core.errors import ConfigError, DataError
from nas.core.identity import MismatchError
from nas.trial import determined_private as private
from nas.trial import local, user_errors
from nas.trial.base import Trial
from nas.trial.bookkeeping import check_same_everywhere
from nas.trial.metadata import metadata
from nas.trial.picture import CellPicture
from nas.trial.searcher_stop import TIMEOUT, SearcherStop, can_stop

logger = logging.getLogger(__name__)
INSTEAD = "start a new experiment, which may begin with the weights of an older one (searcher.source_checkpoint_uuid)"
"""What to do if the checkpoint that the master names is damaged."""


def on_cluster(trial_class: type[Trial], info: det.ClusterInfo) -> int:
    """A trial of a Determined experiment; returns the exit status.

    Hyperparameters that make no sense are reported as invalid, without a restart. What is wrong with a config or its data is
    said in a sentence, see `user_errors`.
    """
    logging.basicConfig(level=logging.INFO, format=det.LOG_FORMAT)
    config = private.config_of(info)
    try:
        _train(trial_class, config, info)
    except (ConfigError, DataError, OSError, RuntimeError, MemoryError) as error:
        if lines := user_errors.sentences(error, config):
            return user_errors.fail(lines)
        raise
    return 0


def _train(trial_class: type[Trial], config: dict[str, Any], info: det.ClusterInfo) -> None:
    hparams = info.trial.hparams
    problem, length = None, ("epochs", 0)
    try:
        length = configs.check(trial_class, config, hparams, local.processes())
    except ConfigError as error:
        problem = error
    tensorboard = importlib.util.find_spec("tensorboard") is not None
    with pytorch.init(hparams={} if problem else hparams, enable_tensorboard_logging=tensorboard) as context:
        try:
            if problem:
                raise problem
            _fit_on_cluster(trial_class, context, length, info)
        except ConfigError as error:
            if user_errors.no_trial_can_work(config):
                raise
            if context.distributed.rank == 0:
                what = "refused" if isinstance(error, MismatchError) else "invalid hyperparameters"
                for line in error.problems:
                    logger.error("%s: %s", what, line)
            raise det.InvalidHP(str(error)) from error


def _fit_on_cluster(
    trial_class: type[Trial], context: pytorch.PyTorchTrialContext, length: tuple[str, int], info: det.ClusterInfo
) -> None:
    trial = trial_class(context)
    trial.length = length
    check_same_everywhere(trial)
    if trial.rank == 0:
        for name, value in trial.describe().items():
            logger.info("%-12s %s", name, value)
        trial.publish = partial(_publish, context, trial, CellPicture(trial))
        trial.publish()
    private.load_plain_on(context, INSTEAD)
    if can_stop(private.experiment_config(context)):
        question = partial(private.ask_about_trial, context, TIMEOUT)
        private.leave_as_well_when(context, SearcherStop(trial, question))
    unit, count = length
    pytorch.Trainer(trial, context).fit(
        max_length=pytorch.Epoch(count) if unit == "epochs" else pytorch.Batch(count),
        validation_period=pytorch.Epoch(1),
        checkpoint_period=pytorch.Epoch(1),
        checkpoint_policy="best" if trial.validates else "none",
        latest_checkpoint=info.latest_checkpoint,
    )
    if trial.finished:  # fit() also returns after a pause, a preemption or a stop by the searcher
        trial.conclude()


def _publish(context: pytorch.PyTorchTrialContext, trial: Trial, picture: CellPicture) -> None:
    """Show the architecture in the web UI."""
    picture()
    try:
        private.train_context(context).set_metadata(metadata(trial))
    except BadRequestException as error:  # the log has it too; no reason to lose a training
        logger.warning("the master took no metadata: %s", error)

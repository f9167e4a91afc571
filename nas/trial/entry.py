"""The command line of a trial, and the choice between this machine and a cluster.

python3 model_def.py --config train_one_arch.yaml                       here, one process
torchrun --nproc-per-node 2 model_def.py --config train_one_arch.yaml   here, two processes
python3 model_def.py --resume experiments/train_one_arch-1              go on with a run
python3 model_def.py --resume checkpoints/UUID                          go on from a checkpoint of a cluster, in a new run
python3 model_def.py --config X.yaml --warm-start checkpoints/UUID      begin with its weights
python3 model_def.py --score checkpoints/UUID                           what it scores
det experiment create train_one_arch.yaml .                             a cluster; the same file, no arguments
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import determined as det
import torch
from determined import core, pytorch

from nas.config import load as configs
from nas.config.search_space import trial_sampler
from nas.core.errors import ConfigError, DataError
from nas.core.host import refuse_windows
from nas.core.identity import MismatchError
from nas.runs.run_folder import FolderBusyError, RunFolder, new_run, versions
from nas.runs.writing import UnwritableFolderError
from nas.trial import cluster, local, threads
from nas.trial.base import Trial
from nas.trial.checkpoints import Checkpoint, begin_from, choose_start, open_run, score, settings_of
from nas.trial.command import build_parser
from nas.trial.engine_client import EngineClient
from nas.trial.log_file import LogFile
from nas.trial.progress import TOLD, describe, quiet_libraries
from nas.trial.user_errors import out_of_memory

logger = logging.getLogger(__name__)
ORPHANS_LEAVE = 60.0
"""Seconds after which a trial whose engine was killed has left its folder."""


def main(trial: str, argv: Sequence[str] | None = None) -> int:
    """Run the trial class named as "module:Class"; returns the exit status (2: a config or data that cannot work)."""
    module, _, name = trial.partition(":")
    trial_class: type[Trial] = getattr(importlib.import_module(module), name)
    info = det.get_cluster_info()
    if info is not None and info.task_type == "TRIAL":
        return cluster.on_cluster(trial_class, info)
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger().handlers[0].addFilter(lambda record: record.name != TOLD.name)
    quiet_libraries()
    engine = None
    try:
        refuse_windows()
        if arguments.engine and os.environ.get("RANK", "0") == "0":
            engine = EngineClient(arguments.engine, _number(arguments.resume))
        return on_this_machine(trial_class, arguments, engine)
    except MismatchError as error:
        errors, outcome = error.problems, "changed"
    except ConfigError as error:
        errors, outcome = error.problems, "error" if isinstance(error, FolderBusyError) else "invalid"
    except (DataError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        errors, outcome = [str(error)], "disk" if full else "data" if isinstance(error, DataError) else "error"
    except (RuntimeError, MemoryError) as error:
        if (sentence := out_of_memory(error)) is None:
            raise
        errors, outcome = [sentence], "error"
    except KeyboardInterrupt:
        print("left at once; the latest checkpoint is the last one that was announced", file=sys.stderr)
        return 130
    print(*(f"error: {each}" for each in errors), sep="\n", file=sys.stderr)
    if engine is not None:
        engine.ended(outcome, errors)
    return 2


def on_this_machine(trial_class: type[Trial], arguments: argparse.Namespace, engine: EngineClient | None) -> int:
    """One trial without a master. Returns 0 when it is complete or stopped on demand."""
    if (count := threads.asked_for(arguments.threads, {})) is not None:
        torch.set_num_threads(count)
    device = local.choose_device(arguments.device)
    distributed = local.join(device)
    try:
        return _run_here(trial_class, arguments, device, distributed, engine)
    finally:
        distributed.close()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _run_here(
    trial_class: type[Trial],
    arguments: argparse.Namespace,
    device: torch.device,
    distributed: core.DistributedContext,
    engine: EngineClient | None,
) -> int:
    checkpoint = _checkpoint(arguments)
    folder, config, hparams, seed, notes = _open_or_plan(arguments, checkpoint)
    plan = local.TrialPlan(config, hparams, seed, configs.check(trial_class, config, hparams, distributed.size))
    if arguments.score and checkpoint is not None:
        _say(distributed, score(trial_class, checkpoint, plan, device, distributed))
        return 0
    with ExitStack() as stack:
        new = folder is None
        if distributed.rank == 0:
            folder = folder or _new_folder(arguments, config, hparams, seed)
            if checkpoint is not None:
                begin_from(folder, checkpoint, warm=bool(arguments.warm_start))
            stack.enter_context(folder.held(wait=ORPHANS_LEAVE if engine else 0))
            notes += choose_start(folder, config, engine)
        folder = distributed.broadcast(folder)
        if folder.run.get("status") == "completed":
            _say(distributed, f"{folder.path} is complete; nothing to do")
            if engine is not None:
                engine.ended("completed")
            return 0
        if distributed.rank == 0 and engine is None:  # the engine sends all output to that file
            stack.enter_context(LogFile(folder.path / "log.txt"))
        for note in notes:
            _say(distributed, note)
        try:
            return _train(trial_class, arguments, folder, plan, device, distributed, engine)
        except MismatchError:  # a run that there was stays as it is
            if new and distributed.rank == 0:
                folder.discard()
            raise


def _choose_threads(
    trial_class: type[Trial],
    arguments: argparse.Namespace,
    folder: RunFolder,
    plan: local.TrialPlan,
    device: torch.device,
    distributed: core.DistributedContext,
    engine: EngineClient | None,
) -> None:
    """Settle how many threads the run has; it keeps them, for with another number the last digits would be others."""
    count = threads.asked_for(arguments.threads, folder.run)
    if count is None:
        most = threads.most_of(arguments.threads_at_most)
        count = threads.choose(trial_class, plan, device, distributed, most)
        if count != most:
            _say(distributed, f"{'threads':<12} {count}, for {most} are hardly faster here; --threads N says otherwise")
        if engine is not None:
            engine.threads(count)
    torch.set_num_threads(count)


def _number(folder: str | None) -> int:
    """Of the trial that `nas run` has started in that folder."""
    name = Path(folder or "").name
    if not name.isdecimal():
        raise ConfigError(["--engine is said by nas run only; leave it out"])
    return int(name)


def _checkpoint(arguments: argparse.Namespace) -> Checkpoint | None:
    """The checkpoint that the command line names, if it does. Raises ConfigError if that is none."""
    if arguments.warm_start and not arguments.config:
        raise ConfigError(["--warm-start gives weights to a new run; say with --config which"])
    named = arguments.score or arguments.warm_start
    if not named and arguments.resume and Checkpoint.there(Path(arguments.resume)):
        named = arguments.resume
    return Checkpoint.read(Path(named)) if named else None


def _new_folder(arguments: argparse.Namespace, config: dict[str, Any], hparams: dict[str, Any], seed: int) -> RunFolder:
    name = configs.file_name(config, Path(arguments.config or arguments.resume).stem)
    return RunFolder.create(Path(arguments.experiments), name, config, new_run(hparams, seed, versions()))


def _open_or_plan(
    arguments: argparse.Namespace, checkpoint: Checkpoint | None
) -> tuple[RunFolder | None, dict[str, Any], dict[str, Any], int, list[str]]:
    """The run to go on with, or config, hyperparameters and seed of a new one, and what the user should know of it."""
    if checkpoint is not None and not arguments.config:
        return None, *settings_of(checkpoint, arguments.set, arguments.seed), []
    if arguments.resume and arguments.set:
        raise ConfigError(["--set changes a new run; a resumed one keeps the config that it began with"])
    if arguments.resume:
        folder, config = open_run(Path(arguments.resume))
        if "sampler" in folder.run:
            raise ConfigError([f"{folder.path} is a whole experiment; go on with it by nas run --resume {folder.path}"])
        if missing := [name for name in ("hyperparameters", "seed") if folder.run.get(name) is None]:
            raise ConfigError([f"{folder.path} is not the folder of a run: run.json lacks {missing[0]}"])
        return folder, config, folder.run["hyperparameters"], int(folder.run["seed"]), []
    config = configs.override(configs.load(Path(arguments.config)), arguments.set)
    configs.check_sections(config)
    config = configs.with_absolute_folders(config)
    first = trial_sampler(config, configs.experiment_seed(config)).next_trial()
    notes = [
        f"{name} = {value}, drawn for this one trial; the config searches over it"
        for name, value in first.chosen.items()
    ]
    return None, config, first.hparams, first.seed if arguments.seed is None else arguments.seed, notes


def _train(
    trial_class: type[Trial],
    arguments: argparse.Namespace,
    folder: RunFolder,
    plan: local.TrialPlan,
    device: torch.device,
    distributed: core.DistributedContext,
    engine: EngineClient | None,
) -> int:
    def build(context: pytorch.PyTorchTrialContext) -> Trial:
        trial = trial_class(context)
        _say(distributed, f"run folder   {folder.path}\ndevice       {device}, {distributed.size} process(es)")
        _say(distributed, "\n".join(f"{name:<12} {value}" for name, value in trial.describe().items()))
        return trial

    chief = distributed.rank == 0
    try:
        _choose_threads(trial_class, arguments, folder, plan, device, distributed, engine)
        trial = local.train(build, plan, device, distributed, folder, engine)
    except MismatchError:
        raise
    except BaseException as error:
        if chief:
            with suppress(OSError):  # of a disk that is full, or a folder that is gone
                folder.save(status="failed")
        if chief and engine is None:
            folder.discard()
        if isinstance(error, UnwritableFolderError) and engine is None:
            error.args = (f"{error}, then go on with: {_go_on(folder)}",)
        raise
    if not chief:
        return 0
    outcome = "diverged" if trial.diverged else "completed" if trial.finished else "stopped"
    folder.save(status="pruned" if outcome == "stopped" and engine and engine.stopped else outcome)
    _say(distributed, _last_word(outcome, folder, trial, engine))
    if engine is not None:
        engine.ended(outcome)
    return 1 if outcome == "diverged" else 0


def _last_word(outcome: str, folder: RunFolder, trial: Trial, engine: EngineClient | None) -> str:
    if outcome == "completed":
        return _closing(folder)
    if outcome == "diverged":
        return f"diverged after {trial.batches_trained} batches; {folder.path} has what happened until then"
    if engine and engine.stopped:
        return f"stopped by the searcher after {trial.batches_trained} batches"
    return f"stopped after {trial.batches_trained} batches; go on with: {_go_on(folder)}"


def _go_on(folder: RunFolder) -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    script = f"-m {spec.name}" if spec else shlex.quote(sys.argv[0])
    return f"python3 {script} --resume {shlex.quote(str(folder.path))}"


def _closing(folder: RunFolder) -> str:
    """What a completed run came to: the last validation, the best one, the test, and where to look."""
    validations = folder.metrics("validation")
    best = folder.run["best"] or {}
    last = validations[-1:]
    lines = [f"valid        {describe(each) or 'nothing held out'} after epoch {each['epochs']}" for each in last]
    if best and last and best["batches"] != validations[-1]["step"]:
        better = next(record for record in validations if record["step"] == best["batches"])
        lines.append(f"best valid   {describe(better)} after epoch {better['epochs']}")
    lines += [f"test         {describe(record)}" for record in folder.metrics("test")]
    lines.append(f"results      {folder.path} (metrics.jsonl, genotype.json, run.json, checkpoints)")
    return "\n".join(lines)


def _say(distributed: core.DistributedContext, text: str) -> None:
    if distributed.rank == 0:
        print(text, flush=True)
        TOLD.info(text)

"""One session of an experiment: a search that runs on this machine, or goes on, until it ends or is interrupted."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from nas.config.entrypoint import Entrypoint, processes_of
from nas.core.errors import ConfigError
from nas.core.host import free_memory, threads_of_environment
from nas.core.wording import plural
from nas.engine.console import ConsoleReporter
from nas.engine.engine import Engine
from nas.engine.placement import Placement, placements
from nas.engine.preflight import Findings
from nas.engine.study_store import StudyStore
from nas.engine.workers import WorkerPool
from nas.runs.run_folder import RunFolder


def run_session(
    config: dict[str, Any],
    folder: RunFolder,
    store: StudyStore,
    program: Entrypoint,
    findings: Findings,
    workers: int | None,
    threads: int | None,
    console: Console,
) -> bool:
    """Train the trials that there are to train; returns whether all have ended, which they have not after Ctrl-C.

    Args:
        config: the experiment's.
        folder: the experiment's.
        store: its study.
        program: what a trial runs.
        findings: of the preflight.
        workers: trials at once, if the user says so.
        threads: CPU threads of each, if the user says so.
        console: where events are shown.

    Raises:
        ConfigError: see `Engine.run`; or a trial needs more GPUs than there are.
    """
    slots = processes_of(config, program)
    threads = threads or folder.run.get("threads") or threads_of_environment()
    chosen = _placements(slots, store, findings, workers, threads)
    reporter = ConsoleReporter(console, folder.path / "log.txt", findings.unit, findings.length)
    each = plural(chosen[0].threads, "thread") + ("" if chosen[0].settled else " at most")
    reporter.say(f"experiment   {folder.path}")
    reporter.say(f"searcher     {store.searcher.name} on {store.metric}, {plural(store.searcher.trials, 'trial')}")
    reporter.say(f"at once      {len(chosen)} on {findings.device}, {each} each" + _memory(findings, len(chosen)))
    pool = WorkerPool(program, slots)
    with reporter:
        return Engine(config, folder.path, store, pool, chosen, reporter, folder.run["versions"], folder.save).run()


def _placements(
    slots: int, store: StudyStore, findings: Findings, workers: int | None, threads: int | None
) -> list[Placement]:
    if findings.device == "cuda" and slots > len(findings.gpus):
        what = f"resources.slots_per_trial is {slots}, but this machine shows {len(findings.gpus)} GPUs"
        raise ConfigError([f"{what}; --config resources.slots_per_trial={len(findings.gpus)}, or --device cpu"])
    return placements(findings.device, findings.gpus, slots, workers, store.searcher.initial, threads)


def _memory(findings: Findings, at_once: int) -> str:
    if findings.memory is None:
        return ""
    text = f", about {findings.memory * at_once / 1e6:,.0f} MB together for training"
    free = free_memory()
    if findings.device == "cpu" and free is not None and findings.memory * at_once > free:
        text += f" (WARNING: {free / 1e6:,.0f} MB are free; fewer --workers or a smaller global_batch_size)"
    return text

"""What the local engine costs. From the root of the repository:

    python -m benchmarks.local_engine [--rounds 7] [--trials 100 20000]

Three things: from the decision to start a trial to its first batch, as the engine does it (forked from a process that has
imported torch) against a plain `python3 model_def.py` in the same rounds; the time from a reported epoch to the answer, in
a study of so many trials; and the peak memory of the engine's own process over a whole search.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.start import first_batch
from nas.config import load as configs
from nas.config.entrypoint import resolve
from nas.config.search_space import trial_sampler
from nas.engine.placement import Placement
from nas.engine.rebuilding import BegunTrial
from nas.engine.study_store import StudyStore
from nas.engine.workers import WorkerPool, warm_up
from nas.runs.run_folder import RunFolder, versions

ROOT = Path(__file__).resolve().parent.parent
AT_WORK = 10
"""Trials that report while they are timed."""
SMALL = ("emsize=8", "nhid=8", "nhidlast=8", "global_batch_size=256", "eval_batch_size=256")
PLACEMENT = Placement("CPU", "cpu", (), 1)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description="Overhead of the local engine.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000], help="of the studies; e.g. 100 20000")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {versions()}")
    with tempfile.TemporaryDirectory() as place:
        _starts(Path(place), arguments.rounds)
        for count in arguments.trials:
            _answers(Path(place), count)
        _memory(Path(place))


def small_config() -> dict[str, Any]:
    """The quickstart with networks of next to no size."""
    overrides = [f"hyperparameters.{each}" for each in SMALL]
    return configs.override(configs.load(ROOT / "quickstart.yaml"), overrides)


def _starts(place: Path, rounds: int) -> None:
    """Seconds from the start of a trial to its first batch, by the engine and plainly, in alternation."""
    config = small_config()
    warm_up(ROOT, "model_def")
    pool = WorkerPool(resolve("python3 model_def.py"), 1)
    draws = trial_sampler(config, 1)
    engine: list[float] = []
    plain: list[float] = []
    for i in range(rounds + 1):
        for found, start in ((engine, _by_engine(pool)), (plain, _plainly())):
            draw = draws.next_trial()
            path = place / f"{'engine' if found is engine else 'plain'}" / str(i)
            path.mkdir(parents=True)
            RunFolder.fill(path, config, {"hyperparameters": draw.hparams, "seed": draw.seed, "status": "new"})
            found.append(start(i, path))
    pool.close()
    ratios = [b / a for a, b in zip(engine[1:], plain[1:], strict=True)]
    print(f"start to first batch, s: engine {_spread(engine[1:])} (the first trial of a search {engine[0]:.2f})")
    print(f"                         plain python3 model_def.py {_spread(plain[1:])}: {_spread(ratios)} times as long")


def _by_engine(pool: WorkerPool) -> Any:
    def start(number: int, path: Path) -> float:
        began = time.perf_counter()
        pool.start(number, path, PLACEMENT)
        while pool.messages.get(timeout=120)[1]["say"] != "progress":
            pass
        taken = time.perf_counter() - began
        pool.signal(number, 9)  # type: ignore[arg-type]
        while pool.messages.get(timeout=120)[1]["say"] != "exit":
            pass
        return taken

    return start


def _plainly() -> Any:
    return lambda number, path: first_batch([str(ROOT / "model_def.py")], path, ["--threads", "1"])


def _answers(place: Path, count: int) -> None:
    """Milliseconds from a reported validation to the answer in a study of so many trials, SQLite's commits included.

    Beside it, in the same rounds: what one write of Optuna's takes in the same study, and how long opening it takes.
    """
    config = configs.override(small_config(), [f"searcher.max_trials={count}", "searcher.max_time=300"])
    url = f"sqlite:///{place / f'{count}.db'}"
    store = StudyStore(url, "benchmark", config, 1)
    draws = trial_sampler(config, 1)
    for number in range(count - AT_WORK):
        draw, values = draws.next_trial(), {1: 50 + (number * 7919) % 1000 / 10}
        store.create_begun(BegunTrial(number, draw.hparams, draw.seed, 0, values, "pruned", {}), 0)
    began = time.perf_counter()
    store = StudyStore(url, "benchmark", config, 1)
    opened = time.perf_counter() - began
    numbers = [store.create(0).number for _ in range(AT_WORK)]
    answers, writes = list[float](), list[float]()
    for number in numbers:
        store.started(number)
        trial = store.trial(number)
        for epoch in (1, 2, 3, 4, 5):
            began = time.perf_counter()
            stop = store.validated(number, epoch, 10 - number / count)
            new = store.create_missing_trials() if stop else []
            answers.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            store.storage.set_trial_user_attr(trial._trial_id, f"plain {epoch}", epoch)
            writes.append(1000 * (time.perf_counter() - began))
            assert not new
    ratios = [answer / write for answer, write in zip(answers, writes, strict=True)]
    print(
        f"epoch to answer, ms: {_spread(answers)} in a search of {count} trials, {_spread(ratios)} times one plain write;"
        f" opened in {1000 * opened / count:.2f} ms a trial"
    )


def _memory(place: Path) -> None:
    """Peak resident memory of the engine's process, megabytes, while it runs four small trials and to its end."""
    overrides = [f"hyperparameters.{each}" for each in SMALL] + ["searcher.max_trials=4", "searcher.max_time=4"]
    sets = [word for each in overrides for word in ("--config", each)]
    command = [sys.executable, "-m", "nas", "run", str(ROOT / "quickstart.yaml"), "--experiments", str(place)]
    process = subprocess.Popen([*command, *sets], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except OSError:
            print("memory: not measured; this system has no /proc")
            process.wait()
            return
        found = re.search(r"VmHWM:\s+(\d+)", status)
        peak = max(peak, int(found.group(1)) if found else 0)
        time.sleep(0.02)
    print(f"peak memory of the engine: {peak / 1024:.0f} MB (exit status {process.returncode})")


def _spread(values: list[float]) -> str:
    """Median and range of the middle half."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [*values] * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()

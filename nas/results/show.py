"""What `nas show` says of an experiment or of one of its trials, whatever state it is in."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from nas.core.wording import plural
from nas.results.experiment import ExperimentResult, TrialResult, device_seconds
from nas.results.leaderboard import LeaderboardRow, full_table, leaderboard_rows, trial_of
from nas.results.quantities import age, duration, short_count, value_text
from nas.results.summary import drawing, for_budgets, outcomes, scores_on_test
from nas.runs.run_folder import RunFolder
from nas.runs.study_schema import FAILURES

_FAILED_SHOWN = 3  # trials whose errors are printed


def print_experiment(console: Console, experiment: ExperimentResult, top: int) -> None:
    """Print how it was made, how its trials ended, the leaderboard, the best architecture, and how to go on."""
    rows = leaderboard_rows(experiment)
    _say(console, *_made(experiment), "", outcomes(experiment))
    if rows:
        console.print(full_table(experiment, rows[:top], console.width))
        if len(rows) > top:
            _say(console, f"{len(rows) - top} more; --top {len(rows)} shows all")
    else:
        _say(console, "no trial has a validation that measured anything yet")
    best = trial_of(experiment, rows[0].trial) if rows else None
    if best is not None:
        if lines := drawing(experiment, best):
            _say(console, "", f"best: trial {best.number}", *lines)
        _say(console, *scores_on_test(best))
    _say(console, *_errors(experiment.trials), "", *_next(experiment, best))


def print_trial(console: Console, experiment: ExperimentResult, number: int) -> None:
    """Print a trial's hyperparameters, metrics, architecture and checkpoint. Raises ConfigError if there is no such trial."""
    trial = trial_of(experiment, number)
    row = next((row for row in leaderboard_rows(experiment) if row.trial == number), None)
    _say(
        console,
        _line("trial", f"{number} of {experiment.name}" + (f", {trial.folder}" if trial.folder else "")),
        _line("ended", trial.outcome or "not yet"),
        *_scores(experiment, row),
        *_cost(experiment, trial),
        _line("seed", "not known" if trial.seed is None else str(trial.seed)),
    )
    _say(console, "", "hyperparameters", *_nested(trial.hyperparameters, set(trial.chosen)))
    if trial.curves.get("validation"):
        _say(console, "", "last values", *_last_values(trial))
    if lines := drawing(experiment, trial) or ([trial.architecture] if trial.architecture else []):
        _say(console, "", "architecture", *lines)
    _say(console, *scores_on_test(trial), *_errors([trial]))
    if trial.checkpoint:
        place = f"{trial.folder}/checkpoints/{trial.checkpoint}" if trial.folder else trial.checkpoint
        _say(console, _line("checkpoint", place))


def _made(experiment: ExperimentResult) -> Iterator[str]:
    config = experiment.config
    searcher = config.get("searcher") or {}
    yield _line("experiment", f"{experiment.name}  {experiment.reference}")
    yield _line("status", _status(experiment))
    direction = "smaller" if experiment.smaller_is_better else "larger"
    sampler = f", hyperparameters by {experiment.sampler}" if experiment.sampler else ""
    yield _line("searcher", f"{searcher.get('name')} on {experiment.metric} ({direction} is better){sampler}")
    made = [f"{name} {version}" for name, version in experiment.versions.items() if version]
    if made:
        yield _line("versions", ", ".join(made))
    devices = sorted({trial.device for trial in experiment.trials if trial.device})
    if devices:
        each = f", {experiment.processes} for each trial" if experiment.processes > 1 else ""
        yield _line("device", ", ".join(devices) + each)
    seed = (config.get("reproducibility") or {}).get("experiment_seed")
    if searcher.get("name") == "single" and len(experiment.trials) == 1:
        seed = experiment.trials[0].seed
    yield _line("seed", "not known" if seed is None else str(seed))
    if experiment.created is not None:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(experiment.created))
        yield _line("begun", f"{when} ({age(time.time() - experiment.created)} ago)")
    spent = [device_seconds(experiment, trial) for trial in experiment.trials]
    known = [seconds for seconds in spent if seconds is not None]
    if known:
        lacking = (
            f" (of {plural(len(known), 'trial')}; of the others it is not known)" if len(known) < len(spent) else ""
        )
        yield _line("device time", duration(math.fsum(known)) + lacking)


def _status(experiment: ExperimentResult) -> str:
    if experiment.status == "running" and not _is_held(experiment):
        return "interrupted: it says that it is running, but no process works on it"
    if experiment.trials and all(trial.outcome in FAILURES for trial in experiment.trials):
        return f"{experiment.status}: all trials failed"
    return experiment.status or "unknown"


def _is_held(experiment: ExperimentResult) -> bool:
    """Whether a process works on it, as far as can be known: of one on a cluster its status says so."""
    return experiment.source != "local" or RunFolder(Path(experiment.folder), {}).is_held()


def _scores(experiment: ExperimentResult, row: LeaderboardRow | None) -> Iterator[str]:
    if row is None:
        yield _line(experiment.metric, "no validation that measured anything")
        return
    unit = experiment.time_metric
    last = "not finite" if row.last is None else value_text(row.last)
    yield _line(experiment.metric, f"{row.best:.6g} at {row.best_time:g} {unit}; last {last} at {row.time:g} {unit}")
    same = "" if row.same_as is None else f"; the same architecture as trial {row.same_as}"
    yield _line("rank", f"{row.rank}{same}")


def _cost(experiment: ExperimentResult, trial: TrialResult) -> Iterator[str]:
    size = [f"{short_count(trial.parameters)} parameters" if trial.parameters is not None else ""]
    size.append(f"{short_count(trial.macs)} MACs" if trial.macs is not None else "")
    if any(size):
        yield _line("size", ", ".join(filter(None, size)))
    if trial.seconds is not None:
        on = f" on {trial.device}" if trial.device else ""
        several = f", {duration(device_seconds(experiment, trial))} of devices" if experiment.processes > 1 else ""
        yield _line("time", f"{duration(trial.seconds)}{on}{several}")


def _nested(values: Mapping[str, object], chosen: set[str], section: str = "") -> Iterator[str]:
    for name, value in values.items():
        full = f"{section}{name}"
        if isinstance(value, Mapping) and value and full not in chosen:
            yield from _nested(value, chosen, f"{full}.")
        else:
            yield f"  {full:<28} {value}{'   (chosen by the searcher)' if full in chosen else ''}"


def _last_values(trial: TrialResult) -> Iterator[str]:
    for group, metrics in trial.curves.items():
        for name, points in metrics.items():
            yield f"  {group} {name:<28} {value_text(points[-1][1])}"


def _errors(trials: Iterable[TrialResult]) -> Iterator[str]:
    failed = [trial for trial in trials if trial.errors]
    for trial in failed[:_FAILED_SHOWN]:
        for error in trial.errors:
            yield f"trial {trial.number} failed: {error}"
    if len(failed) > _FAILED_SHOWN:
        yield f"and {plural(len(failed) - _FAILED_SHOWN, 'more failed trial')}; --trial N shows the errors of each"


def _next(experiment: ExperimentResult, best: TrialResult | None) -> Iterator[str]:
    """Commands that make sense now."""
    reference = shlex.quote(experiment.reference)
    if experiment.storage and experiment.status != "completed" and not _is_held(experiment):
        yield _line("go on", f"nas run --resume {reference}")
    retrain = Path(experiment.folder) / "best.yaml"
    if experiment.source == "local" and retrain.is_file():
        yield _line("retrain", f"nas run {shlex.quote(str(retrain))}")
    if best is not None:
        yield _line("report", f"nas report {reference}")
        if best.genotype is not None:
            yield _line("export", f"nas export {reference}")
        yield from for_budgets(experiment, best)


def _line(name: str, text: str) -> str:
    return f"{name:<12} {text}"


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

"""What a search came to: the best trials, the best architecture as a drawing, learning curves, and what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from rich.console import Console

from nas.config.yaml_text import dump
from nas.core.budget import MEASURES
from nas.core.files import write_atomically
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.core.wording import plural
from nas.results import curves
from nas.results.curve_data import Curve
from nas.results.experiment import UNREADABLE, ExperimentResult, TrialResult
from nas.results.leaderboard import leaderboard, table
from nas.results.quantities import value_text
from nas.results.repeats import repeats_table
from nas.results.retraining import retraining

SHOWN = 5
"""Trials of the leaderboard."""


def print_summary(console: Console, experiment: ExperimentResult) -> None:
    """Print the result of an experiment; leaves `curves.png` in its folder, and after a search `best.yaml`."""

    def say(*lines: str) -> None:
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    folder = Path(experiment.folder)
    say(outcomes(experiment))
    leaders = leaderboard(experiment)
    best = next(iter([*leaders, *experiment.trials]), None)
    if best is None or not Path(best.folder).is_dir():
        return
    if leaders:
        console.print(repeats_table(experiment) or table(experiment, leaders[:SHOWN], console.width))
    say(*drawing(experiment, best), *scores_on_test(best))
    if leaders and draw_curves(experiment, folder / "curves.png"):
        say(f"{'curves':<12} {folder / 'curves.png'}")
    say(f"{'trials':<12} {folder / 'trials'}")
    config = retraining(experiment, best) if leaders else None
    if config is not None:
        write_atomically(folder / "best.yaml", dump(config).encode())
        say(f"{'retrain':<12} nas run {shlex.quote(str(folder / 'best.yaml'))}", *for_budgets(experiment, best))
    say(f"{'dashboard':<12} optuna-dashboard {shlex.quote(experiment.storage)}")


def outcomes(experiment: ExperimentResult) -> str:
    """How the trials ended, in a line."""
    counts = Counter(trial.outcome for trial in experiment.trials)
    words = {
        "pruned": "stopped early",
        "invalid": "with invalid hyperparameters",
        "error": "failed",
        "": "not finished",
    }
    parts = ", ".join(f"{count} {words.get(outcome, outcome)}" for outcome, count in counts.most_common())
    return f"{plural(len(experiment.trials), 'trial')}: {parts}" if counts else "no trials"


def draw_curves(experiment: ExperimentResult, path: Path) -> bool:
    """Draw the learning curves of all trials; False if matplotlib is not installed."""
    return curves.draw(
        [_curve(trial, experiment.metric) for trial in experiment.trials],
        path,
        title=experiment.name,
        metric=experiment.metric,
        time_metric=experiment.time_metric,
        smaller_is_better=experiment.smaller_is_better,
        rungs=experiment.rungs,
    )


def _curve(trial: TrialResult, metric: str) -> Curve:
    training = trial.curves.get("training", {}).get(metric, ())
    return Curve(trial.number, trial.validations, trial.outcome, [(float(x), float(y)) for x, y in training])


def drawing(experiment: ExperimentResult, trial: TrialResult) -> list[str]:
    """The architecture of a trial, drawn by the search space that it names; no lines if it names none."""
    if trial.space is None or trial.genotype is None:
        return []
    try:
        with importing_from(experiment.program_folder):
            space = load_space(trial.space)
            return space.draw(space.from_json(trial.genotype))
    except UNREADABLE:  # a trial of somebody's own leaves what it likes
        return []


def for_budgets(experiment: ExperimentResult, trial: TrialResult) -> list[str]:
    """How to export another network of a search for all budgets; no lines if it is none, or somebody edited its front."""
    try:
        measure = str(trial.front["measure"])
        sizes = [int(row[measure]) for row in trial.front["rows"]]
    except (KeyError, TypeError, ValueError):
        return []
    if measure not in MEASURES or not sizes:
        return []
    low, high, what = min(sizes), max(sizes), "MACs" if measure == "macs" else measure
    span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    command = f"nas export {shlex.quote(experiment.reference)} --{measure} {low} --out found"
    return [
        f"{'budgets':<12} {plural(len(sizes), 'network')} of {span} {what}; to write the best with at most so many:",
        f"{'':<12} {command}",
    ]


def scores_on_test(trial: TrialResult) -> list[str]:
    """A line with the scores on the test split, where the trial was asked for them."""
    scores = "  ".join(f"{name} {value_text(value)}" for name, value in trial.test.items())
    return [f"{'test':<12} {scores}"] if scores else []

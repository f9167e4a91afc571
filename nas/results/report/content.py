"""What a report says, in whatever form it is written."""

from __future__ import annotations

import shlex
import time as clock
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.config.yaml_text import dump
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.core.wording import plural
from nas.results.experiment import UNREADABLE, ExperimentResult, TrialResult, device_seconds
from nas.results.figures.animation import weights_animation
from nas.results.figures.budget_front import budget_front
from nas.results.figures.cell import cell
from nas.results.figures.chosen_cells import cells_animation
from nas.results.figures.importance import importance
from nas.results.figures.learning import learning_curves
from nas.results.figures.pareto import pareto
from nas.results.figures.progress import progress
from nas.results.figures.rungs import rung_diagram
from nas.results.figures.style import Picture, cut, spell
from nas.results.figures.weights import weights_evolution
from nas.results.quantities import duration, value_text
from nas.results.report.tables import Row, rows
from nas.results.report.wording import ending, number_of, plain, reason, whole
from nas.results.summary import outcomes
from nas.runs.study_schema import FAILURES

_LEADERS = 20
"""Trials of the leaderboard; all are in `trials.csv`."""
_DRAWN = 3
"""Winners whose architecture is drawn."""
_REASONS = 40
"""Reasons of failures that are listed."""
_SAME = 12
"""Trials that are named behind one reason."""
_LONGEST = 160
"""Letters of an architecture in words."""

Facts = list[tuple[str, str]]

_STATUS = {
    "new": "The experiment has not begun.",
    "running": "The experiment is running, or was cut off: all that follows may still change.",
    "stopped": "The experiment was stopped before its end: all that follows may still change when it goes on.",
    "completed": "The experiment is complete.",
}


@dataclass(frozen=True)
class Architecture:
    """An architecture that was found.

    Attributes:
        constant: the `Genotype(...)` line of its space; "" if it cannot be had.
        lines: a drawing in plain text.
        note: why there is neither.
    """

    title: str
    constant: str
    lines: list[str]
    picture: Picture | None
    note: str = ""


@dataclass(frozen=True)
class Content:
    """A report. Facts are pairs of what and its value; all is plain text but for the pictures."""

    title: str
    status: list[str]
    summary: Facts
    making: Facts
    commands: list[str]
    config: str
    header: list[str]
    board: list[list[str]]
    trials: list[Row]
    below_board: str
    pictures: list[Picture]
    architectures: list[Architecture]
    failures: list[tuple[str, str]]
    more_failures: int
    written: str


def gather(experiment: ExperimentResult) -> Content:
    """Compute everything."""
    board = rows(experiment)
    ranked = [row for row in board if row.place is not None]
    reasons = _failures(experiment)
    shown = ranked[:_LEADERS]
    below = f"The best {len(shown)} of {plural(len(board), 'trial')}; all of them are in trials.csv."
    if unranked := len(board) - len(ranked):
        below += (
            f" {plural(unranked, 'trial')} without a finite validation {'has' if unranked == 1 else 'have'} no rank."
        )
    return Content(
        title=cut(experiment.name, 200) or "experiment",
        status=_status(experiment, ranked),
        summary=_summary(experiment, board, ranked),
        making=list(_making(experiment)),
        commands=_commands(experiment),
        config=dump(experiment.config),
        header=_header(experiment),
        board=[_cells(row) for row in shown],
        trials=board,
        below_board=below if board else "",
        pictures=_pictures(experiment),
        architectures=list(_architectures(experiment, board)),
        failures=reasons[:_REASONS],
        more_failures=max(0, len(reasons) - _REASONS),
        written=clock.strftime("%Y-%m-%d %H:%M", clock.localtime()),
    )


def _status(experiment: ExperimentResult, ranked: list[Row]) -> list[str]:
    says = [_STATUS.get(experiment.status, f"The status of the experiment is {experiment.status or 'not known'}.")]
    if not experiment.trials:
        return [*says, "There are no trials yet, so there is nothing to show."]
    says.append(f"{outcomes(experiment)}.".capitalize())
    if all(trial.outcome in FAILURES for trial in experiment.trials):
        says.append("No trial came to a result: all failed, for the reasons below.")
    elif not ranked:
        says.append(f"No trial has a validation whose {experiment.metric} is finite, so none is the best.")
    return says


def _summary(experiment: ExperimentResult, board: list[Row], ranked: list[Row]) -> Facts:
    if not ranked:
        return []
    trial, best = ranked[0].trial, ranked[0].place
    assert best is not None
    at = spell(best.best_time, experiment.time_metric)
    facts = [
        ("best trial", f"trial {trial.number}, {ending(trial)}"),
        (
            f"validation {experiment.metric}",
            f"{value_text(best.best)} after {at}; optimistic, as the same data chose it",
        ),
    ]
    if trial.search:
        derived = trial.search[-1].get("scores") or {}
        scores = ", ".join(f"{name} {value_text(number_of(value))}" for name, value in derived.items())
        facts.append(
            ("one-shot", "that is of the supernet with shared weights, not of the architecture trained on its own")
        )
        facts += [("derived architecture", f"{scores} (shared weights, validation)")] if scores else []
    facts += [(name, f"{value:,}") for name, value in (("parameters", trial.parameters), ("MACs", trial.macs)) if value]
    if trial.test:
        scores = ", ".join(f"{name.removeprefix('test_')} {value_text(value)}" for name, value in trial.test.items())
        facts.append(("test", f"{scores}; read once, after training, and no part of any choice"))
    else:
        facts.append(("test", "not read: no score here is of test data"))
    spent = [seconds for row in board if (seconds := device_seconds(experiment, row.trial)) is not None]
    if spent:
        hours = f"{sum(spent) / 3600:.3g} device hours"
        facts.append(("device time", f"{duration(sum(spent))} in all trials ({hours})"))
    if trial.architecture:
        facts.append(("architecture", trial.architecture))
    return facts


def _making(experiment: ExperimentResult) -> Iterator[tuple[str, str]]:
    searcher = experiment.config.get("searcher", {})
    better = "smaller" if experiment.smaller_is_better else "larger"
    yield "searcher", f"{searcher.get('name', '')}, by validation {experiment.metric} ({better} is better)"
    if experiment.sampler:
        yield "sampler", experiment.sampler
    if experiment.length:
        yield "full training", spell(experiment.length, experiment.time_metric)
    seed = (experiment.config.get("reproducibility") or {}).get("experiment_seed")
    yield "seed", "drawn anew for each run" if seed is None else str(seed)
    if experiment.created:
        yield "created", clock.strftime("%Y-%m-%d %H:%M", clock.localtime(experiment.created))
    devices = sorted({trial.device for trial in experiment.trials if trial.device})
    if devices:
        each = f"; {experiment.processes} a trial" if experiment.processes > 1 else ""
        yield "device", ", ".join(devices) + each
    known = experiment.versions or next((trial.versions for trial in experiment.trials if trial.versions), {})
    if known:
        yield "versions", ", ".join(f"{name} {value}" for name, value in known.items() if value and name != "commit")
        yield "commit", known.get("commit") or "not known"
    yield "from", experiment.reference or experiment.folder


def _commands(experiment: ExperimentResult) -> list[str]:
    """What makes the same again."""
    commit = next(
        (v["commit"] for v in (experiment.versions, *(t.versions for t in experiment.trials)) if v.get("commit")), None
    )
    lines = []
    if commit:
        clean = commit.removesuffix("-dirty")
        lines.append(f"git checkout {shlex.quote(clean)}{'   # and changes that nobody committed' * (clean != commit)}")
    if experiment.source == "local" and experiment.folder:
        return [*lines, f"nas run {shlex.quote(str(Path(experiment.folder) / 'config.yaml'))} --new"]
    return [*lines, "det experiment create config.yaml .   # config.yaml: as below"]


def _header(experiment: ExperimentResult) -> list[str]:
    time = experiment.time_metric
    return [
        *(
            "rank",
            "trial",
            f"validation {cut(experiment.metric, 30)}",
            f"{time} of the best",
            f"{time} trained",
            "parameters",
        ),
        *("MACs", "time", "ended", "architecture"),
    ]


def _cells(row: Row) -> list[str]:
    trial, place = row.trial, row.place
    assert place is not None  # others have no place on the board
    chosen = ", ".join(f"{name} {value}" for name, value in trial.chosen.items())
    same = "" if place.same_as is None else f"= trial {place.same_as}: "
    return [
        *(str(place.rank), str(trial.number), value_text(place.best), plain(place.best_time), plain(place.time)),
        *(whole(trial.parameters), whole(trial.macs), duration(trial.seconds)),
        *(ending(trial), cut(same + (trial.architecture or chosen), _LONGEST)),
    ]


def _pictures(experiment: ExperimentResult) -> list[Picture]:
    figures = (learning_curves, progress, pareto, budget_front, rung_diagram, importance)
    found = [figure(experiment) for figure in figures]
    animations = weights_animation(experiment), cells_animation(experiment)
    return [each for each in (*found, *weights_evolution(experiment), *animations) if each is not None]


def _architectures(experiment: ExperimentResult, board: list[Row]) -> Iterator[Architecture]:
    """Of the best trials, each architecture once; without a best one, of a single run."""
    ranked = [row.trial for row in board if row.place is not None]
    seen: list[object] = []
    for trial in ranked or ([row.trial for row in board] if len(board) == 1 else []):
        if trial.genotype is None or trial.genotype in seen:
            continue
        seen.append(trial.genotype)
        constant, lines, note = _in_words(experiment, trial)
        picture = cell(experiment, trial, f"cell_{len(seen)}")
        place = "The best" if len(seen) == 1 and ranked else f"Rank {ranked.index(trial) + 1}" if ranked else "The one"
        yield Architecture(f"{place}: trial {trial.number}", constant, lines, picture, note)
        if len(seen) == _DRAWN:
            return


def _in_words(experiment: ExperimentResult, trial: TrialResult) -> tuple[str, list[str], str]:
    """The constant, a drawing, and why they are missing."""
    assert trial.genotype is not None  # others are not asked for
    try:
        with importing_from(experiment.program_folder):
            space = load_space(str(trial.space))
            genotype = space.from_json(trial.genotype or {})
            return genotype.to_text(), space.draw(genotype), ""
    except UNREADABLE as error:
        return "", [], f"Its genotype cannot be read here: {cut(str(error), 300)}"


def _failures(experiment: ExperimentResult) -> Facts:
    """The trials that failed or diverged, those with the same reason together."""
    found: dict[str, list[int]] = {}
    for trial in experiment.trials:
        if trial.outcome in (*FAILURES, "diverged"):
            found.setdefault(reason(trial), []).append(trial.number)
    return [
        (f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers[:_SAME]))}{_more(len(numbers) - _SAME)}", why)
        for why, numbers in found.items()
    ]


def _more(number: int) -> str:
    return f" and {number:,} more" if number > 0 else ""

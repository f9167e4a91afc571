"""What a check found, as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nas.check import picture
from nas.config.load import file_name
from nas.config.log_policies import cancels_retries
from nas.config.rules import warnings
from nas.core.memory import MemoryEstimate
from nas.core.survey import SpaceSurvey, wilson_interval
from nas.trial.fitting import what_is_too_large
from nas.trial.inspection import Experiment, read_experiment
from nas.trial.local import choose_device

MEASURED = 9
"""Points of the search space whose memory is measured; half a second each for a large network."""

_SHOWN = 12  # of the names of searched hyperparameters
_PARTS = {
    "parameters": "parameters",
    "optimizer": "gradients, momentum or means",
    "activations": "activations for backward",
    "working": "start of backward",
    "inputs": "batch and augmentation",
    "total": "together",
}


def check(
    path: Path, overrides: list[str], samples: int, output: Path, batch_memory: bool = False, time: bool = False
) -> Iterator[str]:
    """The lines to print, each as soon as it is known. Raises ConfigError, before any line, if the config cannot run."""
    experiment = read_experiment(path, overrides, samples)
    yield f"{path.name} can run"
    for warning in [*warnings(experiment.config), *experiment.warnings]:
        yield f"warning: {warning}"
    if experiment.config.get("max_restarts") != 0 and not cancels_retries(experiment.config):
        yield "note: on a cluster a run with a wrong path starts again max_restarts times; log_policies as in const.yaml help"
    yield from _what(experiment)
    if experiment.survey:
        yield ""
        yield from _survey(experiment.survey)
        yield from _picture(experiment, experiment.survey, output)
    yield from _memory(experiment, batch_memory)
    yield from _time(experiment) if time else ()


def _what(experiment: Experiment) -> Iterator[str]:
    config, settings, (unit, count) = experiment.config, experiment.points[0], experiment.length
    searcher, trial = config.get("searcher") or {}, experiment.trial
    trials = f", {searcher['max_trials']:,} trials" if isinstance(searcher.get("max_trials"), int) else ""
    facts = trial.data_facts(settings)
    yield _line("trial", f"{experiment.entrypoint.module}, {facts.text}, {count:,} {unit}")
    if facts.samples is not None:
        yield _line("", f"{facts.samples:,} {facts.unit} to train on")
    slots = "1 process" if experiment.processes == 1 else f"{experiment.processes} processes"
    yield _line("searcher", f"{searcher.get('name')} on {searcher.get('metric')}{trials}, {slots} a trial")
    names, more = experiment.searched[:_SHOWN], len(experiment.searched) - _SHOWN
    if len({(point.genotype, trial.network_size(point)) for point in experiment.points}) == 1:
        for i, cell in enumerate(str(settings.genotype).split("; ")):
            yield _line("" if i else "architecture", cell)
        yield _line("size", trial.describe_size(settings))
    reaches = [trial.describe_reach(point) for point in experiment.points]
    for i, line in enumerate(line for line in reaches[0] if all(line in others for others in reaches)):
        yield _line("" if i else "networks", line)
    if more > 0:
        yield _line("searched", f"{len(experiment.searched)} hyperparameters: {names[0]} .. {experiment.searched[-1]}")
    elif names:
        yield _line("searched", ", ".join(names))
    if names:
        yield _line("", f"{len(experiment.points)} points drawn, all make sense")
    yield from _drawn(experiment)


def _drawn(experiment: Experiment) -> Iterator[str]:
    """The smallest and the largest value of each searched number; names that share both share a line."""
    by_span: dict[tuple[float, float], list[str]] = {}
    for name, span in experiment.drawn.items():
        by_span.setdefault(span, []).append(name)
    for i, ((low, high), names) in enumerate(by_span.items()):
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        yield _line("" if i else "drawn", f"{', '.join(names[:2])}{more}: {_number(low)} .. {_number(high)}")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _survey(survey: SpaceSurvey) -> Iterator[str]:
    count, hits = len(survey.satisfies), int(survey.satisfies.sum())
    yield _line("space", f"{count:,} {survey.what}")
    if survey.rules:
        low, high = wilson_interval(hits, count)
        meaning = "a trial draws until one does" if survey.redrawn else "the others fail at once (InvalidHP)"
        yield _line("", f"{hits / count:.1%} satisfy the constraints (95 % interval {low:.1%} .. {high:.1%});")
        yield _line("", meaning)
        yield _row("rule", "allowed", "rejects alone", width=22)
        for rule in survey.rules:
            yield _row(rule.name, rule.allowed, f"{rule.rejects:.1%}", width=22)
    yield _row("millions", "least", "quartile", "median", "quartile", "most")
    for name, values in survey.sizes.items():
        yield _row(name, *_quartiles(values))
        if survey.rules and survey.satisfies.any():
            yield _row(f"{name}, where satisfied", *_quartiles(values[survey.satisfies]))


def _quartiles(values: Any) -> list[str]:
    return [f"{value / 1e6:,.2f}" for value in np.percentile(values, (0, 25, 50, 75, 100))]


def _picture(experiment: Experiment, survey: SpaceSurvey, output: Path) -> Iterator[str]:
    path = output / f"check-{file_name(experiment.config, experiment.name)}.png"
    drawn = picture.draw(survey, experiment.name, path)
    yield _line("picture", str(path) if drawn else "none, as matplotlib is not installed: pip install matplotlib")


def _memory(experiment: Experiment, batch_memory: bool) -> Iterator[str]:
    trial, processes = experiment.trial, experiment.processes
    points = experiment.points[:MEASURED]
    found = [(trial.memory(point, processes), i) for i, point in enumerate(points)]
    measured = sorted(((each, i) for each, i in found if each is not None), key=lambda pair: pair[0].total)
    if not measured:
        return
    largest, which = measured[-1]
    median = measured[(len(measured) - 1) // 2][0]
    yield ""
    yield _line("memory", f"of one process in training, estimated: float32, {largest.assumes}, MB")
    columns = {"median": median, "largest": largest} if len(points) > 1 else {"": largest}
    if len(points) > 1:
        yield _row(f"of {len(points)} points", *columns)
    for part, says in _PARTS.items():
        yield _row(says, *(f"{getattr(each, part) / 1e6:,.1f}" for each in columns.values()))
    if largest.graphs:
        yield _row(
            "with CUDA graphs, on a GPU", *(f"{(each.total + each.graphs) / 1e6:,.1f}" for each in columns.values())
        )
    if batch_memory:
        yield _row("global_batch_size", "largest" if len(points) > 1 else "")
        for size, estimate in _by_batch(experiment, points[which]):
            yield _row(f"{size:,}", f"{estimate.total / 1e6:,.1f}")
    yield _line(
        "", "Beside it: the framework (about 500 MB for CUDA), the data set, scratch space of convolutions, and"
    )
    yield _line("", "what the allocator holds back (on a CPU as much as half of it again).")
    if largest.note:
        yield _line("", largest.note)
    too_large = what_is_too_large(largest, trial, points[which], processes, choose_device("auto"))
    if too_large is not None:
        yield _line("here", f"too large for this machine: {too_large}" if too_large else "fits this machine")


def _time(experiment: Experiment) -> Iterator[str]:
    """How long a step takes here, and with it the training."""
    settings, (unit, count), device = experiment.points[0], experiment.length, choose_device("auto")
    seconds = experiment.trial.step_seconds(settings, experiment.processes, device)
    if seconds is None:
        yield _line("time", "unknown: this trial does not tell how long a step takes")
        return
    yield _line("time", f"{seconds:.3g} s a training step of one process on {device}")
    facts, batch = experiment.trial.data_facts(settings), experiment.trial.global_batch_size(settings)
    if unit == "batches":
        yield _line("", f"{seconds * count / 3600:.2g} h for {count:,} batches, validations not counted")
    elif facts.unit == "images" and facts.samples and batch:
        steps = facts.samples // batch * count
        yield _line(
            "",
            f"{seconds * steps / 3600:.2g} h for {count} epochs of {facts.samples // batch:,} steps, without validations",
        )


def _by_batch(experiment: Experiment, settings: Any) -> Iterator[tuple[int, MemoryEstimate]]:
    """Estimates for batches from a quarter to four times the config's, as far as they fit the processes."""
    trial, processes = experiment.trial, experiment.processes
    size = trial.global_batch_size(settings) or 0
    for other in (size // 4, size // 2, size, 2 * size, 4 * size):
        other -= other % processes
        if other >= 2 * processes and (estimate := trial.memory(settings, processes, other)):
            yield other, estimate


def _line(name: str, text: str) -> str:
    return f"{name:<13}{text}".rstrip()


def _row(name: str, *cells: str, width: int = 10) -> str:
    return f"{'':<13}{name:<28}" + "".join(f"{cell:>{width}}" for cell in cells)

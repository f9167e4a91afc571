"""What a check found, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnn_nas.counting import count_size
from cnn_nas.images.data import expected
from cnn_nas.trial import Settings as ImageSettings
from cnn_nas.trial import network_size
from nas.check import memory, picture
from nas.check.experiment import Experiment, read_experiment
from nas.check.memory import Memory
from nas.check.space import Space, interval
from nas.config.load import file_name
from nas.config.rules import warnings
from randomNAS_files.model import LanguageModel

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


def check(path: Path, overrides: list[str], samples: int, output: Path, batch_memory: bool = False) -> Iterator[str]:
    """The lines to print, each as soon as it is known. Raises ConfigError, before any line, if the config cannot run."""
    experiment = read_experiment(path, overrides, samples)
    yield f"{path.name} can run"
    for warning in warnings(experiment.config):
        yield f"warning: {warning}"
    yield from _what(experiment)
    if experiment.space:
        yield ""
        yield from _space(experiment.space)
        yield from _picture(experiment, output)
    yield ""
    yield from _memory(experiment, batch_memory)


def _what(experiment: Experiment) -> Iterator[str]:
    config, settings, (unit, count) = experiment.config, experiment.points[0], experiment.length
    searcher = config.get("searcher") or {}
    trials = f", {searcher['max_trials']:,} trials" if isinstance(searcher.get("max_trials"), int) else ""
    yield _line("trial", f"{experiment.entrypoint.module}, {_data(settings)}, {count:,} {unit}")
    slots = "1 process" if experiment.processes == 1 else f"{experiment.processes} processes"
    yield _line("searcher", f"{searcher.get('name')} on {searcher.get('metric')}{trials}, {slots} a trial")
    names, more = experiment.searched[:_SHOWN], len(experiment.searched) - _SHOWN
    if len({(point.genotype, point.model) for point in experiment.points}) == 1:
        for i, cell in enumerate(str(settings.genotype).split("; ")):
            yield _line("" if i else "architecture", cell)
        yield _line("size", _size(settings))
    if more > 0:
        yield _line("searched", f"{len(experiment.searched)} hyperparameters: {names[0]} .. {experiment.searched[-1]}")
    elif names:
        yield _line("searched", ", ".join(names))
    if names:
        yield _line("", f"{len(experiment.points)} points drawn, all make sense")


def _data(settings: Any) -> str:
    if isinstance(settings, ImageSettings):
        outputs, shape = expected(settings.data)
        head = "regression" if outputs == 1 else f"{outputs} classes"
        size = " x ".join(map(str, shape))
        assumed = ""
        if settings.data.dataset == "folder":
            there = Path(settings.data.data_dir or "", "train").expanduser().is_dir()
            assumed = "" if there and settings.data.image_size else ", partly assumed: no image is read"
        return f"{settings.data.dataset} ({head}, images of {size}{assumed})"
    words, known = memory.vocabulary(settings.data)
    return f"{settings.data.corpus} ({words:,} {known})"


def _size(settings: Any) -> str:
    """Parameters and MACs of the one architecture."""
    if not isinstance(settings, ImageSettings):
        words, _ = memory.vocabulary(settings.data)
        return f"{_parameters(settings, words):,} parameters"
    size = network_size(settings.model, *expected(settings.data))
    counts = count_size(settings.genotype, size)
    tower = count_size(settings.genotype, size, auxiliary=True).parameters - counts.parameters
    more = f" ({tower:,} more in the auxiliary tower)" if settings.model.auxiliary else ""
    return f"{counts.parameters:,} parameters{more}, {counts.macs:,} MACs an image"


def _parameters(settings: Any, words: int) -> int:
    with torch.device("meta"):
        net = LanguageModel(settings.model, settings.genotype, words, torch.Generator("cpu"))
    return sum(parameter.numel() for parameter in net.parameters())


def _space(space: Space) -> Iterator[str]:
    count, held = len(space.holds), int(space.holds.sum())
    yield _line("space", f"{count:,} {space.what}")
    if space.rejected_by:
        low, high = interval(held, count)
        meaning = "a trial draws until one holds" if space.redrawn else "the others fail at once (InvalidHP)"
        yield _line("", f"{held / count:.1%} hold (95 % interval {low:.1%} .. {high:.1%}); {meaning}")
        yield _row("rule", "allowed", "rejects alone", width=22)
        for rule, share in sorted(space.rejected_by.items(), key=lambda item: -item[1]):
            yield _row(rule, space.allowed(rule), f"{share:.1%}", width=22)
    yield _row("millions", "least", "quartile", "median", "quartile", "most")
    for name, values in (("parameters", space.parameters), ("MACs", space.macs)):
        yield _row(name, *_quartiles(values))
        if space.rejected_by and space.holds.any():
            yield _row(f"{name}, where all holds", *_quartiles(values[space.holds]))


def _quartiles(values: Any) -> list[str]:
    return [f"{value / 1e6:,.2f}" for value in np.percentile(values, (0, 25, 50, 75, 100))]


def _picture(experiment: Experiment, output: Path) -> Iterator[str]:
    assert experiment.space
    path = output / f"check-{file_name(experiment.config, experiment.name)}.png"
    drawn = picture.draw(experiment.space, experiment.name, path)
    yield _line("picture", str(path) if drawn else "none, as matplotlib is not installed: pip install matplotlib")


def _memory(experiment: Experiment, batch_memory: bool) -> Iterator[str]:
    measure = _measure(experiment)
    points = experiment.points[:MEASURED]
    measured = sorted(((measure(point), i) for i, point in enumerate(points)), key=lambda pair: pair[0].total)
    largest, which = measured[-1]
    median = measured[(len(measured) - 1) // 2][0]
    batch = points[which].optimizer.global_batch_size // experiment.processes
    slices = "" if isinstance(points[which], ImageSettings) else ", longest slices"
    yield _line("memory", f"of one process in training, estimated: float32, batch of {batch}{slices}, MB")
    columns = {"median": median, "largest": largest} if len(points) > 1 else {"": largest}
    if len(points) > 1:
        yield _row(f"of {len(points)} points", *columns)
    for part, says in _PARTS.items():
        yield _row(says, *(f"{getattr(each, part) / 1e6:,.1f}" for each in columns.values()))
    if batch_memory:
        yield _row("global_batch_size", "largest" if len(points) > 1 else "")
        for size, total in _by_batch(points[which], experiment.processes, measure):
            yield _row(f"{size:,}", f"{total / 1e6:,.1f}")
    yield _line(
        "", "Beside it: the framework (about 500 MB for CUDA), the data set, scratch space of convolutions, and"
    )
    yield _line("", "what the allocator holds back (on a CPU as much as half of it again).")
    if isinstance(points[which], ImageSettings):
        yield _line("", "Mixed precision about halves the activations.")


def memory_of(experiment: Experiment, points: int) -> list[int]:
    """Bytes that one process is estimated to need in training, at each of the first points of the search space."""
    return [_measure(experiment)(point).total for point in experiment.points[:points]]


def _measure(experiment: Experiment) -> Callable[[Any], Memory]:
    def measure(settings: Any) -> Memory:
        image = isinstance(settings, ImageSettings)
        return (memory.image_memory if image else memory.recurrent_memory)(settings, experiment.processes)

    return measure


def _by_batch(settings: Any, processes: int, measure: Callable[[Any], Memory]) -> Iterator[tuple[int, int]]:
    """Bytes for batches from a quarter to four times the config's, as far as they fit the processes."""
    size = settings.optimizer.global_batch_size
    for other in (size // 4, size // 2, size, 2 * size, 4 * size):
        other -= other % processes
        if other >= 2 * processes:
            optimizer = replace(settings.optimizer, global_batch_size=other)
            yield other, measure(replace(settings, optimizer=optimizer)).total


def _line(name: str, text: str) -> str:
    return f"{name:<13}{text}"


def _row(name: str, *cells: str, width: int = 10) -> str:
    return f"{'':<13}{name:<28}" + "".join(f"{cell:>{width}}" for cell in cells)

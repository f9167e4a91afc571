"""How a one-shot search's architecture weights came to be: a panel for each edge, a line for each operation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.core.errors import ConfigError
from nas.core.program import importing_from
from nas.core.relaxation import CellShape, Paths, Relaxation
from nas.core.space import load_space
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.figures import style
from nas.results.figures.data import thinned, winner
from nas.results.figures.style import Picture

Table = Sequence[Sequence[float]]
"""A row for each edge, a column for each operation."""

_POINTS = 120
"""Of a line."""


@dataclass(frozen=True)
class Trace:
    """The weights of a search by epoch.

    Attributes:
        tables: for each entry the table of each kind of cell.
        paths: for each entry the architecture that was derived; None where it is not known.
    """

    trial: TrialResult
    shapes: Relaxation
    epochs: list[float]
    tables: list[Mapping[str, Table]]
    paths: list[Paths | None]


def trace(experiment: ExperimentResult) -> Trace | None:
    """The weights of the best trial, or the first that has some; None if there are none, or no space knows their names."""
    best = winner(experiment)
    searched = [trial for trial in (*([best] if best else []), *experiment.trials) if trial.search and trial.space]
    if not searched:
        return None
    trial = searched[0]
    try:
        with importing_from(experiment.program_folder):
            space = load_space(str(trial.space))
            shapes = space.relaxation
            entries = [entry for entry in trial.search if _fits(entry.get("weights"), shapes)]
            paths = [_path(space, entry.get("genotype")) for entry in entries]
    except (ConfigError, ImportError):
        return None
    if not entries:
        return None
    epochs = [float(entry["epochs"]) for entry in entries]
    return Trace(trial, shapes, epochs, [entry["weights"] for entry in entries], paths)


def _fits(tables: Any, shapes: Relaxation) -> bool:
    """Whether there is a row for each edge and a number for each operation."""
    try:
        return all(
            [len(row) for row in tables[kind]] == [len(shape.operations)] * len(shape.edges)
            for kind, shape in shapes.items()
        )
    except (TypeError, KeyError):
        return False


def _path(space: Any, genotype: Any) -> Paths | None:
    try:
        found: Paths = space.paths_of(space.from_json(genotype))
        return found
    except (ConfigError, NotImplementedError, TypeError, AttributeError):
        return None


def edge_name(shape: CellShape, edge: int) -> str:
    """Such as `0 to 2`: the state that is read, and that of the node; inputs come first."""
    node, state = shape.edges[edge]
    return f"{state} to {node + len(shape.entering(0))}"


def weights_evolution(experiment: ExperimentResult) -> list[Picture]:
    """A figure for each kind of cell; none for searches that are not one-shot."""
    found = trace(experiment)
    if found is None or len(found.epochs) < 2:
        return []
    return [_evolution(found, kind, shape) for kind, shape in found.shapes.items()]


def _evolution(found: Trace, kind: str, shape: CellShape) -> Picture:
    columns = min(range(5, 8), key=lambda width: -len(shape.edges) % width)  # as few empty places as can be
    columns = min(columns, len(shape.edges))
    rows = math.ceil(len(shape.edges) / columns)
    name = f"weights_{kind}"
    chosen = found.paths[-1][kind] if found.paths[-1] else ((),) * len(shape.edges)
    values = [value for tables in found.tables for row in tables[kind] for value in row if math.isfinite(value)]
    with style.drawing(name):
        figure = style.new_figure(1.1 + 1.15 * rows, layout=None)
        inches = 1.1 + 1.15 * rows
        figure.subplots_adjust(
            left=0.075, right=0.99, top=1 - 0.25 / inches, bottom=0.95 / inches, wspace=0.12, hspace=0.42
        )
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for edge, axes in enumerate(panels.flat):
            if edge < len(shape.edges):
                _panel(axes, found, kind, edge, chosen[edge])
            else:
                axes.set_visible(False)
        panels[0][0].set_ylim(min(0, *values), 1.06 * max(values) or 1)
        figure.supylabel("weight", fontsize=style.FONT, x=0.012)
        figure.text(0.53, 0.62 / inches, "epochs", ha="center", fontsize=style.FONT)
        _legend(figure, shape)
        svg = style.svg_of(figure, f"Architecture weights of {kind} over the epochs")
    caption = (
        f"Weights of trial {found.trial.number} for cells of kind {kind}: a panel for each edge (from state to state; inputs "
        "come first), a line for each operation. Thick: what was chosen in the end, on the edges that were kept."
    )
    return Picture(name, f"Architecture weights: {kind}", caption, svg)


def _panel(axes: Any, found: Trace, kind: str, edge: int, chosen: Sequence[int]) -> None:
    shape = found.shapes[kind]
    axes.set_title(edge_name(shape, edge), fontsize=style.FONT - 1, pad=2, color=style.INK if chosen else style.MUTED)
    axes.tick_params(labelsize=style.FONT - 1.5)
    for k in range(len(shape.operations)):
        line = thinned(
            [(epoch, t[kind][edge][k]) for epoch, t in zip(found.epochs, found.tables, strict=True)], _POINTS
        )
        picked = k in chosen
        width, alpha = (2.6, 1.0) if picked else (0.9, 0.75)
        axes.plot(
            [x for x, _ in line], [y for _, y in line], **_line(k), linewidth=width, alpha=alpha, zorder=3 + picked
        )


def _line(operation: int) -> dict[str, Any]:
    colour = style.SERIES[operation % len(style.SERIES)]
    return {"color": colour, "linestyle": style.DASHES[operation // len(style.SERIES) % len(style.DASHES)]}


def _legend(figure: Any, shape: CellShape) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=name, linewidth=1.8, **_line(k)) for k, name in enumerate(shape.operations)]
    figure.legend(
        handles=handles, loc="lower center", ncols=min(4, len(handles)), fontsize=style.FONT - 1, columnspacing=1
    )

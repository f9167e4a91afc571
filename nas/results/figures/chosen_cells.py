"""A one-shot search without architecture weights (ENAS, random search) as an animated GIF: the cell of each validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nas.core.program import importing_from
from nas.core.space import Space, load_space
from nas.core.wording import plural
from nas.results.experiment import UNREADABLE, ExperimentResult
from nas.results.figures import style
from nas.results.figures.animation import frame_of, gif_of
from nas.results.figures.cell import extent_of
from nas.results.figures.data import thinned, winner
from nas.results.figures.dot_text import Cluster, Graph, parse_dot
from nas.results.figures.layout import Layout, Place, place
from nas.results.figures.style import Picture
from nas.results.quantities import value_text

_FRAMES = 50
_MILLISECONDS = 500
_DPI = 72  # so that a pixel of the layout is one of the picture
_MARGIN, _TITLE, _GAP = 14.0, 34.0, 26.0


@dataclass(frozen=True)
class _Drawing:
    """A cell with a place for everything."""

    title: str
    parts: list[tuple[Graph, Cluster, Layout]]

    @property
    def width(self) -> float:
        return max([8.0 * len(self.title), *(layout.width for _, _, layout in self.parts)]) + 2 * _MARGIN

    @property
    def height(self) -> float:
        return _TITLE + sum(_GAP + layout.height for _, _, layout in self.parts) + _MARGIN


def cells_animation(experiment: ExperimentResult) -> Picture | None:
    """The GIF of the best trial, or the first that has one; None for searches that have weights, or choose no cells."""
    best = winner(experiment)
    trials = [trial for trial in (*([best] if best else []), *experiment.trials) if trial.search and trial.space]
    if not trials or any(entry.get("weights") for entry in trials[0].search):
        return None
    trial = trials[0]
    entries = [trial.search[round(i)] for i, _ in thinned([(i, 0.0) for i in range(len(trial.search))], _FRAMES)]
    try:
        with importing_from(experiment.program_folder):
            space = load_space(str(trial.space))
            drawings = [_drawing(space, entry, _title(entry, experiment.metric)) for entry in entries]
            span = f"from epoch {float(entries[0]['epochs']):g} to {float(entries[-1]['epochs']):g}"
    except UNREADABLE:
        return None
    with style.drawing("chosen_cells"):
        frames = _frames(drawings)
    count, whole = len(entries), len(trial.search)
    caption = (
        f"The cell that trial {trial.number} would have chosen after each validation, by scores with shared weights; the "
        f"last one is what the search came to. {plural(whole, 'choice') if count == whole else f'{count} of {whole} choices'}, "
        f"{span}."
    )
    return Picture("chosen_cells", "Chosen cells, epoch by epoch", caption, gif=gif_of(frames, _MILLISECONDS))


def _title(entry: Mapping[str, Any], metric: str) -> str:
    """Such as `epoch 3, derived_perplexity 54.3`: the searcher's metric, or the first that is known."""
    scores: Mapping[str, float] = entry.get("scores") or {}
    name = metric if metric in scores else next(iter(scores), "")
    return f"epoch {float(entry['epochs']):g}" + (f", {name} {value_text(float(scores[name]))}" if name else "")


def _drawing(space: Space[Any], entry: Mapping[str, Any], title: str) -> _Drawing:
    graph = parse_dot(space.to_dot(space.from_json(entry["genotype"])))
    parts = []
    for cluster in graph.clusters:
        inside = set(cluster.nodes)
        edges = [edge for edge in graph.edges if edge.tail in inside and edge.head in inside]
        extents = {name: extent_of(graph.label(name)) for name in cluster.nodes}
        labels = [edge.attributes.get("label", "") for edge in edges]
        routes = [
            (edge.tail, edge.head, extent_of(text, small=True) if text else None)
            for edge, text in zip(edges, labels, strict=True)
        ]
        if cluster.nodes:
            parts.append((graph, Cluster(cluster.label, list(cluster.nodes)), place(extents, routes)))
    return _Drawing(title, parts)


def _frames(drawings: Sequence[_Drawing]) -> list[Any]:
    """Pillow images, all as large as the largest cell needs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    width, height = max(each.width for each in drawings), max(each.height for each in drawings)
    figure = style.new_figure(height / _DPI, width / _DPI, layout=None)
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    frames = []
    for drawing in drawings:
        figure.clear()
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        axes.text(_MARGIN, _TITLE / 2, drawing.title, fontsize=12, va="center")
        y = _TITLE
        for graph, cluster, layout in drawing.parts:
            if cluster.label:
                axes.text(_MARGIN, y + _GAP / 2, cluster.label, fontsize=10, va="center", color=style.MUTED)
            _draw(axes, graph, cluster, layout, y + _GAP)
            y += _GAP + layout.height
        frames.append(frame_of(canvas))
    return frames


def _draw(axes: Any, graph: Graph, cluster: Cluster, layout: Layout, top: float) -> None:
    """One kind of cell, below `top`: edges, and the nodes above them."""
    inside = set(cluster.nodes)
    edges = [edge for edge in graph.edges if edge.tail in inside and edge.head in inside]
    for edge, route, label in zip(edges, layout.routes, layout.labels, strict=True):
        _draw_edge(axes, [(x + _MARGIN, y + top) for x, y in route], edge.attributes.get("style") == "dashed")
        if label is not None:
            box = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 1}
            at = {"ha": "center", "va": "center", "fontsize": 8, "bbox": box}
            axes.text(label[0] + _MARGIN, label[1] + top, edge.attributes["label"], **at)
    for name in cluster.nodes:
        x, y = layout.nodes[name]
        _draw_node(axes, (x + _MARGIN, y + top), graph.label(name), graph.nodes[name])


def _draw_edge(axes: Any, points: Sequence[Place], idle: bool) -> None:
    """A smooth line through the points, with an arrow's head."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    path, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        path += [((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1), (x1, y1)]
        codes += [Path.CURVE4] * 3
    look: dict[str, Any] = {"color": style.GREY if idle else style.INK, "linestyle": "--" if idle else "-"}
    head: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(path=Path(path, codes), **head, **look))


def _draw_node(axes: Any, at: Place, label: str, attributes: Mapping[str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    (x, y), (width, height) = at, extent_of(label)
    idle = "dashed" in attributes.get("style", "")
    look: dict[str, Any] = {
        "facecolor": style.PAPER if idle else attributes.get("fillcolor", style.STATE).lower(),
        "edgecolor": style.GREY if idle else style.INK,
        "linestyle": "--" if idle else "-",
        "linewidth": 0.8,
    }
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, "round,pad=0,rounding_size=5", zorder=3, **look
    )
    axes.add_patch(box)
    axes.text(x, y, label, ha="center", va="center", fontsize=9, zorder=4)

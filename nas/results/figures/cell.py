"""An architecture as a graph: through Graphviz where its program is there, else in a layout of our own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from xml.sax.saxutils import escape

from nas.core.errors import ConfigError
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.results.experiment import UNREADABLE, ExperimentResult, TrialResult
from nas.results.figures import style
from nas.results.figures.dot_text import Cluster, Graph, parse_dot
from nas.results.figures.layout import Layout, Place, place
from nas.results.figures.style import Picture

"""What a space raises at a genotype that it does not know: one of another version, or a space of somebody's own."""

_SECONDS = 20
"""That Graphviz may take."""
_LETTER, _LINE = 6.6, 22.0  # of a node's text: pixels a letter, and its box's height
_SMALL_LETTER, _SMALL_LINE = 5.5, 14.0  # of an edge's
_MARGIN, _TITLE = 12.0, 24.0
_GRAPHVIZ_COLOURS = {
    **{"black": style.INK, "white": style.PAPER, "#aaaaaa": style.GREY, "#888888": style.MUTED, "#999999": style.GREY},
}


def cell(experiment: ExperimentResult, trial: TrialResult, name: str = "cell") -> Picture | None:
    """The architecture of a trial, in a file of that name; None if it has none, or its space cannot be loaded or draws none."""
    dot = dot_of(experiment, trial)
    if dot is None:
        return None
    title = f"Architecture of trial {trial.number}"
    svg = draw_dot(dot, title)
    if svg is None:
        return None
    return Picture(
        name, title, f"Of the space {trial.space}. What is dashed and grey has no effect on the output.", svg
    )


def dot_of(experiment: ExperimentResult, trial: TrialResult) -> str | None:
    """The architecture in the DOT language, as its space writes it."""
    if trial.genotype is None or trial.space is None:
        return None
    try:
        with importing_from(experiment.program_folder):
            space = load_space(trial.space)
            return space.to_dot(space.from_json(trial.genotype))
    except UNREADABLE:
        return None


def draw_dot(dot: str, label: str) -> str | None:
    """SVG of a graph in the DOT language; None if nobody can read it."""
    by_graphviz = _graphviz(dot)
    if by_graphviz is not None:
        return style.labelled(_in_our_colours(by_graphviz), label)
    try:
        return style.labelled(draw_graph(parse_dot(dot)), label)
    except ValueError:
        return None


def cell_picture(dot: str, kind: str) -> bytes:
    """A graph in the DOT language as a file of its own, "svg" or "png", on white.

    Raises:
        ConfigError: nobody can draw it: PNG needs the graphviz program.
    """
    if kind == "png":
        return _png(dot)
    svg = draw_dot(dot, "architecture")
    if svg is None:
        raise ConfigError(["this architecture cannot be drawn; --out FILE.dot writes it for Graphviz"])
    return svg.encode()


def _png(dot: str) -> bytes:
    program = shutil.which("dot")
    if program is None:
        raise ConfigError(["PNG needs Graphviz's program dot (apt-get install graphviz); SVG does not"])
    try:
        command = [program, "-Tpng", "-Gdpi=150"]
        done = subprocess.run(command, input=dot.encode(), capture_output=True, timeout=_SECONDS, check=True)
        return bytes(done.stdout)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError([f"Graphviz's program {program} failed: {error}"]) from error


def _graphviz(dot: str) -> str | None:
    program = shutil.which("dot")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-Tsvg"], input=dot.encode(), capture_output=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    svg = done.stdout.decode("utf-8", "replace")
    return svg if "<svg" in svg else None  # without a graph it says nothing


def _in_our_colours(svg: str) -> str:
    """Graphviz's default colours and those of the spaces become those of all figures; ids and tooltips go."""
    for name, colour in _GRAPHVIZ_COLOURS.items():
        svg = svg.replace(f'"{name}"', f'"{colour}"')
    svg = re.sub(r"<text (?![^>]*fill=)", f'<text fill="{style.INK}" ', svg)
    svg = re.sub(r"(?<=>)\s*<title>.*?</title>", "", svg, flags=re.DOTALL)
    return re.sub(r' id="[^"]*"', "", svg)


def draw_graph(graph: Graph) -> str:
    """SVG in a layout of our own, one cluster below the other. Raises ValueError if there is nothing to draw, or a cycle."""
    parts, y, width = [], _MARGIN, 0.0
    for cluster in graph.clusters:
        if cluster.nodes:
            layout, drawn = _cluster(graph, cluster)
            title = f'<text x="0" y="14" font-size="14">{escape(cluster.label)}</text>' if cluster.label else ""
            below = y + (_TITLE if title else 0)
            parts.append(f'<g transform="translate({_MARGIN:g} {y:g})">{title}</g>')
            parts.append(f'<g transform="translate({_MARGIN:g} {below:g})">{drawn}</g>')
            y, width = below + layout.height + 2 * _MARGIN, max(width, layout.width, 8 * len(cluster.label))
    if not parts:
        raise ValueError("the graph has no nodes")
    width, height = width + 2 * _MARGIN, y - _MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" fill="{style.INK}">',
            f'<rect width="100%" height="100%" fill="{style.PAPER}"/>',
            *parts,
            "</svg>",
        ]
    )


def extent_of(label: str, small: bool = False) -> tuple[float, float]:
    """Width and height that a node, or the label of an edge, needs, in pixels."""
    return (_SMALL_LETTER * len(label) + 8, _SMALL_LINE) if small else (_LETTER * len(label) + 16, _LINE)


def _cluster(graph: Graph, cluster: Cluster) -> tuple[Layout, str]:
    inside = set(cluster.nodes)
    edges = [edge for edge in graph.edges if edge.tail in inside and edge.head in inside]
    extents = {name: extent_of(graph.label(name)) for name in cluster.nodes}
    labels = [edge.attributes.get("label", "") for edge in edges]
    label_extents = [extent_of(text, small=True) if text else None for text in labels]
    layout = place(extents, [(edge.tail, edge.head, extent) for edge, extent in zip(edges, label_extents, strict=True)])
    drawn = []
    for edge, route in zip(edges, layout.routes, strict=True):
        idle, empty = edge.attributes.get("style") == "dashed", edge.attributes.get("arrowhead") == "empty"
        drawn.append(_route(route, style.GREY if idle else style.INK, idle, empty))
    for edge, text, at in zip(edges, labels, layout.labels, strict=True):
        if at is not None:
            colour = style.MUTED if edge.attributes.get("style") == "dashed" else style.INK
            (x, y), width = at, _SMALL_LETTER * len(text) + 4
            drawn.append(
                f'<rect x="{x - width / 2:.1f}" y="{y - 6:.1f}" width="{width:.1f}" height="12" fill="{style.PAPER}"/>'
            )
            drawn.append(_text(at, text, 10, colour))
    for name in cluster.nodes:
        drawn += _node(layout.nodes[name], extents[name], graph.label(name), graph.nodes[name])
    return layout, "\n".join(drawn)


def _route(points: Sequence[Place], colour: str, dashed: bool, empty: bool) -> str:
    """A smooth line with an arrow's head."""
    x, y = points[-1]
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in zip(points, [*points[1:-1], (x - 5, y)], strict=False):
        middle = (x0 + x1) / 2
        path.append(f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}")
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    head = style.PAPER if empty else colour
    return (
        f'<path d="{" ".join(path)}" fill="none" stroke="{colour}"{dash}/>'
        f'<path d="M{x:.1f} {y:.1f}l-7 -3.2v6.4z" fill="{head}" stroke="{colour}" stroke-width="0.8"/>'
    )


def _node(at: Place, extent: tuple[float, float], label: str, attributes: dict[str, str]) -> list[str]:
    idle = "dashed" in attributes.get("style", "")
    fill = attributes.get("fillcolor", style.STATE).lower()
    fill = style.PAPER if idle else fill if fill in style.DARK else style.STATE
    edge = f'stroke="{style.GREY}" stroke-dasharray="4 3"' if idle else f'stroke="{style.INK}" stroke-width="0.8"'
    (x, y), (width, height) = at, extent
    box = f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" rx="5" '
    return [f'{box}fill="{fill}" {edge}/>', _text(at, label, 12, style.MUTED if idle else style.INK)]


def _text(at: Place, text: str, size: int, colour: str) -> str:
    x, y = at
    return (
        f'<text x="{x:.1f}" y="{y + 0.35 * size:.1f}" font-size="{size}" text-anchor="middle" fill="{colour}">'
        f"{escape(text)}</text>"
    )

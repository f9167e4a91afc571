"""One convolutional architecture as a picture: plain text for terminals and logs, DOT for Graphviz. No torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from cnn_nas.architecture import CELLS, Edge, Genotype, used_states
from nas.core.space import numbered

WIDTH = 100
"""No line is longer."""

_TITLES = {"normal": "normal cell", "reduce": "reduction cell"}
_GAP = "    "  # between the two cells
_INPUTS = ("c_{k-2}", "c_{k-1}")


def draw(genotype: Genotype) -> list[str]:
    """The two cells side by side as lines: the two edges of each node and the sum that they make, then the output.

        normal cell                           reduction cell
        c_{k-2} ── sep_conv_3x3 ─┐            c_{k-2} ── max_pool_3x3 ─┐
        c_{k-1} ── skip_connect ─┴─ node 2    c_{k-1} ── max_pool_3x3 ─┴─ node 2
        ...
        output: concatenation of 2-5          output: concatenation of 2-5

    The inputs are the outputs of the two cells before, c_{k-1} being that of the one right before. A node on which the
    output does not depend is `(unused)`.
    """
    normal = ["normal cell", *_nodes(genotype.normal, genotype.normal_concat), *_output(genotype.normal_concat)]
    reduce = ["reduction cell", *_nodes(genotype.reduce, genotype.reduce_concat), *_output(genotype.reduce_concat)]
    width = max(map(len, normal))
    return [f"{a:{width}}{_GAP}{b}".rstrip() for a, b in zip_longest(normal, reduce, fillvalue="")]


def _nodes(edges: Sequence[Edge], concat: Sequence[int]) -> Iterator[str]:
    """Two lines a node."""
    used = used_states(edges, concat)
    sources = [_INPUTS[pred] if pred < len(_INPUTS) else f"node {pred}" for _, pred in edges]
    from_width, name_width = max(map(len, sources)), max(len(name) for name, _ in edges)
    for i, (source, (name, _)) in enumerate(zip(sources, edges, strict=True)):
        node = 2 + i // 2
        end = f"┴─ node {node}{' (unused)' * (node not in used)}" if i % 2 else "┐"
        yield f"{source:{from_width}} ── {name + ' ':─<{name_width + 2}}{end}"


def _output(concat: Sequence[int]) -> list[str]:
    width, text = (WIDTH - len(_GAP)) // 2, f"output: concatenation of {_states(concat)}"
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _states(concat: Sequence[int]) -> str:
    full = tuple(concat) == tuple(range(2, len(concat) + 2)) and len(concat) > 1
    return f"2-{len(concat) + 1}" if full else ", ".join(map(str, concat))


def outline(genotype: Genotype) -> dict[str, dict[str, str]]:
    """For each cell what each node adds, states being counted from 0: `node 2: sep_conv_3x3(0) + skip_connect(1)`."""
    return {cell: _nodes_of(getattr(genotype, cell), getattr(genotype, f"{cell}_concat")) for cell in CELLS}


def _nodes_of(edges: Sequence[Edge], concat: Sequence[int]) -> dict[str, str]:
    used, sides = used_states(edges, concat), [f"{name}({pred})" for name, pred in edges]
    sums = [" + ".join(sides[i : i + 2]) for i in range(0, len(sides), 2)]
    texts = [f"{text}{' (unused)' * (node not in used)}" for node, text in enumerate(sums, start=2)]
    return {**numbered("node", 2, texts), "output": f"concatenation of {_states(concat)}"}


def dot(genotype: Genotype) -> str:
    """The two cells side by side as a graph in the DOT language; `dot -Tsvg` of Graphviz makes a picture of it.

    Inputs are the outputs of the two cells before. Edges say their operations. Nodes on which the output does not depend, and
    the edges to them, are dashed and grey.
    """
    lines = [
        "digraph architecture {",
        "  rankdir=LR;",
        '  graph [fontname="sans-serif", fontsize=14, color="#999999", ranksep=0.9, nodesep=0.25];',
        '  node [fontname="sans-serif", fontsize=12, shape=box, style="rounded,filled", fillcolor="#eef3fa"];',
        '  edge [fontname="sans-serif", fontsize=10, arrowsize=0.7];',
    ]
    for cell in CELLS:
        lines += _cluster(cell, getattr(genotype, cell), getattr(genotype, f"{cell}_concat"))
    return "\n".join([*lines, "}", ""])


_IDLE = 'color="#aaaaaa", fontcolor="#888888"'


def _cluster(cell: str, edges: Sequence[Edge], concat: Sequence[int]) -> Iterator[str]:
    """One cell; its states are called `normal_0`, `normal_1`, ..."""
    used = used_states(edges, concat)
    yield f"  subgraph cluster_{cell} {{"
    yield f'    label="{_TITLES[cell]}";'
    for state in range(2 + len(edges) // 2):
        label = _INPUTS[state] if state < len(_INPUTS) else str(state)
        look = ', fillcolor="#dff0d8"' if state < len(_INPUTS) else ""
        idle = f', style="rounded,dashed", {_IDLE}' if state not in used else look
        yield f'    {cell}_{state} [label="{label}"{idle}];'
    yield f'    {cell}_output [label="output", fillcolor="#fdf0d5"];'
    for i, (name, state) in enumerate(edges):
        node = 2 + i // 2
        idle = f", style=dashed, {_IDLE}" if node not in used or name == "none" else ""
        yield f'    {cell}_{state} -> {cell}_{node} [label="{name}"{idle}];'
    for state in concat:
        yield f"    {cell}_{state} -> {cell}_output [arrowhead=empty];"
    yield "  }"

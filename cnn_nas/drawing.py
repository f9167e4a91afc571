"""One convolutional architecture as a picture of plain text, for terminals and logs. It never imports torch."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from cnn_nas.architecture import Edge, Genotype

WIDTH = 100
"""No line is longer."""

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
    used = _used(edges, concat)
    sources = [_INPUTS[pred] if pred < len(_INPUTS) else f"node {pred}" for _, pred in edges]
    from_width, name_width = max(map(len, sources)), max(len(name) for name, _ in edges)
    for i, (source, (name, _)) in enumerate(zip(sources, edges, strict=True)):
        node = 2 + i // 2
        end = f"┴─ node {node}{' (unused)' * (node not in used)}" if i % 2 else "┐"
        yield f"{source:{from_width}} ── {name + ' ':─<{name_width + 2}}{end}"


def _used(edges: Sequence[Edge], concat: Sequence[int]) -> set[int]:
    """The states on which the output depends; nothing depends on what goes through `none`."""
    used = set(concat)
    for i in reversed(range(len(edges))):
        name, pred = edges[i]
        if 2 + i // 2 in used and name != "none":
            used.add(pred)
    return used


def _output(concat: Sequence[int]) -> list[str]:
    full = tuple(concat) == tuple(range(2, len(concat) + 2)) and len(concat) > 1
    nodes = f"2-{len(concat) + 1}" if full else ", ".join(map(str, concat))
    width = (WIDTH - len(_GAP)) // 2
    return textwrap.wrap(f"output: concatenation of {nodes}", width, subsequent_indent="  ", break_on_hyphens=False)

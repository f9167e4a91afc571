"""One Hadamard cell as lines of plain text, and as a graph for Graphviz."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from nas.core.space import numbered
from randomNAS_files.drawing import dot_head
from randomNAS_files.hadamard import C, HadamardGenotype, formula

WIDTH = 100
"""No line is longer."""

_UNUSED = 'color="#aaaaaa", fontcolor="#888888"'


def draw(genotype: HadamardGenotype) -> list[str]:
    """The cell as lines, a formula for each node, whose products have matrices that are not written:

        s0  x, h
        s1  tanh(s0)*sigmoid(s0)
        s2  identity(c)*sigmoid(s0)
        s3  s1+s2
        s4  tanh(s3)*sigmoid(s0)
        output: mean of s4
        next c: s3

    A node on which the output does not depend, now or later, is `(unused)`.
    """
    texts = _texts(genotype, "s")
    width = len(f"s{len(texts)}")
    lines = [f"{f's{i}':<{width}}  {text}" for i, text in enumerate(["x, h", *texts])]
    output = textwrap.wrap(f"output: mean of {_concat(genotype)}", WIDTH, subsequent_indent="  ")
    return [*lines, *output, f"next c: s{genotype.next_c}"]


def outline(genotype: HadamardGenotype) -> dict[str, Any]:
    """Each node, then the output and which state is the next c; keys sort in this order."""
    nodes = numbered("node", 1, _texts(genotype, "s"))
    return {**nodes, "output": f"mean of {_concat(genotype)}", "the next c": f"s{genotype.next_c}"}


def dot(genotype: HadamardGenotype) -> str:
    """The cell as a graph in the DOT language.

    Of a product the state that is activated leads to it with the activation's name, and the one that gates it with `sigmoid`.
    What the output does not depend on is dashed and grey.
    """
    lines = [
        *dot_head("x", "h", C),
        *_nodes(genotype),
        '  output [label="output: mean", fillcolor="#fdf0d5"];',
        '  next_c [label="next c", fillcolor="#fdf0d5"];',
        "  x -> s0;",
        "  h -> s0;",
        *_edges(genotype),
        *(f"  s{i} -> output [arrowhead=empty];" for i in genotype.concat),
        f"  s{genotype.next_c} -> next_c{'' if genotype.reads_c else f' [style=dashed, {_UNUSED}]'};",
    ]
    return "\n".join([*lines, "}", ""])


def _texts(genotype: HadamardGenotype, before: str) -> list[str]:
    unused = genotype.unused_nodes()
    return [formula(node, before) + " (unused)" * (i in unused) for i, node in enumerate(genotype.nodes, start=1)]


def _concat(genotype: HadamardGenotype) -> str:
    count = len(genotype.recurrent)
    full = genotype.concat == tuple(range(1, count + 1)) and count > 1
    return f"s1-s{count}" if full else ", ".join(f"s{i}" for i in genotype.concat)


def _nodes(genotype: HadamardGenotype) -> Iterator[str]:
    unused = genotype.unused_nodes()
    for i, node in enumerate(genotype.nodes, start=1):
        look = f', style="rounded,dashed", {_UNUSED}' if i in unused else ""
        name = f"gate {node.activation}" if node.kind == "gate" else node.kind
        yield f'  s{i} [label="{i} {name}"{look}];'


def _edges(genotype: HadamardGenotype) -> Iterator[str]:
    unused = genotype.unused_nodes()
    for i, node in enumerate(genotype.nodes, start=1):
        labels = [f'label="{node.activation}"', 'label="sigmoid"'] if node.kind == "product" else ["", ""]
        for state, label in zip(node.reads, labels, strict=False):
            look = ", ".join(filter(None, [label, f"style=dashed, {_UNUSED}" if i in unused else ""]))
            yield f"  {state if state == C else f's{state}'} -> s{i}{f' [{look}]' if look else ''};"

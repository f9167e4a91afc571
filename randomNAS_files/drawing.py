"""One recurrent cell as a picture of plain text, for terminals and logs, and as a graph for Graphviz."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from nas.core.space import numbered
from randomNAS_files.architecture import Genotype

WIDTH = 100
"""No line is longer."""

_DEEPEST = 24  # levels before a tree would get too wide
_UNUSED = 'color="#aaaaaa", fontcolor="#888888"'


def draw(genotype: Genotype) -> list[str]:
    """The cell as lines: the tree of what reads what, from its inputs down, then what its output is the mean of.

        x, h
        └─ s0
           ├─ 1 relu
           │  └─ 2 none (unused)
           └─ 3 tanh
        output: mean of 1-3

    The input x and the state h of the word before make the initial state s0, and every node stands below the one state that
    it reads. A node on which the output does not depend is `(unused)`. Where a very deep branch ends in `…`, it goes on in a
    tree of its own.
    """
    unused = genotype.unused_nodes()
    nodes = enumerate(genotype.recurrent, start=1)
    labels = ["s0", *(f"{i} {name}{' (unused)' * (i in unused)}" for i, (name, _) in nodes)]
    readers: list[list[int]] = [[] for _ in labels]
    for i, (_, pred) in enumerate(genotype.recurrent, start=1):
        readers[pred].append(i)
    cut: list[int] = []
    lines = ["x, h", "└─ s0", *_branches(0, "   ", labels, readers, cut)]
    for top in cut:  # grows meanwhile
        lines += [labels[top], *_branches(top, "", labels, readers, cut)]
    return lines + _output(genotype)


def _branches(
    state: int, indent: str, labels: Sequence[str], readers: Sequence[Sequence[int]], cut: list[int]
) -> Iterator[str]:
    """What hangs below a state; nodes whose branches would lead too far are added to `cut` instead."""
    for i in readers[state]:
        last = i == readers[state][-1]
        too_deep = len(indent) >= 3 * _DEEPEST and bool(readers[i])
        yield f"{indent}{'└' if last else '├'}─ {labels[i]}{' …' * too_deep}"
        if too_deep:
            cut.append(i)
        else:
            yield from _branches(i, indent + ("   " if last else "│  "), labels, readers, cut)


def _output(genotype: Genotype) -> list[str]:
    text = f"output: mean of {_concat(genotype)}"
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _concat(genotype: Genotype) -> str:
    count = len(genotype.recurrent)
    full = genotype.concat == tuple(range(1, count + 1)) and count > 1
    return f"1-{count}" if full else ", ".join(map(str, genotype.concat))


def outline(genotype: Genotype) -> dict[str, str]:
    """Each node's activation and the state that it reads, then the output: `node 1: relu(0)`, `output: mean of 1-8`."""
    unused = genotype.unused_nodes()
    nodes = enumerate(genotype.recurrent, start=1)
    texts = [f"{name}({pred}){' (unused)' * (i in unused)}" for i, (name, pred) in nodes]
    return {**numbered("node", 1, texts), "output": f"mean of {_concat(genotype)}"}


def dot(genotype: Genotype) -> str:
    """The cell as a graph in the DOT language; `dot -Tsvg` of Graphviz makes a picture of it.

    The input x and the state h of the word before make the initial state s0; the output is the mean of what leads to it. Nodes
    on which it does not depend, and the edges to them, are dashed and grey, and so are edges to `none`, which reads nothing.
    """
    unused = genotype.unused_nodes()
    lines = dot_head("x", "h")
    for i, (name, _) in enumerate(genotype.recurrent, start=1):
        look = f', style="rounded,dashed", {_UNUSED}' if i in unused else ""
        lines.append(f'  s{i} [label="{i} {name}"{look}];')
    lines += ['  output [label="output: mean", fillcolor="#fdf0d5"];', "  x -> s0;", "  h -> s0;"]
    for i, (_, pred) in enumerate(genotype.recurrent, start=1):
        lines.append(f"  s{pred} -> s{i}{f' [style=dashed, {_UNUSED}]' if i in unused else ''};")
    lines += [f"  s{i} -> output [arrowhead=empty];" for i in genotype.concat]
    return "\n".join([*lines, "}", ""])


def dot_head(*inputs: str) -> list[str]:
    """The first lines of a cell's graph: how it looks, its inputs and its initial state."""
    return [
        "digraph cell {",
        "  rankdir=LR;",
        '  graph [fontname="sans-serif", fontsize=14, ranksep=0.6, nodesep=0.25];',
        '  node [fontname="sans-serif", fontsize=12, shape=box, style="rounded,filled", fillcolor="#eef3fa"];',
        '  edge [fontname="sans-serif", fontsize=10, arrowsize=0.7];',
        *(f'  {name} [label="{name}", fillcolor="#dff0d8"];' for name in inputs),
        '  s0 [label="s0"];',
    ]

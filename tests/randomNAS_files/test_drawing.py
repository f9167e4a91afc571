"""Recurrent cells as plain text and as graphs: what is drawn is read back by following the lines, as an eye would."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs import ROOT

from randomNAS_files.architecture import ACTIVATIONS, Genotype, sample
from randomNAS_files.drawing import dot, draw, outline
from randomNAS_files.space import SPACE

NONE = "none"


def numbers(text: str) -> list[int]:
    """`2-4, 7` as numbers."""
    spans = [[int(end) for end in part.split("-")] for part in text.split(", ")]
    return [number for span in spans for number in range(span[0], span[-1] + 1)]


def above(rows: Sequence[str], row: int, column: int) -> str:
    """The label from which a branch hangs: straight up, along lines without a gap."""
    while row := row - 1:
        if rows[row][column] not in "│├":
            break
    return rows[row][column:]


def read_cell(rows: Sequence[str]) -> tuple[Genotype, set[int]]:
    """The recurrent cell that is drawn, and the nodes drawn as unused."""
    end = next(i for i, row in enumerate(rows) if row.startswith("output"))
    tree, output = rows[:end], " ".join(row.strip() for row in rows[end:])
    assert tree[:2] == ["x, h", "└─ s0"]
    nodes, unused = {}, set()
    for i, row in enumerate(tree):
        branch = re.fullmatch(r"([│ ]*)([├└])─ (\d+) (\w+)( \(unused\))?( …)?", row)
        if branch is None:
            assert i < 2 or re.fullmatch(r"\d+ \w+( \(unused\))?", row)
            continue
        column, number = len(branch[1]), int(branch[3])
        assert number not in nodes
        below = tree[i + 1][column : column + 1] if i + 1 < len(tree) else ""
        assert (below != "" and below in "│├└") == (branch[2] == "├")
        parent = above(tree, i, column).split()[0]
        nodes[number] = (branch[4], 0 if parent == "s0" else int(parent))
        if branch[5]:
            unused.add(number)
    concat = re.fullmatch(r"output: mean of ([\d, -]+)", output)
    assert concat and sorted(nodes) == list(range(1, len(nodes) + 1))
    return Genotype(tuple(nodes[i] for i in sorted(nodes)), tuple(numbers(concat[1]))), unused


def idle_nodes(cell: Genotype) -> set[int]:
    """The nodes that the output does not depend on, by what each state depends on from the inputs on."""
    states: list[set[int]] = [set()]
    for i, (name, pred) in enumerate(cell.recurrent, start=1):
        states.append(set() if name == NONE else {i} | states[pred])
    return set(range(1, len(states))) - set().union(*(states[i] for i in cell.concat))


def assert_plain(rows: Sequence[str]) -> None:
    assert all(len(row) <= 100 and row.isprintable() and row == row.rstrip() and row for row in rows)


def read_outline(texts: Mapping[str, str]) -> tuple[Genotype, set[int]]:
    """The cell of an outline whose keys a viewer has sorted by name, and the nodes that it calls unused."""
    *nodes, (last, output) = sorted(texts.items())
    found = [re.fullmatch(r"(\w+)\((\d+)\)( \(unused\))?", text) for _, text in nodes]
    assert [int(key.removeprefix("node ")) for key, _ in nodes] == list(range(1, len(nodes) + 1)) and last == "output"
    unused = {i for i, text in enumerate(found, start=1) if text and text[3]}
    concat = numbers(output.removeprefix("mean of "))
    return Genotype(tuple((text[1], int(text[2])) for text in found if text), tuple(concat)), unused


def assert_drawn(cell: Genotype) -> None:
    rows = draw(cell)
    assert_plain(rows)
    assert read_cell(rows) == read_outline(outline(cell)) == (cell, idle_nodes(cell))


@st.composite
def wide_and_deep_cells(draw: st.DrawFn) -> Genotype:
    count = draw(st.integers(1, 60))
    reach = draw(st.sampled_from([1, 2, 60]))  # 1 is a chain, the deepest tree
    nodes = [(draw(st.sampled_from(ACTIVATIONS)), draw(st.integers(max(0, i - reach + 1), i))) for i in range(count)]
    concat = draw(st.lists(st.integers(1, count), unique=True, min_size=1))
    return Genotype(tuple(nodes), tuple(concat))


@pytest.mark.parametrize("name", SPACE.genotypes)
def test_each_named_cell_is_read_back(name: str) -> None:
    assert_drawn(SPACE.by_name(name))


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_sampled_cells_are_read_back(seed: int) -> None:
    assert_drawn(sample(seed))


@settings(deadline=None, max_examples=50)
@given(wide_and_deep_cells())
def test_any_recurrent_cell_is_read_back(cell: Genotype) -> None:
    assert_drawn(cell)


def test_a_chain_of_500_nodes_is_drawn_as_several_trees() -> None:
    assert_drawn(Genotype(tuple(("identity", i) for i in range(500)), tuple(range(500, 0, -1))))


def test_a_recurrent_cell_looks_like_this() -> None:
    cell = Genotype((("relu", 0), ("tanh", 1), ("sigmoid", 0), ("none", 1), ("identity", 2)), (1, 3, 5))
    assert draw(cell) == [
        "x, h",
        "└─ s0",
        "   ├─ 1 relu",
        "   │  ├─ 2 tanh",
        "   │  │  └─ 5 identity",
        "   │  └─ 4 none (unused)",
        "   └─ 3 sigmoid",
        "output: mean of 1, 3, 5",
    ]


def test_an_outline_looks_like_this() -> None:
    cell = Genotype((("relu", 0), ("tanh", 1), ("sigmoid", 0), ("none", 1), ("identity", 2)), (1, 3, 5))
    assert outline(cell) == {
        **{"node 1": "relu(0)", "node 2": "tanh(1)", "node 3": "sigmoid(0)", "node 4": "none(1) (unused)"},
        **{"node 5": "identity(2)", "output": "mean of 1, 3, 5"},
    }


def test_an_output_of_all_nodes_is_said_in_short() -> None:
    assert draw(SPACE.by_name("DARTS"))[-1] == "output: mean of 1-8"


def test_drawing_imports_no_torch() -> None:
    code = """
import sys
from randomNAS_files import drawing, genotypes
print(*drawing.draw(genotypes.DARTS), drawing.dot(genotypes.DARTS), sep="\\n")
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-X", "utf8", "-c", code], cwd=ROOT, capture_output=True).returncode == 0


# Graphs


def read_graph(graph: str) -> tuple[Genotype, set[int]]:
    """The cell of a graph, and the nodes shown as unused."""
    assert graph.startswith("digraph cell {\n") and graph.endswith("\n}\n")
    nodes = re.findall(r'^  s([1-9]\d*) \[label="(\d+) (\w+)"(.*)\];$', graph, re.MULTILINE)
    assert [int(number) for number, *_ in nodes] == list(range(1, len(nodes) + 1))
    assert all(number == label for number, label, *_ in nodes)
    unused = {int(number) for number, _, _, look in nodes if "dashed" in look}
    edges = re.findall(r"^  (\w+) -> (\w+)(.*);$", graph, re.MULTILINE)
    assert [(source, target) for source, target, _ in edges if target == "s0"] == [("x", "s0"), ("h", "s0")]
    inner = [edge for edge in edges if edge[1] not in ("s0", "output")]
    assert {int(target[1:]) for _, target, look in inner if "dashed" in look} == unused
    sources = {int(target[1:]): int(source[1:]) for source, target, _ in inner}
    concat = tuple(int(source[1:]) for source, target, _ in edges if target == "output")
    assert len(inner) == len(nodes) and len(edges) == 2 + len(nodes) + len(concat)
    return Genotype(tuple((name, sources[i]) for i, (_, _, name, _) in enumerate(nodes, start=1)), concat), unused


@pytest.mark.parametrize("name", SPACE.genotypes)
def test_the_graph_of_each_named_cell_is_read_back(name: str) -> None:
    assert read_graph(dot(SPACE.by_name(name))) == (SPACE.by_name(name), set())


@settings(deadline=None, max_examples=50)
@given(wide_and_deep_cells())
def test_the_graph_of_any_cell_is_read_back(cell: Genotype) -> None:
    assert read_graph(dot(cell)) == (cell, idle_nodes(cell))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_graphs() -> None:
    for cell in (SPACE.by_name("ENAS"), Genotype((("relu", 0), ("none", 1), ("tanh", 2)), (3,))):
        done = subprocess.run(["dot", "-Tsvg"], input=dot(cell), capture_output=True, text=True, check=True)
        assert "<svg" in done.stdout and not done.stderr

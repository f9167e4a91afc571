"""Architectures as plain text and as graphs: what is drawn is read back by following the lines, as an eye would."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs import ROOT

from cnn_nas import architecture as images
from cnn_nas import drawing, genotypes
from cnn_nas.space import SPACE

NONE = "none"


def numbers(text: str) -> list[int]:
    """`2-4, 7` as numbers."""
    spans = [[int(end) for end in part.split("-")] for part in text.split(", ")]
    return [number for span in spans for number in range(span[0], span[-1] + 1)]


def read_cell(rows: Sequence[str]) -> tuple[tuple[images.Edge, ...], tuple[int, ...], set[int]]:
    """The cell that is drawn below its name: edges, concat, and the nodes drawn as unused."""
    edges: list[images.Edge] = []
    unused = set()
    end = next(i for i, row in enumerate(rows) if row.startswith("output"))
    for first, second in zip(rows[1:end:2], rows[2:end:2], strict=True):
        assert first.index("┐") == second.index("┴")
        sides = re.fullmatch(r"(.+?) +── (\w+) ─+┐", first), re.fullmatch(r"(.+?) +── (\w+) ─+┴─ (.+)", second)
        assert sides[0] and sides[1]
        node = re.fullmatch(r"node (\d+)( \(unused\))?", sides[1][3])
        assert node and int(node[1]) == 2 + len(edges) // 2
        if node[2]:
            unused.add(int(node[1]))
        for side in sides:
            assert side
            known = {"c_{k-2}": 0, "c_{k-1}": 1} | {f"node {i}": i for i in range(2, int(node[1]))}
            edges.append((side[2], known[side[1]]))
    output = re.fullmatch(r"output: concatenation of ([\d, -]+)", " ".join(row.strip() for row in rows[end:]).strip())
    assert output
    return tuple(edges), tuple(numbers(output[1])), unused


def read_images(rows: Sequence[str]) -> tuple[images.Genotype, set[int], set[int]]:
    """The architecture that is drawn, and the nodes drawn as unused of each cell."""
    middle = rows[0].index("reduction cell")
    assert rows[0][:middle].strip() == "normal cell"
    assert all(row[middle - 1 : middle] in ("", " ") for row in rows)
    normal = read_cell([row[:middle].rstrip() for row in rows])
    reduce = read_cell([row[middle:] for row in rows])
    found = images.Genotype(normal=normal[0], normal_concat=normal[1], reduce=reduce[0], reduce_concat=reduce[1])
    return found, normal[2], reduce[2]


def idle_images(edges: Sequence[images.Edge], concat: Sequence[int]) -> set[int]:
    """The nodes that the output does not depend on, by what each state depends on from the inputs on."""
    states: list[set[int]] = [set(), set()]
    for node in range(2, 2 + len(edges) // 2):
        sides = edges[2 * node - 4 : 2 * node - 2]
        states.append({node}.union(*(states[pred] for name, pred in sides if name != NONE)))
    return set(range(2, len(states))) - set().union(*(states[i] for i in concat))


def assert_plain(rows: Sequence[str]) -> None:
    assert all(len(row) <= 100 and row.isprintable() and row == row.rstrip() and row for row in rows)


def read_outline(texts: Mapping[str, str]) -> tuple[tuple[images.Edge, ...], tuple[int, ...], set[int]]:
    """The cell of an outline whose keys a viewer has sorted by name: edges, concat, and the nodes that it calls unused."""
    *nodes, (last, output) = sorted(texts.items())
    assert [int(key.removeprefix("node ")) for key, _ in nodes] == list(range(2, len(nodes) + 2)) and last == "output"
    found = [re.fullmatch(r"(\w+)\((\d+)\) \+ (\w+)\((\d+)\)( \(unused\))?", text) for _, text in nodes]
    edges = [(text[i], int(text[i + 1])) for text in found if text for i in (1, 3)]
    unused = {node for node, text in enumerate(found, start=2) if text and text[5]}
    return tuple(edges), tuple(numbers(output.removeprefix("concatenation of "))), unused


def assert_outline(genotype: images.Genotype) -> None:
    outline = drawing.outline(genotype)
    assert list(outline) == sorted(outline) == ["normal", "reduce"]
    for cell, texts in outline.items():
        edges, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
        assert read_outline(texts) == (edges, concat, idle_images(edges, concat))


def assert_images(genotype: images.Genotype) -> None:
    assert_outline(genotype)
    rows = drawing.draw(genotype)
    assert_plain(rows)
    idle = [idle_images(getattr(genotype, cell), getattr(genotype, f"{cell}_concat")) for cell in images.CELLS]
    assert read_images(rows) == (genotype, *idle)


@st.composite
def image_cells(draw: st.DrawFn) -> tuple[tuple[images.Edge, ...], tuple[int, ...]]:
    nodes = draw(st.integers(1, 40))
    edges = [(draw(st.sampled_from(images.ALL_OPERATIONS)), draw(st.integers(0, 1 + i // 2))) for i in range(2 * nodes)]
    return tuple(edges), tuple(draw(st.lists(st.integers(2, nodes + 1), unique=True, min_size=1)))


@pytest.mark.parametrize("name", SPACE.genotypes)
def test_each_named_architecture_is_read_back(name: str) -> None:
    assert_images(SPACE.by_name(name))


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_sampled_architectures_are_read_back(seed: int) -> None:
    assert_images(images.sample(seed))


@settings(deadline=None, max_examples=40)
@given(image_cells(), image_cells())
def test_any_two_cells_are_read_back(
    normal: tuple[tuple[images.Edge, ...], tuple[int, ...]], reduce: tuple[tuple[images.Edge, ...], tuple[int, ...]]
) -> None:
    assert_images(images.Genotype(normal=normal[0], normal_concat=normal[1], reduce=reduce[0], reduce_concat=reduce[1]))


def test_an_output_of_all_nodes_is_said_in_short() -> None:
    assert drawing.draw(genotypes.DARTS)[-1].split("  ")[0] == "output: concatenation of 2-5"


def test_an_outline_looks_like_this() -> None:
    genotype = images.Genotype(
        normal=(("sep_conv_3x3", 0), ("skip_connect", 1)),
        reduce=(("none", 1), ("max_pool_3x3", 0), ("conv_7x1_1x7", 2), ("none", 2)),
        reduce_concat=(2,),
    )
    assert drawing.outline(genotype) == {
        "normal": {"node 2": "sep_conv_3x3(0) + skip_connect(1)", "output": "concatenation of 2"},
        "reduce": {
            "node 2": "none(1) + max_pool_3x3(0)",
            "node 3": "conv_7x1_1x7(2) + none(2) (unused)",
            "output": "concatenation of 2",
        },
    }


def test_cells_look_like_this() -> None:
    genotype = images.Genotype(
        normal=(("sep_conv_3x3", 0), ("skip_connect", 1)),
        reduce=(("none", 1), ("max_pool_3x3", 0), ("conv_7x1_1x7", 2), ("none", 2)),
        reduce_concat=(2,),
    )
    assert drawing.draw(genotype) == [
        "normal cell                           reduction cell",
        "c_{k-2} ── sep_conv_3x3 ─┐            c_{k-1} ── none ─────────┐",
        "c_{k-1} ── skip_connect ─┴─ node 2    c_{k-2} ── max_pool_3x3 ─┴─ node 2",
        "output: concatenation of 2            node 2  ── conv_7x1_1x7 ─┐",
        "                                      node 2  ── none ─────────┴─ node 3 (unused)",
        "                                      output: concatenation of 2",
    ]


# DOT

NODE = re.compile(r'    (normal|reduce)_(\d+|output) \[label="([^"]+)"(.*)\];')
EDGE = re.compile(r'    (normal|reduce)_(\d+) -> (normal|reduce)_(\d+) \[label="(\w+)"(.*)\];')
OUTPUT = re.compile(r"    (normal|reduce)_(\d+) -> (normal|reduce)_output \[arrowhead=empty\];")


def read_dot(text: str, cell: str) -> tuple[tuple[images.Edge, ...], tuple[int, ...], set[int]]:
    """The cell in a graph: edges, concat, and the nodes drawn as unused."""
    lines = text.splitlines()
    start = lines.index(f"  subgraph cluster_{cell} {{")
    body = lines[start + 2 : lines.index("  }", start)]
    nodes = [found for line in body if (found := NODE.fullmatch(line))]
    edges = [found for line in body if (found := EDGE.fullmatch(line))]
    outputs = [found for line in body if (found := OUTPUT.fullmatch(line))]
    assert len(nodes) + len(edges) + len(outputs) == len(body)
    assert {found[1] for found in [*nodes, *edges, *outputs]} == {found[3] for found in [*edges, *outputs]} == {cell}
    count = 2 + len(edges) // 2
    assert [found[2] for found in nodes] == [*map(str, range(count)), "output"]
    assert [found[3] for found in nodes] == ["c_{k-2}", "c_{k-1}", *map(str, range(2, count)), "output"]
    assert [int(found[4]) for found in edges] == [2 + i // 2 for i in range(len(edges))]
    idle = {int(found[2]) for found in nodes if "dashed" in found[4]}
    for found in edges:
        assert ("dashed" in found[6]) == (int(found[4]) in idle or found[5] == NONE)
    cells = tuple((found[5], int(found[2])) for found in edges)
    return cells, tuple(int(found[2]) for found in outputs), idle - {0, 1}


def assert_dot(genotype: images.Genotype) -> None:
    text = drawing.dot(genotype)
    assert text.startswith("digraph architecture {\n  rankdir=LR;\n") and text.endswith("\n}\n")
    assert text.count("{") - text.count("c_{k-") == text.count("}") - text.count('}"') == 3
    for cell in images.CELLS:
        edges, concat = getattr(genotype, cell), getattr(genotype, f"{cell}_concat")
        assert read_dot(text, cell) == (edges, concat, idle_images(edges, concat))


@settings(deadline=None, max_examples=40)
@given(image_cells(), image_cells())
def test_graphs_of_any_two_cells_are_read_back(
    normal: tuple[tuple[images.Edge, ...], tuple[int, ...]], reduce: tuple[tuple[images.Edge, ...], tuple[int, ...]]
) -> None:
    assert_dot(images.Genotype(normal=normal[0], normal_concat=normal[1], reduce=reduce[0], reduce_concat=reduce[1]))


@pytest.mark.parametrize("name", SPACE.genotypes)
def test_graphs_of_named_architectures_are_read_back(name: str) -> None:
    assert_dot(SPACE.by_name(name))


def test_drawing_imports_no_torch() -> None:
    code = """
import sys
from cnn_nas import drawing, genotypes
print(*drawing.draw(genotypes.DARTS), drawing.dot(genotypes.DARTS), sep="\\n")
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-X", "utf8", "-c", code], cwd=ROOT, capture_output=True).returncode == 0

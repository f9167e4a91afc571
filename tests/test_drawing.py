"""Architectures as plain text: what is drawn is read back by following the lines, as an eye would."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs import ROOT

from cnn_nas import architecture as images
from cnn_nas import drawing as drawn_images
from cnn_nas import genotypes as known_images
from randomNAS_files import architecture as words
from randomNAS_files import drawing as drawn_words
from randomNAS_files import genotypes as known_words

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


def read_words(rows: Sequence[str]) -> tuple[words.Genotype, set[int]]:
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
    return words.Genotype(tuple(nodes[i] for i in sorted(nodes)), tuple(numbers(concat[1]))), unused


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


def idle_words(cell: words.Genotype) -> set[int]:
    """The nodes that the output does not depend on, by what each state depends on from the inputs on."""
    states: list[set[int]] = [set()]
    for i, (name, pred) in enumerate(cell.recurrent, start=1):
        states.append(set() if name == NONE else {i} | states[pred])
    return set(range(1, len(states))) - set().union(*(states[i] for i in cell.concat))


def idle_images(edges: Sequence[images.Edge], concat: Sequence[int]) -> set[int]:
    """The same for a convolutional cell."""
    states: list[set[int]] = [set(), set()]
    for node in range(2, 2 + len(edges) // 2):
        sides = edges[2 * node - 4 : 2 * node - 2]
        states.append({node}.union(*(states[pred] for name, pred in sides if name != NONE)))
    return set(range(2, len(states))) - set().union(*(states[i] for i in concat))


def assert_plain(rows: Sequence[str]) -> None:
    assert all(len(row) <= 100 and row.isprintable() and row == row.rstrip() and row for row in rows)


def assert_words(cell: words.Genotype) -> None:
    rows = drawn_words.draw(cell)
    assert_plain(rows)
    assert read_words(rows) == (cell, idle_words(cell))


def assert_images(genotype: images.Genotype) -> None:
    rows = drawn_images.draw(genotype)
    assert_plain(rows)
    idle = [idle_images(getattr(genotype, cell), getattr(genotype, f"{cell}_concat")) for cell in images.CELLS]
    assert read_images(rows) == (genotype, *idle)


@st.composite
def word_cells(draw: st.DrawFn) -> words.Genotype:
    count = draw(st.integers(1, 60))
    reach = draw(st.sampled_from([1, 2, 60]))  # 1 is a chain, the deepest tree
    nodes = [
        (draw(st.sampled_from(words.ACTIVATIONS)), draw(st.integers(max(0, i - reach + 1), i))) for i in range(count)
    ]
    concat = draw(st.lists(st.integers(1, count), unique=True))
    return words.Genotype(tuple(nodes), tuple(concat))


@st.composite
def image_cells(draw: st.DrawFn) -> tuple[tuple[images.Edge, ...], tuple[int, ...]]:
    nodes = draw(st.integers(1, 40))
    edges = [(draw(st.sampled_from(images.ALL_OPERATIONS)), draw(st.integers(0, 1 + i // 2))) for i in range(2 * nodes)]
    return tuple(edges), tuple(draw(st.lists(st.integers(2, nodes + 1), unique=True)))


@pytest.mark.parametrize("name", known_words.names())
def test_each_named_recurrent_cell_is_read_back(name: str) -> None:
    assert_words(known_words.by_name(name))


@pytest.mark.parametrize("name", known_images.names())
def test_each_named_convolutional_architecture_is_read_back(name: str) -> None:
    assert_images(known_images.by_name(name))


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_sampled_architectures_are_read_back(seed: int) -> None:
    assert_words(words.sample(seed))
    assert_images(images.sample(seed))


@settings(deadline=None, max_examples=50)
@given(word_cells())
def test_any_recurrent_cell_is_read_back(cell: words.Genotype) -> None:
    assert_words(cell)


@settings(deadline=None, max_examples=40)
@given(image_cells(), image_cells())
def test_any_two_convolutional_cells_are_read_back(
    normal: tuple[tuple[images.Edge, ...], tuple[int, ...]], reduce: tuple[tuple[images.Edge, ...], tuple[int, ...]]
) -> None:
    assert_images(images.Genotype(normal=normal[0], normal_concat=normal[1], reduce=reduce[0], reduce_concat=reduce[1]))


def test_a_chain_of_500_nodes_is_drawn_as_several_trees() -> None:
    assert_words(words.Genotype(tuple(("identity", i) for i in range(500)), tuple(range(500, 0, -1))))


def test_a_recurrent_cell_looks_like_this() -> None:
    cell = words.Genotype((("relu", 0), ("tanh", 1), ("sigmoid", 0), ("none", 1), ("identity", 2)), (1, 3, 5))
    assert drawn_words.draw(cell) == [
        "x, h",
        "└─ s0",
        "   ├─ 1 relu",
        "   │  ├─ 2 tanh",
        "   │  │  └─ 5 identity",
        "   │  └─ 4 none (unused)",
        "   └─ 3 sigmoid",
        "output: mean of 1, 3, 5",
    ]


def test_an_output_of_all_nodes_is_said_in_short() -> None:
    assert drawn_words.draw(known_words.DARTS)[-1] == "output: mean of 1-8"
    assert drawn_images.draw(known_images.DARTS)[-1].split("  ")[0] == "output: concatenation of 2-5"


def test_convolutional_cells_look_like_this() -> None:
    genotype = images.Genotype(
        normal=(("sep_conv_3x3", 0), ("skip_connect", 1)),
        reduce=(("none", 1), ("max_pool_3x3", 0), ("conv_7x1_1x7", 2), ("none", 2)),
        reduce_concat=(2,),
    )
    assert drawn_images.draw(genotype) == [
        "normal cell                           reduction cell",
        "c_{k-2} ── sep_conv_3x3 ─┐            c_{k-1} ── none ─────────┐",
        "c_{k-1} ── skip_connect ─┴─ node 2    c_{k-2} ── max_pool_3x3 ─┴─ node 2",
        "output: concatenation of 2            node 2  ── conv_7x1_1x7 ─┐",
        "                                      node 2  ── none ─────────┴─ node 3 (unused)",
        "                                      output: concatenation of 2",
    ]


def test_drawing_imports_no_torch() -> None:
    code = """
import sys
from cnn_nas import drawing, genotypes
print(*drawing.draw(genotypes.DARTS), sep="\\n")
from randomNAS_files import drawing, genotypes
print(*drawing.draw(genotypes.DARTS), sep="\\n")
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-X", "utf8", "-c", code], cwd=ROOT, capture_output=True).returncode == 0

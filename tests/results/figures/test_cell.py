"""Drawings of architectures: DOT is read as Graphviz reads it, and our own layout is a drawing one can read."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.made_up import search, trial

from nas.core.space import Space, load_space
from nas.results.figures import cell as cells
from nas.results.figures.dot_text import parse_dot
from nas.results.figures.layout import place

SPACES = ("randomNAS_files", "cnn_nas", "toy_space")
needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


def space_of(package: str) -> Space[Any]:
    return load_space(package)


@needs_graphviz
@pytest.mark.parametrize("package", SPACES)
def test_dot_is_read_as_graphviz_reads_it(package: str) -> None:
    space = space_of(package)
    for seed in range(3):
        text = space.to_dot(space.sample(seed))
        done = subprocess.run(["dot", "-Tjson0"], input=text, capture_output=True, text=True, check=True)
        truth = json.loads(done.stdout)
        objects = truth["objects"]
        ours = parse_dot(text)
        nodes = {each["name"]: each["label"].replace("\\N", each["name"]) for each in objects if "nodes" not in each}
        assert {name: ours.label(name) for name in ours.nodes} == nodes
        name = {each["_gvid"]: each["name"] for each in objects}
        edges = [(name[e["tail"]], name[e["head"]], e.get("label", ""), e.get("style", "")) for e in truth["edges"]]
        assert Counter(edges) == Counter(
            (e.tail, e.head, e.attributes.get("label", ""), e.attributes.get("style", "")) for e in ours.edges
        )
        clusters = {each.get("label"): len(each["nodes"]) for each in objects if "nodes" in each}
        assert {each.label: len(each.nodes) for each in ours.clusters if each.label} == clusters


def test_quotes_comments_and_chains() -> None:
    graph = parse_dot('digraph "a b" { // one\n /* two */ a [label="say \\"hi\\" -> {x}"]; a->b -> c [label=e]; }')
    assert list(graph.nodes) == ["a", "b", "c"] and graph.label("a") == 'say "hi" -> {x}'
    assert [(edge.tail, edge.head, edge.attributes) for edge in graph.edges] == [
        ("a", "b", {"label": "e"}),
        ("b", "c", {"label": "e"}),
    ]


@pytest.mark.parametrize("text", ["", "graph { a -- b }", "digraph { a -> b", "digraph { a [label=", "digraph { <b> }"])
def test_what_is_no_directed_graph_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_dot(text)
    assert cells.draw_dot(text, "x") is None or shutil.which("dot")


graphs = st.integers(2, 7).flatmap(
    lambda n: st.lists(st.tuples(st.integers(0, n - 2), st.integers(1, n - 1)), min_size=1, max_size=14).map(
        lambda pairs: (n, [(a, b) for a, b in pairs if a < b])
    )
)


@settings(deadline=None, max_examples=60)
@given(graphs)
def test_nothing_overlaps_and_every_edge_leads_to_the_right(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, pairs = graph
    nodes = {f"n{i}": (30.0 + 5 * i, 20.0) for i in range(count)}
    edges: list[Any] = [(f"n{a}", f"n{b}", (40.0, 12.0) if a % 2 else None) for a, b in pairs]
    layout = place(nodes, edges)
    boxes = [(*layout.nodes[name], *extent) for name, extent in nodes.items()]
    boxes += [(*at, 40.0, 12.0) for at in layout.labels if at is not None]
    for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(boxes, 2):
        assert abs(x - x2) >= (w + w2) / 2 - 1e-6 or abs(y - y2) >= (h + h2) / 2 - 1e-6
    for x, y, w, h in boxes:
        assert x - w / 2 >= -1e-6 and x + w / 2 <= layout.width + 1e-6
        assert y - h / 2 >= -1e-6 and y + h / 2 <= layout.height + 1e-6
    for (tail, head, _), route in zip(edges, layout.routes, strict=True):
        assert [x for x, _ in route] == sorted(x for x, _ in route)
        assert route[0][0] == pytest.approx(layout.nodes[tail][0] + nodes[tail][0] / 2)
        assert route[-1][0] == pytest.approx(layout.nodes[head][0] - nodes[head][0] / 2)


def test_a_cycle_is_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        place({"a": (1, 1), "b": (1, 1)}, [("a", "b", None), ("b", "a", None)])


@pytest.mark.parametrize("program", ["graphviz", "none", "broken"])
@pytest.mark.parametrize("package", SPACES)
def test_every_space_is_drawn_with_all_its_words(package: str, program: str, monkeypatch: Any, tmp_path: Any) -> None:
    if program == "none":
        monkeypatch.setattr(cells.shutil, "which", lambda _: None)
    if program == "broken":
        (tmp_path / "dot").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "dot").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    space = space_of(package)
    genotype = space.sample(1)
    made = trial(3, random.Random(0), space=package, genotype=genotype.to_json())
    picture = cells.cell(search(0, trials=[made]), made)
    assert picture is not None
    root = ElementTree.fromstring(picture.svg)
    drawn = Counter("".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text"))
    graph = parse_dot(space.to_dot(genotype))
    words = Counter([graph.label(name) for name in graph.nodes])
    words.update(edge.attributes["label"] for edge in graph.edges if "label" in edge.attributes)
    assert not words - drawn
    assert "http" not in picture.svg.replace("http://www.w3.org/2000/svg", "")


def test_html_in_labels_is_text() -> None:
    svg = cells.draw_graph(parse_dot('digraph { a [label="<script>x</script>"]; a -> b [label="<b>&"]; }'))
    assert "<script" not in svg and {"<script>x</script>", "<b>&", "b"} == {
        "".join(each.itertext()) for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    }


def test_what_no_space_knows_is_not_drawn() -> None:
    for changes in ({"genotype": None}, {"space": None}, {"space": "no_such_space"}, {"genotype": {"recurrent": 7}}):
        made = trial(0, random.Random(0), **changes)
        assert cells.cell(search(0, trials=[made]), made) is None

"""Reads the part of the DOT language in which search spaces write architectures: nodes, edges, clusters, attributes.

No ports, no HTML labels, no edges to whole subgraphs (https://graphviz.org/doc/info/lang.html has the grammar).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

_TOKEN = re.compile(
    r'\s+|//[^\n]*|/\*.*?\*/|(?P<token>"(?:\\.|[^"\\])*"|->|[A-Za-z_0-9.\-]+?(?=->)|[\w.\-]+|[{}\[\];=,])', re.DOTALL
)

Attributes = dict[str, str]


@dataclass(frozen=True)
class Edge:
    """From one node to another, by name."""

    tail: str
    head: str
    attributes: Attributes


@dataclass
class Cluster:
    """Nodes that belong together, in the order in which they are named; the first cluster holds those of no other."""

    label: str = ""
    nodes: list[str] = field(default_factory=list)


@dataclass
class Graph:
    """A directed graph. `nodes` holds the attributes of each, by name."""

    nodes: dict[str, Attributes] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=lambda: [Cluster()])

    def label(self, node: str) -> str:
        """What stands in a node."""
        return self.nodes[node].get("label", node)


def parse_dot(text: str) -> Graph:
    """The graph of a DOT text. Raises ValueError if it is none, or beyond what is read here."""
    tokens = _Tokens(text)
    if tokens.next() == "strict":
        tokens.next()
    if tokens.last != "digraph":
        raise ValueError(f"a graph must begin with digraph, got {tokens.last!r}")
    if tokens.next() != "{":
        tokens.expect("{")
    graph = Graph()
    _statements(tokens, graph, graph.clusters[0])
    return graph


class _Tokens:
    def __init__(self, text: str) -> None:
        self._tokens, self.last = _tokens(text), ""
        self._ahead: str | None = None

    def next(self) -> str:
        if self._ahead is not None:
            self.last, self._ahead = self._ahead, None
        else:
            self.last = next(self._tokens, "")
        if not self.last:
            raise ValueError("the graph ends before its closing brace")
        return self.last

    def peek(self) -> str:
        if self._ahead is None:
            self._ahead = next(self._tokens, "")
        return self._ahead

    def expect(self, token: str) -> None:
        if self.next() != token:
            raise ValueError(f"expected {token!r}, got {self.last!r}")


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read {text[position : position + 20]!r}")
        position = match.end()
        if match["token"]:
            yield match["token"]


def _plain(token: str) -> str:
    """A name, or the content of a quoted text, in which only quotes are escaped; line breaks are spaces."""
    if not token.startswith('"'):
        return token
    return re.sub(r"\\[nlr]", " ", token[1:-1]).replace('\\"', '"').replace("\\\\", "\\")


def _statements(tokens: _Tokens, graph: Graph, cluster: Cluster) -> None:
    """Up to the closing brace."""
    while (token := tokens.next()) != "}":
        if token in (";", ","):
            continue
        if token in ("subgraph", "{"):
            if token == "subgraph" and tokens.next() != "{":
                tokens.expect("{")
            graph.clusters.append(Cluster())
            _statements(tokens, graph, graph.clusters[-1])
        elif token in ("graph", "node", "edge"):
            found = _attributes(tokens)
            if token == "graph":
                cluster.label = found.get("label", cluster.label)
        elif tokens.peek() == "=":
            tokens.next()
            value = _plain(tokens.next())
            if _plain(token) == "label":
                cluster.label = value
        else:
            _chain(tokens, graph, cluster, _plain(token))


def _chain(tokens: _Tokens, graph: Graph, cluster: Cluster, first: str) -> None:
    """A node, or a chain of edges, with its attributes."""
    names = [first]
    while tokens.peek() == "->":
        tokens.next()
        names.append(_plain(tokens.next()))
    found = _attributes(tokens)
    for name in names:
        if name not in graph.nodes:
            graph.nodes[name] = {}
            cluster.nodes.append(name)
    if len(names) == 1:
        graph.nodes[first].update(found)
    graph.edges += [Edge(tail, head, found) for tail, head in pairwise(names)]


def _attributes(tokens: _Tokens) -> Attributes:
    found: Attributes = {}
    while tokens.peek() == "[":
        tokens.next()
        while (name := tokens.next()) != "]":
            if name in (";", ","):
                continue
            tokens.expect("=")
            found[_plain(name)] = _plain(tokens.next())
    return found

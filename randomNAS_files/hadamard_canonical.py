"""One form for all Hadamard cells that are the same graph, up to numbering and nodes without effect.

A node may have two predecessors, so a cell is no tree. Nodes are told apart by colours: what a node is, what it reads and
what reads it, refined until nothing more is told (Weisfeiler & Leman 1968); of nodes that stay alike one is singled out, and
colours are refined again.
"""

from __future__ import annotations

from randomNAS_files.hadamard import C, HadamardGenotype, State

Colours = dict[State, int]


def canonical(genotype: HadamardGenotype) -> HadamardGenotype:
    """The one form of all cells that compute the same function up to numbering and nodes without effect.

    Node i of the result has the weights that node `numbering(genotype)[i - 1]` of the given cell had. Where the output does
    not depend on the second state, the next c is node 1. Nodes with one colour, one of which is singled out with the same
    result whichever it is, are taken to be alike; so they are in every cell of fewer than dozens of nodes.
    """
    order = numbering(genotype)
    new: dict[State, State] = {0: 0, C: C}
    new.update((old, i) for i, old in enumerate(order, start=1))
    nodes = []
    for old in order:
        node = genotype.recurrent[old - 1]
        count = len(genotype.nodes[old - 1].reads)
        nodes.append((*node[:-count], *(new[state] for state in node[-count:])))
    next_c = new[genotype.next_c] if genotype.reads_c else 1
    concat = sorted(order.index(old) + 1 for old in genotype.concat)
    return HadamardGenotype(tuple(nodes), int(next_c), tuple(concat))


def numbering(genotype: HadamardGenotype) -> list[int]:
    """The nodes that stay in the canonical form, by their old numbers, in their new order: each time, of the nodes all of
    whose predecessors are there, the one with the smallest colour.
    """
    graph = _Graph(genotype)
    colours, order = graph.discrete(), list[int]()
    done: set[State] = {0, C}
    while len(order) < len(graph.used):
        ready = [i for i in graph.used if i not in done and done.issuperset(graph.nodes[i - 1].reads)]
        order.append(min(ready, key=colours.__getitem__))
        done.add(order[-1])
    return order


class _Graph:
    """The nodes on which the output depends, and what reads them."""

    def __init__(self, genotype: HadamardGenotype) -> None:
        self.genotype, self.nodes, unused = genotype, genotype.nodes, set(genotype.unused_nodes())
        self.used = [i for i in range(1, len(self.nodes) + 1) if i not in unused]
        self.readers: dict[State, list[tuple[int, int]]] = {
            i: [] for i in self.used
        }  # a node, and its how manieth state
        for i in self.used:
            for place, state in enumerate(self.nodes[i - 1].reads):
                if state in self.readers:
                    self.readers[state].append((i, 0 if self.nodes[i - 1].kind == "sum" else place))

    def discrete(self) -> Colours:
        """A colour of its own for every node, the same whatever the numbering."""
        colours, _ = self._refined({0: -2, C: -3, **dict.fromkeys(self.used, 0)})
        while tied := self._tied(colours):
            alike = len({self._around(i) for i in tied}) == 1
            singled = [
                self._refined({**_spread(colours), i: 2 * colours[i] - 1}) for i in (tied[:1] if alike else tied)
            ]
            colours = min(singled, key=lambda each: each[1])[0]
        return colours

    def _tied(self, colours: Colours) -> list[int]:
        """The nodes of the first colour that several have."""
        by_colour: dict[int, list[int]] = {}
        for i in self.used:
            by_colour.setdefault(colours[i], []).append(i)
        return next((by_colour[colour] for colour in sorted(by_colour) if len(by_colour[colour]) > 1), [])

    def _around(self, i: int) -> tuple[object, ...]:
        """Equal for nodes that can be exchanged: they read the same, and the same nodes read them."""
        return self.nodes[i - 1].reads, tuple(sorted(self.readers[i]))

    def _refined(self, colours: Colours) -> tuple[Colours, list[tuple[object, ...]]]:
        """Colours that tell apart what these and the edges tell apart, and what they stand for."""
        while True:
            looks = {i: self._look(i, colours) for i in self.used}
            rank = {look: k for k, look in enumerate(sorted(set(looks.values())))}
            after: Colours = {0: -2, C: -3, **{i: rank[look] for i, look in looks.items()}}
            if len(rank) == len({colours[i] for i in self.used}):
                return after, sorted(looks.values())
            colours = after

    def _look(self, i: int, colours: Colours) -> tuple[object, ...]:
        node, genotype = self.nodes[i - 1], self.genotype
        reads = [colours[state] for state in node.reads]
        marks = i in genotype.concat, genotype.reads_c and i == genotype.next_c
        readers = sorted((colours[reader], place) for reader, place in self.readers[i])
        own = node.kind, node.activation or ""
        return colours[i], *own, *marks, tuple(sorted(reads) if node.kind == "sum" else reads), tuple(readers)


def _spread(colours: Colours) -> Colours:
    """The same order with room between."""
    return {state: colour if colour < 0 else 2 * colour for state, colour in colours.items()}

"""One form for all cells that are the same graph: what tells apart cells that differ, and recognises those that do not.

Every node reads one state, so a cell is a tree below the initial state, in which the averaged nodes are marked. Two cells
whose trees differ only in the order of branches have the same form. Nodes with equal activations that read the same state are
not the same node, for each has weights of its own.
"""

from __future__ import annotations

from randomNAS_files.architecture import Genotype

_ZERO = -1  # the source of nodes that read a state that is always zero


def canonical(genotype: Genotype) -> Genotype:
    """The one form of all cells that compute the same function up to order, numbering and nodes without effect.

    Nodes whose state is always zero become `none` and come first; of these stay those that are averaged, for the mean divides
    by their number too, or one if another node reads it. Node i of the result has the weights that node
    `numbering(genotype)[i - 1]` of the given cell had; those of the initial state stay as they are.
    """
    sources, order = _sources(genotype), numbering(genotype)
    new = {old: i for i, old in enumerate(order, start=1)} | {0: 0}
    nodes = []
    for old in order:
        if old in sources:
            reads = sources[old]
            nodes.append((genotype.recurrent[old - 1][0], 1 if reads == _ZERO else new[reads]))
        else:
            nodes.append(("none", 0))
    return Genotype(tuple(nodes), tuple(sorted(new[old] for old in genotype.concat)))


def numbering(genotype: Genotype) -> list[int]:
    """The nodes that stay in the canonical form, by their old numbers, in their new order.

    First come zero nodes, then the others level by level of the tree, branches sorted by what they look like.
    """
    sources = _sources(genotype)
    zero = [i for i in sorted(genotype.concat) if i not in sources]
    if not zero and _ZERO in sources.values():
        zero = [next(i for i in range(1, len(genotype.recurrent) + 1) if _is_zero(genotype, i))]
    looks = _looks(genotype, sources)
    order: list[int] = []
    level = [0, _ZERO]
    while level:
        level = [i for state in level for i in sorted(_readers(sources, state), key=looks.__getitem__)]
        order += level
    return zero + order


def _is_zero(genotype: Genotype, node: int) -> bool:
    """Whether a node's state is always zero: `none`, and all but a sigmoid of zero."""
    while node:
        name, pred = genotype.recurrent[node - 1]
        if name in ("none", "sigmoid"):
            return name == "none"
        node = pred
    return False


def _sources(genotype: Genotype) -> dict[int, int]:
    """The nodes on which the output depends, in ascending order, with the state that each reads: 0, a node or _ZERO."""
    sources: dict[int, int] = {}
    for end in genotype.concat:
        node = end
        while node > 0 and node not in sources and not _is_zero(genotype, node):
            pred = genotype.recurrent[node - 1][1]
            sources[node] = _ZERO if _is_zero(genotype, pred) else pred
            node = sources[node]
    return dict(sorted(sources.items()))


def _readers(sources: dict[int, int], state: int) -> list[int]:
    return [i for i, source in sources.items() if source == state]


def _looks(genotype: Genotype, sources: dict[int, int]) -> dict[int, str]:
    """For each node a text of the tree below it, the same for all orders of its branches, such as `tanh*(relu()sigmoid*())`."""
    looks: dict[int, str] = {}
    for i in reversed(sources):
        below = "".join(sorted(looks[reader] for reader in _readers(sources, i)))
        looks[i] = f"{genotype.recurrent[i - 1][0]}{'*' * (i in genotype.concat)}({below})"
    return looks

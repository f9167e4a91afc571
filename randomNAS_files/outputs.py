"""What a cell's output is the mean of: all nodes (DARTS, enas_lm), or the loose ends, the nodes nobody reads (ENAS).

ENAS: Pham et al. 2018, arXiv 1802.03268, section 2.1. A genotype lists the averaged nodes; the rule that the list follows is
what has to be known when the cell is changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.core.errors import ConfigError, unknown
from nas.core.genotype_text import ALL_NODES
from randomNAS_files.architecture import Genotype

RULES = ("all", "loose_ends")
"""The mean of all nodes, or of the loose ends: what a supernet may take."""

OUTPUTS = (*RULES, "listed")
"""The same, or the mean of nodes that follow no rule."""


def loose_ends(recurrent: Sequence[tuple[str, int]]) -> tuple[int, ...]:
    """The nodes, counted from 1, that no other node reads, in ascending order.

    A `none` reads nothing, for its state is zero whatever came before it: a node that it alone follows is a loose end, or no
    output would depend on that node, and which predecessor is written before a `none` would change the cell.

    The last node always is one. The initial state never is one in ENAS, where the first node reads it.
    """
    read = {pred for name, pred in recurrent if name != "none"}
    return tuple(i for i in range(1, len(recurrent) + 1) if i not in read)


def output_of(genotype: Genotype) -> str:
    """The rule of OUTPUTS that a genotype's concat follows, in any order; `all` where all nodes are loose ends."""
    averaged = set(genotype.concat)
    if len(averaged) == len(genotype.recurrent):
        return "all"
    return "loose_ends" if averaged == set(loose_ends(genotype.recurrent)) else "listed"


def with_output(genotype: Genotype, output: str) -> Genotype:
    """The same nodes, averaged by a rule, in ascending order; `listed` leaves the concat as it is.

    Raises:
        ConfigError: there is no such rule.
    """
    if output not in OUTPUTS:
        raise ConfigError([unknown(f"output {output!r}", str(output), OUTPUTS, "is no rule for a cell's output")])
    if output == "listed":
        return genotype
    return Genotype(genotype.recurrent, loose_ends(genotype.recurrent) if output == "loose_ends" else ALL_NODES)

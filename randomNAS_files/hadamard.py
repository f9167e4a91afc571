"""One recurrent cell with products and sums of states as data: its genotype, and its codecs.

ENAS draws cells whose nodes are gates of one state each (Pham et al. 2018, arXiv 1802.03268, section 2.1), which an LSTM is
not: it multiplies states, adds them, and carries a second one (Hochreiter & Schmidhuber 1997, Neural Computation 9). Here a
node is one of KINDS, and beside the output h the cell carries c: a node may read the c of the step before, and the state of
one node is the next c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nas.core.errors import ConfigError, unknown
from nas.core.genotype_text import ALL_NODES, check_fields, integral, read_written, states_of
from randomNAS_files.architecture import SEARCHED_ACTIVATIONS

ACTIVATIONS = SEARCHED_ACTIVATIONS
"""Of gates and products."""

KINDS = {
    "gate": "('gate', activation, p)",
    "product": "('product', activation, p, q)",
    "sum": "('sum', p, q)",
}
"""What a node may be, and how it is written. Of states p and q, with matrices of its own:

    gate:     s_p + sigmoid(s_p C) * (f(s_p G) - s_p), as all nodes of other recurrent cells are
    product:  f(s_p G) * sigmoid(s_q C)
    sum:      s_p + s_q, of two different states
"""
C = "c"
"""The second state of the step before, where a node names the state that it reads."""
FIELDS = ("recurrent", "next_c", "concat")
OWN_FIELD = "next_c"
"""By which a genotype that is written out is known to be one of these."""

State = int | str
"""A state that a node reads: C, 0 for the initial state, or the number of an earlier node."""


class Node(NamedTuple):
    """A node in parts.

    Attributes:
        kind: of KINDS.
        activation: None of a sum.
        reads: one state or two.
    """

    kind: str
    activation: str | None
    reads: tuple[State, ...]


@dataclass(frozen=True)
class HadamardGenotype:
    """A recurrent cell with gates, products and sums.

    Args:
        recurrent: the nodes in order, written as in KINDS; node i (counted from 1) may read C and the states 0..i-1.
        next_c: the node whose state the next step reads as C.
        concat: the nodes whose states are averaged to the output, which is the next h; all of them if left out.

    Raises:
        ConfigError: with everything that is not allowed.
    """

    recurrent: tuple[tuple[Any, ...], ...]
    next_c: int
    concat: tuple[int, ...] = ALL_NODES

    def __post_init__(self) -> None:
        given = [tuple(node) if isinstance(node, list | tuple) else node for node in self.recurrent]
        count = len(given)
        problems = [] if given else ["a cell needs at least one node, got none"]
        for i, node in enumerate(given, start=1):
            problems += _node_problems(i, node)
        everything = tuple(range(1, count + 1))
        concat = everything if self.concat is ALL_NODES else tuple(self.concat)
        if given and (type(self.next_c) is not int or self.next_c not in everything):
            problems.append(f"next_c must be one of the nodes 1..{count}, got {self.next_c!r}")
        if given and (not concat or any(type(i) is not int or i not in everything for i in concat)):
            problems.append(f"concat must name nodes 1..{count}, at least one, got {list(concat)}")
        if len(set(map(repr, concat))) != len(concat):
            problems.append(f"concat must name each node once, got {list(concat)}")
        if problems:
            raise ConfigError(problems)
        ordered = [("sum", *sorted(node[1:], key=index_of)) if node[0] == "sum" else node for node in given]
        object.__setattr__(self, "recurrent", tuple(ordered))
        object.__setattr__(self, "concat", concat)

    @property
    def nodes(self) -> list[Node]:
        """The nodes in parts."""
        return [_parts(node) for node in self.recurrent]

    def __str__(self) -> str:
        """One line for a reader: `1 tanh(0)*sigmoid(0)  2 c+1  3 gate tanh(2)  mean of 3  next c 2`."""
        nodes = "  ".join(f"{i} {formula(node)}" for i, node in enumerate(self.nodes, start=1))
        count = len(self.recurrent)
        full = self.concat == tuple(range(1, count + 1)) and count > 1
        return f"{nodes}  mean of {f'1-{count}' if full else ' '.join(map(str, self.concat))}  next c {self.next_c}"

    def unused_nodes(self) -> list[int]:
        """The nodes, counted from 1, on which the output does not depend, at this step or a later one."""
        used = self._used()
        return [i for i in range(1, len(self.recurrent) + 1) if i not in used]

    @property
    def reads_c(self) -> bool:
        """Whether the output depends on the second state."""
        return C in self._used()

    @property
    def reads_input(self) -> bool:
        """Whether the output depends on the initial state, and with it on the input: a cell of c alone does not."""
        return 0 in self._used()

    def _used(self) -> set[State]:
        used, open_ = set[State](), list[State](self.concat)
        while open_:
            state = open_.pop()
            if state in used:
                continue
            used.add(state)
            if isinstance(state, str):
                open_.append(self.next_c)
            elif state:
                open_ += _parts(self.recurrent[state - 1]).reads
        return used

    def to_json(self) -> dict[str, Any]:
        """Plain lists, ready for `json.dump`."""
        nodes = [list(node) for node in self.recurrent]
        return {"recurrent": nodes, "next_c": self.next_c, "concat": list(self.concat)}

    def to_text(self) -> str:
        """A `HadamardGenotype(...)` that is also valid code for `genotypes.py`."""
        nodes, concat = list(self.recurrent), list(self.concat)
        return f"HadamardGenotype(recurrent={nodes!r}, next_c={self.next_c!r}, concat={concat!r})"

    def to_hparams(self) -> dict[str, Any]:
        """Raises ConfigError: such a cell is given as `arch_to_use`."""
        raise ConfigError(
            [f"hyperparameters node by node describe cells of gates; write arch_to_use: {self.to_text()}"]
        )


def index_of(state: State) -> int:
    """States as numbers from 0: C, the initial state, node 1 and so on."""
    return 0 if isinstance(state, str) else state + 1


def state_of(index: int) -> State:
    """The inverse of `index_of`."""
    return index - 1 if index else C


def formula(node: Node, before: str = "") -> str:
    """A node in symbols, such as `gate tanh(0)`, `tanh(c)*sigmoid(1)`, `c+1`.

    Args:
        before: what is put before the numbers of states.
    """
    first, *second = (state if isinstance(state, str) else f"{before}{state}" for state in node.reads)
    if node.kind == "sum":
        return f"{first}+{second[0]}"
    return f"gate {node.activation}({first})" if not second else f"{node.activation}({first})*sigmoid({second[0]})"


def loose_ends(recurrent: Sequence[Sequence[Any]]) -> tuple[int, ...]:
    """The nodes, counted from 1, that no other node of the same step reads; one of them may be the next c."""
    read = {state for node in recurrent for state in _parts(tuple(node)).reads}
    return tuple(i for i in range(1, len(recurrent) + 1) if i not in read)


def is_hadamard(text: str) -> bool:
    """Whether a text that spells a cell out means one of these."""
    return HadamardGenotype.__name__ in text or OWN_FIELD in text


def from_json(data: Mapping[str, Any]) -> HadamardGenotype:
    """The inverse of `HadamardGenotype.to_json`; the concat may be left out. Raises ConfigError if the data is no cell's."""
    if not isinstance(data, Mapping):
        like = '{"recurrent": [["sum", "c", 0], ...], "next_c": 1, "concat": [1, ...]}'
        raise ConfigError([f"a genotype must look like {like}, got {data!r}"])
    check_fields(data, FIELDS[:2], FIELDS[2:])
    nodes = data["recurrent"]
    if not isinstance(nodes, list | tuple):
        raise ConfigError([f"recurrent must be a list of nodes, got {nodes!r}"])
    whole = [tuple(map(integral, node)) if isinstance(node, list | tuple) else node for node in nodes]
    concat = states_of("concat", data["concat"]) if "concat" in data else ALL_NODES
    return HadamardGenotype(tuple(whole), integral(data[OWN_FIELD]), concat)


def from_text(text: str) -> HadamardGenotype:
    """Read a `HadamardGenotype(recurrent=[...], next_c=1, concat=[...])`, or the same as JSON; evaluates nothing."""
    return read_written(text, FIELDS).build(from_json, _pieces)


def _pieces(field: str, count: int) -> list[str]:
    return [f"node{i}" for i in range(1, count + 1)] if field == "recurrent" else []


def _parts(node: tuple[Any, ...]) -> Node:
    return Node("sum", None, node[1:]) if node[0] == "sum" else Node(node[0], node[1], node[2:])


def _node_problems(i: int, node: Any) -> list[str]:
    """What is wrong with node i."""
    if not isinstance(node, tuple) or not node or not isinstance(node[0], str):
        return [f"node{i} must be {', '.join(list(KINDS.values())[:2])} or {KINDS['sum']}, got {node!r}"]
    if node[0] not in KINDS:
        return [unknown(f"node{i} {node[0]!r}", node[0], KINDS, "is not a kind of node")]
    if len(node) != {"gate": 3, "product": 4, "sum": 3}[node[0]]:
        why = ", for a sum has no activation" if node[0] == "sum" and len(node) == 4 else ""
        return [f"node{i} must be {KINDS[node[0]]}{why}, got {node!r}"]
    parts, problems = _parts(node), []
    if parts.activation is not None and parts.activation not in ACTIVATIONS:
        what = f"node{i} {parts.activation!r}"
        problems.append(unknown(what, str(parts.activation), ACTIVATIONS, "is not an activation"))
    for state in parts.reads:
        if state != C and (type(state) is not int or not 0 <= state < i):
            problems.append(f"node{i} must read {C!r} or states 0..{i - 1}, got {state!r}")
    if parts.kind == "sum" and not problems and len(set(parts.reads)) < 2:
        problems.append(f"node{i} must sum two different states, got {parts.reads[0]!r} twice")
    return problems

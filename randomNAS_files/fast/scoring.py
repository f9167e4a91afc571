"""Score many cells with one set of weights at once: the fast form of `randomNAS_files/scoring.py`.

All cells share the weight of their node i, so one product serves node i of all of them, with a row for each cell and column.
A cell at a time, a product has as many rows as an evaluation has columns, far fewer than a processor needs to be busy.

A is the number of cells, B the columns, R = A * B the rows, H the hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F

from randomNAS_files.architecture import Genotype
from randomNAS_files.fast.decoder import summed_loss
from randomNAS_files.fast.kernels.eager import activate
from randomNAS_files.model import LanguageModel, RecurrentCell
from randomNAS_files.scoring import count_words, scored_at_once, zero_sums
from randomNAS_files.slices import Columns, fixed_slices
from randomNAS_files.supernet import Supernet

ROWS = 1024  # of a product, about: enough for full speed


@torch.no_grad()
def score_cells(net: LanguageModel, columns: Columns, bptt: int, cells: Sequence[Genotype]) -> list[float]:
    """The mean loss of each cell over a whole stream, in nats a word, in evaluation mode; see `scoring.score_cells`.

    Raises:
        ValueError: for a supernet that normalises its states, or whose cells do not share the whole weight of a node;
            `scoring.score_paths` scores those.
    """
    if isinstance(net, Supernet) and not scored_at_once(net):
        supernet = net.supernet
        what = f"sharing {supernet.sharing}" if supernet.sharing != "node" else "hidden_choices"
        what = "state_norm" if supernet.state_norm else what
        raise ValueError(f"cells of a supernet with {what} can not be scored at once; score_paths scores them")
    net.eval()
    width = columns.inputs.size(1)
    at_once = max(1, ROWS // width)
    losses: list[float] = []
    for start in range(0, len(cells), at_once):
        losses += _score_some(net, columns, bptt, cells[start : start + at_once])
    return losses


def _score_some(net: LanguageModel, columns: Columns, bptt: int, cells: Sequence[Genotype]) -> list[float]:
    device, width = net.embedding.device, columns.inputs.size(1)
    layers = [Layer(cell, cells, width) for cell in net.cells if isinstance(cell, RecurrentCell)]
    totals, words = zero_sums(device, len(cells)), count_words(columns)
    for piece in fixed_slices(len(columns), bptt):
        tokens, targets = (part.to(device) for part in columns[piece])
        x = F.embedding(tokens, net.embedding)[:, None]  # (T, 1, B, H): the same for all cells
        for layer in layers:
            x = layer.run(x)
        losses = [summed_loss(x[:, k], None, net.embedding, net.decoder_bias, targets) for k in range(len(cells))]
        totals += torch.stack(losses)
    return [total / words for total in totals.tolist()]


@dataclass(frozen=True)
class NodeRows:
    """Where node i of all cells that have and use it reads and writes.

    Attributes:
        index: the node, counted from 0.
        read: the rows of the table of states that are read, sorted by activation.
        first, last: the rows of the table that their own states take, in the same order.
        runs: which of them apply which activation.
        output: for each of them its row in the outputs.
        shares: what it counts there, `(rows, 1)`: 1 / n, or 0 where the cell does not average it.
    """

    index: int
    read: torch.Tensor
    first: int
    last: int
    runs: list[tuple[str, int, int]]
    output: torch.Tensor
    shares: torch.Tensor


class Layer:
    """One layer of all cells; their states are carried over from one `run` to the next.

    Args:
        cell: has the weights.
        cells: the genotypes, A of them.
        width: columns, B.
    """

    def __init__(self, cell: RecurrentCell, cells: Sequence[Genotype], width: int) -> None:
        self._cell, self._cells, self._width = cell, cells, width
        weight, rows = cell.w0, len(cells) * width
        size = weight.size(0) // 2
        nodes = max(len(each.recurrent) for each in cells)
        # Rows: the initial states, a state of zeros (of nodes that apply `none`), then node after node.
        self._table = weight.new_zeros(rows * (nodes + 1) + 1, size)
        self._gates, self._read = weight.new_empty(rows, 2 * size), weight.new_empty(rows, size)
        self._h = weight.new_zeros(rows, size)
        self._nodes = list(self._plan())

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs `(T, A, B, H)` of inputs `(T, A, B, H)`, or `(T, 1, B, H)` if they are the same for all cells."""
        size = x.size(-1)
        from_inputs = x @ self._cell.w0[:size]
        outputs = x.new_empty(len(x), len(self._cells), self._width, size)
        for gates, output in zip(from_inputs.unbind(0), outputs.unbind(0), strict=True):
            self._step(gates, self._cell.w0[size:])
            output.copy_(self._h.view_as(output))
        return outputs

    def _step(self, from_input: torch.Tensor, weight: torch.Tensor) -> None:
        """One time step of all cells: h becomes the next h."""
        rows, h = len(self._h), self._h
        torch.mm(h, weight, out=self._gates)
        self._gates.view(-1, *from_input.shape[1:]).add_(from_input)
        self._gated(h, self._gates, [(self._cell.init_op, 0, rows)], self._table[:rows])
        h.zero_()
        for node in self._nodes:
            count = node.last - node.first
            gates, read = self._gates[:count], self._read[:count]
            torch.index_select(self._table, 0, node.read, out=read)
            torch.mm(read, self._cell.nodes[node.index], out=gates)
            new = self._table[node.first : node.last]
            self._gated(read, gates, node.runs, new)
            torch.mul(new, node.shares, out=read)
            h.index_add_(0, node.output, read)  # each row once, so that the order of additions is fixed on a GPU too

    @staticmethod
    def _gated(states: torch.Tensor, gates: torch.Tensor, runs: list[tuple[str, int, int]], out: torch.Tensor) -> None:
        c, g = gates.chunk(2, dim=1)
        c.sigmoid_()
        for name, first, last in runs:
            activate(name, g[first:last])
        torch.lerp(states, g, c, out=out)

    def _plan(self) -> Iterator[NodeRows]:
        """Node after node, which rows are read and written."""
        width, device = self._width, self._table.device
        rows = len(self._cells) * width
        where = [{0: k * width} for k in range(len(self._cells))]  # for each cell, the first row of each node's states
        unused = [set(cell.unused_nodes()) for cell in self._cells]
        free = rows + 1
        for i in range(1, max(len(cell.recurrent) for cell in self._cells) + 1):
            chosen = []
            for k, cell in enumerate(self._cells):
                if i <= len(cell.recurrent) and cell.recurrent[i - 1][0] == "none":
                    where[k][i] = -1
                elif i <= len(cell.recurrent) and i not in unused[k]:
                    chosen.append(k)
            chosen.sort(key=lambda k: self._cells[k].recurrent[i - 1][0])
            if not chosen:
                continue
            read: list[int] = []
            output: list[int] = []
            for place, k in enumerate(chosen):
                start = where[k][self._cells[k].recurrent[i - 1][1]]
                read += [rows] * width if start < 0 else range(start, start + width)
                output += range(k * width, (k + 1) * width)
                where[k][i] = free + place * width
            shares = [
                1 / len(cell.concat) if i in cell.concat else 0.0 for cell in map(self._cells.__getitem__, chosen)
            ]
            yield NodeRows(
                i - 1,
                torch.tensor(read, device=device),
                free,
                free + len(read),
                _runs([self._cells[k].recurrent[i - 1][0] for k in chosen], width),
                torch.tensor(output, device=device),
                self._table.new_tensor(shares).repeat_interleave(width)[:, None],
            )
            free += len(read)


def _runs(names: list[str], width: int) -> list[tuple[str, int, int]]:
    """Runs of equal names, `width` rows each."""
    found, first = [], 0
    for name, run in groupby(names):
        last = first + len(list(run)) * width
        found.append((name, first, last))
        first = last
    return found

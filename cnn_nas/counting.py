"""Parameters and multiply-accumulates of a network of cells, counted without building it.

The network is the one that DARTS evaluates on CIFAR-10 (Liu et al. 2019, arXiv 1806.09055, section 3.2 and appendix A.3; the
`Network` of `model.py`): a stem, cells with reductions at 1/3 and 2/3 of the depth, global average pooling and a linear
layer. What a network has beside the edges of its cells depends on its size alone, and an operation costs the same on all
edges of one kind. Both are summed once for a size; an architecture then takes 16 additions, a few microseconds.

MACs are those of convolutions and linear layers, for one image; batch norm, pooling and activations are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cnn_nas.architecture import ALL_OPERATIONS, CELLS, NODES, Genotype
from cnn_nas.relaxation import RELAXATION
from nas.core.relaxation import Relaxation
from nas.core.space import Size

Shape = tuple[int, int]
"""Height and width."""

_SEPARABLE = {  # kernel, and how often ReLU, depthwise, pointwise and batch norm are repeated
    "sep_conv_3x3": (3, 2),
    "sep_conv_5x5": (5, 2),
    "sep_conv_7x7": (7, 2),
    "dil_conv_3x3": (3, 1),
    "dil_conv_5x5": (5, 1),
}


@dataclass(frozen=True)
class NetworkSize:
    """What a network's size depends on beside its architecture."""

    init_channels: int  # of the operations before the first reduction
    layers: int  # cells
    classes: int  # outputs of the last layer; 1 for a regression
    input_size: tuple[int, int, int]  # channels, height and width of an image


def count(
    genotype: Genotype,
    *,
    init_channels: int,
    layers: int,
    classes: int,
    input_size: tuple[int, int, int],
    auxiliary: bool = False,
) -> Size:
    """Count the network of that architecture and size.

    Args:
        genotype: its cells.
        init_channels: channels of the operations before the first reduction.
        layers: cells.
        classes: outputs of the last layer.
        input_size: channels, height and width of an image.
        auxiliary: whether to count the auxiliary tower as well. Published numbers leave it out, as it only helps training.
    """
    channels, height, width = input_size
    return count_size(genotype, NetworkSize(init_channels, layers, classes, (channels, height, width)), auxiliary)


def count_size(genotype: Genotype, size: NetworkSize, auxiliary: bool = False) -> Size:
    """`count`, for a size that is at hand as one value."""
    table = cost_table(size, auxiliary, len(genotype.normal_concat), len(genotype.reduce_concat))
    costs = [table.normal[operation] for operation, _ in genotype.normal]
    costs += [table.reduce[operation, pred < 2] for operation, pred in genotype.reduce]
    parameters, macs = sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs)
    return Size(table.rest.parameters + parameters, table.rest.macs + macs)


def operation_costs(settings: Mapping[str, Any]) -> dict[str, list[list[float]]]:
    """What each operation of each edge of a supernet costs when it is chosen: MACs over all cells of its kind.

    In shares of what the edges of an average architecture cost together, over all predecessors and operations.

    Args:
        settings: those of `count` but for the auxiliary tower.
    """
    costs = {
        cell: [[float(cost.macs) for cost in row] for row in rows]
        for cell, rows in edge_costs(NetworkSize(**settings)).items()
    }
    kept = {cell: shape.kept * shape.nodes / len(shape.edges) for cell, shape in RELAXATION.items()}
    mean = sum(kept[cell] * sum(map(sum, rows)) / len(rows[0]) for cell, rows in costs.items())
    return {cell: [[value / (mean or 1.0) for value in row] for row in rows] for cell, rows in costs.items()}


@dataclass(frozen=True)
class CostTable:
    """What a network of one size costs: per operation, summed over all its cells, and all the rest.

    Attributes:
        rest: stem, 1x1 convolutions at the inputs of cells, classifier; what a network of pools costs.
        normal: an operation on one edge of every normal cell.
        reduce: likewise of every reduction cell; also by whether the edge comes from an input of the cell, with stride 2.
    """

    rest: Size
    normal: Mapping[str, Size]
    reduce: Mapping[tuple[str, bool], Size]

    def of(self, cell: str, operation: str, state: int) -> Size:
        """An operation on an edge of a kind of cell that comes from a state."""
        return self.reduce[operation, state < 2] if cell == "reduce" else self.normal[operation]


def edge_costs(size: NetworkSize, relaxation: Relaxation = RELAXATION) -> dict[str, list[list[Size]]]:
    """What each operation of each edge of a supernet adds to the network when it is chosen, over all cells of its kind.

    Args:
        relaxation: the cells; all their nodes are concatenated.
    """
    table = _table_of(size, relaxation)
    return {
        cell: [[table.of(cell, name, state) for name in shape.operations] for _, state in shape.edges]
        for cell, shape in relaxation.items()
    }


def extremes(size: NetworkSize, relaxation: Relaxation = RELAXATION) -> tuple[Size, Size]:
    """The fewest and the most parameters that an architecture of the space has, and the fewest and the most MACs.

    One architecture need not have both the fewest parameters and the fewest MACs.
    """
    rest, found = _table_of(size, relaxation).rest, []
    for best in (min, max):
        sums = []
        for of in (lambda cost: cost.parameters, lambda cost: cost.macs):
            total = of(rest)
            for cell, rows in edge_costs(size, relaxation).items():
                shape = relaxation[cell]
                ends = [best(of(row[k]) for k in shape.choices) for row in rows]
                for node in range(shape.nodes):
                    ordered = sorted((ends[edge] for edge in shape.entering(node)), reverse=best is max)
                    total += sum(ordered[: shape.kept])
            sums.append(total)
        found.append(Size(*sums))
    return found[0], found[1]


def _table_of(size: NetworkSize, relaxation: Relaxation) -> CostTable:
    """Of networks without the auxiliary tower."""
    return cost_table(size, False, *(relaxation[cell].nodes for cell in CELLS))


@lru_cache(maxsize=128)
def cost_table(
    size: NetworkSize, auxiliary: bool = False, normal_states: int = NODES, reduce_states: int = NODES
) -> CostTable:
    """What every operation costs in a network of that size.

    Args:
        auxiliary: whether `rest` has the auxiliary tower.
        normal_states: how many states a normal cell concatenates.
        reduce_states: likewise.
    """
    channels, (inputs, height, width) = size.init_channels, size.input_size
    shape = (height, width)
    older = newer = 3 * channels  # channels of the two inputs of the next cell
    rest = _conv(9, inputs, newer, shape) + _norm(newer)
    normal = dict.fromkeys(ALL_OPERATIONS, Size())
    reduce = {(name, strided): Size() for name in ALL_OPERATIONS for strided in (True, False)}
    for i in range(size.layers):
        # Both inputs get the cell's channels by a 1x1 convolution and batch norm. Where the previous cell was a reduction,
        # the older input is twice as large and takes a factorised reduction, which costs as much.
        reduction = i in (size.layers // 3, 2 * size.layers // 3)
        channels *= 2 if reduction else 1
        rest += _conv(1, older + newer, channels, shape) + _norm(2 * channels)
        for name in ALL_OPERATIONS:
            if reduction:
                reduce[name, True] += _operation(name, channels, shape, stride=2)
                reduce[name, False] += _operation(name, channels, _half(shape), stride=1)
            else:
                normal[name] += _operation(name, channels, shape, stride=1)
        shape = _half(shape) if reduction else shape
        older, newer = newer, channels * (reduce_states if reduction else normal_states)
        if auxiliary and i == 2 * size.layers // 3:
            rest += _auxiliary(newer, size.classes)
    return CostTable(rest + _linear(newer, size.classes), normal, reduce)


@lru_cache(maxsize=1024)  # a network has many cells of few shapes
def _operation(name: str, channels: int, shape: Shape, stride: int) -> Size:
    """One operation on an image of that shape. Pools have no batch norm in the evaluated network, unlike in DARTS's search."""
    out = shape if stride == 1 else _half(shape)
    if name in _SEPARABLE:
        kernel, times = _SEPARABLE[name]
        once = _conv(kernel**2, 1, channels, out) + _conv(1, channels, channels, out) + _norm(channels)
        return once + once if times == 2 else once
    if name == "skip_connect" and stride == 2:  # factorised: two halves of the outputs, each a strided 1x1 convolution
        return _conv(1, channels, channels, out) + _norm(channels)
    if name == "conv_7x1_1x7":  # the first shortens the rows, the second the columns
        rows = _conv(7, channels, channels, (shape[0], out[1]))
        return rows + _conv(7, channels, channels, out) + _norm(channels)
    return Size()


def _auxiliary(channels: int, classes: int) -> Size:
    """1x1 to 128 on an image averaged to 2x2, as any is; 2x2 to 768; linear."""
    head = _conv(1, channels, 128, (2, 2)) + _norm(128) + _conv(4, 128, 768, (1, 1)) + _norm(768)
    return head + _linear(768, classes)


def _conv(kernel: int, inputs: int, outputs: int, out: Shape) -> Size:
    """A convolution without bias: kernel positions, input channels that one output sees, output channels, output shape."""
    weights = kernel * inputs * outputs
    return Size(weights, weights * out[0] * out[1])


def _norm(channels: int) -> Size:
    return Size(2 * channels)


def _linear(inputs: int, outputs: int) -> Size:
    return Size(inputs * outputs + outputs, inputs * outputs)


def _half(shape: Shape) -> Shape:
    """What stride 2 leaves: odd sizes round up."""
    return (shape[0] + 1) // 2, (shape[1] + 1) // 2

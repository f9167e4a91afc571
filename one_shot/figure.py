"""The weights of an architecture as a picture: for each kind of cell a table of edges and operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas.core.relaxation import Paths, Relaxation

INK, CHOSEN = "#444444", "#D55E00"


def weights_figure(
    relaxation: Relaxation, weights: Mapping[str, Sequence[Sequence[float]]], paths: Paths, title: str
) -> Any:
    """A matplotlib `Figure`; what is chosen has a frame.

    Args:
        weights: what architectures are ranked by, `(edges, operations)` for each kind of cell.
        paths: the architecture that is chosen.
    """
    from matplotlib.figure import Figure

    height = 1.6 + 0.24 * max(len(shape.edges) for shape in relaxation.values())
    figure = Figure(figsize=(5.2 * len(relaxation), height), layout="constrained")
    figure.suptitle(title, color=INK)
    for axes, (kind, shape) in zip(
        figure.subplots(1, len(relaxation), squeeze=False)[0], relaxation.items(), strict=True
    ):
        image = axes.imshow(weights[kind], cmap="cividis", vmin=0, aspect="auto")
        axes.set_xticks(range(len(shape.operations)), shape.operations, rotation=40, ha="right", fontsize=8)
        axes.set_yticks(range(len(shape.edges)), [f"{state} to {_node(shape, node)}" for node, state in shape.edges])
        axes.tick_params(labelsize=8, colors=INK)
        axes.set_title(f"{kind}: states that edges join", fontsize=10, color=INK)
        for edge, running in enumerate(paths[kind]):
            for k in running:
                axes.add_patch(_frame(k, edge))
        figure.colorbar(image, ax=axes, label="weight")
    return figure


def _node(shape: Any, node: int) -> int:
    """The number of a node's state: inputs come first."""
    return node + len(shape.entering(0))


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=CHOSEN, linewidth=2)

"""Histograms of what a search space holds: parameters and multiply-accumulates, of all samples and of those that hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nas.check.space import Space

if TYPE_CHECKING:
    from cnn_nas.constraints import Range

# Okabe and Ito's colours, which differ for colour-blind readers too, and in grey.
ALL, HOLD, BOUND = "#BBBBBB", "#0072B2", "#D55E00"
BINS = 40
MILLION = 1e6


def draw(space: Space, name: str, path: Path) -> bool:
    """Write the picture as PNG; False if matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(11, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2, sharey=True)
    _histogram(axes[0], space, space.parameters, space.bounds["parameters"], "parameters (millions)")
    _histogram(axes[1], space, space.macs, space.bounds["macs"], "multiply-accumulates for one image (millions)")
    axes[0].set_ylabel("architectures", fontsize=12)
    handles, labels = axes[0].get_legend_handles_labels()
    more, names = axes[1].get_legend_handles_labels()
    unique = dict(zip(labels + names, handles + more, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3, fontsize=12, frameon=False)
    held, count = int(space.holds.sum()), len(space.holds)
    says = f"{held:,} of {count:,} samples hold" if space.rejected_by else f"{count:,} {space.what}"
    figure.suptitle(f"{name}: {says}", fontsize=14)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return True


def _histogram(axes: Any, space: Space, counts: npt.NDArray[np.int64], bounds: Range, label: str) -> None:
    values = counts / MILLION
    edges = np.histogram_bin_edges(values, BINS)
    axes.hist(values, edges, color=ALL, label="all samples")
    if space.rejected_by:
        axes.hist(values[space.holds], edges, color=HOLD, label="samples that hold")
    margin = 0.5 * (edges[-1] - edges[0])
    for bound in (bounds.low, bounds.high):
        if bound is not None and edges[0] - margin <= bound / MILLION <= edges[-1] + margin:  # others would squeeze it
            axes.axvline(bound / MILLION, color=BOUND, linestyle="--", linewidth=2, label="bounds of the constraints")
    axes.set_xlabel(label, fontsize=12)
    axes.tick_params(labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)

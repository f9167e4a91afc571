"""Histograms of what a search space holds: parameters and multiply-accumulates, of all samples and of those that hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.core.survey import Bounds, SpaceSurvey

# Okabe and Ito's colours, which differ for colour-blind readers too, and in grey.
ALL, HOLD, BOUND = "#BBBBBB", "#0072B2", "#D55E00"
BINS = 40
MILLION = 1e6


_LABELS = {"MACs": "multiply-accumulates for one input (millions)"}


def draw(survey: SpaceSurvey, name: str, path: Path) -> bool:
    """Write the picture as PNG, a panel for each size that was counted; False if matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(5.5 * len(survey.sizes), 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(survey.sizes), sharey=True, squeeze=False)[0]
    for axes, (counted, values) in zip(panels, survey.sizes.items(), strict=True):
        label = _LABELS.get(counted, f"{counted} (millions)")
        _histogram(axes, survey, values, survey.bounds.get(counted, (None, None)), label)
    panels[0].set_ylabel("architectures", fontsize=12)
    entries = [axes.get_legend_handles_labels() for axes in panels]
    unique = {label: handle for handles, labels in entries for handle, label in zip(handles, labels, strict=True)}
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3, fontsize=12, frameon=False)
    hits, count = int(survey.satisfies.sum()), len(survey.satisfies)
    says = f"{hits:,} of {count:,} samples satisfy the constraints" if survey.rules else f"{count:,} {survey.what}"
    figure.suptitle(f"{name}: {says}", fontsize=14)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return True


def _histogram(axes: Any, survey: SpaceSurvey, counts: npt.NDArray[np.int64], bounds: Bounds, label: str) -> None:
    values = counts / MILLION
    edges = np.histogram_bin_edges(values, BINS)
    axes.hist(values, edges, color=ALL, label="all samples")
    if survey.rules:
        axes.hist(values[survey.satisfies], edges, color=HOLD, label="samples that satisfy them all")
    margin = 0.5 * (edges[-1] - edges[0])
    for bound in bounds:
        if bound is not None and edges[0] - margin <= bound / MILLION <= edges[-1] + margin:  # others would squeeze it
            axes.axvline(bound / MILLION, color=BOUND, linestyle="--", linewidth=2, label="bounds of the constraints")
    axes.set_xlabel(label, fontsize=12)
    axes.tick_params(labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)

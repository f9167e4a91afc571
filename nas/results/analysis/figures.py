"""Pictures of a controller's states and decisions."""

from __future__ import annotations

from typing import Any

import numpy as np

from nas.results.analysis.findings import AGAINST, CONTROL, DISTANCES, TRAINED, UNTRAINED, Findings, Group
from nas.results.figures import style
from nas.results.figures.style import Picture
from nas.results.mantel import Floats, mean_ranks

_BINS = 10  # of a quantity that takes many values
_LOOKS = {TRAINED: (style.ORANGE, "-"), CONTROL: (style.GREEN, ":"), UNTRAINED: (style.BLUE, "--")}
_SEED = 0  # of what keeps points of equal whole numbers apart


def pictures(found: Findings) -> list[Picture]:
    """All of them."""
    return [distances(found), states(found), decisions(found)]


def distances(found: Findings) -> Picture:
    """Distance between states against each thing that cells can have in common."""
    caption = (
        "How far apart the final states of two cells are, as the share of all pairs that are nearer. Points: the pairs of the "
        "trained controller. Lines: means; bands: the middle 80 %. Last column: densities of the distances."
    )
    with style.drawing("distances"):
        figure = style.new_figure(5.6, 13.0)
        for row, distance in zip(figure.subplots(2, len(AGAINST) + 1), DISTANCES, strict=True):
            for axes, against in zip(row[:-1], AGAINST, strict=True):
                _relation(axes, found, distance, against)
            _density(row[-1], found, distance)
            row[0].set_ylabel(f"{distance}: share of pairs nearer")
        style.legend(figure, [_line(name) for name in _LOOKS])
        return Picture("distances", "States and cells", caption, style.svg_of(figure, caption))


def _relation(axes: Any, found: Findings, distance: str, against: str) -> None:
    for name, group in found.groups.items():
        (colour, dash), (x, y) = _LOOKS[name], pairs_of(group, distance, against)
        if not len(x):
            continue
        if group is found.trained:
            whole = bool(np.all(x == np.round(x)))
            shift = np.random.default_rng(_SEED).uniform(-0.25, 0.25, len(x)) if whole else 0.0
            points = {"color": style.GREY, "markersize": 1.5, "alpha": 0.35, "markeredgewidth": 0, "rasterized": True}
            axes.plot(x + shift, y, "o", **points)
        centres, low, middle, high = binned(x, y)
        if group is not found.control:
            axes.fill_between(centres, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(centres, middle, color=colour, linestyle=dash, linewidth=1.8)
    axes.set_ylim(0, 1)
    axes.set_xlabel(against)


def _density(axes: Any, found: Findings, distance: str) -> None:
    for name, group in found.groups.items():
        colour, dash = _LOOKS[name]
        values = group.distances[distance][np.triu_indices(len(group.kept), 1)]
        if (values > 0).any():
            shares, edges = np.histogram(np.log10(values[values > 0]), bins=30, density=True)
            axes.stairs(shares, edges, color=colour, linestyle=dash, linewidth=1.4)
    axes.set_xlabel(f"log10 of {distance}")
    axes.set_ylabel("density")


def pairs_of(group: Group, distance: str, against: str) -> tuple[Floats, Floats]:
    """Of all pairs of cells, what the distance is compared with, and the share of pairs whose distance is smaller."""
    above = np.triu_indices(len(group.kept), 1)
    y = mean_ranks(group.distances[distance][above])
    return group.against[against][above], (y - 0.5) / max(len(y), 1)


def binned(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """For each value of x, or each of ten bins of equally many: mean x; tenth percentile, mean and ninetieth of y."""
    values = np.unique(x)
    if len(values) > 2 * _BINS:
        edges = np.unique(np.quantile(x, np.linspace(0, 1, _BINS + 1)))
        bins = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    else:
        bins = np.searchsorted(values, x)
    members = [bins == k for k in np.unique(bins)]
    centres = np.array([x[chosen].mean() for chosen in members])
    middle = np.array([y[chosen].mean() for chosen in members])
    low, high = np.array([np.quantile(y[chosen], (0.1, 0.9)) for chosen in members]).T
    return centres, low, middle, high


def states(found: Findings) -> Picture:
    """The first two principal components of the states, coloured by perplexity."""
    caption = (
        "The final states of cells in their first two principal components, coloured by perplexity with shared weights."
    )
    with style.drawing("states"):
        figure = style.new_figure(4.2, 13.0)
        for axes, (label, group) in zip(figure.subplots(1, len(found.groups)), found.groups.items(), strict=True):
            places, shares = components(np.array([group.cells.states[i] for i in group.kept]))
            axes.set_title(f"{label}, {len(places)} cells")
            axes.set_xlabel(f"first component, {shares[0]:.0%} of the variance")
            axes.set_ylabel(f"second, {shares[1]:.0%}")
            if len(places):
                perplexities = np.exp(np.minimum(group.losses, 700))
                low, high = np.quantile(perplexities, (0.05, 0.95))
                look: dict[str, Any] = {"cmap": "cividis", "vmin": low, "vmax": high, "s": 22, "linewidths": 0}
                shown = axes.scatter(places[:, 0], places[:, 1], c=perplexities, **look)
                figure.colorbar(shown, ax=axes, label="perplexity", extend="both")
        return Picture("states", "States", caption, style.svg_of(figure, caption))


def components(values: Floats) -> tuple[Floats, Floats]:
    """Places `(n, 2)` in the first two principal components of values `(n, H)`, and their shares of the variance, `(2,)`."""
    if len(values) < 2:
        return np.zeros((len(values), 2)), np.zeros(2)
    left, lengths, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    total = float((lengths**2).sum())
    places = np.pad(left * lengths, ((0, 0), (0, 2)))[:, :2]
    shares = np.pad(lengths**2, (0, 2))[:2] / (total if total > 0 else 1.0)
    return places, shares


def decisions(found: Findings) -> Picture:
    """How sure each decision is."""
    caption = (
        "The largest probability of each decision, in the order in which they are taken: mean over cells; the band is the "
        "middle 80 %. Dotted: all options alike."
    )
    names = found.source.decisions
    with style.drawing("decisions"):
        figure = style.new_figure(3.8)
        axes = figure.subplots()
        places = np.arange(len(names))
        for name, group in ((TRAINED, found.trained), (UNTRAINED, found.fresh)):
            colour, dash = _LOOKS[name]
            weights = np.array(group.cells.counts, dtype=np.float64)
            largest = np.repeat(np.array(group.cells.largest), weights.astype(int), axis=0)  # (drawn, D)
            low, high = np.quantile(largest, (0.1, 0.9), axis=0)
            axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(places, largest.mean(axis=0), color=colour, linestyle=dash, marker="o", markersize=3.5)
        axes.plot(places, [1 / each for each in found.source.options], color=style.GREY, linestyle=":")
        axes.set_xticks(places, names, rotation=50, ha="right")
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("largest probability")
        alike = {"color": style.GREY, "linestyle": ":", "label": "all options alike"}
        style.legend(figure, [_line(TRAINED), _line(UNTRAINED), alike])
        return Picture("decisions", "Decisions", caption, style.svg_of(figure, caption))


def _line(name: str) -> dict[str, Any]:
    colour, dash = _LOOKS[name]
    return {"label": f"{name} controller", "color": colour, "linestyle": dash}

"""An ablation by the shared weights of one supernet."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from nas.core.variants import SharedScores, Variant
from nas.core.wording import plural
from nas.results.ablation import ITSELF, Ablation, Row, Score, assembled, row_of, unused_nodes
from nas.results.architecture import Found
from nas.runs.ranking import is_measurement


def by_shared_weights(
    found: Found, variants: Sequence[Variant], shared: SharedScores, metric: str = "loss"
) -> Ablation:
    """Of the scores of the cell and of its variants, in this order."""
    itself, *scores = shared.scores
    base = _shared_score(itself.metrics, itself.metrics, metric)
    unused, names = unused_nodes(found.space, found.genotype), [ITSELF, *(each.text for each in variants)]
    rows = []
    for variant, score in zip(variants, scores, strict=True):
        same = "" if score.same_as is None else names[score.same_as]
        known = _shared_score(score.metrics, itself.metrics, metric)
        rows.append(row_of(variant, known, unused, same, score.missing))
    alike, gaps = _alike(found, base, variants, rows)
    rows = [replace(row, alike=alike.get(row.change, "")) for row in rows]
    notes = [
        "all of these are scores of one supernet on the whole validation data, without an interval: weights that suit the cell"
        " need not suit its variants, so what counts is how they rank after training each alone (--retrain)",
        *shared.about,
        *_gap_note(gaps, metric),
    ]
    return assembled(found, False, metric, True, base, rows, notes)


def _shared_score(metrics: Mapping[str, float], base: Mapping[str, float], metric: str) -> Score:
    if metric not in metrics:
        return Score()
    value, other = metrics[metric], base[metric]
    if not is_measurement(value):
        return Score(not_finite=1)
    return Score(value, value - other if is_measurement(other) else None)


def _alike(
    found: Found, base: Score, variants: Sequence[Variant], rows: Sequence[Row]
) -> tuple[dict[str, str], list[float]]:
    """Changes that lead to the network of an earlier one with other matrices, and how far scores of such a network differ."""
    groups: dict[Hashable, list[tuple[str, float | None]]] = {
        found.space.canonical(found.genotype): [(ITSELF, base.value)]
    }
    for variant, row in zip(variants, rows, strict=True):
        if not row.same_as and not row.missing:
            form = found.space.canonical(variant.genotype)
            groups.setdefault(form, []).append((row.change, row.score.value))
    alike = {change: group[0][0] for group in groups.values() for change, _ in group[1:]}
    finite = [[value for _, value in group if value is not None] for group in groups.values()]
    return alike, [max(values) - min(values) for values in finite if len(values) > 1]


def _gap_note(gaps: Sequence[float], metric: str) -> list[str]:
    if not gaps:
        return []
    spread = f"differ by {statistics.median(gaps):.3g} (median) and up to {max(gaps):.3g}"
    what = f"{plural(len(gaps), 'network')} came about with several choices of matrices"
    return [f"{what}, whose {metric} values {spread} though it is one network: differences of that size say nothing"]

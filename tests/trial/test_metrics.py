"""Means that weigh every sample equally, however the samples were cut into batches, processes and stretches."""

from __future__ import annotations

import logging
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.runs.ranking import NONFINITE_PLACEHOLDER
from nas.trial.metrics import WeightedMeans, replace_nonfinite

CPU = torch.device("cpu")
SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def same(means: dict[str, float]) -> dict[str, float]:
    return dict(means)


def means(*names: str, over_epoch: bool = False, report: Any = same) -> WeightedMeans:
    return WeightedMeans(CPU, names or ("loss",), report, over_epoch=over_epoch)


def update(m: WeightedMeans, samples: list[float]) -> None:
    m.update(len(samples), loss=torch.tensor(samples, dtype=torch.float64).sum())


def result(*parts: WeightedMeans) -> dict[str, float]:
    metrics = parts[0].cross_slot_reduce([part.per_slot_reduce() for part in parts])
    assert isinstance(metrics, dict)
    return metrics


def batches(samples: list[float], cuts: list[int]) -> list[list[float]]:
    edges = [0, *sorted(cut % (len(samples) + 1) for cut in cuts), len(samples)]
    return [samples[a:b] for a, b in pairwise(edges) if a < b]


@given(SAMPLES, st.lists(st.integers(0, 100), max_size=5), st.integers(1, 3))
@settings(deadline=None)
def test_the_mean_weighs_samples_and_not_batches(samples: list[float], cuts: list[int], processes: int) -> None:
    parts = [means() for _ in range(processes)]
    for i, batch in enumerate(batches(samples, cuts)):
        update(parts[i % processes], batch)
    scale = max(abs(sample) for sample in samples)
    assert result(*parts)["loss"] == pytest.approx(math.fsum(samples) / len(samples), rel=1e-12, abs=1e-12 * scale)


def test_uneven_batches_by_hand() -> None:
    m = means()
    update(m, [1.0, 1.0, 1.0])
    update(m, [9.0])
    assert result(m) == {"loss": 3.0}


def test_sums_keep_what_single_precision_loses() -> None:
    m = means()
    for _ in range(3000):
        m.update(1, loss=torch.tensor(16_777_217.0, dtype=torch.float64))
    m.update(1, loss=torch.tensor(1.0))
    assert result(m)["loss"] == (3000 * 16_777_217 + 1) / 3001


def test_several_quantities_are_told_apart_by_name() -> None:
    m = means("loss", "hits")
    m.update(4, hits=torch.tensor(3), loss=torch.tensor(8.0))
    m.update(torch.tensor(6), loss=torch.tensor(2.0), hits=torch.tensor(2))
    assert result(m) == {"loss": 1.0, "hits": 0.5}
    assert m.totals() == [10.0, 5.0, 10.0]


def test_an_update_keeps_no_graph() -> None:
    m = means()
    m.update(1, loss=torch.ones((), requires_grad=True) * 2)
    assert not m._sums.requires_grad


def test_the_report_is_made_from_the_means_of_all_processes() -> None:
    parts = [means(report=lambda found: {"perplexity": math.exp(found["loss"])}) for _ in range(2)]
    update(parts[0], [1.0, 2.0, 3.0])
    update(parts[1], [6.0])
    assert result(*parts) == {"perplexity": pytest.approx(math.exp(3.0))}  # not the mean of exp(2) and exp(6)


def test_a_process_without_samples_does_not_count() -> None:
    busy, idle = means(), means()
    update(busy, [4.0])
    assert result(busy, idle) == {"loss": 4.0}


def test_without_samples_there_is_nothing_to_report() -> None:
    assert result(means(), means()) == {}


def test_a_reset_starts_afresh() -> None:
    m = means()
    update(m, [100.0])
    m.reset()
    update(m, [2.0, 4.0])
    assert result(m) == {"loss": 3.0}


def test_the_mean_over_an_epoch_survives_resets() -> None:
    m = means(over_epoch=True)
    update(m, [1.0])
    m.reset()
    update(m, [2.0, 6.0])
    m.reset()
    assert result(m) == {"loss": 3.0}


@pytest.mark.parametrize("over_epoch", [False, True])
def test_starting_forgets_all_sums(over_epoch: bool) -> None:
    m = means(over_epoch=over_epoch)
    update(m, [100.0])
    m.start()
    assert m.totals() == [0.0, 0.0]
    update(m, [2.0])
    assert result(m) == {"loss": 2.0}


def test_reading_changes_nothing() -> None:
    m = means()
    update(m, [1.0, 2.0])
    assert result(m) == result(m) == {"loss": 1.5}
    update(m, [3.0])
    assert result(m) == {"loss": 2.0}


def test_totals_of_an_earlier_run_are_added_exactly() -> None:
    whole, first, second = (means(over_epoch=True) for _ in range(3))
    for m in (whole, first):
        update(m, [0.1, 0.7])
    second.add(first.totals())
    for m in (whole, second):
        update(m, [0.4])
    assert second.totals() == whole.totals()
    assert result(second)["loss"] == pytest.approx(0.4, rel=1e-15)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_training_loss_that_is_not_finite_is_reported_as_large_with_one_warning(
    bad: float, caplog: pytest.LogCaptureFixture
) -> None:
    m = means(over_epoch=True, report=lambda found: {**found, "fine": 1.0})
    update(m, [bad, 1.0])
    with caplog.at_level(logging.WARNING):
        assert result(m) == result(m) == {"loss": NONFINITE_PLACEHOLDER, "fine": 1.0}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "not finite" in record.getMessage()


def test_a_finite_loss_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    m = means(over_epoch=True)
    update(m, [1e9])
    assert result(m) == {"loss": 1e9}
    assert not caplog.records


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.inf)])
def test_what_is_not_finite_becomes_large(bad: Any) -> None:
    metrics = {"loss": bad, "lr": 0.1}
    assert replace_nonfinite(metrics) == ["loss"]
    assert metrics == {"loss": 1e10, "lr": 0.1}


def test_a_metric_for_which_larger_is_better_gets_its_own_worst() -> None:
    metrics = {"accuracy": math.nan, "r2": -math.inf, "loss": math.nan}
    assert replace_nonfinite(metrics, {"accuracy": 0.0, "r2": -1e10}) == ["accuracy", "r2", "loss"]
    assert metrics == {"accuracy": 0.0, "r2": -1e10, "loss": 1e10}


def test_finite_numbers_and_what_is_no_number_stay() -> None:
    metrics = {"loss": 1e300, "count": 3, "flag": True, "note": "nan", "none": None, "list": [math.nan]}
    before = dict(metrics)
    assert replace_nonfinite(metrics, {"loss": 0.0}) == []
    assert metrics == before


def test_the_large_number_is_one_that_json_and_a_searcher_can_sort() -> None:
    assert math.isfinite(NONFINITE_PLACEHOLDER) and math.exp(20) < NONFINITE_PLACEHOLDER

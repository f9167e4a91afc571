"""Which checkpoints a search leaves."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState
from support.engine import (
    RANDOM,
    TROUBLES,
    Script,
    Search,
    interrupting,
)

from nas.core.errors import ConfigError
from nas.runs.retention import RetentionPolicy, retained

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("smaller_is_better", [True, False])
@pytest.mark.parametrize(
    ("best", "latest", "of_all"), [(1, 1, 0), (0, 0, 0), (0, 0, 3), (2, 0, 1), (1, 3, 5), (0, 1, 2)]
)
def test_checkpoints_that_stay_are_those_that_the_config_asks_for(
    tmp_path: Path, best: int, latest: int, of_all: int, smaller_is_better: bool
) -> None:
    storage = {"save_trial_best": best, "save_trial_latest": latest, "save_experiment_best": of_all}
    section = {**RANDOM, "smaller_is_better": smaller_is_better}
    scripts = {**TROUBLES, 4: Script()}
    search = Search(tmp_path, section, scripts, placements=2, checkpoint_storage=storage)
    search.on = interrupting(search, 13, [signal.SIGINT])
    assert search.run() is False
    check_checkpoints(search, best, latest, of_all, smaller_is_better)
    running = [trial.number for trial in search.trials if trial.state == TrialState.RUNNING]
    assert len(running) == 2
    for number in running:
        assert max(search.checkpoints(number)) == max(search.trials[number].intermediate_values)
    assert search.go_on() is True
    check_checkpoints(search, best, latest, of_all, smaller_is_better)


def check_checkpoints(search: Search, best: int, latest: int, of_all: int, smaller_is_better: bool) -> None:
    """Every checkpoint of every ended trial is held against the rule on its own."""
    sign = 1 if smaller_is_better else -1
    saved = {
        trial.number: {epoch: sign * value for epoch, value in trial.intermediate_values.items()}
        for trial in search.trials
        if trial.state.is_finished()
    }
    everything = [value for values in saved.values() for value in values.values()]
    assert len(everything) > 7
    for number, values in saved.items():
        stay = set()
        for epoch, value in values.items():
            better = sum(other < value for other in values.values())
            better_of_all = sum(other < value for other in everything)
            later = sum(other > epoch for other in values)
            if better < best or better_of_all < of_all or later < latest:
                stay.add(epoch)
        assert search.checkpoints(number) == stay


def test_a_checkpoint_whose_metric_is_not_a_number_is_never_the_best() -> None:
    entries = [{"uuid": str(i), "value": value} for i, value in enumerate([0.5, math.nan, 0.3, -math.inf, None])]
    for smaller, best in ((True, "2"), (False, "0")):
        assert retained({3: entries}, RetentionPolicy(best=1, latest=0), smaller_is_better=smaller) == {3: {best}}


@pytest.mark.parametrize("value", [True, -1, 1.5, math.nan, math.inf, 10**400, "1", [1], {"a": 1}])
def test_numbers_of_checkpoints_that_make_no_sense_are_named(value: object) -> None:
    for name in ("save_trial_best", "save_trial_latest", "save_experiment_best"):
        with pytest.raises(ConfigError, match=rf"^checkpoint_storage\.{name} must be a whole number") as caught:
            RetentionPolicy.of({"checkpoint_storage": {name: value}})
        assert len(str(caught.value)) < 200
    if not isinstance(value, dict):
        with pytest.raises(ConfigError, match="checkpoint_storage must be fields"):
            RetentionPolicy.of({"checkpoint_storage": value})

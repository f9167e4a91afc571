"""Trials that fail, and what stops the whole search."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from support.engine import (
    ALWAYS,
    ASHA,
    RANDOM,
    UNHEARD,
    Killed,
    Script,
    Search,
    deaths,
    loss,
    simulate,
)

from nas.config.entrypoint import resolve
from nas.core.errors import ConfigError
from nas.engine import preflight

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_trial_that_crashes_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    search = Search(tmp_path, RANDOM, {2: Script(dies={(2, "training"): 2, (4, "saving"): 3})})
    assert search.run() is True
    assert [epoch for _, epoch in search.starts(2)] == [0, 1, 1, 3, 3, 3]
    assert set(search.ends) == {"completed"}
    assert search.trials[2].user_attrs["restarts"] == 5
    assert "trial 2 failed: exit status 1; restart 5 of 5" in search.output
    assert search.output.count("trial 2 goes on from epoch") == 5


@pytest.mark.parametrize(("restarts", "allowed"), [({}, 5), ({"max_restarts": None}, 5), ({"max_restarts": 0}, 0)])
def test_a_trial_that_always_crashes_is_given_up_after_the_restarts_it_is_allowed(
    tmp_path: Path, restarts: dict[str, Any], allowed: int
) -> None:
    search = Search(tmp_path, ASHA, {1: Script(dies={(1, "training"): ALWAYS}, code=-9)}, **restarts)
    assert search.run() is True
    assert len(search.starts(1)) == allowed + 1
    assert search.ends[1] == "error" and search.ends.count("error") == 1
    assert len(search.trials) == 9, "another one takes its place"
    why = "killed by SIGKILL (out of memory?)"
    assert search.trials[1].user_attrs["errors"] == [why]
    assert f"trial 1 failed: {why}; no restarts left; see {tmp_path / 'trials' / '1' / 'log.txt'}" in search.output


def test_restarts_are_counted_over_the_death_of_an_engine(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {0: Script(dies={(2, "training"): ALWAYS})})

    def die_at_the_third_start(_: tuple[Any, ...]) -> None:
        if len(search.starts()) == 3:
            raise Killed

    search.on = die_at_the_third_start
    with pytest.raises(Killed):
        search.run()
    search.on = lambda _: None
    assert search.go_on() is True
    assert search.ends == ["error"]
    assert deaths(search, 0) == 1 + 5
    assert len(search.starts()) == 1 + 5 + 1, "the engine died before the third of them did"


def test_a_trial_that_somebody_else_stops_goes_on(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {})

    def terminate(event: tuple[Any, ...]) -> None:
        if event[0] == "validation" and len(search.starts()) == 1:
            search.pool.signal(0, signal.SIGTERM)

    search.on = terminate
    assert search.run() is True
    assert search.starts() == [(0, 0), (0, 1)] and search.ends == ["completed"]
    assert "trial 0 failed: stopped by a signal; restart 1 of 5" in search.output


@pytest.mark.parametrize("searcher", [ASHA, RANDOM], ids=lambda searcher: searcher["name"])
def test_invalid_hyperparameters_are_not_tried_again(tmp_path: Path, searcher: dict[str, Any]) -> None:
    search = Search(tmp_path, searcher, {1: Script(word="invalid", errors=("lr must be above 0, got -1",))})
    assert search.run() is True
    assert len(search.starts(1)) == 1 and search.ends[1] == "invalid"
    assert search.trials[1].user_attrs["errors"] == ["lr must be above 0, got -1"]
    assert "trial 1 has invalid hyperparameters (lr must be above 0, got -1)" in search.output
    assert len(search.trials) == len(simulate(searcher, search.scripts))


@pytest.mark.parametrize("placements", [1, 3])
@pytest.mark.parametrize(
    ("word", "why"), [("data", "folder /data has no train.txt"), ("disk", "No space left on device")]
)
def test_what_no_other_trial_would_do_better_stops_the_search_until_it_is_mended(
    tmp_path: Path, word: str, why: str, placements: int
) -> None:
    search = Search(tmp_path, RANDOM, {1: Script(word=word, at=2, errors=(why,))}, placements=placements, order=3)
    with pytest.raises(ConfigError) as caught:
        search.run()
    assert caught.value.problems == [f"trial 1: {why}"]
    begun = {number for number, _ in search.starts()}
    running = [number for number in sorted(begun) if search.ends[number] is None]
    assert 1 in running and search.pool.numbers == []
    assert [trial.number for trial in search.trials if trial.state == TrialState.RUNNING] == running
    told = [number for _, number, sign in search.happened("signal") if sign == signal.SIGTERM]
    assert len(told) == len(set(told)) == placements - 1 and {1, *told} >= set(running)
    search.scripts = {}
    assert search.go_on() is True
    assert search.ends == ["completed"] * 7
    assert sorted(number for number, epoch in search.starts() if epoch == 0) == list(range(7))
    for trial in search.trials:
        assert trial.intermediate_values == {epoch: loss(trial.user_attrs["seed"], epoch) for epoch in range(1, 5)}


def test_the_first_to_complain_is_the_one_that_is_told_about(tmp_path: Path) -> None:
    complaining = {number: Script(word="data", errors=(f"{number}.txt is missing",), deaf=True) for number in range(3)}
    search = Search(tmp_path, RANDOM, complaining, placements=3)
    with pytest.raises(ConfigError) as caught:
        search.run()
    complaints = [number for what, number, _ in search.pool.happened if what == "exit" and search.ends[number] is None]
    assert len(complaints) == 3
    first = complaints[0]
    assert caught.value.problems == [f"trial {first}: {first}.txt is missing"]


@pytest.mark.parametrize("reported", UNHEARD)
@pytest.mark.parametrize("searcher", [RANDOM, ASHA], ids=lambda searcher: searcher["name"])
def test_a_metric_that_is_not_reported_stops_the_search(
    tmp_path: Path, searcher: dict[str, Any], reported: str
) -> None:
    search = Search(tmp_path, searcher, {2: Script(metrics=UNHEARD[reported])}, placements=3, order=1)
    problem = f"searcher.metric 'loss' is not reported by the trial; it reports {reported}"
    for engine in (search.run, search.go_on):
        with pytest.raises(ConfigError) as caught:
            engine()
        assert caught.value.problems == [problem]
        assert search.ends[2] is None and search.pool.numbers == []
    assert search.trials[2].intermediate_values == {}


def test_a_program_that_reports_nothing_is_run_once(tmp_path: Path) -> None:
    search = Search(tmp_path, RANDOM, {0: Script(word="mute", errors=("mine reported nothing",))})
    with pytest.raises(ConfigError) as caught:
        search.run()
    log = tmp_path / "trials" / "0" / "log.txt"
    assert caught.value.problems == [f"trial 0: exit status 2; mine reported nothing; {log} is its output"]
    assert search.starts() == [(0, 0)] and "restart" not in search.output


def test_a_crash_on_a_full_disk_stops_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(tmp_path, RANDOM, {0: Script(dies={(2, "saving"): 1})})
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="disk full") as caught:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        search.run()
    assert str(tmp_path / "trials") in str(caught.value) and "restarts" not in search.trials[0].user_attrs
    assert search.go_on() is True
    assert set(search.ends) == {"completed"}


def test_a_single_trial_that_holds_nothing_out_trains_to_its_end(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {0: Script(metrics=UNHEARD["nothing"])})
    assert search.run() is True
    assert search.ends == ["completed"] and search.store.leaderboard() == []
    assert search.starts() == [(0, 0)]


def test_a_check_of_the_config_that_is_killed_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system, for want of memory; nothing of the config or of the installation is to blame."""
    kill = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(preflight, "command", lambda *_, **__: kill)
    with pytest.raises(ConfigError, match=r"was killed by SIGKILL \(out of memory\?\); run it again"):
        preflight.inspect({}, resolve("python3 model_def.py"), "cpu")

"""A search whose database is gone: the folders of its trials say enough to go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from support.engine import ASHA, DIVERGING, HALVING, RANDOM, SEED, TROUBLES, Killed, Script, Search

from nas.core.errors import ConfigError
from nas.engine.rebuilding import known_trials, rebuild
from nas.engine.study_store import StudyStore

pytestmark = pytest.mark.usefixtures("no_waiting")
LOST = ("errors", "restarts")
"""What only the database knew."""


def rebuilt(search: Search, folder: Path, config: dict[str, Any] | None = None, seed: int = SEED) -> StudyStore:
    store = StudyStore(InMemoryStorage(), "anew", config or search.config, seed, search.sampler)  # type: ignore[arg-type]
    rebuild(store, known_trials(folder / "trials", "loss", "epochs"))
    return store


def contents(store: StudyStore) -> list[str]:
    """All that is known of the trials, as text, in which a NaN equals itself."""
    rows = []
    for trial in store.trials():
        known = {name: value for name, value in sorted(trial.user_attrs.items()) if name not in LOST}
        for attribute in ("seen", "value"):  # of a stop: when it was decided is its last validation
            known.get("asha", {}).pop(attribute, None)
        rows.append(
            f"{trial.number} {trial.state.name} {trial.params} {known} {trial.intermediate_values} {trial.values}"
        )
    return rows


SEARCHES = pytest.mark.parametrize(
    ("searcher", "scripts", "sampler"),
    [
        (ASHA, TROUBLES, None),
        (HALVING, DIVERGING, None),
        (RANDOM, DIVERGING, None),
        ({"name": "grid"}, TROUBLES, None),
        ({**ASHA, "smaller_is_better": False}, {}, "tpe"),
    ],
    ids=["adaptive_asha", "async_halving", "random", "grid", "tpe"],
)


@SEARCHES
def test_a_search_that_has_ended_is_what_it_was(
    tmp_path: Path, searcher: dict[str, Any], scripts: dict[int, Script], sampler: str | None
) -> None:
    search = Search(tmp_path / "one", searcher, scripts, sampler=sampler, max_restarts=1)
    search.run()
    before = contents(search.store)
    store = rebuilt(search, search.folder)
    assert contents(store) == before
    assert store.create_missing_trials() == []
    assert [trial.number for trial in store.leaderboard()] == [trial.number for trial in search.store.leaderboard()]


@SEARCHES
def test_a_search_in_its_middle_goes_on_to_the_same_end(
    tmp_path: Path, searcher: dict[str, Any], scripts: dict[int, Script], sampler: str | None
) -> None:
    """Trials train one at a time, so that every stop has been heard when the next trial begins."""
    straight = Search(tmp_path / "straight", searcher, scripts, sampler=sampler, max_restarts=0)
    straight.run()
    search = Search(tmp_path / "other", searcher, scripts, sampler=sampler, max_restarts=0)

    def kill(event: tuple[Any, ...]) -> None:
        if event[0] == "start" and event[1] == 3:
            raise Killed

    search.on = kill
    with pytest.raises(Killed):
        search.run()
    search.storage, search.on = InMemoryStorage(), lambda _: None
    store = StudyStore(search.storage, "study", search.config, SEED, sampler)  # type: ignore[arg-type]
    assert rebuild(store, known_trials(search.folder / "trials", "loss", "epochs")) == 4
    assert search.go_on() is True
    assert contents(search.store) == contents(straight.store)


def test_trials_that_had_not_begun_or_are_damaged_are_drawn_once_more(tmp_path: Path) -> None:
    search = Search(tmp_path / "one", HALVING, order=3, placements=3)
    search.run()
    drawn = search.drawn
    shutil.rmtree(search.folder / "trials" / "2")
    (search.folder / "trials" / "4" / "run.json").write_text('{"hyperparam')
    (search.folder / "trials" / "5" / "run.json").write_text('["a list"]')
    store = rebuilt(search, search.folder)
    assert [(trial.user_attrs["hyperparameters"], trial.user_attrs["seed"]) for trial in store.trials()] == drawn
    assert [trial.number for trial in store.trials() if trial.state.name == "WAITING"] == [2, 4, 5]


def test_brackets_of_a_search_that_did_not_write_them_are_those_of_its_beginning(tmp_path: Path) -> None:
    search = Search(tmp_path / "one", {**ASHA, "max_concurrent_trials": 0, "mode": "conservative"})
    search.run()
    for path in (search.folder / "trials").glob("*/run.json"):
        run = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in run.items() if name != "bracket"}))
    store = rebuilt(search, search.folder)
    brackets = [trial.user_attrs["bracket"] for trial in store.trials()]
    assert brackets == [trial.user_attrs["bracket"] for trial in search.trials]
    assert len(set(brackets)) > 1


def test_a_study_of_other_hyperparameters_or_another_seed_is_refused(tmp_path: Path) -> None:
    search = Search(tmp_path / "one", RANDOM)
    search.run()
    wider = {**search.config, "hyperparameters": {**search.config["hyperparameters"], "width": 5}}
    for config, seed in ((wider, SEED), (search.config, SEED + 1)):
        for open_it in (
            lambda config=config, seed=seed: rebuilt(search, search.folder, config, seed),
            lambda config=config, seed=seed: StudyStore(search.storage, "study", config, seed),
        ):
            with pytest.raises(ConfigError, match=r"^trial 0 of .* not the one that .* lead to") as caught:
                open_it()
            assert len(caught.value.problems) == 1

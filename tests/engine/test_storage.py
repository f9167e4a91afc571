"""The storage of a study: locked, damaged, gone, somewhere else; and how often it is asked."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from sqlalchemy import event
from support.engine import ASHA, RANDOM, SEED, SPACE, TROUBLES, Search

from nas.core.errors import ConfigError
from nas.engine import experiments, storage
from nas.engine.experiments import Request, open_store
from nas.engine.storage import StorageError, absolute
from nas.engine.study_store import StudyStore
from nas.runs.run_folder import RunFolder

CONFIG: dict[str, Any] = {
    "name": "x",
    "searcher": {"metric": "loss", **RANDOM},
    "hyperparameters": SPACE,
    "reproducibility": {"experiment_seed": SEED},
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE", 0.2)
    monkeypatch.setattr(storage, "_ATTEMPT", 0.01)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The database of a study with a trial that runs."""
    store = open_study(tmp_path / "study.db")
    store.create_missing_trials()
    store.started(0)
    return tmp_path / "study.db"


def open_study(file: Path) -> StudyStore:
    return StudyStore(f"sqlite:///{file}", "study", {**CONFIG, "searcher": {"metric": "loss", **ASHA}}, SEED)


def sentence(error: pytest.ExceptionInfo[ConfigError]) -> str:
    (problem,) = error.value.problems
    assert "\n" not in problem and len(problem) < 500
    return problem


# Locked


@pytest.fixture(params=["writer", "reader"])
def viewer(file: Path, request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    """Another program that has the database open and does not let go."""
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as database:
        database.execute("BEGIN EXCLUSIVE" if request.param == "writer" else "BEGIN")
        database.execute("SELECT * FROM trials").fetchone()
        yield database


def test_a_write_waits_until_a_lock_is_gone_and_says_so(file: Path, viewer: sqlite3.Connection) -> None:
    store = None
    lines: list[str] = []
    if viewer.in_transaction:
        viewer.execute("ROLLBACK")
        store = open_study(file)
        viewer.execute("BEGIN EXCLUSIVE")
    assert store is not None
    store.patience.seconds = 60

    def say(line: str) -> None:
        lines.append(line)
        threading.Timer(0.05, viewer.execute, ["ROLLBACK"]).start()

    store.patience.say = say
    assert store.validated(0, 1, 2.5) is False
    assert len(lines) == 1 and "waiting for sqlite:///" in lines[0] and "locked" in lines[0]
    assert open_study(file).trial(0).intermediate_values == {1: 2.5}


def test_a_lock_that_stays_is_one_sentence(file: Path, viewer: sqlite3.Connection) -> None:
    with pytest.raises(StorageError) as caught:
        open_study(file).validated(0, 1, 2.5)
    assert "is locked by another program" in sentence(caught) and "close it" in sentence(caught)
    viewer.execute("ROLLBACK")
    assert open_study(file).validated(0, 1, 2.5) is False


@pytest.mark.parametrize("reason", ["database is locked", "database or disk is full", "server closed the connection"])
@pytest.mark.parametrize("write", ["set_trial_intermediate_value", "set_trial_state_values", "create_new_trial"])
def test_a_search_whose_storage_fails_says_so_and_goes_on_later(
    tmp_path: Path, no_waiting: None, reason: str, write: str
) -> None:
    straight = Search(tmp_path / "straight", ASHA, TROUBLES, placements=2, max_restarts=2)
    straight.run()
    search = Search(tmp_path / "other", ASHA, TROUBLES, placements=2, max_restarts=2)
    search.store.patience.seconds = 0
    calls = 0
    working = getattr(search.store.storage, write)

    def failing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise optuna.exceptions.StorageInternalError("An exception is raised during the commit.") from OSError(
                reason
            )
        return working(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.store.storage, write, failing)
        with pytest.raises(ConfigError) as caught:
            search.run()
    expected = {"database is locked": "close it", "database or disk is full": "free some"}.get(reason, reason)
    assert expected in sentence(caught) and search.pool.numbers == []
    assert search.go_on() is True and search.drawn[:9] == straight.drawn[:9]
    # Two at a time are heard in another order after a break: the same trials, and each reports what it would have.
    for one, other in zip(search.trials[:4], straight.trials[:4], strict=True):
        assert one.number == 3 or one.intermediate_values.keys() & other.intermediate_values.keys()
        for step in one.intermediate_values.keys() & other.intermediate_values.keys():
            assert str(one.intermediate_values[step]) == str(other.intermediate_values[step])


def test_a_trial_whose_creation_was_not_confirmed_is_created_once(tmp_path: Path) -> None:
    backend = InMemoryStorage()
    store = StudyStore(backend, "study", CONFIG, SEED)  # type: ignore[arg-type]
    create = backend.create_new_trial
    failures = iter([True, False, False])

    def unconfirmed(*arguments: Any, **named: Any) -> Any:
        made = create(*arguments, **named)
        if next(failures, False):
            raise optuna.exceptions.StorageInternalError("the connection was lost") from OSError("reset by peer")
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "create_new_trial", unconfirmed)
        created = store.create_missing_trials()
    assert [trial.number for trial in created] == [0, 1, 2] == [trial.number for trial in store.study.trials]


# Damaged, emptied, deleted


def begin(place: Path, **about: Any) -> RunFolder:
    """An experiment of whose trials the first two have a folder."""
    folder = RunFolder.create(place, "x", CONFIG, {"status": "stopped", "sampler": None, "storage": None, **about})
    store, rebuilt = open_store(CONFIG, folder)
    assert rebuilt == 0
    for trial in store.create_missing_trials()[:2]:
        path = folder.path / "trials" / str(trial.number)
        path.mkdir(parents=True)
        told = {name: trial.user_attrs[name] for name in ("hyperparameters", "seed", "bracket")}
        RunFolder.fill(path, CONFIG, {**told, "status": "completed"}).record(
            "validation", 10, {"loss": 0.5, "epochs": 1, "batches": 10}
        )
    return folder


@pytest.mark.parametrize("how", ["deleted", "emptied", "of another study"])
def test_a_database_that_is_gone_is_rebuilt(tmp_path: Path, how: str) -> None:
    folder = begin(tmp_path)
    file = folder.path / "study.db"
    file.unlink()
    if how == "emptied":
        file.touch()
    elif how == "of another study":
        StudyStore(f"sqlite:///{file}", "another", CONFIG, 3).create_missing_trials()
    store, rebuilt = open_store(CONFIG, folder)
    assert rebuilt == 2
    assert [trial.intermediate_values for trial in store.trials()] == [{1: 0.5}, {1: 0.5}]
    assert [trial.user_attrs["outcome"] for trial in store.trials()] == ["completed", "completed"]
    again, rebuilt = open_store(CONFIG, folder)
    assert rebuilt == 0 and len(again.trials()) == 2


@pytest.mark.parametrize("damage", ["pages", "header", "text", "cut"])
def test_a_damaged_database_is_said_and_what_is_said_helps(tmp_path: Path, damage: str) -> None:
    folder = begin(tmp_path)
    file = folder.path / "study.db"
    content = bytearray(file.read_bytes())
    page = 4096
    if damage == "pages":
        content[page:] = os.urandom(len(content) - page)
    elif damage == "header":
        content[:100] = bytes(100)
    elif damage == "text":
        content = bytearray(b"this is no database\n" * 100)
    else:
        del content[len(content) // 2 :]
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"is damaged .* move it away, and the search is rebuilt") as caught:
        open_store(CONFIG, folder)
    assert str(file) in sentence(caught)
    file.rename(file.with_suffix(".damaged"))
    store, rebuilt = open_store(CONFIG, folder)
    assert rebuilt == 2 and len(store.trials()) == 2


def test_attributes_that_are_no_longer_what_was_written_are_damage(file: Path) -> None:
    for name, text in (("hyperparameters", "{"), ("seed", '"x"'), ("bracket", "7"), ("asha", '{"stopped": true}')):
        with closing(sqlite3.connect(file)) as database:
            before = file.read_bytes()
            sql = "INSERT OR REPLACE INTO trial_user_attributes (trial_id, key, value_json) VALUES (1, ?, ?)"
            database.execute(sql, (name, text))
            database.commit()
        with pytest.raises(ConfigError) as caught:
            open_study(file)
        assert "damaged" in sentence(caught) or "is not the one" in sentence(caught)
        file.write_bytes(before)
    assert len(open_study(file).trials()) == 4


# Where it is


def test_a_relative_url_means_the_folder_in_which_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///mine.db") == f"sqlite:///{tmp_path}/mine.db"
    assert absolute("sqlite:///a/../b.db?timeout=3") == f"sqlite:///{tmp_path}/b.db?timeout=3"
    assert absolute(f"sqlite:///{tmp_path}/b.db") == f"sqlite:///{tmp_path}/b.db"
    assert absolute("postgresql://host/name") == "postgresql://host/name"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_storage_that_a_kill_would_empty_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        absolute(url)
    assert "holds nothing once the command ends" in sentence(caught)


def test_an_experiment_with_a_relative_storage_goes_on_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = begin(tmp_path, storage=absolute("sqlite:///mine.db"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store, rebuilt = open_store(CONFIG, folder)
    assert rebuilt == 0 and len(store.trials()) == 3
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_experiment_that_remembers_a_relative_storage_goes_on_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as earlier versions wrote: used where it is found, rebuilt in the experiment's folder where it is not."""
    monkeypatch.chdir(tmp_path)
    folder = begin(tmp_path, storage=absolute("sqlite:///mine.db"))
    (tmp_path / "elsewhere").mkdir()
    for place, file, missing in ((tmp_path, "mine.db", 0), (tmp_path / "elsewhere", "x-1/study.db", 2)):
        monkeypatch.chdir(place)
        folder.save(storage="sqlite:///mine.db")
        store, rebuilt = open_store(CONFIG, folder)
        assert (store.url, rebuilt) == (f"sqlite:///{tmp_path / file}", missing)
        assert open_store(CONFIG, RunFolder.open(folder.path)[0])[0].url == store.url
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("url", ["foo", "sqlite:///no/such/folder/x.db", "nosuch://x", "sqlite:///."])
def test_a_storage_that_cannot_be_opened_leaves_no_experiment(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        experiments.check_storage(Request(storage=url, experiments=tmp_path))
    assert "--storage" in sentence(caught) or "cannot be used" in sentence(caught)


def test_a_password_is_neither_told_nor_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, plain = "postgresql://me:pa55w0rd@nowhere.invalid/db", "postgresql://me@nowhere.invalid/db"

    def refuse(url: str, **_: Any) -> Any:
        raise OSError(f'could not connect to "{url}": password "pa55w0rd" is wrong')

    monkeypatch.setattr(storage, "RDBStorage", refuse)
    with pytest.raises(ConfigError) as caught:
        experiments.check_storage(Request(storage=secret))
    assert "pa55w0rd" not in sentence(caught) and plain in sentence(caught)
    folder = RunFolder.create(tmp_path, "x", CONFIG, {"status": "new", "sampler": None, "storage": plain})
    with pytest.raises(ConfigError) as caught:
        open_store(CONFIG, folder, secret)
    assert "pa55w0rd" not in sentence(caught) + (folder.path / "run.json").read_text()
    config = tmp_path / "x.yaml"
    config.write_text((folder.path / "config.yaml").read_text())
    found = experiments.choose(Request(config, resume=str(folder.path), storage=secret, experiments=tmp_path))[1]
    assert found is not None and found.path == folder.path
    with pytest.raises(ConfigError) as caught:
        experiments.choose(Request(config, resume=str(folder.path), storage=secret + "2", experiments=tmp_path))
    assert "pa55w0rd" not in sentence(caught) and "db2" in sentence(caught)


# How often it is asked


def test_the_statements_of_a_validation_do_not_depend_on_the_trials(tmp_path: Path) -> None:
    counts: dict[int, list[int]] = {}
    for trials in (10, 150):
        config = {**CONFIG, "searcher": {**ASHA, "metric": "loss", "max_trials": trials, "max_concurrent_trials": 0}}
        store = StudyStore(f"sqlite:///{tmp_path}/{trials}.db", "study", config, SEED)
        statements: list[str] = []
        engine = store.storage._backend.engine  # type: ignore[attr-defined]
        event.listen(engine, "before_cursor_execute", lambda *told, into=statements: into.append(told[2]))
        for trial in store.create_missing_trials()[-6:]:
            store.started(trial.number)
            for epoch in range(1, 5):
                statements.clear()
                stop = store.validated(trial.number, epoch, float(trial.number))
                counts.setdefault(trials, []).append(len(statements))
                assert len(statements) <= (6 if stop else 3), statements  # 5 from Optuna 4.1 on
                if stop:
                    break
    assert len(counts[10]) > 6 and set(counts[10]) == set(counts[150])

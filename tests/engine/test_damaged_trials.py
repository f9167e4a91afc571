"""Damaged folders of trials: a search goes on to the end that it would have had, and says what was damaged."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState
from support.damage import DAMAGES, write_checkpoint
from support.engine import RANDOM, Search, interrupting

from nas.config.yaml_text import dump
from nas.core.errors import ConfigError
from nas.runs.mending import open_trial
from nas.runs.run_folder import RunFolder, begun_trials, new_run
from nas.runs.writing import UnwritableFolderError

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[str]:
    search = Search(tmp_path / "undisturbed", RANDOM)
    assert search.run() is True
    return search.contents()


def interrupted(tmp_path: Path) -> Search:
    """A search with trials that have ended, one that runs, and others that have not begun."""
    search = Search(tmp_path / "search", RANDOM)
    search.on = interrupting(search, 6, [signal.SIGINT])
    assert search.run() is False
    search.on = lambda _: None
    return search


def numbers(search: Search) -> tuple[int, int]:
    """A trial that has ended, and the one that runs."""
    (running,) = [trial.number for trial in search.trials if trial.state == TrialState.RUNNING]
    return next(trial.number for trial in search.trials if trial.state.is_finished()), running


@pytest.mark.parametrize(
    "how", [how for how in DAMAGES if how not in ("flip", "deep")]
)  # a flipped bit may be in a text
@pytest.mark.parametrize("file", ["run.json", "config.yaml"])
def test_a_search_goes_on(tmp_path: Path, undisturbed: list[str], file: str, how: str) -> None:
    search = interrupted(tmp_path)
    hurt = numbers(search)
    for number in hurt:
        DAMAGES[how](search.engine.path(number) / file)
    assert search.go_on() is True
    assert search.contents() == undisturbed
    for number in hurt:
        place = search.engine.path(number) / file
        said = f"{place} was {'missing' if how == 'gone' else 'damaged'}"
        assert search.output.count(f"trial {number}: {said}") == 1 and "made anew" in search.output
        assert (how == "gone") != place.with_name(f"{file}.damaged-1").exists()
        RunFolder.open(place.parent)
    said_before = search.output
    search.new_engine()
    assert (search.run() is True and search.output == "") or "damaged" not in search.output.removeprefix(said_before)


def test_an_empty_folder_is_no_damage(tmp_path: Path, undisturbed: list[str]) -> None:
    """What a kill leaves before anything was written."""
    search = interrupted(tmp_path)
    _, running = numbers(search)
    shutil.rmtree(search.engine.path(running))
    search.engine.path(running).mkdir()
    assert search.go_on() is True
    assert search.contents() == undisturbed and "made anew" not in search.output


def test_a_trial_that_ended_unheard_and_whose_folder_is_damaged_is_trained_again(
    tmp_path: Path, undisturbed: list[str]
) -> None:
    search = interrupted(tmp_path)
    _, running = numbers(search)
    folder, _ = RunFolder.open(search.engine.path(running))
    folder.save(status=["completed"])
    assert search.go_on() is True
    assert search.contents() == undisturbed and "status must be text" in search.output


@pytest.mark.parametrize("gone", ["the trial's folder", "all trials"])
def test_folders_that_are_deleted_while_a_trial_runs(tmp_path: Path, undisturbed: list[str], gone: str) -> None:
    """The trial fails, and starts over in a new folder."""
    search = Search(tmp_path / "search", RANDOM)
    dead: list[int] = []

    def on(event: tuple[object, ...]) -> None:
        if event[0] == "progress" and len(search.happened("validation")) == 4 and not dead:
            number = event[1]
            assert isinstance(number, int)
            dead.append(number)
            path = search.engine.path(number)
            shutil.rmtree(path if gone == "the trial's folder" else path.parent)
            search.pool._trials[number].killed = True

    search.on = on
    assert search.run() is True and dead
    assert search.contents() == undisturbed
    assert search.starts(dead[0]) == [(dead[0], 0), (dead[0], 0)]


def test_a_folder_that_cannot_be_written_stops_the_search_in_a_sentence(tmp_path: Path) -> None:
    search = interrupted(tmp_path)
    _, running = numbers(search)
    path = search.engine.path(running)
    shutil.rmtree(path)
    path.write_text("a file is in the way")
    with pytest.raises(ConfigError, match=rf"^{path} cannot be written \(File exists\)"):
        search.go_on()
    path.unlink()
    assert search.go_on() is True


@pytest.mark.parametrize("storage", [{}, {"checkpoint_storage": {"save_experiment_best": 1, "save_trial_best": 0}}])
def test_a_disk_that_is_full_when_a_trial_ends_costs_nothing(
    tmp_path: Path, undisturbed: list[str], storage: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(tmp_path / "search", RANDOM, **storage)
    real = RunFolder.save

    def save(folder: RunFolder, **changes: object) -> None:
        if "outcome" in changes and folder.path.name == "2":
            raise UnwritableFolderError(f"disk full: no space left in {folder.path}; free some")
        real(folder, **changes)

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match=r"^disk full: no space left in .*trials/2;"):
        patch.setattr(RunFolder, "save", save)
        search.run()
    shutil.rmtree(search.engine.path(0))
    assert search.go_on() is True and search.contents() == undisturbed


def test_what_a_trial_says_is_passed_on(tmp_path: Path) -> None:
    search = Search(tmp_path / "search", {"name": "single"})
    search.new_engine()
    real = search.pool.get
    told = [(0, {"say": "note", "text": "damaged checkpoint x: 20 batches are trained again"})]
    search.pool.get = lambda timeout: told.pop() if told and search.pool.numbers else real(timeout)  # type: ignore[method-assign]
    assert search.run() is True
    assert "trial 0: damaged checkpoint x: 20 batches are trained again" in search.output


# A folder on its own

CONFIG = {"searcher": {"metric": "loss"}, "hyperparameters": {"width": 3}}
RUN = new_run({"width": 3}, 5, {})


def opened(path: Path) -> tuple[RunFolder, str]:
    return open_trial(path, CONFIG, dump(CONFIG), lambda: dict(RUN))


def test_weights_are_found_where_they_lie(tmp_path: Path) -> None:
    folder, told = opened(tmp_path / "0")
    assert told == "" and folder.run["latest"] is None
    for batches, loss in ((10, 2.0), (20, 1.0), (30, 3.0)):
        folder.record("validation", batches, {"loss": loss, "batches": batches, "epochs": batches / 8})
        write_checkpoint(folder.checkpoints / f"c{batches}", batches)
    (folder.checkpoints / "half").mkdir()
    before = (folder.path / "run.json").read_bytes()[:-9]
    (folder.path / "run.json").write_bytes(before)
    folder, told = opened(tmp_path / "0")
    assert "run.json was damaged" in told and "training goes on after 30 batches" in told and "\n" not in told
    assert folder.latest() == ("c30", 30) and folder.run["best"]["uuid"] == "c20" and folder.run["seed"] == 5
    assert [entry["epochs"] for entry in folder.run["checkpoints"]] == [1.25, 2.5, 3.75]
    assert RunFolder.open(folder.path)[0].run == folder.run
    assert (folder.path / "run.json.damaged-1").read_bytes() == before
    assert opened(tmp_path / "0")[1] == ""


def test_a_config_that_says_something_else_is_no_damage(tmp_path: Path) -> None:
    """Such as another description, or other places of the same data."""
    folder, _ = opened(tmp_path / "0")
    folder.write_file("config.yaml", {**CONFIG, "description": "mine"})
    assert opened(tmp_path / "0")[1] == ""
    assert RunFolder.open(folder.path)[1]["description"] == "mine"


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "0").write_text("")
    with pytest.raises(UnwritableFolderError, match="cannot be written"):
        opened(tmp_path / "0" / "1")


def test_damaged_trials_are_no_begun_ones(tmp_path: Path) -> None:
    for number, identity in enumerate([{"architecture": [1]}, [1], {"architecture": [1], "data": 3}, None]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "run.json").write_text(json.dumps({**RUN, "identity": identity}))
    assert [each["number"] for each in begun_trials(tmp_path)] == [0]

"""A kill of the engine at any moment changes nothing."""

from __future__ import annotations

import contextlib
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from support.engine import (
    ASHA,
    DIVERGING,
    KEEPING,
    LENGTH,
    RANDOM,
    TROUBLES,
    Killed,
    Script,
    Search,
    drawn,
    loss,
)

from nas.runs.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_waiting")


@dataclass
class Snapshot:
    """What a kill would leave."""

    storage: bytes
    files: dict[Path, bytes | None]
    ended: set[int]
    stopping: set[int]
    """Trials that were told to stop, and had not ended yet."""

    def restore(self, folder: Path, like: Search) -> Search:
        folder.mkdir()
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).mkdir(exist_ok=True) if content is None else (folder / path).write_bytes(content)
        return like.copy(folder, storage=pickle.loads(self.storage))


WRITES = ("create_new_trial", "set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attr")


def watch(search: Search, patch: pytest.MonkeyPatch, each: Callable[[], None]) -> None:
    """Call `each` before and after everything that the engine, not its trials, writes."""

    def watched(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if search.pool.inside:
                return write(*arguments, **named)
            each()
            result = write(*arguments, **named)
            each()
            return result

        return call

    for name in WRITES:
        patch.setattr(search.store.storage, name, watched(getattr(search.store.storage, name)))
    patch.setattr(RunFolder, "save", watched(RunFolder.save))


def snapshots(search: Search, wanted: Callable[[], bool] = lambda: True) -> list[Snapshot]:
    """Run the search to its end; returns what a kill before or after each write would have left."""
    taken: list[Snapshot] = []

    def take() -> None:
        if not wanted():
            return
        state = search.storage.__getstate__()  # type: ignore[no-untyped-call]
        storage = InMemoryStorage.__new__(InMemoryStorage)
        storage.__setstate__({name: value for name, value in state.items() if name not in WRITES})
        paths = sorted(search.folder.rglob("*"))
        files = {path.relative_to(search.folder): path.read_bytes() if path.is_file() else None for path in paths}
        ended = {trial.number for trial in search.trials if trial.state.is_finished()}
        stopping = {trial.number for trial in search.trials if search.store.searcher.stopped(trial.number)} - ended
        snapshot = Snapshot(pickle.dumps(storage), files, ended, stopping)
        if not taken or snapshot != taken[-1]:
            taken.append(snapshot)

    with pytest.MonkeyPatch.context() as patch:
        watch(search, patch, take)
        assert search.run() is True
    return taken


@pytest.mark.parametrize(
    ("searcher", "scripts", "step"),
    [
        ({**ASHA, "max_trials": 6}, TROUBLES, 1),
        (RANDOM, DIVERGING, 3),
        ({"name": "grid", "max_concurrent_trials": 2}, {}, 13),
    ],
    ids=["adaptive_asha", "random", "grid"],
)
def test_a_kill_before_or_after_any_write_changes_nothing(
    tmp_path: Path, searcher: dict[str, Any], scripts: dict[int, Script], step: int
) -> None:
    straight = Search(tmp_path / "straight", searcher, scripts, max_restarts=3, **KEEPING)
    taken = snapshots(straight)
    assert len(taken) > 90
    kept = [straight.checkpoints(trial.number) for trial in straight.trials]
    for i, snapshot in list(enumerate(taken))[::step]:
        search = snapshot.restore(tmp_path / str(i), straight)
        assert search.run() is True, i
        assert search.contents() == straight.contents(), i
        started = {number for number, _ in search.starts()}
        assert not started & snapshot.ended, i
        for number in range(len(kept)):
            # Who was told to stop is not started again for the checkpoint that a kill may have cost it.
            assert search.checkpoints(number) == kept[number] or number in snapshot.stopping - started, i


def test_an_engine_that_is_killed_again_and_again_comes_to_the_same_end(tmp_path: Path) -> None:
    """With a database in a file, as it is; each engine comes a few writes further than the one before."""
    searcher = {**ASHA, "max_trials": 5, "max_concurrent_trials": 3}
    straight = Search(tmp_path / "straight", searcher, TROUBLES)
    assert straight.run() is True
    (tmp_path / "killed").mkdir()
    search = Search(tmp_path / "killed", searcher, TROUBLES, storage=f"sqlite:///{tmp_path / 'study.db'}")
    choose, kills, left = random.Random(0), 0, 0

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    while True:
        left = choose.randint(20, 45)
        with pytest.MonkeyPatch.context() as patch:
            watch(search, patch, count)
            try:
                assert search.run() is True
                break
            except Killed:
                kills += 1
        search.new_engine()
    assert kills > 3
    assert search.contents() == straight.contents()


@pytest.mark.parametrize("order", range(6))
def test_several_at_once_are_all_trained_once_however_often_the_engine_is_killed(tmp_path: Path, order: int) -> None:
    search = Search(tmp_path, {**ASHA, "max_trials": 12}, TROUBLES, placements=3, order=order)
    search.config["max_restarts"] = 3
    choose, ended = random.Random(order), dict[int, str]()

    def perhaps_die(event: tuple[Any, ...]) -> None:
        if choose.random() < 0.04:
            raise Killed

    search.on = perhaps_die
    while True:
        already = {number for number, how in enumerate(search.ends) if how}
        with contextlib.suppress(Killed):
            assert search.run() is True
            break
        assert not already & {event[1] for event in search.pool.happened if event[0] == "start"}
        assert ended.items() <= {number: how for number, how in enumerate(search.ends) if how}.items()
        ended = {number: how for number, how in enumerate(search.ends) if how}
        search.new_engine()
    assert len(search.pools) > 2
    assert search.drawn == drawn(ASHA, len(search.trials)) and len(search.trials) in (11, 12)  # one is invalid
    for trial in search.trials:
        seed, epochs = trial.user_attrs["seed"], sorted(trial.intermediate_values)
        assert epochs == list(range(1, len(epochs) + 1))
        if trial.number != 4:
            assert trial.intermediate_values == {epoch: loss(seed, epoch) for epoch in epochs}
        assert (trial.user_attrs["outcome"] == "completed") == (len(epochs) == LENGTH)


def test_a_sampler_draws_what_it_would_have_drawn_without_a_kill(tmp_path: Path) -> None:
    """It looks at the trials that have ended; a stop makes room before its trial has ended, and so it must after a kill."""
    searcher = {**ASHA, "max_trials": 18}
    straight = Search(tmp_path / "straight", searcher, sampler="tpe")
    taken = snapshots(straight, lambda: len(straight.trials) > 12 and bool(straight.engine.store.searcher.missing()))
    assert len(taken) > 3
    assert not any(one == other for one, other in zip(straight.drawn, drawn(searcher, 18), strict=True))
    for i, snapshot in enumerate(taken):
        search = snapshot.restore(tmp_path / str(i), straight)
        assert search.run() is True, i
        assert search.contents() == straight.contents(), i

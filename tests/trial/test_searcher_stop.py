"""A stop by ASHA on a cluster, which the master decides and signals to nobody: the trial notices by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from determined import core
from determined.common.api import bindings
from support.asha_reference import Reference
from support.container import free_ports, run_container
from support.runs import groups_of, master_of, run_on
from support.stub_master import Json, Report, StubMaster

from nas import trial as training
from nas.trial import determined_private as private
from nas.trial import searcher_stop
from nas.trial.searcher_stop import GOING_ON, STOPPING, SearcherStop, can_stop

ASHA: dict[str, Any] = {
    **{"name": "adaptive_asha", "metric": "loss", "smaller_is_better": True},
    **{"max_trials": 6, "max_time": 4, "time_metric": "epochs", "divisor": 2, "mode": "aggressive"},
    "max_concurrent_trials": 6,
}
EPOCHS = ASHA["max_time"]


def at_epoch(epoch: int) -> Callable[[Report], bool]:
    return lambda report: report.metrics["epochs"] >= epoch


def asha_master(corpus: Path, storage: Path, **changes: Any) -> StubMaster:
    master = master_of(corpus, storage, ASHA, train_epochs=None, evaluate_test=True)
    return replace(master, **changes)


@pytest.fixture(scope="module")
def undisturbed(module_laptop: Any, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    master = asha_master(module_laptop.data, tmp_path_factory.mktemp("storage"))
    run_on(master)
    return master


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == searcher_stop.__name__]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_stopped_trial_leaves_at_the_validation_that_decided(
    corpus: Path, tmp_path: Path, undisturbed: StubMaster, epoch: int
) -> None:
    """It saves what it has, says nothing that would start it again, and does not score the test split."""
    master = asha_master(corpus, tmp_path, stops=at_epoch(epoch))
    run_on(master)
    assert master.validation("epochs") == list(range(1, epoch + 1))
    assert master.validation("loss") == undisturbed.validation("loss")[:epoch]
    batches = master.validation("batches")[-1]
    assert master.values("training", "batches")[-1] == batches == master.checkpoints[-1]["steps_completed"]
    assert not master.preemption_acknowledged and master.early_exits == []
    assert "test" not in groups_of(master)


def test_a_trial_that_is_stopped_on_the_last_rung_is_complete(
    corpus: Path, tmp_path: Path, undisturbed: StubMaster
) -> None:
    master = asha_master(corpus, tmp_path, stops=at_epoch(EPOCHS))
    run_on(master)
    assert master.validation("epochs") == undisturbed.validation("epochs") == list(range(1, EPOCHS + 1))
    assert master.values("test", "test_loss") == undisturbed.values("test", "test_loss") != []


@pytest.mark.parametrize(("later", "late"), [(0, 1), (1, 0), (3, 0), (2, 1), (0, 2), (4, 1)])
def test_a_decision_that_takes_a_moment_is_seen_before_the_next_epoch(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: int, late: int
) -> None:
    """The epoch has more than 100 batches, so that there is a report within it."""
    options = {"global_batch_size": 1, "bptt": 5, "max_seq_length_delta": 0}
    master = master_of(corpus, tmp_path, ASHA, train_epochs=None, **options)
    master = replace(master, stops=at_epoch(1), late=late, later=later)
    monkeypatch.setattr(searcher_stop, "_PAUSES", (0.0,) * 4)
    run_on(master)
    assert master.validation("epochs") == [1] and master.state == "STATE_STOPPING_COMPLETED"


RATES = (1e-2, 1e-4, 1e-3, 5e-3, 20, 1)
"""Learning rates of a search's trials: the fourth is good enough for the first rung and not for the second."""


def test_a_whole_search_trains_what_its_rules_say(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trial after the other. None validates again after its stop, so that none is replaced twice."""
    monkeypatch.setattr(searcher_stop, "_PAUSES", (0.0,) * 4)
    reference, lengths = Reference(ASHA), []
    for number, rate in enumerate(RATES):
        stopped: list[int] = []

        def stops(report: Report, number: int = number, stopped: list[int] = stopped) -> bool:
            stop, _ = reference.validation(number, report.metrics["epochs"], report.metrics["loss"])
            stopped += [report.metrics["epochs"]] if stop else []
            return stop

        master = master_of(corpus, tmp_path, ASHA, train_epochs=None, learning_rate=rate)
        master = replace(master, trial_id=number + 1, stops=stops)
        run_on(master)
        lengths.append(master.validation("epochs")[-1])
        assert stopped == lengths[-1:]
    assert lengths == [4, 1, 1, 2, 1, 4]
    assert len(reference.bracket_of) == ASHA["max_trials"]


# How often is asked


@pytest.mark.parametrize("name", ["single", "random", "grid"])
def test_where_nobody_stops_trials_nothing_is_asked(
    corpus: Path, tmp_path: Path, undisturbed: StubMaster, name: str
) -> None:
    assert not can_stop({"searcher": {"name": name}}) and can_stop({"searcher": ASHA})
    searcher = {"name": name, "metric": "loss", "smaller_is_better": True}
    master = master_of(corpus, tmp_path, searcher, train_epochs=EPOCHS)
    run_on(master)
    assert master.validation("epochs") == list(range(1, EPOCHS + 1))
    harness = master.questions
    # Two for each validation but the last, after which there is nothing to leave early.
    assert undisturbed.questions - harness == 2 * (EPOCHS - 1)


def test_nothing_is_asked_at_reports_between_validations(corpus: Path, tmp_path: Path) -> None:
    """A trial of two epochs with more than 100 batches each; a slow one, as the clock has it."""
    options = {"global_batch_size": 1, "bptt": 5, "max_seq_length_delta": 0}
    searcher = {**ASHA, "max_time": 2}
    master = master_of(corpus, tmp_path, searcher, train_epochs=None, **options)
    run_on(master)
    assert len(master.values("training", "batches")) > len(master.validation("batches")) == 2
    single = master_of(corpus, tmp_path, None, train_epochs=1)
    run_on(single)
    assert 2 <= master.questions - single.questions <= 3


# What must not disturb a trial


def refuse(status: int, body: Any = "{}") -> Callable[[Json], tuple[int, Any]]:
    return lambda _: (status, body)


def with_trial(**changes: Any) -> Callable[[Json], tuple[int, Any]]:
    def reply(answer: Json) -> tuple[int, Any]:
        trial = {**answer["trial"], **changes}
        return 200, {"trial": {name: value for name, value in trial.items() if value is not ...}}

    return reply


@pytest.mark.parametrize(
    "reply",
    [
        *(refuse(status) for status in (400, 401, 403, 404, 500, 502, 503, 504)),
        refuse(200, "<html>a proxy</html>"),
        refuse(200, "[]"),
        refuse(200, {"trial": None}),
        with_trial(state=...),
        with_trial(state="STATE_ON_HOLIDAY"),
        with_trial(state="STATE_COMPLETED"),
        with_trial(state=7),
        with_trial(latestValidation="yes"),
        with_trial(latestValidation={"totalBatches": "many"}),
    ],
)
def test_an_answer_that_is_not_understood_stops_nothing(
    corpus: Path,
    tmp_path: Path,
    undisturbed: StubMaster,
    caplog: pytest.LogCaptureFixture,
    reply: Callable[[Json], tuple[int, Any]],
) -> None:
    """Every answer but those that the harness itself needs when it starts."""
    caplog.set_level(logging.INFO)
    master = asha_master(corpus, tmp_path)
    wrong = 0

    def answer(right: Json) -> tuple[int, Any]:
        nonlocal wrong
        if not master.reports:
            return 200, right
        wrong += 1
        return reply(right)

    master.reply = answer
    run_on(master)
    assert master.reports == undisturbed.reports and len(told(caplog)) == 1
    assert wrong == EPOCHS - 1  # one question a validation, never repeated


def test_after_three_failures_in_a_row_nothing_more_is_asked() -> None:
    trial: Any = SimpleNamespace(validated_at=-1, batches_trained=0, complete=False)
    asked: list[int] = []

    def ask() -> Any:
        asked.append(trial.validated_at)
        good = trial.validated_at == 3
        return {"trial": {"state": "STATE_RUNNING", "latestValidation": {"totalBatches": 3}}} if good else None

    stop = SearcherStop(trial, ask, pause=lambda _: None, clock=lambda: 0.0)
    for trial.validated_at in range(1, 12):
        assert not stop()
    assert asked == [1, 2, 3, 4, 5, 6]  # an answer in between starts the count again


def test_a_master_that_does_not_answer_is_left_alone(
    corpus: Path, tmp_path: Path, undisturbed: StubMaster, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("nas.trial.cluster.TIMEOUT", 0.05)
    master, done = asha_master(corpus, tmp_path), threading.Event()

    def answer(right: Json) -> tuple[int, Any]:
        if master.reports:
            done.wait(20)
        return 200, right

    master.reply = answer
    with master:
        assert training.main("model_def:RecurrentTrial") == 0
        done.set()
    assert master.reports == undisturbed.reports
    assert len(told(caplog)) == 1 and "timed out" in told(caplog)[0].lower()


@pytest.mark.parametrize("missing", ["_session", "with_retry"])
def test_a_harness_without_the_session_is_left_alone(
    corpus: Path,
    tmp_path: Path,
    undisturbed: StubMaster,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    missing: str,
) -> None:
    caplog.set_level(logging.INFO)
    original = private.ask_about_trial

    def ask(context: Any, timeout: int) -> Any:
        session = context._core._session
        parts = {"_session": {}, "with_retry": {"_session": object()}}[missing]
        fake = SimpleNamespace(_core=SimpleNamespace(train=context._core.train, **parts))
        assert session is not None
        return original(fake, timeout)  # type: ignore[arg-type]

    monkeypatch.setattr(private, "ask_about_trial", ask)
    master = asha_master(corpus, tmp_path, stops=at_epoch(EPOCHS))
    run_on(master)
    assert master.reports == undisturbed.reports and len(told(caplog)) == 1


def test_the_connection_is_lost_and_comes_back(corpus: Path, tmp_path: Path) -> None:
    """The stop at the first validation is missed, that at the second is not."""
    master = asha_master(corpus, tmp_path, stops=at_epoch(1))
    failures = iter([(503, "{}")])
    master.reply = lambda right: next(failures, (200, right)) if master.reports else (200, right)
    run_on(master)
    assert master.validation("epochs") == [1, 2]


def test_the_states_are_those_of_determined() -> None:
    known = {state.value for state in bindings.trialv1State}
    assert {state for state in known if "STOPPING" in state} == STOPPING
    over = {"STATE_UNSPECIFIED", "STATE_COMPLETED", "STATE_CANCELED", "STATE_ERROR"}
    assert known - over - STOPPING == GOING_ON


# Data parallelism


def test_all_processes_leave_at_the_same_place() -> None:
    """Two processes as threads, with Determined's own contexts: only the first asks, both hear the same."""
    publish, pull = free_ports(2)
    answers = iter([False, False, True])
    asked: list[int] = []
    heard: dict[int, list[bool]] = {0: [], 1: []}

    def process(rank: int) -> None:
        place = {"rank": rank, "size": 2, "local_rank": rank, "local_size": 2, "cross_rank": 0, "cross_size": 1}
        distributed = core.DistributedContext(**place, chief_ip="127.0.0.1", pub_port=publish, pull_port=pull)
        with ExitStack() as stack:
            stack.callback(distributed.close)
            preempt = core.DummyPreemptContext(distributed).start()
            context: Any = SimpleNamespace(_core=SimpleNamespace(preempt=preempt), distributed=distributed)

            def stopped() -> bool:
                asked.append(rank)
                return next(answers)

            private.leave_as_well_when(context, stopped)
            for _ in range(3):
                heard[rank].append(preempt.should_preempt())

    threads = [threading.Thread(target=process, args=(rank,), daemon=True) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert heard == {0: [False, False, True], 1: [False, False, True]} and asked == [0, 0, 0]


def test_a_preemption_comes_first(corpus: Path, tmp_path: Path) -> None:
    """It is acknowledged, so that the trial is started again."""
    master = asha_master(corpus, tmp_path, stops=at_epoch(3))
    master.preempt_after = 1
    run_on(master)
    assert master.preemption_acknowledged
    second = master.resume(stops=at_epoch(2))
    run_on(second)
    assert not second.preemption_acknowledged and "test" not in groups_of(second)
    assert second.validation("epochs")[-1] == 2


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
@pytest.mark.parametrize("slots", [1, 2])
def test_a_container_leaves_when_its_searcher_stops_it(corpus: Path, tmp_path: Path, slots: int) -> None:
    """Determined's launcher and threads, with the delays that they have."""
    master = asha_master(corpus, tmp_path, stops=at_epoch(2))
    done = run_container(master, slots=slots)
    assert done.returncode == 0, done.stdout
    assert master.validation("epochs") == [1, 2] and "test" not in groups_of(master)
    assert master.checkpoints[-1]["steps_completed"] == master.validation("batches")[-1]
    assert not master.preemption_acknowledged and master.early_exits == []
    assert done.stdout.count("the searcher has stopped this trial after") == 1

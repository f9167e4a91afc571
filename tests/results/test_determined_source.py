"""An experiment read from a Determined master over HTTP: the same as from a folder, few requests, errors in sentences."""

from __future__ import annotations

import dataclasses
import getpass
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.http_server import FileServer, dead_url
from support.results_master import PASSWORD, ResultsMaster, ServedTrial, environment

from nas.core.errors import ConfigError
from nas.engine.study_store import StudyStore
from nas.results import determined_master
from nas.results.determined_source import download, read_determined
from nas.results.experiment import ExperimentResult
from nas.results.leaderboard import best_metric, leaderboard
from nas.results.local import read_local
from nas.results.source import read
from nas.runs.checkpoint_files import write_digests
from nas.runs.run_folder import RunFolder
from randomNAS_files.space import SPACE

GENOTYPE = SPACE.by_name("DARTS")
CONFIG: dict[str, Any] = {
    "name": "search",
    "entrypoint": "python3 model_def.py",
    "reproducibility": {"experiment_seed": 7},
    "searcher": {"name": "random", "metric": "loss", "max_trials": 3},
    "hyperparameters": {"train_epochs": 2, "emsize": {"type": "int", "minval": 1, "maxval": 999}, "head": {"width": 4}},
}
ASHA = {
    "name": "adaptive_asha",
    "metric": "loss",
    "time_metric": "epochs",
    "max_time": 9,
    "max_trials": 9,
    "divisor": 3,
}
TOLD = {"space": "randomNAS_files", "parameters": 1234, "macs": 99, "versions": {"torch": "2.3.1"}, "device": "cpu"}


def validation(epoch: int, **metrics: float) -> dict[str, Any]:
    return {"group": "validation", "step": 4 * epoch, "batches": 4 * epoch, "epochs": epoch, **metrics}


def training(batches: int, **metrics: float) -> dict[str, Any]:
    return {"group": "training", "step": batches, "batches": batches, "epochs": batches // 4, **metrics}


RECORDS = [
    [training(2, loss=7.5), validation(1, loss=5.0, perplexity=148.0), training(6, loss=6.0), validation(2, loss=4.0)],
    [validation(1, loss=3.0), validation(2, loss=3.5), {"group": "test", "step": 8, "batches": 8, "test_loss": 3.25}],
    [validation(1, loss=math.inf), validation(2, loss=1e10)],
]


def served(config: dict[str, Any], *trials: ServedTrial, **options: Any) -> ResultsMaster:
    return ResultsMaster({**CONFIG, **config}, trials, **options)


def one(records: list[dict[str, Any]], searcher: dict[str, Any] = ASHA, **options: Any) -> ResultsMaster:
    hparams = {"head": {"width": 4}, "emsize": 5}
    space = {"emsize": 5, "head": {"width": 4}}
    return served(
        {"searcher": searcher, "hyperparameters": space}, ServedTrial(31, hparams, records=records, **options)
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's tokens, and a master where nobody listens."""
    for name in ("DET_MASTER_ADDR", "DET_USER_TOKEN", "DET_USER", "DET_PASS"):
        monkeypatch.delenv(name, raising=False)
    log_in(monkeypatch, dead_url(), tmp_path / "home")
    return tmp_path / "home"


def log_in(monkeypatch: pytest.MonkeyPatch, url: str, folder: Path, password: str | None = PASSWORD) -> None:
    for name, value in environment(url, folder, password).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment as the local engine would have left it."""
    about = {"status": "completed", "sampler": None, "storage": None, "unit": "epochs", "length": 2, "study": "s"}
    config = {**CONFIG, "resources": {"slots_per_trial": 1}}
    made = RunFolder.create(
        tmp_path_factory.mktemp("experiments"),
        "search",
        config,
        {**about, "rungs": [], "trial": "model_def:RecurrentTrial"},
    )
    store = StudyStore(f"sqlite:///{made.path / 'study.db'}", "s", config, 7)
    store.create_missing_trials()
    for number, records in enumerate(RECORDS):
        store.started(number)
        trial = made.path / "trials" / str(number)
        trial.mkdir(parents=True)
        told = {"metadata": {**TOLD, "architecture": str(GENOTYPE)}, "versions": TOLD["versions"], "seconds": 60.0}
        run = {"device": {"name": "cpu"}, "latest": {"uuid": "c", "batches": 8, "epochs": 2, "value": None}, **told}
        opened = RunFolder.fill(trial, config, {"status": "completed", **run})
        opened.write_file("genotype.json", GENOTYPE.to_json())
        for record in records:
            metrics = {name: value for name, value in record.items() if name not in ("group", "step")}
            opened.record(record["group"], record["step"], metrics)
            if record["group"] == "validation":
                store.validated(number, record["epochs"], record["loss"])
        store.finish(number, "diverged" if number == 2 else "completed")
    return made.path


@pytest.fixture
def master(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResultsMaster]:
    """A master that ran the same experiment."""
    trials = [
        ServedTrial(
            30 + trial.number,
            trial.hyperparameters,
            records=records,
            metadata={**TOLD, "whole genotype": GENOTYPE.to_text()},
        )
        for trial, records in zip(read_local(folder).trials, RECORDS, strict=True)
    ]
    with served({}, *trials) as found:
        log_in(monkeypatch, found.url, home)
        yield found


def plain(experiment: ExperimentResult, *without: str) -> dict[str, Any]:
    """What both sources should know alike."""
    data = experiment.to_json()
    for name in ("folder", "reference", "source", "storage", "created", "config", "program_folder", "versions"):
        del data[name]
    for trial in data["trials"]:
        for name in ("folder", "reference", "bracket", *without):
            del trial[name]
    return data


def test_a_master_says_the_same_as_the_folder(folder: Path, master: ResultsMaster) -> None:
    here, there = read(str(folder)), read("17")
    assert repr(plain(there)) == repr(plain(here))
    assert [trial.seed for trial in there.trials] == [trial.seed for trial in here.trials] != [0, 0, 0]
    assert there.config == CONFIG and there.versions == TOLD["versions"]
    assert (there.source, there.reference, there.created) == ("determined", "17", 1772366400)
    assert [trial.reference for trial in there.trials] == ["30", "31", "32"]
    assert [(trial.number, best_metric(there, trial)) for trial in leaderboard(there)] == [(1, 3.0), (0, 4.0)]
    again = ExperimentResult.from_json(json.loads(json.dumps(there.to_json())))
    assert repr(again) == repr(there)


def test_points_are_where_they_belong(master: ResultsMaster) -> None:
    first, second, third = read("17").trials
    assert first.curves == {
        "training": {"loss": [(0.5, 7.5), (1.5, 6.0)]},
        "validation": {"loss": [(1, 5.0), (2, 4.0)], "perplexity": [(1, 148.0)]},
    }
    assert second.test == {"test_loss": 3.25}
    assert third.validations == [(1, math.inf), (2, 1e10)] and third.outcome == "diverged"


def test_few_requests_read_many_trials(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [
        ServedTrial(number, {"emsize": number}, records=[training(4, loss=1), validation(1, loss=float(number % 50))])
        for number in range(250, 0, -1)
    ]
    with served({}, *trials) as master:
        log_in(monkeypatch, master.url, home)
        found = read_determined("17", detailed=6)
        assert [trial.reference for trial in found.trials] == [str(number) for number in range(1, 251)]
        assert all(trial.validations == [(1, (trial.number + 1) % 50)] for trial in found.trials)
        assert {trial.number + 1 for trial in found.trials if trial.curves} == {50, 100, 150, 200, 250, 1}
        assert master.asked("/experiments/17/trials") == 3 and master.asked("/metadata") == 6
        assert len(master.requests) <= 3 + 3 + 6 + 7


@pytest.mark.parametrize(
    ("records", "options", "expected"),
    [
        ([validation(9, loss=1.0)], {}, "completed"),
        ([validation(3, loss=1.0)], {}, "pruned"),
        ([validation(3, loss=math.nan)], {}, "diverged"),
        ([validation(3, loss=1e10)], {}, "diverged"),
        ([validation(9, loss=1.0), {"group": "test", "step": 36, "batches": 36, "test_loss": 1e10}], {}, "diverged"),
        ([], {}, "invalid"),
        ([training(2, loss=1.0)], {"state": "ERROR"}, "error"),
        ([validation(1, loss=1.0)], {"state": "CANCELED"}, ""),
        ([validation(1, loss=1.0)], {"state": "STOPPING_COMPLETED"}, ""),
        ([validation(1, loss=1.0)], {"state": "RUNNING"}, ""),
        ([], {"state": "QUEUED"}, ""),
    ],
)
def test_outcomes(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    records: list[dict[str, Any]],
    options: dict[str, Any],
    expected: str,
) -> None:
    with one(records, **options) as master:
        log_in(monkeypatch, master.url, home)
        found = read("17")
    assert found.trials[0].outcome == expected and (found.length, found.rungs) == (9, [1, 3, 9])
    assert bool(found.trials[0].errors) == (expected in ("error", "invalid"))


def test_a_trial_that_is_shorter_without_asha_was_not_pruned(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with one([validation(1, loss=1.0)], {"name": "single", "metric": "loss"}) as master:
        log_in(monkeypatch, master.url, home)
        assert [trial.outcome for trial in read("17").trials] == ["completed"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [("RUNNING", "running"), ("STOPPING_ERROR", "running"), ("PAUSED", "stopped"), ("CANCELED", "stopped")],
)
def test_states(home: Path, monkeypatch: pytest.MonkeyPatch, state: str, expected: str) -> None:
    with served({}, ServedTrial(1, {"emsize": 3}), state=state) as master:
        log_in(monkeypatch, master.url, home)
        assert read("17").status == expected


def test_an_experiment_without_trials_is_new(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served({}, state="QUEUED") as master:
        log_in(monkeypatch, master.url, home)
        found = read("17")
    assert (found.status, found.trials) == ("new", [])


def test_sizes_are_those_of_the_last_validation(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a search with shared weights the metadata have the supernet's."""
    records = [validation(1, loss=2.0, parameters=50, macs=5), validation(2, loss=1.0, parameters=60, macs=6)]
    with one(records, metadata={"parameters": 9000, "seed": 12}) as master:
        log_in(monkeypatch, master.url, home)
        trial = read("17").trials[0]
    assert (trial.parameters, trial.macs, trial.seed) == (60, 6, 12)


def test_seeds_are_not_guessed(master: ResultsMaster) -> None:
    known = [trial.seed for trial in read("17").trials]
    master.trials[1].hparams["emsize"] += 1  # nobody drew that
    assert None not in known and [trial.seed for trial in read("17").trials] == [None, None, None]


def test_what_a_foreign_program_says_is_taken_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = {"space": "no_such_space", "whole genotype": "Genotype(nonsense)", "parameters": "many"}
    with one([validation(9, loss=1.0)], metadata=metadata, seconds=None, policy="cannot work") as master:
        log_in(monkeypatch, master.url, home)
        trial = read("17").trials[0]
    assert (trial.genotype, trial.architecture, trial.parameters, trial.seconds) == (None, None, None, 90.0)


def test_a_folder_called_like_a_number_wins(
    folder: Path, master: ResultsMaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "17")
    monkeypatch.chdir(tmp_path)
    assert read("17").source == "local" and master.requests == []


@pytest.mark.parametrize("page", ["", "/overview", "/trials/31?tab=metrics"])
def test_the_address_of_a_page_names_master_and_experiment(
    master: ResultsMaster, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv("DET_MASTER", dead_url())
    address = f"{master.url}/det/experiments/17{page}"
    assert read(address).reference == address


def test_the_token_of_a_login_is_used(master: ResultsMaster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read("17")
    assert master.asked("/auth/login") == 1
    read("17")
    assert master.asked("/auth/login") == 1
    assert json.loads((home / "auth.json").read_text())["masters"][master.url]["tokens"]


def sentence(reference: str = "17") -> str:
    with pytest.raises(ConfigError) as caught:
        read(reference)
    assert len(caught.value.problems) == 1 and "\n" not in caught.value.problems[0]
    return caught.value.problems[0]


def test_a_master_that_does_not_answer() -> None:
    said = sentence()
    assert "no Determined master answers at http://127.0.0.1:" in said and "DET_MASTER" in said


def test_a_master_that_never_answers(master: ResultsMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determined_master, "FIRST_ANSWER", 0.1)
    master.slow = 0.5
    assert master.url in sentence()
    assert len(master.requests) == 1  # nobody tries again


def test_a_master_that_falls_silent(master: ResultsMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    read("17")
    monkeypatch.setattr(determined_master, "PATIENCE", 0.05)
    monkeypatch.setattr(determined_master, "RETRIES", 0)
    master.slow = 0.3
    assert master.url in sentence()


def test_something_else_that_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for files in ({}, {"/api/v1/master": b"<html>welcome</html>"}, {"/api/v1/master": b"[]"}):
        with FileServer(files) as server:
            log_in(monkeypatch, server.url, home)
            assert "is no Determined master" in sentence()


def test_an_address_that_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, "http://user@somewhere:port", home)
    assert "DET_MASTER" in sentence()


def test_a_wrong_password(master: ResultsMaster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(monkeypatch, master.url, home, "Wrong-1password")
    said = sentence()
    assert "refuses the user or the password" in said and "DET_PASS" in said


def test_nobody_is_logged_in(master: ResultsMaster, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DET_USER", "DET_PASS"):
        monkeypatch.delenv(name)
    assert "det user login" in sentence()


def test_a_login_that_has_expired_where_nobody_can_be_asked(
    master: ResultsMaster, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(prompt: str) -> str:
        raise EOFError

    for name in ("DET_USER", "DET_PASS"):
        monkeypatch.delenv(name)
    substore = {"active_user": "ada", "tokens": {"ada": "old"}}
    home.mkdir(exist_ok=True)
    (home / "auth.json").write_text(json.dumps({"version": 2, "masters": {master.url: substore}}))
    monkeypatch.setattr(getpass, "getpass", ask)
    assert "det user login" in sentence()


def test_an_id_that_does_not_exist(master: ResultsMaster) -> None:
    said = sentence("99")
    assert f"there is no experiment 99 at {master.url}" in said and "ada" in said


def test_what_a_user_may_not_see(master: ResultsMaster) -> None:
    master.instead["/api/v1/experiments/17"] = 403, {"error": {"error": "access denied"}}
    assert "ada may not see experiment 17" in sentence()


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/api/v1/experiments/17/trials", (200, {"trials": [{}]}), "in a form"),
        ("/api/v1/experiments/17/trials", (500, {"error": {"error": "out of memory"}}), "out of memory"),
        ("/api/v1/trials/metrics", (200, '{"result": {"metr'), "in a form"),
        ("/api/v1/trials/metrics", (200, '{"error": {"message": "gone"}}\n'), "gone"),
        ("/api/v1/runs", (200, "<html>"), "in a form"),
    ],
)
def test_a_damaged_answer(master: ResultsMaster, path: str, answer: tuple[int, Any], said: str) -> None:
    master.instead[path] = answer
    assert said in sentence() and master.url in sentence()


def test_an_experiment_without_a_searcher(master: ResultsMaster) -> None:
    found = master._experiment()
    found["config"] = {"name": "core api"}
    master.instead["/api/v1/experiments/17"] = 200, {"experiment": found}
    assert "experiment 17" in sentence()


def test_another_version_is_told(master: ResultsMaster, caplog: pytest.LogCaptureFixture) -> None:
    master.version = "0.99.0"
    read("17")
    assert any("0.99.0" in message and "0.38.1" in message for message in caplog.messages)


FILES = {"state_dict.pth": b"weights", "code/model_def.py": b"pass\n"}


@pytest.fixture
def kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResultsMaster]:
    """A master whose trial has a checkpoint."""
    with one([validation(9, loss=1.0)], checkpoint="0-1-2") as found:
        found.files = FILES
        log_in(monkeypatch, found.url, home)
        yield found


def test_a_checkpoint_is_fetched_once(kept: ResultsMaster, tmp_path: Path) -> None:
    experiment = read("17")
    path = download(experiment, experiment.trials[0], tmp_path / "new" / "checkpoints")
    assert path == tmp_path / "new" / "checkpoints" / "0-1-2"
    assert {name: (path / name).read_bytes() for name in FILES} == FILES
    asked = len(kept.requests)
    assert download(experiment, experiment.trials[0], path.parent) == path and len(kept.requests) == asked
    assert [each.name for each in path.parent.iterdir()] == ["0-1-2"]


def test_a_copy_that_was_damaged_here_is_fetched_again(kept: ResultsMaster, tmp_path: Path) -> None:
    experiment = read("17")
    path = download(experiment, experiment.trials[0], tmp_path)
    write_digests(path)  # as if the checkpoint had come with them
    asked = len(kept.requests)
    download(experiment, experiment.trials[0], tmp_path)
    assert len(kept.requests) > asked, "there is no trial_state.pkl, so it is not whole"
    assert {name: (path / name).read_bytes() for name in FILES} == FILES and not (path / "digests.json").exists()


def test_a_checkpoint_that_breaks_off_leaves_nothing(kept: ResultsMaster, tmp_path: Path) -> None:
    experiment = read("17")
    kept.instead["/checkpoints/"] = 200, b"\x1f\x8b nonsense"
    with pytest.raises(ConfigError, match="0-1-2 cannot be downloaded"):
        download(experiment, experiment.trials[0], tmp_path / "checkpoints")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_trial_without_a_checkpoint(kept: ResultsMaster, tmp_path: Path) -> None:
    experiment = read("17")
    trial = dataclasses.replace(experiment.trials[0], checkpoint=None)
    with pytest.raises(ConfigError, match="trial 0 of 17 has no checkpoint"):
        download(experiment, trial, tmp_path)


def test_a_folder_that_cannot_be_written(kept: ResultsMaster, tmp_path: Path) -> None:
    experiment = read("17")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        download(experiment, experiment.trials[0], tmp_path / "file")

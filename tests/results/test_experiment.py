"""An experiment read from its folder: what the engine wrote, no more, and nothing disturbed."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest

from nas.config import load as configs
from nas.core.errors import ConfigError
from nas.engine.study_store import StudyStore
from nas.results.experiment import ExperimentResult
from nas.results.figures.importance import features
from nas.results.leaderboard import best_metric, leaderboard
from nas.results.local import read_local
from nas.runs.run_folder import RunFolder

CONFIG: dict[str, Any] = {
    "name": "search",
    "entrypoint": "python3 model_def.py",
    "searcher": {"name": "random", "metric": "accuracy", "smaller_is_better": False, "max_trials": 4},
    "hyperparameters": {"head": {"width": {"type": "int", "minval": 1, "maxval": 9}}, "depth": 2},
}
VALIDATIONS = {0: [0.5, 0.75], 1: [0.9, math.nan], 2: [0.75], 3: []}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Four trials: two ended, one runs, one waits."""
    about = {"status": "running", "sampler": None, "storage": None, "unit": "epochs", "length": 2, "study": "s"}
    made = RunFolder.create(tmp_path, "search", CONFIG, {**about, "rungs": [1, 2], "trial": "model_def:RecurrentTrial"})
    store = StudyStore(f"sqlite:///{made.path / 'study.db'}", "s", CONFIG, configs.experiment_seed(CONFIG))
    store.create_missing_trials()
    for number, values in VALIDATIONS.items():
        for epoch, value in enumerate(values, start=1):
            store.started(number)
            store.validated(number, epoch, value)
    store.set_attributes(0, architecture="1 relu(0)", parameters=12)
    store.finish(0, "completed")
    store.set_attributes(1, errors=["killed"])
    store.finish(1, "error")
    return made


def test_what_the_engine_wrote_is_what_is_read(folder: RunFolder) -> None:
    found = read_local(folder.path)
    assert (found.name, found.status, found.metric, found.smaller_is_better) == ("search", "running", "accuracy", False)
    assert (found.time_metric, found.length, found.rungs, found.trial) == (
        "epochs",
        2,
        [1, 2],
        "model_def:RecurrentTrial",
    )
    assert [trial.outcome for trial in found.trials] == ["completed", "error", "", ""]
    assert [len(trial.validations) for trial in found.trials] == [2, 2, 1, 0]
    first, second = found.trials[:2]
    assert first.validations == [(1, 0.5), (2, 0.75)] and (first.architecture, first.parameters) == ("1 relu(0)", 12)
    assert second.errors == ["killed"] and math.isnan(second.validations[1][1])
    for trial in found.trials:
        assert trial.chosen == {"head.width": trial.hyperparameters["head"]["width"]}
        assert trial.hyperparameters["depth"] == 2 and 1 <= trial.chosen["head.width"] <= 9


def test_the_leaderboard_ranks_by_the_best_finite_value_and_then_by_number(folder: RunFolder) -> None:
    found = read_local(folder.path)
    assert [(trial.number, best_metric(found, trial)) for trial in leaderboard(found)] == [
        (1, 0.9),
        (0, 0.75),
        (2, 0.75),
    ]


def test_json_reads_back_as_the_same(folder: RunFolder) -> None:
    found = read_local(folder.path)
    again = ExperimentResult.from_json(json.loads(json.dumps(found.to_json())))
    assert repr(again) == repr(found)  # NaN equals nothing, not even itself


def test_reading_makes_no_database(folder: RunFolder) -> None:
    (folder.path / "study.db").unlink()
    with pytest.raises(ConfigError, match="study s cannot be read"):
        read_local(folder.path)
    assert not (folder.path / "study.db").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a run"):
        read_local(tmp_path)
    trial = RunFolder.create(tmp_path, "trial", CONFIG, {"status": "new"})
    with pytest.raises(ConfigError, match=r"run\.json names no study"):
        read_local(trial.path)


def test_damage_is_told_and_one_damaged_trial_spoils_nobody(folder: RunFolder) -> None:
    """Values of other types in every place of run.json and config.yaml, one at a time."""
    trial = RunFolder.create(folder.path / "trials", "0", CONFIG, {"hyperparameters": {"depth": 2}, "seed": 1})
    trial.path.rename(folder.path / "trials" / "0")
    for wrong in (None, 3, "x", [1], {"uuid": 5}):
        for key in ("metadata", "latest", "best", "device", "versions", "seconds"):
            run = {"hyperparameters": {"depth": 2}, "seed": 1, key: wrong}
            (folder.path / "trials" / "0" / "run.json").write_text(json.dumps(run))
            assert [each.number for each in read_local(folder.path).trials] == [0, 1, 2, 3]
            with contextlib.suppress(ConfigError):  # on its own: either it is read, or this
                read_local(folder.path / "trials" / "0")
    for name in ("searcher", "hyperparameters", "resources", "name"):
        for wrong in (None, 3, "x", [1]):
            (folder.path / "config.yaml").write_text(json.dumps({**CONFIG, name: wrong}))
            with contextlib.suppress(ConfigError):
                read_local(folder.path)
    (folder.path / "config.yaml").write_text("{name: x, hyperparameters: {depth: 2}}")
    with pytest.raises(ConfigError, match=r"its run\.json or config\.yaml is damaged \(KeyError: 'searcher'\)"):
        read_local(folder.path)


SINGLE = {"hyperparameters": {"depth": 2, "train_epochs": 1}, "seed": 1, "status": "completed"}
DAMAGED_METRICS = [
    *(
        b"\xff\xfe" * 50,
        b"\0" * 500,
        b"[" * 100_000,
        b'{"group": "validation", "step": 1, "loss": 1' + b"0" * 400 + b"}\n",
    ),
    *(b'{"group": "training", "step": 1e999, "loss": 3}\n', b'{"group": "validation", "step": 1, "batches": "x"}\n'),
]


@pytest.mark.parametrize("content", DAMAGED_METRICS, ids=range(len(DAMAGED_METRICS)))
def test_metrics_that_are_damaged_are_left_out(tmp_path: Path, content: bytes) -> None:
    made = RunFolder.create(tmp_path, "run", CONFIG, SINGLE)
    made.record("validation", 1, {"accuracy": 0.5, "epochs": 1, "batches": 1})
    with (made.path / "metrics.jsonl").open("ab") as file:
        file.write(b"\n" + content)
    assert read_local(made.path).trials[0].validations == [(1.0, 0.5)]


@pytest.mark.parametrize("content", ["[1, 2]", "3", "[" * 100_000, "\0"], ids=range(4))
def test_genotypes_that_are_damaged_disturb_nobody(tmp_path: Path, content: str) -> None:
    made = RunFolder.create(tmp_path, "run", CONFIG, SINGLE)
    (made.path / "genotype.json").write_text(content)
    assert features(read_local(made.path).trials[0]) == {}


def test_a_password_is_neither_shown_nor_handed_on(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, url = "s3cr3t", "postgresql://me:s3cr3t@127.0.0.1:1/db"
    folder.save(storage=url)
    with pytest.raises(ConfigError, match=r"study s cannot be read from postgresql://me@127\.0\.0\.1:1/db") as caught:
        read_local(folder.path)
    assert secret not in str(caught.value)

    def refuse(**options: Any) -> None:
        raise RuntimeError(f"no server at {options['storage']} takes the password {secret}")

    with monkeypatch.context() as patch:
        patch.setattr(optuna, "load_study", refuse)
        with pytest.raises(
            ConfigError, match=r"no server at postgresql://me@127\.0\.0\.1:1/db takes the password \*\*\*"
        ):
            read_local(folder.path)
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder.path / 'study.db'}")
    monkeypatch.setattr(optuna, "load_study", lambda **_: study)
    found = read_local(folder.path)
    assert found.storage == "postgresql://me@127.0.0.1:1/db" and secret not in json.dumps(found.to_json())

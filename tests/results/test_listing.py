"""What `nas list` says of folders, good and damaged, and how fast."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.engine import LENGTH, RANDOM, Search
from support.runs import ROOT

from nas.cli import main
from nas.cli.run import _summarise
from nas.core.errors import ConfigError
from nas.results import curves
from nas.results.listing import Listed, list_runs
from nas.runs.run_folder import RunFolder

CONFIG: dict[str, Any] = {
    "name": "search",
    "entrypoint": "python3 model_def.py",
    "searcher": {"name": "random", "metric": "perplexity", "max_trials": 4},
    "hyperparameters": {"depth": 2},
}
SUMMARY: dict[str, Any] = {"metric": "perplexity", "trials": 4, "outcomes": {"completed": 3, "error": 1}}
SUMMARY |= {"best": 20.5, "best_trial": 2}


def searched(parent: Path, **run: Any) -> RunFolder:
    return RunFolder.create(parent, "search", CONFIG, {"sampler": None, "study": "s", **run})


def single(parent: Path, status: str, value: float | None = None, **run: Any) -> RunFolder:
    best = None if value is None else {"uuid": "x", "batches": 1, "epochs": 1, "value": value}
    return RunFolder.create(parent, "run", CONFIG, {"hyperparameters": {}, "status": status, "best": best, **run})


def only(folder: Path) -> Listed:
    (found,) = list_runs([folder])
    return found


@pytest.mark.parametrize(
    ("status", "outcomes", "says"),
    [
        ("completed", {"completed": 3, "error": 1}, ("completed", 4)),
        ("stopped", {"completed": 3, "": 1}, ("stopped", 3)),
        ("completed", {"error": 3, "invalid": 1}, ("failed", 4)),
    ],
)
def test_an_experiment_that_is_over_is_known_by_its_summary(
    tmp_path: Path, status: str, outcomes: dict[str, int], says: tuple[str, int]
) -> None:
    searched(tmp_path, status=status, summary={**SUMMARY, "outcomes": outcomes}, created=5.0)
    found = only(tmp_path)
    assert (found.status, found.ended, found.trials) == (*says, 4)
    assert (found.kind, found.metric, found.best, found.best_trial, found.created) == (
        "experiment",
        "perplexity",
        20.5,
        2,
        5.0,
    )


@pytest.mark.parametrize(
    ("status", "value", "says"),
    [
        ("completed", 3.5, ("completed", 3.5, 1)),
        ("diverged", 1e10, ("diverged", None, 1)),
        ("failed", None, ("failed", None, 1)),
        ("stopped", 2.0, ("stopped", 2.0, 0)),
        ("new", None, ("new", None, 0)),
        ("running", 2.0, ("interrupted", 2.0, 0)),
    ],
)
def test_a_single_run(tmp_path: Path, status: str, value: float | None, says: tuple[Any, ...]) -> None:
    single(tmp_path, status, value)
    found = only(tmp_path)
    assert (found.status, found.best, found.ended) == says and (found.kind, found.metric) == ("run", "perplexity")


def test_one_that_runs_is_held_by_somebody(tmp_path: Path) -> None:
    folder = single(tmp_path, "running")
    with folder.held():
        assert only(tmp_path).status == "running"
    assert only(tmp_path).status == "interrupted"


def test_without_a_summary_the_study_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an experiment that runs, or of an earlier version; `nas run` leaves a summary that says the same."""
    monkeypatch.setattr(curves, "draw", lambda *_, **__: True)
    folder = tmp_path / "experiments" / "search-1"
    folder.mkdir(parents=True)
    search = Search(folder, RANDOM, placements=2, storage=f"sqlite:///{folder / 'study.db'}", name="tiny")
    assert search.run() is True
    about = {"study": "study", "unit": "epochs", "length": LENGTH, "status": "completed"}
    made = RunFolder.fill(folder, search.config, about)
    read = only(tmp_path)
    best = min((value, each.number) for each in search.trials for value in each.intermediate_values.values())
    assert (read.best, read.best_trial) == best
    assert (read.status, read.ended, read.trials) == ("completed", 7, 7)
    made.save(summary={"best": 3})  # of another version
    assert only(tmp_path) == read
    _summarise(Console(file=io.StringIO()), made)
    (folder / "study.db").unlink()
    assert only(tmp_path) == read
    made.save(status="running")  # somebody went on with it: what it came to before says nothing now
    assert only(tmp_path).problem is not None


def test_damaged_folders_hide_no_good_ones(tmp_path: Path) -> None:
    good = single(tmp_path / "deep" / "er", "completed", 1.5)
    damages: dict[str, tuple[str, str | bytes | None]] = {
        "run.json is missing": ("run.json", None),
        "run.json cannot be read": ("run.json", '{"hyper'),
        "can't decode": ("run.json", b"\xff\xfe\x00"),
        "it holds no fields": ("run.json", "[]"),
        "config.yaml is missing": ("config.yaml", None),
        "not valid YAML": ("config.yaml", "{:"),
        "names no searcher.metric": ("config.yaml", "name: x"),
    }
    for name, content in damages.values():
        path = single(tmp_path, "completed", 2.0).path
        (path / "checkpoints").mkdir()
        if content is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    searched(tmp_path, status="running")  # whose study is not there
    (tmp_path / "of something else").mkdir()
    (tmp_path / "of something else" / "config.yaml").write_text("name: x")
    found = list_runs([tmp_path])
    problems = [each.problem for each in found if each.problem is not None]
    assert [each.folder for each in found if each.problem is None] == [str(good.path)]
    assert len(problems) == len(damages) + 1 and any("study s cannot be read" in each for each in problems)
    for words in damages:
        assert sum(words in each for each in problems) == 1 or words == "run.json cannot be read"
    assert all("\n" not in each for each in problems)


def test_the_newest_comes_first_and_each_once(tmp_path: Path) -> None:
    for created in (2.0, 3.0, 1.0):
        single(tmp_path, "completed", created, created=created)
    found = list_runs([tmp_path, tmp_path / "run-1", tmp_path])
    assert [each.created for each in found] == [3, 2, 1]


def test_the_table_and_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    searched(tmp_path / "[red]x[", status="completed", summary=SUMMARY)
    single(tmp_path, "running")
    assert main(["list", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "4 of 4" in text
        and "perplexity 20.5 (trial 2)" in text
        and "interrupted" in text
        and "no perplexity yet" in text
    )
    assert main(["list", str(tmp_path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {each["folder"] for each in listed} == {str(tmp_path / "[red]x[" / "search-1"), str(tmp_path / "run-1")}


def test_no_folder_and_nothing_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 2
    assert "there is no folder experiments" in capsys.readouterr().err
    (tmp_path / "experiments").mkdir()
    assert main(["list"]) == 0
    assert "no experiments in experiments yet" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no folder here"):
        list_runs([tmp_path, Path("here")])


def test_two_hundred_are_listed_within_a_second_and_without_what_is_slow_to_import(tmp_path: Path) -> None:
    first = searched(tmp_path, status="completed", summary=SUMMARY).path
    files = {name: (first / name).read_bytes() for name in ("run.json", "config.yaml")}
    for number in range(2, 201):
        path = tmp_path / f"search-{number}"
        path.mkdir()
        for name, content in files.items():
            (path / name).write_bytes(content)
    single(tmp_path, "completed", 1.0)
    start = time.process_time()
    assert len(list_runs([tmp_path])) == 201
    assert time.process_time() - start < 0.5
    code = f"""
import sys
from nas.cli import main
main(["list", {str(tmp_path)!r}])
print([name for name in ("torch", "optuna", "determined", "matplotlib", "numpy") if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"

"""A search that would go on with another architecture or other data than it began with."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support.engine import RANDOM, Script, Search
from support.nas_run import DEADLINE, Desk, curves, record, wait_for
from support.runs import ROOT, TINY, metrics_of

from nas.config import load as configs
from nas.core.errors import ConfigError
from nas.runs.run_folder import RunFolder

BEFORE = 'MINE = Genotype((("relu", 0), ("relu", 1), ("tanh", 2)))\n'
AFTER = 'MINE = Genotype((("relu", 0), ("sigmoid", 0), ("tanh", 2)))\n'
DATA = {"train": {"digest": "ab" * 32, "count": 3, "unit": "numbers", "source": ""}}


@pytest.fixture
def desk(tmp_path: Path, corpus: Path) -> Desk:
    """A copy of the program and of the text, both of which may be edited; trials of one cell, in which MINE is named."""
    for name in ("nas", "randomNAS_files"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("model_def.py", "data.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "randomNAS_files" / "genotypes.py").open("a") as file:
        file.write(BEFORE)
    config = configs.load(ROOT / "train_small.yaml")
    config["hyperparameters"] |= TINY | {"arch_to_use": "MINE", "train_epochs": 30}
    config["hyperparameters"]["learning_rate"] = {"type": "double", "minval": 1.0, "maxval": 2.0}
    config |= {"name": "tiny", "searcher": {"name": "random", "metric": "loss", "max_trials": 2}}
    config["data"] = {"corpus": "text", "data_dir": str(shutil.copytree(corpus, tmp_path / "text"))}
    with (tmp_path / "tiny.yaml").open("w") as yaml:
        YAML().dump(config, yaml)
    return Desk(tmp_path, tmp_path / "tiny.yaml")


def replace_in(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_what_the_yaml_names_must_be_what_it_was(desk: Desk) -> None:
    """The genotype behind a name is compared before anything starts, the text when the first trial has read it."""
    engine = desk.start(str(desk.config))
    wait_for(lambda: metrics_of(desk.folder / "trials" / "0", "validation") or engine.poll() is not None)
    os.kill(engine.pid, signal.SIGINT)
    engine.communicate(timeout=DEADLINE)
    assert engine.returncode == 130
    known, trained = record(desk.folder), curves(desk.folder)
    genotypes, text = desk.place / "randomNAS_files" / "genotypes.py", desk.place / "text" / "train.txt"

    replace_in(genotypes, BEFORE, AFTER)
    for command in ((str(desk.config),), ("--resume", "experiments/tiny-1")):
        code, out, err = desk.run(*command)
        assert code == 2 and "node2_op: relu then, sigmoid now; node2_edge: 1 then, 0 now" in err, (out, err)
        assert "trial 0: the experiment is of another architecture" in err and "--new" in err
        assert "Traceback" not in err and record(desk.folder) == known and curves(desk.folder) == trained
    replace_in(genotypes, AFTER, BEFORE)

    original = text.read_text()
    replace_in(text, "w3 ", "w4 ")
    code, out, err = desk.run(str(desk.config))
    assert code == 2 and f"train ({text}): 600 tokens, SHA-256" in err and "trial 0: " in err, (out, err)
    assert "Traceback" not in err and record(desk.folder) == known and curves(desk.folder) == trained
    text.write_text(original)

    with genotypes.open("a") as file:
        file.write("# another comment\n")
    words = ("--config", "description=the same search", "--config", "labels=[mine]")  # for readers
    code, out, err = desk.run(str(desk.config), *words)
    assert (code, err) == (0, ""), out
    (told,) = [line for line in out.splitlines() if " then, " in line]
    assert told.startswith("warning: trial 0: the experiment was written with other settings: code: ")
    assert "torch" not in told and "numpy" not in told
    assert [trial[7] for trial in record(desk.folder)] == ["completed", "completed"]
    assert [len(curve) for curve in curves(desk.folder)] == [30, 30]


@pytest.mark.usefixtures("no_waiting")
def test_a_change_stops_the_search_and_costs_no_trial(tmp_path: Path) -> None:
    scripts = {2: Script(word="changed", errors=("x is of other data",))}
    search = Search(tmp_path, RANDOM, scripts)
    with pytest.raises(ConfigError, match="trial 2: x is of other data"):
        search.run()
    assert search.ends[:3] == ["completed", "completed", None] and len(search.starts(2)) == 1
    scripts.clear()
    assert search.go_on() is True and set(search.ends) == {"completed"}


@pytest.mark.usefixtures("no_waiting")
def test_new_trials_are_told_which_data_the_others_had(tmp_path: Path) -> None:
    search = Search(tmp_path, RANDOM)

    def read_data(event: tuple[Any, ...]) -> None:
        """Trial 0 has, once it has validated."""
        if event[:2] == ("validation", 0):
            folder = search.pool._trials[0].folder
            folder.save(identity={"architecture": ["relu"], "data": DATA, "space": ""})

    search.on = read_data
    assert search.run() is True
    expected = [RunFolder.open(tmp_path / "trials" / str(number))[0].run["identity"] for number in range(7)]
    assert [each["data"] for each in expected] == [DATA] * 7
    assert "architecture" not in expected[1], "each trial has its own"


@pytest.mark.usefixtures("no_waiting")
def test_after_a_restart_the_data_is_known_from_the_folders(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"})
    (tmp_path / "trials" / "5").mkdir(parents=True)
    run = {"hyperparameters": {}, "identity": {"architecture": ["relu"], "data": DATA, "space": ""}}
    (tmp_path / "trials" / "5" / "run.json").write_text(json.dumps(run))
    assert search.run() is True
    assert RunFolder.open(tmp_path / "trials" / "0")[0].run["identity"] == {"data": DATA}

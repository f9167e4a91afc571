"""`nas run` with several processes at once, and trials of other kinds; what one worker does is in `test_nas_run.py`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState
from ruamel.yaml import YAML
from support.nas_run import DEADLINE, Desk, alive, curves, descendants, record, trials_at_work, wait_for
from support.runs import IMAGES, ROOT, TINY, TINY_IMAGES, metrics_of

from nas.config import load as configs
from nas.config.search_space import TrialSampler
from nas.runs.run_folder import RunFolder

SEARCHER = {
    **{"name": "adaptive_asha", "metric": "perplexity", "time_metric": "epochs", "max_time": 4, "divisor": 2},
    **{"max_trials": 8, "max_concurrent_trials": 4},
}
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds its descendants in /proc")


@pytest.fixture
def desk(tmp_path: Path, corpus: Path) -> Desk:
    """Two trials at once, which gives each of them one thread on a machine with two cores."""
    config = configs.load(ROOT / "quickstart.yaml")
    config["hyperparameters"] |= {name: value for name, value in TINY.items() if name != "train_epochs"}
    config |= {"name": "tiny", "searcher": SEARCHER, "data": {"corpus": "text", "data_dir": str(corpus)}}
    with (tmp_path / "tiny.yaml").open("w") as file:
        YAML().dump(config, file)
    return Desk(tmp_path, tmp_path / "tiny.yaml")


def start(desk: Desk, *more: str) -> subprocess.Popen[str]:
    """As a shell does: in a process group, to which the terminal sends Ctrl-C."""
    pipe = subprocess.PIPE
    command = [*desk.arguments(str(desk.config)), "--workers", "2", *more]
    return subprocess.Popen(command, cwd=desk.place, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def options(**values: Any) -> list[str]:
    """Overrides; two underscores are a dot."""
    pairs = [f"{name.replace('__', '.')}={json.dumps(value)}" for name, value in values.items()]
    return [word for pair in pairs for word in ("--config", pair)]


def validated(folder: Path) -> int:
    """How many validations the trials have written down."""
    return sum(len(metrics_of(trial, "validation")) for trial in (folder / "trials").glob("*"))


def latest(folder: Path, trial: int) -> float:
    """The epochs of a trial's latest checkpoint."""
    run, _ = RunFolder.open(folder / "trials" / str(trial))
    return float((run.run["latest"] or {"epochs": 0})["epochs"])


def test_two_trials_at_once_survive_ctrl_c_and_a_kill(desk: Desk) -> None:
    engine = start(desk)
    wait_for(lambda: validated(desk.folder) >= 2 and len(trials_at_work(engine.pid)) == 2)
    everybody = descendants(engine.pid)
    os.killpg(engine.pid, signal.SIGINT)
    out, err = engine.communicate(timeout=DEADLINE)
    assert (engine.returncode, err) == (130, "")
    wait_for(lambda: not any(map(alive, everybody)))
    assert "stopping: each trial writes a checkpoint first" in out
    running = [trial[0] for trial in record(desk.folder) if trial[3] == TrialState.RUNNING]
    assert 0 < len(running) <= 2
    for number in running:
        assert "Traceback" not in (desk.folder / "trials" / str(number) / "log.txt").read_text()
    assert any(latest(desk.folder, number) > 0 for number in running)  # who had just begun may have nothing yet

    nas, run, *command = shlex.split(out.rpartition("go on")[2])
    assert (nas, run) == ("nas", "run")
    engine = subprocess.Popen(
        [sys.executable, "-m", "nas", "run", *command, "--workers", "2"],
        cwd=desk.place,
        stdout=subprocess.DEVNULL,
    )
    before, most = validated(desk.folder), 0

    def further() -> bool:
        nonlocal most
        most = max(most, len(trials_at_work(engine.pid)))
        return validated(desk.folder) >= before + 4 and most > 1

    wait_for(further)
    assert most == 2
    ended = {trial[0]: trial for trial in record(desk.folder) if trial[3].is_finished()}
    everybody = descendants(engine.pid)
    engine.kill()
    engine.wait()
    wait_for(lambda: not any(map(alive, everybody)))

    code, out, err = desk.run("--resume", str(desk.folder), "--workers", "2")
    assert (code, err) == (0, "")
    trials = record(desk.folder)
    assert all(trials[number] == trial for number, trial in ended.items())
    draws = islice(TrialSampler(configs.load(desk.config)["hyperparameters"], 1), len(trials))
    assert [(trial[6], trial[4]) for trial in trials] == [(draw.hparams, draw.seed) for draw in draws]
    counts = Counter(trial[7] for trial in trials)
    assert counts.keys() == {"completed", "pruned"} and counts.total() == SEARCHER["max_trials"]
    assert f"{counts['completed']} completed" in out and f"{counts['pruned']} stopped early" in out
    for trial in trials:
        assert list(trial[2]) == list(range(1, len(trial[2]) + 1))
        assert (trial[7] == "completed") == (len(trial[2]) == SEARCHER["max_time"])
    told = [[value for _, value in curve] for curve in curves(desk.folder)]
    assert [len(curve) for curve in told] == [len(trial[2]) for trial in trials]


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
def test_a_trial_of_two_processes_survives_the_death_of_the_engine(desk: Desk) -> None:
    searcher = {"name": "single", "metric": "perplexity"}
    more = options(resources__slots_per_trial=2, searcher=searcher, hyperparameters__arch_seed=5)
    epochs = 6
    engine = start(desk, *more, *options(hyperparameters__train_epochs=epochs))
    wait_for(lambda: validated(desk.folder) >= 2)
    everybody = descendants(engine.pid)
    assert len([each for each in everybody if alive(each)]) >= 3, "torchrun, and two below it"
    engine.kill()
    engine.wait()
    wait_for(lambda: not any(map(alive, everybody)))
    code, out, err = desk.run("--resume", str(desk.folder), "--workers", "1")
    assert (code, err) == (0, "")
    assert "device       cpu, 2 process(es)" in (desk.folder / "trials" / "0" / "log.txt").read_text()
    assert "trial 0 goes on from epoch" in out and "1 trial: 1 completed" in out
    (trial,) = record(desk.folder)
    assert list(trial[2]) == list(range(1, epochs + 1)) and trial[7] == "completed"
    reported = metrics_of(desk.folder / "trials" / "0", "validation")
    assert [line["perplexity"] for line in reported] == list(trial[2].values())


def test_a_trial_that_holds_nothing_out_is_trained_and_scored(desk: Desk, pictures: Path) -> None:
    config = configs.load(ROOT / IMAGES.config)
    config["hyperparameters"] |= {**TINY_IMAGES, "train_epochs": 1, "evaluate_test": True}
    config["data"] = {**IMAGES.data, "data_dir": str(pictures), "validation_fraction": 0}
    with (desk.place / "images.yaml").open("w") as file:
        YAML().dump({**config, "name": "tiny"}, file)
    code, out, err = desk.run("images.yaml", "--workers", "2")
    assert (code, err) == (0, "")
    assert "1 trial: 1 completed" in out
    (scores,) = metrics_of(desk.folder / "trials" / "0", "test")
    words = next(line for line in out.splitlines() if line.startswith("test ")).split()
    assert float(words[words.index("test_top1_accuracy") + 1]) == pytest.approx(scores["test_top1_accuracy"], rel=1e-4)


MINE = """
import sys
from nas import trial as training
from model_def import RecurrentTrial

class Mine(RecurrentTrial):
    def summary(self):
        return {**super().summary(), "architecture": "all mine"}

if __name__ == "__main__":
    sys.exit(training.main("mine:Mine"))
"""


def test_a_module_in_the_current_folder_is_a_trial_as_well(desk: Desk) -> None:
    (desk.place / "mine.py").write_text(MINE)
    values = {"entrypoint": "python3 -m mine", "searcher": {"name": "random", "metric": "loss", "max_trials": 1}}
    code, out, err = desk.run(str(desk.config), "--workers", "2", *options(**values, hyperparameters__train_epochs=1))
    assert (code, err) == (0, "")
    assert "trial 0 completed after 1 epoch" in out
    run, _ = RunFolder.open(desk.folder / "trials" / "0")
    assert run.run["metadata"]["architecture"] == "all mine"


BAD: dict[str, tuple[list[str], list[str]]] = {
    "workers": (["tiny.yaml", "--workers", "0"], ["--workers", "at least 1", "'0'"]),
    "device": (["tiny.yaml", "--device", "tpu"], ["--device", "'tpu'"]),
    "nothing": (["--new"], ["which experiment?", "nas run CONFIG.yaml"]),
    "no config": (["no_such.yaml"], ["no_such.yaml", "No such file"]),
    "tab": (["tab.yaml"], ["tab.yaml", "line 2, column 1", "\\t"]),
    "no section": (["list.yaml"], ["list.yaml", "hyperparameters"]),
    "nothing to resume": (["tiny.yaml", "--resume"], ["no experiment tiny", "to go on with"]),
    "no experiment": (["--resume", "elsewhere"], ["elsewhere", "not the folder of a run"]),
    "changed": (["--resume", "elsewhere", "--config", "max_restarts=1"], ["--config", "keeps what it began with"]),
    "override": (["tiny.yaml", "--config", "max_restarts"], ["max_restarts"]),
    "slots": (
        ["tiny.yaml", *options(resources={"slots_per_trial": 2}, entrypoint="python3 model_def.py")],
        ["resources.slots_per_trial", "2", "torch_distributed"],
    ),
    "entrypoint": (["tiny.yaml", *options(entrypoint="make train")], ["entrypoint", "make train"]),
    "at once": (
        ["tiny.yaml", *options(searcher__max_trials=0, searcher__divisor=1, max_restarts=-1, reproducibility=[])],
        ["max_trials", "divisor", "max_restarts", "reproducibility"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_meant_is_refused_and_leaves_nothing(name: str, desk: Desk) -> None:
    words, says = BAD[name]
    (desk.place / "tab.yaml").write_text("name: x\n\tentrypoint: python3 model_def.py\n")
    (desk.place / "list.yaml").write_text("- name: x\n")
    code, out, err = (desk.run if name == "at once" else desk.run_here)(*words)
    assert (code, out) == (2, "")
    assert "error: " in err and "Traceback" not in err and all(word in err for word in says), err
    assert not (desk.place / "experiments").exists()

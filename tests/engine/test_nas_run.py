"""`nas run` for real, on a tiny text: a search, killed and resumed in every way, and input that cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.nas_run import DEADLINE, Desk, alive, curves, descendants, record, trials_at_work, wait_for
from support.runs import ROOT, TINY

from nas.config import load as configs
from nas.config.rules import refusals

SEARCHER = {
    "name": "adaptive_asha",
    "metric": "loss",
    "time_metric": "epochs",
    "max_time": 4,
    "max_trials": 8,
    "divisor": 2,
}
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds its descendants in /proc")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Desk:
    place = tmp_path_factory.mktemp("desk")
    config = configs.load(ROOT / "quickstart.yaml")
    config["hyperparameters"] |= {name: value for name, value in TINY.items() if name != "train_epochs"}
    config |= {"name": "tiny", "searcher": SEARCHER, "data": {"corpus": "text", "data_dir": str(corpus)}}
    with (place / "tiny.yaml").open("w") as file:
        YAML().dump(config, file)
    return Desk(place, place / "tiny.yaml")


@pytest.fixture(scope="module")
def whole(desk: Desk) -> tuple[Desk, str]:
    """A search that nobody disturbed, and what it printed."""
    code, out, err = desk.run()
    assert (code, err) == (0, "")
    return desk, out


def test_a_search_ends_with_its_result(whole: tuple[Desk, str]) -> None:
    desk, out = whole
    trials = record(desk.folder)
    assert len(trials) == SEARCHER["max_trials"]
    assert {trial[7] for trial in trials} == {"completed", "pruned"}
    best = min((min(trial[2].values()), trial[0]) for trial in trials)
    assert f"│ 1    │ {best[1]:<5} │ {best[0]:<9.6g} │" in out
    assert "output: mean of 1-8" in out and "nas run experiments/tiny-1/best.yaml" in out and "8 trials: " in out
    names = {"best.yaml", "config.yaml", "curves.png", "log.txt", "run.json", "study.db", "trials"}
    assert {path.name for path in desk.folder.iterdir() if not path.name.startswith(".")} == names
    for trial in (desk.folder / "trials").iterdir():
        left = {path.name for path in trial.iterdir() if not path.name.startswith(".")}
        assert left == {"checkpoints", "config.yaml", "genotype.json", "log.txt", "metrics.jsonl", "run.json"}


def test_the_record_is_what_the_trials_wrote(whole: tuple[Desk, str]) -> None:
    desk, _ = whole
    assert curves(desk.folder) == [list(trial[2].items()) for trial in record(desk.folder)]


def test_the_best_architecture_can_be_trained_once_more(whole: tuple[Desk, str]) -> None:
    desk, _ = whole
    config = configs.load(desk.folder / "best.yaml")
    _, best = min((min(trial[2].values()), trial[0]) for trial in record(desk.folder))
    assert refusals(config) == [] and config["searcher"]["name"] == "single"
    assert config["hyperparameters"]["arch_seed"] == record(desk.folder)[best][1]["arch_seed"]
    code, out, err = desk.run(str(desk.folder / "best.yaml"))
    assert (code, err) == (0, "") and "test_perplexity" in out
    again = desk.folder.parent / "tiny-best-1" / "trials" / "0" / "genotype.json"
    assert again.read_text() == (desk.folder / "trials" / str(best) / "genotype.json").read_text()


def test_a_search_that_is_killed_again_and_again_ends_as_one_that_is_not(whole: tuple[Desk, str]) -> None:
    desk, _ = whole
    other = replace(desk, experiments="killed")
    engine = other.start()
    wait_for(lambda: (other.folder / "trials" / "1" / "metrics.jsonl").exists())
    trial = wait_for(lambda: trials_at_work(engine.pid))[0]
    for pid in (engine.pid, trial):
        os.kill(pid, signal.SIGSTOP)  # or the trial would end while another command starts
    second = other.run(str(other.config), "--resume")
    assert second[0] == 2 and "is being run by another process" in second[2]
    os.kill(trial, signal.SIGKILL)  # one trial, which starts again
    engine.send_signal(signal.SIGCONT)
    wait_for(lambda: trials_at_work(engine.pid) not in ([], [trial]))
    orphans = descendants(engine.pid)
    engine.kill()  # the engine, whose trials leave by themselves
    engine.wait()
    wait_for(lambda: not any(map(alive, orphans)))
    engine = other.start()
    wait_for(lambda: (other.folder / "trials" / "3" / "metrics.jsonl").exists() and trials_at_work(engine.pid))
    for pid in [engine.pid, *descendants(engine.pid)]:  # everything
        os.kill(pid, signal.SIGKILL)
    engine.wait()
    engine = other.start()
    wait_for(lambda: trials_at_work(engine.pid))
    engine.send_signal(signal.SIGINT)  # and politely
    out, _ = engine.communicate(timeout=DEADLINE)
    assert engine.returncode == 130 and "nas run --resume killed/tiny-1" in out
    code, out, err = other.run("--resume", str(other.folder))
    assert (code, err) == (0, "") and "going on with" in out
    assert record(other.folder) == record(desk.folder)
    assert curves(other.folder) == curves(desk.folder)
    assert [path.name for path in other.folder.parent.iterdir()] == ["tiny-1"]


def test_a_search_that_is_complete_is_not_run_again_by_resuming(whole: tuple[Desk, str]) -> None:
    desk, _ = whole
    before = record(desk.folder)
    code, out, _ = desk.run(str(desk.config), "--resume")
    assert code == 0 and "is complete" in out and record(desk.folder) == before


def test_another_config_does_not_go_on_with_the_folder(whole: tuple[Desk, str]) -> None:
    desk, _ = whole
    code, _, err = desk.run(str(desk.config), "--resume", str(desk.folder), "--config", "hyperparameters.emsize=9")
    assert code == 2 and "hyperparameters.emsize: 8 there, 9 here" in err


@pytest.mark.parametrize(("text", "runs"), [("import sys", False), ("import sys, importlib", True)])
def test_a_program_of_somebodys_own_that_reports_nothing_is_run_once_at_most(desk: Desk, text: str, runs: bool) -> None:
    (desk.place / "mine.py").write_text(f"{text}\nprint('here', *sys.argv[1:2])\nsys.exit(3)\n")
    overrides = ("entrypoint=python3 mine.py --fast", "searcher.max_trials=4", f"name=mine-{runs}")
    code, out, err = desk.run(str(desk.config), *(word for each in overrides for word in ("--config", each)))
    folder = desk.place / desk.experiments / f"mine-{runs}-1"
    assert code == 2 and 'end the program in nas.trial.main("module:Class")' in err and folder.exists() is runs
    if runs:
        assert "trial 0: exit status 3; mine reported nothing to nas run" in err and "restart" not in out
        assert [path.name for path in (folder / "trials").iterdir()] == ["0"]
        assert (folder / "trials" / "0" / "log.txt").read_text() == "here --fast\n"


BAD: dict[str, tuple[list[str], list[str]]] = {
    "unknown searcher": (["searcher.name=adaptive_ahsa"], ["searcher.name", "adaptive_asha"]),
    "unknown field": (["searchr={}"], ["searchr", "searcher"]),
    "no script": (["entrypoint=python3 no_such.py"], ["no_such.py"]),
    "unknown sampler": (["--sampler", "tpee"], ["tpee", "tpe"]),
    "sampler without use": (["searcher={name: single, metric: loss}", "--sampler", "tpe"], ["--sampler", "single"]),
    "bounds that are values": (["hyperparameters.alpha={type: log, base: 10, minval: 1e-4, maxval: 0.1}"], ["1.0002"]),
    "a batch larger than the data": (["hyperparameters.global_batch_size=5000"], ["global_batch_size must be at most"]),
    "a search for the worst": (
        ["searcher.smaller_is_better=false"],
        ["smaller_is_better must be true for metric loss"],
    ),
    "trial": (["hyperparameters.emsise=9", "searcher.metric=acuracy"], ["emsise", "emsize", "'acuracy'", "perplexity"]),
}


IN_A_PROCESS_OF_ITS_OWN = ("a batch larger than the data", "trial")
"""As somebody types it; the others in this one, which has imported torch."""


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_work_is_refused_before_anything_starts(name: str, desk: Desk, tmp_path: Path) -> None:
    words, says = BAD[name]
    pairs = [word for each in words if "=" in each for word in ("--config", each)]
    plain = [word for word in words if "=" not in word]
    nowhere = replace(desk, experiments=str(tmp_path / "none"))
    run = nowhere.run if name in IN_A_PROCESS_OF_ITS_OWN else nowhere.run_here
    code, _, err = run(str(desk.config), *pairs, *plain)
    assert code == 2 and err.startswith("error: ") and all(word in err for word in says), err
    assert not (tmp_path / "none").exists() or not list((tmp_path / "none").iterdir())


def test_yaml_that_is_none_is_refused_by_line_and_column(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nsearcher: {name: single\nhyperparameters: {}\n")
    code, _, err = desk.run(str(tmp_path / "bad.yaml"))
    assert code == 2 and "line 3, column" in err


def test_data_that_is_not_there_stops_the_search_at_once(desk: Desk) -> None:
    code, out, err = desk.run(str(desk.config), "--config", "data.data_dir=/no/such", "--config", "name=nodata")
    assert code == 2 and "/no/such" in err and "restart" not in out


def test_what_was_begun_with_another_sampler_or_storage_is_not_gone_on_with(whole: tuple[Desk, str]) -> None:
    desk, _ = whole
    for option, value in (("--sampler", "tpe"), ("--storage", "sqlite:///other.db")):
        code, _, err = desk.run("--resume", str(desk.folder), option, value)
        assert code == 2 and option in err and value in err and "was begun with none" in err


def test_a_search_in_a_database_of_its_own_goes_on_when_it_is_run_again(desk: Desk) -> None:
    words = [str(desk.config), "--storage", "sqlite:///studies.db", "--config", "name=stored"]
    engine = desk.start(*words)
    folder = desk.place / desk.experiments / "stored-1"
    wait_for(lambda: (folder / "trials" / "0" / "metrics.jsonl").exists())
    engine.send_signal(signal.SIGINT)
    engine.communicate(timeout=DEADLINE)
    code, out, err = desk.run(*words)
    assert (code, err) == (0, "") and "going on with" in out and not (folder / "study.db").exists()
    assert not folder.with_name("stored-2").exists()


def test_modules_of_the_current_folder_replace_none_of_ours(tmp_path: Path, desk: Desk) -> None:
    for name in ("data", "seeds", "nas_config", "model", "tokens", "model_def", "downloads"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('this is not ours')\n")
    pairs = [f"hyperparameters.{name}={value}" for name, value in TINY.items() if name != "train_epochs"]
    pairs += ["searcher={name: random, metric: loss, max_trials: 1}", "hyperparameters.train_epochs=1"]
    pairs += ["data.corpus=text", f"data.data_dir={configs.load(desk.config)['data']['data_dir']}"]
    sets = [word for pair in pairs for word in ("--config", pair)]
    code, out, err = replace(desk, place=tmp_path).run(str(ROOT / "quickstart.yaml"), *sets)
    assert (code, err) == (0, "") and "1 trial: 1 completed" in out
    command = [sys.executable, "-m", "nas", "check", str(ROOT / "quickstart.yaml"), "--samples", "10"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")

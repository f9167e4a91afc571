"""`nas run` before anything starts: all that is wrong is told at once, and nothing is begun anew beside what is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.runs import ROOT

from nas.cli.main import main
from nas.config import load as configs
from nas.config.yaml_text import dump
from nas.engine import preflight
from nas.engine.experiments import Request, choose
from nas.engine.preflight import Findings
from nas.runs.run_folder import RunFolder


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    content = configs.load(ROOT / "quickstart.yaml") | {"name": "tiny"}
    path = tmp_path / "tiny.yaml"
    path.write_text(dump(content))
    return path


def test_mistakes_of_config_command_and_trial_are_told_together(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Findings(["hyperparameters.emsize must be at least 1, got -3"], "cpu", [], "epochs", 9, None, [])
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(preflight, "inspect", lambda *_, **named: asked.append(named) or told)
    arguments = ["run", str(config), "--sampler", "tpee", "--set", "searcher.max_trials=0"]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "searcher.max_trials" in line]
    assert [line for line in lines if "tpee" in line and "tpe" in line]
    assert [line for line in lines if "emsize" in line]
    assert len(lines) == 3 and not Path("experiments").exists()
    assert asked == [{"refused": True}], "what is refused already waits for no estimate of memory"


@pytest.mark.parametrize("damage", ["", '{"sampler": null', "[]"])
def test_a_damaged_experiment_is_not_passed_over(config: Path, damage: str) -> None:
    content = configs.load(config)
    folder = RunFolder.create(Path("experiments"), "tiny", content, {"sampler": None, "status": "stopped"})
    (folder.path / "trials" / "0").mkdir(parents=True)
    (folder.path / "run.json").write_text(damage)
    with pytest.raises(configs.ConfigError, match=r"tiny-1 .*--new starts another experiment"):
        choose(Request(config))
    assert choose(Request(config, new=True))[1] is None


def test_a_folder_of_something_else_is(config: Path) -> None:
    Path("experiments/tiny-4").mkdir(parents=True)
    Path("experiments/tiny-4/notes.txt").write_text("mine")
    assert choose(Request(config))[1] is None


def test_another_storage_is_another_experiment(config: Path) -> None:
    content = choose(Request(config))[0]
    about: dict[str, Any] = {"sampler": None, "status": "stopped", "storage": None}
    folder = RunFolder.create(Path("experiments"), "tiny", content, about)
    begun = choose(Request(config))[1]
    assert begun is not None and begun.path == folder.path
    assert choose(Request(config, storage="sqlite:///other.db"))[1] is None
    same = choose(Request(config, storage=f"sqlite:///{folder.path}/study.db"))[1]
    assert same is not None and same.path == folder.path
    run = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(run | {"storage": f"sqlite:///{Path('other.db').absolute()}"}))
    other = choose(Request(config, storage="sqlite:///other.db"))[1]
    assert other is not None and other.path == folder.path

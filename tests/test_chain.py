"""From a search to a reported, exported, retrained and tested network, by the commands that a user types."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.runs import DEADLINE, ROOT, TINY

from nas.cli.main import main as nas
from nas.config import load as configs

SEARCHER = {"name": "random", "metric": "perplexity", "max_trials": 2, "max_concurrent_trials": 1}


@pytest.fixture
def desk(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small cells on a small text."""
    monkeypatch.chdir(tmp_path)
    config = configs.load(ROOT / "quickstart.yaml")
    config["hyperparameters"] |= TINY
    config |= {"name": "tiny", "searcher": SEARCHER, "data": {"corpus": "text", "data_dir": str(corpus)}}
    with Path("tiny.yaml").open("w") as file:
        YAML().dump(config, file)
    return tmp_path


def run(*words: str) -> str:
    """`nas run`, in a process of its own as it starts others."""
    command = [sys.executable, "-m", "nas", "run", *words, "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_the_whole_chain(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("tiny.yaml")
    found = "experiments/tiny-1"
    for command in (["list"], ["show", found], ["show", found, "--trial", "0"], ["draw", found], ["report", found]):
        assert nas(command) == 0
    out = capsys.readouterr().out
    assert "tiny-1" in out and "2 trials: 2 completed" in out
    with Path(found, "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = [float(row["best validation perplexity"]) for row in rows]
    assert best == sorted(best) and all(int(row["macs"]) > 0 and float(row["seconds"]) > 0 for row in rows)
    page = Path(found, "report.html").read_text()
    assert all(word in page for word in ("Leaderboard", "tiny", f"trial {rows[0]['trial']}"))

    out = run("--retrain", found, "--best", "2", "--seeds", "2")
    again = "experiments/tiny-best-2x2-1"
    assert "± " in out and "(2)" in out and "last perplexity" in out and "test_perplexity" in out
    trials = [json.loads(path.read_text()) for path in Path(again, "trials").glob("*/run.json")]
    chosen = sorted((trial["hyperparameters"]["arch_seed"], trial["hyperparameters"]["repeat"]) for trial in trials)
    winners = sorted(int(row["hyperparameter arch_seed"]) for row in rows)
    assert chosen == [(seed, repeat) for seed in winners for repeat in (0, 1)]
    assert len({trial["seed"] for trial in trials}) == 4, "each has a seed of its own"

    assert nas(["compare", found, again]) == 0
    assert "too few replicates to say anything" in capsys.readouterr().out
    assert nas(["export", again, "--out", "retrained", "--checkpoint"]) == 0
    assert nas(["evaluate", again, "--split", "test"]) == 0
    out = capsys.readouterr().out
    assert "the test split was read once before" in out and "gives the outputs of the checkpoint" in out
    assert sorted(path.name for path in Path("retrained").iterdir()) == sorted(
        ["README.md", "genotype.json", "genotype.py", "network.json", "network.pt2", "retrain.yaml", "weights.pt"]
    )

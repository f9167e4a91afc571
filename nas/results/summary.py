"""What a search came to: the best trials, the best architecture as a drawing, learning curves, and what to do next."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

import cnn_nas.architecture
import cnn_nas.drawing
import randomNAS_files.architecture
import randomNAS_files.drawing
from nas.config import load as configs
from nas.config.entrypoint import TRIALS, find_program
from nas.core.downloads import write_atomically
from nas.core.fields import ConfigError
from nas.engine.study_store import ENDED, Record
from nas.results import curves
from nas.results.curve_data import Curve
from nas.runs.run_folder import RunFolder

SHOWN = 5
"""Trials of the leaderboard."""


def close(console: Console, config: Mapping[str, Any], folder: Path, record: Record, unit: str, length: int) -> None:
    """Print the result of an experiment; leaves `curves.png` in its folder, and after a search `best.yaml`."""

    def say(*lines: str) -> None:
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    say(summary(record))
    trials, leaders = record.all(), record.leaderboard()
    best = leaders[0] if leaders else trials[0] if trials else None
    if best is None or not (folder / "trials" / str(best.number)).is_dir():
        return
    if leaders:
        console.print(leaderboard(record, leaders[:SHOWN], unit))
    trial = folder / "trials" / str(best.number)
    say(*drawing(trial), *scores(trial))
    if leaders and _curves(config, folder, record, unit):
        say(f"{'curves':<12} {folder / 'curves.png'}")
    say(f"{'trials':<12} {folder / 'trials'}")
    if leaders and record.searcher.name != "single":
        again = retraining(config, best, _epochs(trial, unit, length))
        write_atomically(folder / "best.yaml", configs.dump(again).encode())
        say(f"{'retrain':<12} nas run {shlex.quote(str(folder / 'best.yaml'))}")
    say(f"{'dashboard':<12} {dashboard(record.url)}")


def _curves(config: Mapping[str, Any], folder: Path, record: Record, unit: str) -> bool:
    pruner = record.searcher.pruner
    return curves.draw(
        [Curve(trial.number, list(trial.intermediate_values.items()), _how(trial)) for trial in record.all()],
        folder / "curves.png",
        title=str(config.get("name", folder.name)),
        metric=record.metric,
        time_metric=unit,
        smaller_is_better=record.smaller_is_better,
        rungs=sorted({rung for bracket in pruner.brackets for rung in bracket.rungs}) if pruner else (),
    )


def summary(record: Record) -> str:
    """How the trials ended."""
    trials = record.all()
    counts = Counter(map(_how, trials))
    words = {
        "pruned": "stopped early",
        "invalid": "with invalid hyperparameters",
        "error": "failed",
        "": "not finished",
    }
    parts = ", ".join(f"{count} {words.get(how, how)}" for how, count in counts.most_common())
    return f"{len(trials)} {'trial' if len(trials) == 1 else 'trials'}: {parts}" if trials else "no trials"


def leaderboard(record: Record, leaders: list[FrozenTrial], unit: str) -> Table:
    """The best trials."""
    table = Table(title_justify="left")
    for name in ("rank", "trial", f"best {record.metric}", unit, "ended", "hyperparameters"):
        table.add_column(name)
    for rank, trial in enumerate(leaders, start=1):
        value = record.best_value(trial)
        chosen = ", ".join(f"{name} {value}" for name, value in trial.params.items())
        cells = [str(rank), str(trial.number), f"{value:.6g}", str(trial.last_step), _how(trial) or "running"]
        table.add_row(*cells, chosen if len(chosen) <= 60 else f"{chosen[:57]}...")
    return table


def drawing(trial: Path) -> list[str]:
    """The architecture of a trial, from what it left in its folder."""
    try:
        genotype = json.loads((trial / "genotype.json").read_text(encoding="utf-8"))
        if "recurrent" in genotype:
            return randomNAS_files.drawing.draw(randomNAS_files.architecture.from_json(genotype))
        return cnn_nas.drawing.draw(cnn_nas.architecture.from_json(genotype))
    except (OSError, ValueError, ConfigError):  # a trial of somebody's own leaves what it likes
        return []


def scores(trial: Path) -> list[str]:
    """On the test split, where the trial was asked for them."""
    folder, _ = RunFolder.open(trial)
    names = ("group", "step", "batches", "epochs")
    return [
        f"{'test':<12} " + "  ".join(f"{name} {value:.6g}" for name, value in record.items() if name not in names)
        for record in folder.metrics("test")
    ]


def retraining(config: Mapping[str, Any], trial: FrozenTrial, epochs: int) -> dict[str, Any]:
    """A config that trains the trial's architecture once more, for so many epochs, and scores it on the test split."""
    kept = {name: value for name, value in config["searcher"].items() if name in ("metric", "smaller_is_better")}
    hparams = {**trial.user_attrs["hyperparameters"], "train_epochs": epochs}
    if find_program(config["entrypoint"]).module in TRIALS:  # a trial of somebody's own may not know it
        hparams["evaluate_test"] = True
    name = f"{config.get('name', 'search')}-best"
    return {**config, "name": name, "searcher": {"name": "single", **kept}, "hyperparameters": hparams}


def _epochs(trial: Path, unit: str, length: int) -> int:
    """The length of a full training; one in batches is rounded to whole epochs."""
    if unit == "epochs":
        return length
    folder, _ = RunFolder.open(trial)
    latest = folder.run.get("latest") or {"epochs": 1, "batches": 1}
    return max(1, round(float(length * latest["epochs"] / latest["batches"])))


def dashboard(url: str) -> str:
    """The command that opens Optuna's dashboard."""
    return f"optuna-dashboard {shlex.quote(url)}"


def _how(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get(ENDED, "")) if trial.state.is_finished() else ""

"""What `nas show` says of experiments and trials in any state."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.results import experiment, trial

from nas.cli import main
from nas.core.errors import ConfigError
from nas.results.experiment import ExperimentResult
from nas.results.show import print_experiment, print_trial
from nas.runs.run_folder import RunFolder

CELL: dict[str, Any] = {"space": "randomNAS_files", "genotype": {"recurrent": [["relu", 0]], "concat": [1]}}


def shown(printing: Callable[..., None], *arguments: Any) -> str:
    buffer = io.StringIO()
    printing(Console(file=buffer, width=150), *arguments)
    return buffer.getvalue()


def test_a_search_is_shown_with_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text("name: x")
    found = experiment(
        trial(0, [2.0], "error", errors=["out of memory"], seconds=30.0),
        trial(1, [1.0], test={"test_loss": 1.25, "test_perplexity": math.nan}, device="cpu", seconds=90.0, **CELL),
        trial(2, [3.0], "pruned"),
        seed=7,
        **{"folder": str(tmp_path), "reference": "my experiment", "versions": {"python": "3.11", "commit": "abc"}},
    )
    text = shown(print_experiment, found, 2)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "status completed" in lines and "seed 7" in lines and "versions python 3.11, commit abc" in lines
    assert "device time 2.0 min (of 2 trials; of the others it is not known)" in lines
    assert "3 trials: 1 failed, 1 completed, 1 stopped early" in text and "1 more; --top 3 shows all" in lines
    assert "best: trial 1" in lines and "relu" in text
    assert "test test_loss 1.25 test_perplexity not finite" in lines and "trial 0 failed: out of memory" in lines
    assert lines[-3:] == [
        f"retrain nas run {tmp_path / 'best.yaml'}",
        "report nas report 'my experiment'",
        "export nas export 'my experiment'",
    ]


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        ([], "no trials"),
        ([trial(0, [], "")], "1 trial: 1 not finished"),
        ([trial(0, [math.nan, 1e10], "diverged")], "1 trial: 1 diverged"),
    ],
)
def test_without_a_measurement(trials: list[Any], says: str) -> None:
    text = shown(print_experiment, experiment(*trials), 10)
    assert says in text and "no trial has a validation that measured anything yet" in text and "nas export" not in text


def test_if_all_failed_their_errors_are_shown_of_the_first() -> None:
    found = experiment(*(trial(i, [], "error", errors=[f"[bold]{i}[/bold] went wrong"]) for i in range(5)))
    text = shown(print_experiment, found, 10)
    assert "completed: all trials failed" in text and "trial 2 failed: [bold]2[/bold] went wrong" in text
    assert "trial 3 failed" not in text and "and 2 more failed trials" in text


def test_one_that_runs_and_one_that_nobody_works_on(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", {"name": "x"}, {"status": "running"})
    found = experiment(trial(0, [1.0], ""), status="running", folder=str(folder.path))
    assert "interrupted: it says" in (text := shown(print_experiment, found, 10)) and "nas run --resume" in text
    with folder.held():
        text = shown(print_experiment, found, 10)
    assert "interrupted" not in text and "nas run --resume" not in text


def test_a_trial_is_shown_whole(tmp_path: Path) -> None:
    curves = {"training": {"loss": [(1.0, 2.0)]}, "validation": {"loss": [(1.0, 1.5), (2.0, math.inf)]}}
    first = trial(0, [1.0], **CELL)
    second = trial(
        1,
        [1.5, math.inf],
        **{"hyperparameters": {"head": {"width": 3}, "depth": 2}, "chosen": {"head.width": 3}, "curves": curves},
        **{"folder": str(tmp_path), "checkpoint": "uuid", "parameters": 1200, "seconds": 12.0, "device": "cpu", **CELL},
    )
    text = shown(print_trial, experiment(first, second), 1)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "loss 1.5 at 1 epochs; last not finite at 2 epochs" in lines
    assert "rank 2; the same architecture as trial 0" in lines
    assert "size 1.2 k parameters" in lines and "time 12 s on cpu" in lines and "seed 1" in lines
    assert "head.width 3 (chosen by the searcher)" in lines and "depth 2" in lines
    assert "training loss 2" in lines and "validation loss not finite" in lines
    assert f"checkpoint {tmp_path}/checkpoints/uuid" in lines and "relu" in text
    assert "no validation that measured anything" in shown(print_trial, experiment(trial(0, [])), 0)
    with pytest.raises(ConfigError, match="has no trial 2; it has 2 trials, counted from 0"):
        print_trial(Console(file=io.StringIO()), experiment(first, second), 2)


def test_the_command_reads_what_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def read(reference: str) -> ExperimentResult:
        return experiment(trial(0, [1.0]), trial(1, [2.0]), reference=reference)

    monkeypatch.setattr("nas.results.source.read", read)
    assert main(["show", "17", "--top", "1"]) == 0
    assert "1 more; --top 2" in (out := capsys.readouterr().out) and "nas report 17" in out
    assert main(["show", "17", "--trial", "1"]) == 0
    assert "1 of search" in capsys.readouterr().out
    assert main(["show", "17", "--trial", "7"]) == 2
    assert "17 has no trial 7" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["show", str(tmp_path)]) == 2

"""`nas evaluate`: what a checkpoint scores on one split, written down beside it."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from nas.cli.arguments import add_device, add_overrides, add_which
from nas.core.errors import ConfigError

EVALUATIONS = "evaluations.jsonl"
"""In the folder of a run, or beside a checkpoint that belongs to none here: one line an evaluation."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "score a trained network on its validation data, or on demand on its test split"
    parser = commands.add_parser("evaluate", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("source", metavar="SOURCE", help="an experiment, a run or a checkpoint")
    add_which(parser)
    parser.add_argument(
        "--split", choices=["valid", "test"], default="valid", help="test is read only if asked for (default: valid)"
    )
    add_device(parser)
    add_overrides(parser, "--config data.data_dir=elsewhere")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.results.architecture import find
    from nas.results.export import checkpoint_of
    from nas.results.quantities import value_text
    from nas.runs.run_folder import scores_in, versions
    from nas.trial.exporting import evaluate

    found = find(arguments.source, rank=arguments.rank, trial=arguments.trial)
    path, split = checkpoint_of(found), arguments.split
    folder = found.experiment.program_folder if found.experiment else None
    before = _reads_of_test(path)
    trial, scores = evaluate(path, arguments.set, split, arguments.device, folder)
    values = scores_in(scores.get(split, {}))
    if not values:
        raise ConfigError([f"{path} has no data to score on split {split}"])
    entry = {
        "time": round(time.time()),
        "split": split,
        "checkpoint": path.name,
        "scores": values,
        "commit": versions()["commit"],
    }
    _record(_journal(path), entry)
    print(f"{'checkpoint':<12} {path}, {trial.batches_trained} batches")
    print(f"{split:<12} {'  '.join(f'{name} {value_text(value)}' for name, value in values.items())}")
    if split == "test" and before:
        times = "once" if before == 1 else f"{before} times"
        print(f"note: the test split was read {times} before for this run; a choice made by it is not a fair one")
    return 0


def _journal(checkpoint: Path) -> Path:
    """Of the run that the checkpoint belongs to; or in its own folder."""
    run = checkpoint.absolute().parent.parent
    return (run if (run / "run.json").is_file() else checkpoint) / EVALUATIONS


def _reads_of_test(checkpoint: Path) -> int:
    """How often the test split was scored for this run, at the end of its training included."""
    journal = _journal(checkpoint)
    told = [*_lines(journal), *_lines(journal.parent / "metrics.jsonl")]
    return sum("test" in (each.get("split"), each.get("group")) for each in told)


def _lines(path: Path) -> list[dict[str, object]]:
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):  # cut short by a kill, or damaged
            continue
    return [each for each in found if isinstance(each, dict)]


def _record(path: Path, entry: dict[str, object]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise ConfigError(
            [f"{path} cannot be written ({error.strerror}): a score that is not recorded is not given"]
        ) from error

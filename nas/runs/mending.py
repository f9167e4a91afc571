"""The folder of a search's trial when files of it are damaged or gone: made anew from what the study knows.

Weights are searched where they lie, so that training goes on from them. What is damaged is renamed, never deleted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nas.config import load as configs
from nas.config.yaml_text import parse
from nas.core.files import damaged_name
from nas.runs.checkpoint_files import read_progress
from nas.runs.ranking import best
from nas.runs.retention import Entry, RetentionPolicy
from nas.runs.run_folder import RunFolder
from nas.runs.run_json import read_run
from nas.runs.writing import writing


def open_trial(
    path: Path, config: Mapping[str, Any], text: str, new: Callable[[], dict[str, Any]]
) -> tuple[RunFolder, str]:
    """A trial's folder, whole; and in words what was damaged, "" if nothing was.

    Args:
        path: of the folder, which need not be there, or may be empty: a kill came before anything was in it.
        config: of the experiment.
        text: the same as in `config.yaml`: a YAML parser takes 50 ms.
        new: makes the `run.json` of such a trial that has not begun.

    Raises:
        UnwritableFolderError: it cannot be written.
    """
    told = []
    folder = RunFolder(path, {}, RetentionPolicy.of(config))
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if what := _wrong_config(path / "config.yaml", text):
            told += _set_aside(path / "config.yaml", what)
            folder.write_file("config.yaml", dict(config))
        try:
            folder.run = read_run(path)
            what = "it lacks hyperparameters or seed" if {"hyperparameters", "seed"} - folder.run.keys() else ""
        except FileNotFoundError:
            what = "it is missing"
        except (OSError, ValueError) as error:
            what = str(error)
        if what:
            told += _set_aside(path / "run.json", what)
            folder.run = {"created": time.time(), **new(), **_found(folder, config)}
            folder.save()
            batches = folder.latest()[1]
            told += [f"training goes on after {batches} batches"] if told and batches else []
    return folder, "; ".join(told)


def _wrong_config(file: Path, text: str) -> str:
    """What is wrong with a `config.yaml`; nothing if it holds fields, whichever."""
    try:
        found = file.read_text(encoding="utf-8")
        return "" if found == text or isinstance(parse(found), dict) else "it holds no fields"
    except FileNotFoundError:
        return "it is missing"
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())


def _set_aside(file: Path, what: str) -> list[str]:
    """Keep a damaged file under another name; what to say of it: nothing if the trial never came to have one."""
    if file.exists():
        kept = file.rename(damaged_name(file))
        return [f"{file} was damaged ({what[:200]}) and is made anew, the damaged one is kept as {kept.name}"]
    begun = (file.parent / "metrics.jsonl").exists() or (file.parent / "checkpoints").exists()
    return [f"{file} was missing and is made anew"] if begun else []


def _found(folder: RunFolder, config: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoints that lie in the folder, as `run.json` lists them. Whether they are whole, the trial itself looks."""
    metric = str((config.get("searcher") or {}).get("metric"))
    validations = {record.get("batches"): record for record in folder.metrics("validation")}
    entries: list[Entry] = []
    for place in folder.checkpoints.iterdir() if folder.checkpoints.is_dir() else ():
        try:
            progress = read_progress(place)
        except (OSError, ValueError):
            continue
        batches = progress["batches_trained"]
        record = validations.get(batches, {})
        about = {"batches": batches, "epochs": record.get("epochs", progress["epochs_trained"])}
        entries.append({"uuid": place.name, **about, "value": record.get(metric)})
    if not entries:
        return {}
    entries.sort(key=lambda entry: int(entry["batches"]))
    smaller = configs.smaller_is_better(dict(config))
    winner = best(entries, lambda entry: entry["value"], smaller_is_better=smaller)
    return {"latest": entries[-1], "best": winner, "checkpoints": entries}

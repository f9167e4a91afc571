"""Which checkpoint a run goes on from: the newest one that is not damaged."""

from __future__ import annotations

from nas.core.files import damaged_name
from nas.runs.checkpoint_files import DamagedCheckpointError, check_owner, damage
from nas.runs.ranking import best
from nas.runs.retention import Entry
from nas.runs.run_folder import RunFolder


def choose_checkpoint(folder: RunFolder, *, smaller_is_better: bool, start_over: bool = False) -> str:
    """Have the newest checkpoint that is not damaged be the latest; returns what the user should know of it, "" if nothing.

    Nothing is written before `RunFolder.rewind`.

    Args:
        smaller_is_better: direction of the searcher's metric.
        start_over: train from the start if all are damaged.

    Raises:
        DamagedCheckpointError: all are.
        DataError: a checkpoint belongs to another user.
    """
    bad: list[Entry] = []
    reasons: list[str] = []
    for entry in _candidates(folder):
        path = folder.checkpoints / entry["uuid"]
        check_owner(path, *(path.iterdir() if path.is_dir() else ()))
        if (what := damage(path)) is None:
            return _go_back(folder, entry, bad, reasons, smaller_is_better=smaller_is_better)
        bad.append(entry)
        reasons.append(f"{path.name}: {what}")
    if bad and not start_over:
        raise DamagedCheckpointError(
            f"every checkpoint of {folder.path} is damaged ({'; '.join(reasons)}), and nothing was deleted: {_instead(folder)}"
        )
    return _go_back(folder, None, bad, reasons, smaller_is_better=smaller_is_better)


def _candidates(folder: RunFolder) -> list[Entry]:
    """The checkpoints to go on from, the newest first."""
    run = folder.run
    latest = run.get("latest")
    known = {each["uuid"]: each for each in [*(run.get("checkpoints") or []), run.get("best"), latest] if each}
    if not latest and known:  # somebody edited run.json
        latest = run["latest"] = max(known.values(), key=lambda each: int(each["batches"]))
    if not latest:
        return [run["warm_start"]] if run.get("warm_start") else []
    older = [each for each in known.values() if each["batches"] <= latest["batches"] and each["uuid"] != latest["uuid"]]
    return [latest, *sorted(older, key=lambda each: int(each["batches"]), reverse=True)]


def _instead(folder: RunFolder) -> str:
    if not folder.run.get("latest"):
        return f"begin again with --warm-start {folder.run['warm_start'].get('from')}"
    again = f"--config {folder.path / 'config.yaml'} --seed {folder.run.get('seed', 0)}"
    return f"put the files back, or train it anew with {again}"


def _go_back(
    folder: RunFolder, entry: Entry | None, bad: list[Entry], reasons: list[str], *, smaller_is_better: bool
) -> str:
    """Have `entry` be the latest checkpoint instead of those that are damaged; in words, if there are any."""
    if not bad:
        return ""
    before, after = folder.latest()[1], int((entry or {}).get("batches", 0))
    gone = {each["uuid"] for each in bad}
    left = [each for each in folder.run.get("checkpoints") or [] if each["uuid"] not in gone]
    winner = folder.run.get("best")
    if winner and winner["uuid"] in gone:
        winner = best(left, lambda each: each["value"], smaller_is_better=smaller_is_better)
    folder.run |= {"latest": entry, "best": winner, "checkpoints": left}
    folder.damaged = bad
    there = [each["uuid"] for each in bad if (folder.checkpoints / each["uuid"]).exists()]
    kept = ", ".join(damaged_name(folder.path / name).name for name in there)
    where = f"from checkpoint {entry['uuid']}" if entry else "from the start"
    return (
        f"damaged checkpoint {'; '.join(reasons)}. Going on {where} instead: {before - after} batches are trained again."
        + (f" What is damaged is kept as {kept} in {folder.path}" if kept else "")
    )

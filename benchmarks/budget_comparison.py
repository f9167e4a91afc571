"""Networks for budgets from one search (strategy `budget`), beside random cells of equal size and DARTS. From the root:

    python -m benchmarks.budget_comparison digits --folder comparison
    python -m benchmarks.budget_comparison images --data my/images --folder comparison

Each search is asked for the best cell in five narrow ranges of parameters; random cells are drawn from the same ranges, and
DARTS says what it says. All are retrained with equal epochs and augmentation, and the test split is read once, at the end of
each retraining. What is there already is not run again, so that it may be stopped at any moment.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.trials import Trials, called, folder_in, tested
from cnn_nas.architecture import Genotype
from cnn_nas.space import SPACE
from nas.config.load import load
from nas.core.program import ROOT
from nas.results.statistics import t_interval

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Budgets, as shares of the way from the smallest network of the space to the largest."""
WIDTH = 0.04
"""Of a range below its budget, as such a share."""
RETRAINED = "cnn_nas/digits.yaml"

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """What the searches and retrainings differ in from the YAMLs for digits."""

    budget: Settings = field(default_factory=dict)
    darts: Settings = field(default_factory=dict)
    retraining: Settings = field(default_factory=dict)


STUDIES = {
    "digits": Study(),
    # For some 3,000 images that train the weights, and as many steps as on digits.
    "images": Study(
        budget={"train_epochs": 27, "arch_warmup_epochs": 9, "crop_padding": 2},
        darts={"train_epochs": 5, "crop_padding": 2},
        retraining={"train_epochs": 6, "global_batch_size": 64, "crop_padding": 2},
    ),
}


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description="Networks for budgets, random cells of equal size, and DARTS.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=3, help="searches of each method")
    parser.add_argument("--random", type=int, default=4, help="random cells for each budget")
    parser.add_argument("--data", help="folder of images of your own, in place of the YAML's data")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every trial")
    parser.add_argument("--folder", type=Path, default=Path("experiments/budgets"))
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    runs = Runs(STUDIES[chosen.study], chosen)
    found = list(runs.searched(chosen.seeds))
    front = json.loads((found[0] / "front.json").read_text())
    rows = [("DARTS, first order", list(runs.darts(chosen.seeds)))]
    for share, limits in ranges(front).items():
        what = f"{share:.0%} of the way, {limits[0]:,} to {limits[1]:,}"
        rows.append((f"search, {what}", list(runs.exported(found, share, limits))))
        rows.append((f"random, {what}", list(runs.drawn(chosen.random, share, limits, front["network"]))))
    print("\n".join(table(rows)))


class Runs:
    """All trials of a study."""

    def __init__(self, study: Study, chosen: argparse.Namespace) -> None:
        self.study, self.folder = study, (chosen.folder / chosen.study).absolute()
        self.trials = Trials(chosen.data, chosen.set, chosen.threads)

    def searched(self, seeds: int) -> Iterator[Path]:
        """The searches for all budgets."""
        for seed in range(seeds):
            place = self.folder / "budget" / str(seed)
            yield self._searched(place, "one_shot/budget_digits.yaml", self.study.budget, seed)

    def darts(self, seeds: int) -> Iterator[dict[str, Any]]:
        """For each seed what DARTS finds, retrained."""
        for seed in range(seeds):
            place = self.folder / "darts" / str(seed)
            found = self._searched(place / "search", "one_shot/digits_darts.yaml", self.study.darts, seed)
            yield self._retrained(place / "retrain", load(found / "retrain.yaml"), {}, seed)

    def exported(self, searches: list[Path], share: float, limits: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """For each search the cell of a range, retrained."""
        for seed, search in enumerate(searches):
            place = self.folder / f"{share:g}" / str(seed)
            wish = ["--range", *map(str, limits), "--out", str(place / "cell")]
            if not (place / "cell" / "retrain.yaml").exists():
                called(place, [sys.executable, "-m", "nas", "export", str(search), *wish])
            yield self._retrained(place / "retrain", load(place / "cell" / "retrain.yaml"), {}, seed)

    def drawn(self, count: int, share: float, limits: tuple[int, int], network: Settings) -> Iterator[dict[str, Any]]:
        """Random cells of a range, drawn uniformly until one is within."""
        single = {"searcher": {"name": "single", "metric": "loss", "smaller_is_better": True}}
        for k in range(count):
            cell = within(limits, network, 1_000_000 * k)
            place = self.folder / f"{share:g}" / f"random{k}"
            settings = {"arch_to_use": cell.to_text()}
            yield self._retrained(place, {**load(ROOT / RETRAINED), **single}, settings, k)

    def _searched(self, place: Path, path: str, changes: Settings, seed: int) -> Path:
        config = self.trials.settings(load(ROOT / path), {**changes, "retrain": RETRAINED})
        self.trials.run(place, config, ("-m", "one_shot.trial"), seed)
        return folder_in(place)

    def _retrained(self, place: Path, config: dict[str, Any], cell: Settings, seed: int) -> dict[str, Any]:
        config = self.trials.settings(config, {**self.study.retraining, **cell, "evaluate_test": True})
        seconds = self.trials.run(place, config, ("-m", "cnn_nas.trial"), seed)
        found = tested(place, "test_top1_accuracy")
        print(
            f"{place}: {found['test']:.4f} of {found['parameters']:,} in {seconds:.0f} s", file=sys.stderr, flush=True
        )
        return found


def ranges(front: Settings) -> dict[float, tuple[int, int]]:
    """Of parameters, for each of `SHARES`."""
    low, span = front["low"], front["high"] - front["low"]
    return {share: (round(low + (share - WIDTH) * span), round(low + share * span)) for share in SHARES}


def within(limits: tuple[int, int], network: Settings, seed: int) -> Genotype:
    """The first of the cells of this seed and the next ones whose network has so many parameters."""
    cells = (SPACE.sample(seed + k) for k in itertools.count())
    return next(cell for cell in cells if limits[0] <= SPACE.size(cell, **network).parameters <= limits[1])


def table(rows: list[tuple[str, list[dict[str, Any]]]]) -> Iterator[str]:
    """Markdown; then how much better the search's cells are than random ones, as the mean over budgets."""
    yield "| cells | parameters, mean | test accuracy, % | 95 % interval of the mean | each |"
    yield "|---|---|---|---|---|"
    for name, found in rows:
        scores = [100 * run["test"] for run in found]
        parameters = statistics.fmean(run["parameters"] for run in found)
        each = ", ".join(f"{score:.2f}" for score in scores)
        yield f"| {name} | {parameters:,.0f} | {statistics.fmean(scores):.2f} | {_interval(scores)} | {each} |"
    searched = [found for name, found in rows if name.startswith("search")]
    random = [statistics.fmean(run["test"] for run in found) for name, found in rows if name.startswith("random")]
    seeds = range(len(searched[0]))
    # One number a search: its five cells share their weights, and are no independent draws.
    gains = [
        statistics.fmean(100 * (found[k]["test"] - base) for found, base in zip(searched, random, strict=True))
        for k in seeds
    ]
    yield ""
    yield (
        f"search - random, mean over budgets: {statistics.fmean(gains):+.2f} percentage points,"
        f" {_interval(gains)} over searches"
    )


def _interval(values: list[float]) -> str:
    interval = t_interval(values)
    return "no interval" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}]"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

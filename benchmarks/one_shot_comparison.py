"""Every strategy of one-shot search, retrained and tested, beside random architectures. From the root:

    python -m benchmarks.one_shot_comparison digits --seeds 3 --folder comparison
    python -m benchmarks.one_shot_comparison images --seeds 3 --data my/images --folder comparison
    python -m benchmarks.one_shot_comparison text --seeds 3 --data my/corpus --folder comparison

Each search is retrained with the settings of the YAML that it names, as are architectures drawn at random; the test split is
read once, at the end of each retraining. What is there already is not run again, so that it may be stopped at any moment.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.trials import Trials, folder_in, tested
from nas.config.load import load
from nas.core.program import ROOT

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        methods: a search's YAML and what differs from it, by name; None leaves a hyperparameter out.
        trial: module that trains one architecture.
        metric: of the test split.
        scale: what it is multiplied with in the table.
        retraining: what differs from the YAML that a search retrains with.
    """

    methods: Mapping[str, tuple[str, Settings]]
    baseline: str
    trial: tuple[str, ...]
    metric: str
    scale: float
    retraining: Settings = field(default_factory=dict)


DIGITS_DARTS, TEXT_DARTS = "one_shot/digits_darts.yaml", "one_shot/pydoc_darts.yaml"
ONE = {"train_epochs": 1}
_SIMPLEX = {"sampler": "simplex", "arch_weight_decay": None, "arch_learning_rate": 0.1}
_GUMBEL = {"temperature": 10, "temperature_end": 0.1, "temperature_schedule": "linear"}


def of_images(epochs: int, **common: Any) -> dict[str, tuple[str, Settings]]:
    """The methods that search for a convolutional cell.

    Args:
        epochs: of a search whose every step runs the whole supernet; the others get two (GDAS) and four times (random) as many.
        common: what all of them differ in from the YAMLs for digits; a rate here is not for a method that has its own.
    """
    search, drawn = {**common, "train_epochs": epochs}, {**common, "train_epochs": 4 * epochs}
    drawn.pop("arch_learning_rate", None)
    methods: dict[str, Settings] = {
        "DARTS, first order": {},
        "DARTS, second order, r = 0.1": {"bilevel": "unrolled", "finite_difference": 0.1},
        "GAEA": _SIMPLEX,
        "PC-DARTS, 8 channels": {
            **{"partial": 4, "init_channels": 8, "edge_norm": True},
            "arch_warmup_epochs": round(epochs * 4 / 15),
        },
        f"GDAS, {2 * epochs} epochs": {"sampler": "gumbel_st", **_GUMBEL, "train_epochs": 2 * epochs},
        "DrNAS": {"sampler": "dirichlet", "arch_weight_decay": None, "anchor_weight": 0.001},
        "SmoothDARTS, random": {"perturb": "random", "perturb_size": 0.03},
        "DARTS-PT": {"select": "perturbation"},
    }
    found: dict[str, tuple[str, Settings]] = {
        name: (DIGITS_DARTS, {**search, **changes}) for name, changes in methods.items()
    }
    return {**found, "random, shared weights": ("one_shot/digits_random.yaml", drawn)}


STUDIES = {
    "digits": Study(
        of_images(15),
        "cnn_nas/digits.yaml",
        ("-m", "cnn_nas.trial"),
        "test_top1_accuracy",
        100,
    ),
    # For some 1,000 images that train the weights: rate x steps is about 5, as in the YAML for digits.
    "images": Study(
        of_images(4, crop_padding=2, arch_learning_rate=0.04),
        "cnn_nas/mnist.yaml",
        ("-m", "cnn_nas.trial"),
        "test_top1_accuracy",
        100,
        {"train_epochs": 6},
    ),
    "text": Study(
        {
            "DARTS, first order": (TEXT_DARTS, ONE),
            "GAEA": (TEXT_DARTS, {**_SIMPLEX, **ONE, "arch_beta1": None}),
            "random, shared weights": ("one_shot/pydoc_random.yaml", ONE),
        },
        "quickstart.yaml",
        ("model_def.py",),
        "test_perplexity",
        1,
        {"train_epochs": 3},
    ),
}


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description="Strategies of one-shot search, retrained and tested.")
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="these methods, by the beginnings of their names")
    parser.add_argument("--random", type=int, default=12, help="random architectures to train")
    parser.add_argument("--data", help="folder of a corpus of your own, in place of the YAML's data")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="for every search and retraining"
    )
    parser.add_argument("--folder", type=Path, default=Path("experiments/comparison"))
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    runs = Runs(STUDIES[chosen.study], chosen)
    wanted = tuple(chosen.only or [""])
    names = [name for name in runs.study.methods if name.startswith(wanted)]
    rows = [row_of(name, runs.searched(name, chosen.seeds), runs.study) for name in names]
    if "drawn".startswith(wanted):
        rows.append(row_of("random architectures", runs.drawn(chosen.random), runs.study))
    print("\n".join(table(rows, runs.study.metric)))


class Runs:
    """Searches, retrained, and architectures drawn at random."""

    def __init__(self, study: Study, chosen: argparse.Namespace) -> None:
        self.study, self.folder = study, chosen.folder / chosen.study
        self.trials = Trials(chosen.data, chosen.set, chosen.threads)

    def searched(self, name: str, seeds: int) -> Iterator[dict[str, Any]]:
        """For each seed the search, retrained."""
        path, changes = self.study.methods[name]
        for seed in range(seeds):
            place = self.folder / _plain(name) / str(seed)
            config = self.trials.settings(load(ROOT / path), {**changes, "retrain": self.study.baseline})
            seconds = self.trials.run(place / "search", config, ("-m", "one_shot.trial"), seed)
            found = folder_in(place / "search")
            left = self.trials.settings(load(found / "retrain.yaml"), self.study.retraining)
            yield self._retrained(place / "retrain", left, seed, seconds)

    def drawn(self, count: int) -> Iterator[dict[str, Any]]:
        """Architectures drawn at random."""
        single = {"searcher": {"name": "single", "metric": "loss", "smaller_is_better": True}}
        for k in range(count):
            config = {**load(ROOT / self.study.baseline), **single}
            settings = {"arch_to_use": None, "arch_seed": 1_000 + k, "evaluate_test": True, **self.study.retraining}
            yield self._retrained(self.folder / "drawn" / str(k), self.trials.settings(config, settings), k, 0.0)

    def _retrained(self, place: Path, config: dict[str, Any], seed: int, seconds: float) -> dict[str, Any]:
        self.trials.run(place, config, self.study.trial, seed)
        return {**tested(place, self.study.metric), "seconds": seconds}


def row_of(name: str, runs: Iterator[dict[str, Any]], study: Study) -> dict[str, Any]:
    """One line of the table, once all its runs are there."""
    found = list(runs)
    scores = [study.scale * run["test"] for run in found]
    row = {"name": name, "scores": scores, "parameters": [run["parameters"] for run in found]}
    print(f"{name}: {scores}", file=sys.stderr, flush=True)
    return {**row, "seconds": [run["seconds"] for run in found]}


def table(rows: list[dict[str, Any]], metric: str) -> Iterator[str]:
    """Markdown."""
    yield f"| method | {metric}: mean ± sd | each | parameters, mean | search, s |"
    yield "|---|---|---|---|---|"
    for row in rows:
        scores = row["scores"]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        shown = scores if len(scores) <= 5 else [min(scores), statistics.median(scores), max(scores)]
        each = ", ".join(f"{score:.2f}" for score in shown) + (" (least, median, most)" if len(scores) > 5 else "")
        seconds, parameters = statistics.fmean(row["seconds"]), statistics.fmean(row["parameters"])
        mean = f"{statistics.fmean(scores):.2f} ± {spread:.2f}"
        yield f"| {row['name']} ({len(scores)}) | {mean} | {each} | {parameters:,.0f} | {seconds:.0f} |"


def _plain(name: str) -> str:
    return "".join(each if each.isalnum() else "_" for each in name)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

"""Results of experiments that nobody ran, for tests of what is made of them."""

from __future__ import annotations

import math
import random
from typing import Any

from nas.core.space import load_space
from nas.results.experiment import ExperimentResult, Point, TrialResult

LENGTH = 9
RUNGS = [1, 3, 9]


def search(count: int, **changes: Any) -> ExperimentResult:
    """Adaptive ASHA over recurrent cells: most trials stop at a rung, some diverge, fail or are not finished."""
    generator = random.Random(0)
    searcher = {"name": "adaptive_asha", "metric": "perplexity", "max_trials": count, "max_time": LENGTH, "divisor": 3}
    fields: dict[str, Any] = {
        **{"name": "made up", "folder": "", "status": "completed", "metric": "perplexity", "smaller_is_better": True},
        **{"time_metric": "epochs", "length": LENGTH, "rungs": RUNGS, "storage": "", "reference": "17"},
        "config": {"name": "made up", "searcher": searcher, "hyperparameters": {"arch_seed": {"type": "int"}}},
        "trials": [trial(number, generator) for number in range(count)],
        "versions": {"python": "3.11.7", "torch": "2.15.0", "commit": "0123abc"},
    }
    return ExperimentResult(**{**fields, **changes})


def trial(number: int, generator: random.Random, **changes: Any) -> TrialResult:
    """One trial; its tanh nodes make it better."""
    genotype = load_space("randomNAS_files").sample(number)
    base = 60 - 3 * sum(name == "tanh" for name, _ in genotype.recurrent) + generator.gauss(0, 1)
    bracket = number % 2
    last = generator.choices([1, 3, 9] if bracket == 0 else [3, 9], [6, 2, 1] if bracket == 0 else [3, 1])[0]
    points = [(float(epoch), base * (1 + 1 / epoch)) for epoch in range(1, last + 1)]
    outcome = "completed" if last == LENGTH else "pruned"
    if number % 16 == 5:
        outcome, points = "diverged", [*points[:1], (2.0, 1e10)]
    elif number % 31 == 7:
        outcome, points = "error", []
    training = [(x / 5, 1.2 * base * (1 + 5 / x)) for x in range(1, 5 * len(points) + 1)]
    fields: dict[str, Any] = {
        **{
            "number": number,
            "outcome": outcome,
            "hyperparameters": {"arch_seed": number, "emsize": 64},
            "seed": number,
        },
        **{"chosen": {"arch_seed": number}, "validations": points, "folder": "", "bracket": bracket},
        **{"errors": ["killed by signal 9"] if outcome == "error" else [], "architecture": str(genotype)},
        **{
            "space": "randomNAS_files",
            "genotype": genotype.to_json(),
            "parameters": 80_000 + generator.randrange(40_000),
        },
        **{"macs": 70_000 + generator.randrange(40_000), "seconds": 30.0 * len(points), "device": "cpu"},
        "curves": {"validation": {"perplexity": points, "loss": _logs(points)}, "training": {"perplexity": training}},
    }
    return TrialResult(**{**fields, **changes})


def _logs(points: list[Point]) -> list[Point]:
    return [(time, math.log(value)) for time, value in points]

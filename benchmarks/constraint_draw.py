"""How long it takes to draw an architecture that keeps constraints. From the root of the repository:

    python -m benchmarks.constraint_draw [--seeds 1000]

A draw is among the first things that a trial does; it is to take less than 10 ms. The first one in a process also fills
the table of counts. That NumPy loads its generators when they are first used, in about 10 ms, is left out.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from typing import Any

import numpy as np
import numpy.random  # not with the first draw

from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize
from cnn_nas.sampling import draw, survey

CIFAR = NetworkSize(init_channels=36, layers=20, classes=10, input_size=(3, 32, 32))
CONSTRAINED: dict[str, Any] = {
    "operations": ["max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"],
    "normal": {"skip_connect": [1, 2], "sep_conv_3x3": [3, None]},
    "reduce": {"skip_connect": [1, 2]},
    "fixed": {"normal_node1_edge1_op": "sep_conv_3x3", "normal_node1_edge2_op": "sep_conv_3x3"},
    "parameters": [2.5e6, 4.5e6],
}
SPACES: dict[str, dict[str, Any]] = {
    "all operations": {},
    "constrained": CONSTRAINED,
    "constrained, 3.0-3.1M": {**CONSTRAINED, "parameters": [3.0e6, 3.1e6]},
}


def milliseconds(rules: Constraints, seeds: int) -> list[float]:
    """The time of each seed's draw."""
    found = []
    for seed in range(seeds):
        start = time.perf_counter()
        draw(seed, rules, CIFAR)
        found.append(1000 * (time.perf_counter() - start))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time of a constraint draw.")
    parser.add_argument("--seeds", type=int, default=1000)
    seeds = parser.parse_args().seeds
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"{'space':24}{'share':>8}{'first ms':>10}{'min ms':>10}{'median ms':>11}{'max ms':>10}   over {seeds} seeds")
    for name, mapping in SPACES.items():
        rules = Constraints.from_mapping(mapping)
        times = milliseconds(rules, seeds)
        share = survey(rules, CIFAR, 2000).share
        row = f"{times[0]:10.2f}{min(times):10.2f}{statistics.median(times):11.2f}{max(times):10.2f}"
        print(f"{name:24}{share:8.1%}{row}")


if __name__ == "__main__":
    main()

"""The leaderboard as plain data, and which architectures in it are the same."""

from __future__ import annotations

import io
import itertools
import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from rich.console import Console
from support.results import experiment, trial

from nas.results.leaderboard import full_table, leaderboard, leaderboard_rows
from nas.results.quantities import age, duration, short_count
from nas.results.same import canonical_forms, same_as

RELU_TANH = {"recurrent": [["relu", 0], ["tanh", 0]], "concat": [1, 2]}
TANH_RELU = {"recurrent": [["tanh", 0], ["relu", 0]], "concat": [2, 1]}
TWICE_RELU = {"recurrent": [["relu", 0], ["relu", 0]], "concat": [1, 2]}


def searched(*genotypes: Any, space: str | None = "randomNAS_files") -> Any:
    """A search of these, the first the best."""
    return experiment(*(trial(i, [1.0 + i], space=space, genotype=each) for i, each in enumerate(genotypes)))


def test_a_row_says_what_its_trial_came_to() -> None:
    slow = trial(
        0, [3.0, 1.0, math.nan], "diverged", seconds=1800.0, parameters=1_200_000, macs=5, architecture="1 relu(0)"
    )
    never = trial(2, [math.nan], "error")
    found = experiment(slow, trial(1, [2.0, 0.5, 0.75], "", chosen={"lr": 0.1}), never, processes=2)
    first, second = leaderboard_rows(found)
    assert (first.rank, first.trial, first.best, first.best_time, first.last, first.time) == (1, 1, 0.5, 2, 0.75, 3)
    assert (first.outcome, first.chosen, first.seconds, first.device_hours) == ("", {"lr": 0.1}, None, None)
    assert (second.rank, second.trial, second.best, second.best_time, second.last) == (2, 0, 1.0, 2, None)
    assert (second.seconds, second.device_hours, second.parameters, second.macs) == (1800.0, 1.0, 1_200_000, 5)
    assert json.loads(json.dumps(asdict(second)))["architecture"] == "1 relu(0)"
    assert [row.trial for row in leaderboard_rows(found)] == [each.number for each in leaderboard(found)]


def test_the_same_cell_is_told_with_the_best_trial_that_has_it() -> None:
    found = searched(RELU_TANH, TWICE_RELU, TANH_RELU, RELU_TANH, TWICE_RELU)
    assert same_as(found, leaderboard(found)) == {2: 0, 3: 0, 4: 1}
    assert same_as(found, leaderboard(found)[::-1]) == {1: 4, 2: 3, 0: 3}
    assert [row.same_as for row in leaderboard_rows(found)] == [None, None, 0, 0, 1]


@pytest.mark.parametrize(
    ("space", "genotype"),
    [
        *((None, RELU_TANH), ("randomNAS_files", None), ("no_such_space", RELU_TANH), ("randomNAS_files", ["relu"])),
        *(("randomNAS_files", each) for each in ({"recurrent": 3}, {"recurrent": [["sine", 0]], "concat": [1]})),
    ],
)
def test_what_cannot_be_read_is_the_same_as_nothing(space: str | None, genotype: Any) -> None:
    found = searched(genotype, genotype, space=space)
    assert same_as(found, leaderboard(found)) == {} and canonical_forms(found) == {}


def test_cells_of_two_nodes_are_the_same_exactly_if_exchanging_the_nodes_makes_one_of_the_other() -> None:
    """Both nodes read the input, or the second reads the first; all that count in the output."""
    names = ("relu", "tanh", "identity")
    cells = [
        {"recurrent": [[one, 0], [other, source]], "concat": [1, 2]}
        for one, other, source in itertools.product(names, names, (0, 1))
    ]

    def exchanged(cell: Any) -> Any:
        (one, _), (other, source) = cell["recurrent"]
        return cell if source else {**cell, "recurrent": [[other, 0], [one, 0]]}

    forms = canonical_forms(searched(*cells))
    for (i, one), (j, other) in itertools.product(enumerate(cells), repeat=2):
        assert (forms[i] == forms[j]) == (one in (other, exchanged(other)))


def test_the_table_shows_what_is_known_and_leaves_out_columns_of_nothing() -> None:
    plain = experiment(trial(0, [1.0]), metric="[red]x[/red]")
    sized = searched(RELU_TANH, TANH_RELU)
    sized.trials[0] = trial(0, [1.0], space="randomNAS_files", genotype=RELU_TANH, parameters=1_234_567, seconds=90.0)
    buffer = io.StringIO()
    console = Console(file=buffer, width=160)
    console.print(full_table(plain, leaderboard_rows(plain), 200))
    text = buffer.getvalue()
    assert "best [red]x[/red]" in text and "parameters" not in text and "same cell" not in text
    console.print(full_table(sized, leaderboard_rows(sized), 200))
    text = buffer.getvalue()[len(text) :]
    assert "1.2 M" in text and "1.5 min" in text and "= trial 0" in text and "MACs" not in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *(
            (None, ""),
            (0, "0"),
            (999, "999"),
            (1000, "1.0 k"),
            (999_400, "999 k"),
            (999_960, "1.0 M"),
            (3.3e6, "3.3 M"),
        ),
        *((123_456_789, "123 M"), (2e9, "2.0 G"), (math.nan, "")),
    ],
)
def test_short_counts(count: float | None, text: str) -> None:
    assert short_count(count) == text


def test_durations_and_ages() -> None:
    assert [duration(s) for s in (None, 0.25, 12, 89, 90, 5400, 200_000)] == [
        *("", "0.2 s", "12 s", "89 s", "1.5 min", "1.5 h", "2.3 d")
    ]
    assert [age(s) for s in (None, -5, 0.5, 1, 119, 120, 7300, 200_000)] == [
        *("", "now", "now", "1 s", "119 s", "2 min", "2 h", "2 d")
    ]

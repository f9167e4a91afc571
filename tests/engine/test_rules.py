"""The loop of a search keeps the rules of its searcher, whatever its trials do."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from support.asha_reference import FAILED_METRIC, Reference
from support.engine import (
    ASHA,
    DIVERGING,
    RANDOM,
    SEARCHERS,
    TROUBLES,
    Script,
    Search,
    deaths,
    drawn,
    simulate,
    values_of,
)

from nas.runs.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("scripts", [{}, TROUBLES], ids=["smooth", "troubles"])
@pytest.mark.parametrize(
    "searcher",
    [*SEARCHERS, *({**each, "max_concurrent_trials": 1} for each in SEARCHERS[:-1])],  # then none waits
    ids=lambda searcher: f"{searcher['name']}-{searcher.get('max_concurrent_trials')}",
)
def test_one_at_a_time_trials_are_trained_and_end_as_the_rules_say(
    tmp_path: Path, searcher: dict[str, Any], scripts: dict[int, Script]
) -> None:
    if searcher["name"] == "random" and scripts:
        scripts = DIVERGING
    search = Search(tmp_path, searcher, scripts)
    assert search.run() is True
    expected = simulate(searcher, scripts)
    assert search.ends == [how for how, _ in expected]
    assert list(map(values_of, search.trials)) == [str(sorted(values.items())) for _, values in expected]
    assert search.drawn == drawn(searcher, len(expected))
    for trial in search.trials:
        run, _ = RunFolder.open(search.engine.path(trial.number))
        assert (run.run["hyperparameters"], run.run["seed"]) == search.drawn[trial.number]
        assert run.run["outcome"] == trial.user_attrs["outcome"]
    assert [number for number, _ in search.starts()] == sorted(number for number, _ in search.starts())


def test_the_troubles_come_in_every_kind() -> None:
    """What the tests above and below go through."""
    assert {how for how, _ in simulate(ASHA, TROUBLES)} == {"completed", "pruned", "error", "invalid"}
    assert {how for how, _ in simulate(RANDOM, DIVERGING)} == {"completed", "error", "invalid", "diverged"}
    told = itertools.chain.from_iterable(values.values() for _, values in simulate(ASHA, TROUBLES))
    assert any(map(math.isnan, told))


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("placements", [2, 3])
def test_several_at_once_are_decided_on_in_the_order_in_which_they_report(
    tmp_path: Path, placements: int, order: int
) -> None:
    """The pool sees to it that no place is taken twice, and no trial has two processes."""
    search = Search(tmp_path, ASHA, TROUBLES, placements=placements, order=order)
    rules, most = Reference({"metric": "loss", **ASHA}), 0
    judged: set[tuple[int, int]] = set()
    stopped: set[int] = set()

    def judge(event: tuple[Any, ...]) -> None:
        nonlocal most
        most = max(most, len(search.pool.numbers))
        what, number, *rest = event
        if what == "validation" and (number, rest[0]["epochs"]) not in judged:
            judged.add((number, rest[0]["epochs"]))
            value = rest[0]["loss"]
            if rules.validation(number, rest[0]["epochs"], value if math.isfinite(value) else FAILED_METRIC)[0]:
                stopped.add(number)
        elif what == "answer":
            assert rest[0] is (number in stopped)
        elif what == "exit" and deaths(search, number) > 5 and number not in stopped:
            rules.error(number)

    search.on = judge
    assert search.run() is True
    assert most == placements
    assert [trial.user_attrs["bracket"] for trial in search.trials] == rules.bracket_of
    assert None not in search.ends and search.ends.count("invalid") == 1
    assert search.drawn == drawn(ASHA, len(rules.bracket_of))
    begun = list(dict.fromkeys(number for number, _ in search.starts()))
    assert begun == sorted(begun)

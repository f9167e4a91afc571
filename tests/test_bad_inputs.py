"""Some 500 bad inputs, each answered by a short sentence a mistake and an exit status above 0: see `tests/bad_inputs/`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from bad_inputs import CASES, Case, faults

KINDS = list(dict.fromkeys(case.kind for case in CASES))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_input_is_answered_by_a_sentence(kind: str, tmp_path: Path) -> None:
    found: dict[Case, list[str]] = {}
    for i, case in enumerate(each for each in CASES if each.kind == kind):
        (folder := tmp_path / str(i)).mkdir()
        if wrong := faults(case, folder):
            found[case] = wrong
    assert not found, "\n".join(f"{case}: {'; '.join(wrong)}" for case, wrong in found.items())


def test_there_are_many_and_each_is_there_once() -> None:
    names = Counter(map(str, CASES))
    assert len(CASES) >= 200 and not [name for name, count in names.items() if count > 1]


def test_what_is_answered_badly_is_found(tmp_path: Path) -> None:
    """The judge itself: silence, a traceback, no answer and another sentence are faults."""

    def silent(folder: Path) -> int:
        return 0

    def broken(folder: Path) -> int:
        raise KeyError("x")

    def refused(folder: Path) -> int:
        raise ValueError("unforeseen")

    for act in (silent, broken, refused):
        assert faults(Case("x", "y", act, ("anything",)), tmp_path)

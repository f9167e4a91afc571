"""Constants that users edit: one that is wrong is named with its file and line, and disturbs only who uses it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.core.constants import Constants, constants
from nas.core.errors import ConfigError
from randomNAS_files.architecture import Genotype

HEAD = "from __future__ import annotations\n\nfrom randomNAS_files.architecture import Genotype\n\n"
GOOD = 'GOOD = Genotype((("relu", 0),))\n'
Module = Callable[[str], Constants[Genotype]]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Reads a module of some constants."""

    def read(text: str) -> Constants[Genotype]:
        (tmp_path / "cells").mkdir(exist_ok=True)
        (tmp_path / "cells" / "genotypes.py").write_text(HEAD + text)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "cells.genotypes", raising=False)
        return constants("cells.genotypes", Genotype)

    return read


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ('BAD = Genotype((("relu", 7),))\n', "line 6) is wrong: node1_edge must be 0..0, got 7"),
        ('BAD = Genotype((("rleu", 0),))\n', "did you mean relu?"),
        ("BAD = Genotype(1 / 0)\n", "line 6) is wrong: division by zero"),
        ("BAD = Genotype(((\u2018relu\u2019, 0),))\n", "line 6) is wrong: invalid character"),
        ('BAD = Genotype((\n    ("relu", 0),\n)\n', "is wrong: '(' was never closed"),
        ("BAD = Genotpe(())\n", "name 'Genotpe' is not defined"),
        ('BAD = "Genotype(...)"\n', "must be a Genotype(...), got 'Genotype(...)'"),
    ],
)
def test_the_others_can_still_be_used(module: Module, wrong: str, says: str) -> None:
    found = module(f'{GOOD}{wrong}ALSO = Genotype((("tanh", 0),))\n')
    assert [*found] == ["GOOD", "ALSO"] and says in found.wrong["BAD"]


def test_a_second_name_of_a_wrong_one_says_the_same(module: Module) -> None:
    found = module(f'{GOOD}BAD = Genotype((("relu", 7),))\nALIAS = BAD\n')
    assert [*found] == ["GOOD"] and found.wrong["ALIAS"] == found.wrong["BAD"]


@pytest.mark.parametrize("wrong", ["import no_such_module\n", "def f(:\n"])
def test_what_is_no_constant_is_told_with_its_line(module: Module, wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"cells/genotypes\.py, line 6"):
        module(GOOD + wrong)


def test_a_module_that_is_right_is_the_module(module: Module) -> None:
    found = module(GOOD)
    assert found["GOOD"] is sys.modules["cells.genotypes"].GOOD and not found.wrong

"""Inputs that cannot work, and what the program answers: one short sentence a mistake, and an exit status above 0.

    python3 -m tests.bad_inputs             all of them, a line for each that is answered badly, and a table by kind
    python3 -m tests.bad_inputs genotypes   one kind

`tests/test_bad_inputs.py` runs the same in the suite.
"""

from __future__ import annotations

from . import commands, genotypes, images, settings, texts, words
from .case import Case, faults, measure

CASES: list[Case] = [each for part in (settings, texts, commands, genotypes, words, images) for each in part.cases()]

__all__ = ["CASES", "Case", "faults", "measure"]

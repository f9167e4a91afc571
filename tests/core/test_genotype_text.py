"""Genotypes in texts: what cannot be read is one sentence that says what is wrong and where, and nothing is ever run."""

from __future__ import annotations

import pytest

from cnn_nas.space import SPACE as CELLS
from nas.core.errors import ConfigError
from nas.core.genotype_text import read_written
from randomNAS_files.space import SPACE as RECURRENT

EDGES = "[('sep_conv_3x3', 0), ('skip_connect', 1)]"
CELL = f"Genotype(normal={EDGES}, normal_concat=[2], reduce={EDGES}, reduce_concat=[2])"
NODES = "Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=[1, 2])"


def refused(space: object, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        space.read(text)  # type: ignore[attr-defined]
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("'relu'", "'rleu'", "node2_op 'rleu' is not an activation; did you mean relu? (column 34)"),
        ("('relu', 1)", "('relu', 7)", "node2_edge must be 0..1, got 7 (column 34)"),
        ("'relu'", "\u2019relu\u2019", "column 35"),
        ("'relu'", "'relu", "column 35"),
        ("1, 2])", "1, 2]", "a bracket too many or too few"),
        ("1, 2])", "1, 2]))", "a bracket too many or too few"),
        ("[1, 2]", "open('x')", "must hold names, numbers and lists only, got open('x') (column 55)"),
        ("[1, 2]", "range(1, 10**9)", "must hold names, numbers and lists only, got 10 ** 9"),
        ("[1, 2]", "range(10**30)", "must hold names"),
        ("[1, 2]", "range(1, 999999999)", "a range of at most 1000 numbers"),
        ("[1, 2]", "range(1, 9, 0)", "a range of whole numbers"),
        ("[1, 2]", "3", "concat must be a list of numbers, got 3 (column 55)"),
        ("('relu', 1)", "('relu',)", "got ['relu'] as number 2"),
        ("concat", "conact", "'conact' is no field of a genotype; did you mean concat? (column 55)"),
        ("recurrent=[('tanh', 0), ('relu', 1)], concat=[1, 2]", "[], [], 3", "a Genotype has 2 fields"),
        ("[1, 2])", "[1, 2], 3)", "positional argument follows"),
        ("[1, 2])", f"[1, 2]) {NODES}", "a text must hold one genotype, got 2, the second at column 63"),
    ],
)
def test_one_sentence_says_what_is_wrong_and_where(old: str, new: str, says: str) -> None:
    assert says in refused(RECURRENT, NODES.replace(old, new, 1))


def test_many_mistakes_are_one_sentence_and_their_number() -> None:
    problem = refused(CELLS, CELL.replace("sep_conv_3x3", "nor_conv_3x3"))
    assert problem.startswith("normal_node1_edge1_op 'nor_conv_3x3'") and problem.endswith("; and 1 more mistake")
    assert "DARTS calls it skip_connect" in refused(CELLS, CELL.replace("skip_connect", "identity"))


def test_a_place_in_several_lines_has_a_line() -> None:
    assert "(line 2, column 11)" in refused(
        RECURRENT, NODES.replace("[('tanh', 0), ", "[('tanh', 0),\n          ").replace("1)]", "9)]")
    )


def test_an_architecture_of_the_other_space_says_so() -> None:
    assert "is one of convolutional cells (cnn_nas), not of recurrent" in refused(RECURRENT, CELL)
    assert "is one of recurrent cells (randomNAS_files), not of convolutional" in refused(CELLS, NODES)
    assert "of convolutional cells (cnn_nas)" in refused(RECURRENT, "NASNET")
    assert "arch_seed" in refused(RECURRENT, "None")


@pytest.mark.parametrize("text", ["(" * 3000 + ")" * 3000, "-" * 5000 + "1", f"Genotype({'[' * 250}{']' * 250})"])
def test_a_deep_text_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_written(text, ["recurrent"])

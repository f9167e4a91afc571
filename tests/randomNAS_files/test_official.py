"""Strings of ENAS's two programs, decoded and compared with cells written down by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.recurrent import nodes_of

from cnn_nas.space import SPACE as CONVOLUTIONAL
from nas.cli.main import main as nas
from nas.core.errors import ConfigError
from nas.results.architecture import find
from randomNAS_files.architecture import Genotype
from randomNAS_files.canonical import canonical
from randomNAS_files.from_config import from_config
from randomNAS_files.genotypes import DARTS_V2, ENAS, ENAS_LM
from randomNAS_files.official import from_enas, from_enas_lm
from randomNAS_files.space import SPACE
from randomNAS_files.trees import trees_of

# `fixed_arc` of melodyguan/enas, scripts/ptb_final.sh, and the two of google-research/enas_lm, README.md
PAPER = "0 0 0 1 1 2 1 2 0 2 0 5 1 1 0 6 1 8 1 8 1 8 1"
PAPER_IN_BARS = "0 | 0 0 | 1 1 | 2 1 | 2 0 | 2 0 | 5 1 | 1 0 | 6 1 | 8 1 | 8 1 | 8 1"
CORRECTED = "0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2"
OF_DARTS = "0 2 1 1 1 1 1 3 2 0 5 2 3 0 5 1"


def test_the_paper_s_cell_is_our_constant_in_another_order() -> None:
    cell = from_enas(PAPER)
    nodes = "tanh 0, relu 1, relu 2, tanh 2, tanh 2, relu 5, tanh 1, relu 6, relu 8, relu 8, relu 8"
    assert cell == Genotype(nodes_of(nodes), (3, 4, 7, 9, 10, 11))
    assert canonical(cell) == canonical(ENAS) and trees_of(cell) == trees_of(ENAS)
    ours = [0, 1, 3, 6, 5, 4, 7, 2, 8, 9, 10, 11]  # what their state 0, 1, 2, ... is here
    assert [(name, ours[pred]) for name, pred in cell.recurrent] == [ENAS.recurrent[i - 1] for i in ours[1:]]
    assert {ours[i] for i in cell.concat} == set(ENAS.concat)


def test_the_corrected_cell_and_that_of_darts() -> None:
    nodes = "sigmoid 0, tanh 1, relu 2, sigmoid 2, tanh 4, tanh 5, sigmoid 3, sigmoid 6"
    assert from_enas_lm(CORRECTED) == ENAS_LM == Genotype(nodes_of(nodes), (1, 2, 3, 4, 5, 6, 7, 8))
    assert from_enas_lm(OF_DARTS) == DARTS_V2


def test_the_programs_number_sigmoid_and_identity_differently() -> None:
    assert [name for name, _ in from_enas("0 0 0 0 1 0 2 0 3").recurrent] == ["tanh", "relu", "identity", "sigmoid"]
    assert [name for name, _ in from_enas_lm("0 0 0 1 0 2 0 3").recurrent] == ["tanh", "relu", "sigmoid", "identity"]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        (f"enas {PAPER}", from_enas(PAPER)),
        (f"enas: {PAPER_IN_BARS}", from_enas(PAPER)),
        (f"ENAS:{PAPER_IN_BARS.replace(' | ', '|')}", from_enas(PAPER)),
        (f"enas_lm {CORRECTED}", ENAS_LM),
        (f"  enas_lm : {CORRECTED.replace(' ', ', ')}\n", ENAS_LM),
        (f"enas_lm\n{CORRECTED}", ENAS_LM),
        (f"Enas_LM: {OF_DARTS}", DARTS_V2),
    ],
)
def test_they_are_read_wherever_a_text_is(text: str, cell: Genotype, tmp_path: Path) -> None:
    assert SPACE.read(text) == SPACE.from_text(text) == from_config({"arch_to_use": text}) == cell
    assert find(text).genotype == cell and find(text).package == "randomNAS_files"
    (tmp_path / "cell.txt").write_text(text)
    assert SPACE.read(str(tmp_path / "cell.txt")) == find(str(tmp_path / "cell.txt")).genotype == cell


def test_names_and_genotypes_are_still_what_they_were() -> None:
    assert SPACE.read("ENAS") is ENAS and SPACE.read("ENAS_LM") is ENAS_LM
    for text in (f"ENAS = {ENAS.to_text()}", f"enas {ENAS.to_text()}", f"enas_lm: {ENAS.to_json()}"):
        assert SPACE.read(text) == ENAS
    with pytest.raises(ConfigError, match="did you mean ENAS"):
        SPACE.read("enas")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 2 1 0", "must begin with the program it is of, enas (tanh relu identity sigmoid are 0 1 2 3) or enas_lm"),
        ("0 | 0 0 | 1 1", "must begin with the program it is of"),
        ("enas:", "a string of enas must have an odd count of numbers"),
        ("enas 0", "a string of enas must have an odd count of numbers"),
        ("enas 0 2 1 0", "and an activation for each of one or more nodes, got 4"),
        ("enas 1 0 0", "number 1 of a string of enas must be 0 (tanh), got 1 (relu); begin the string with 0 and set"),
        ("enas 4 0 0", "number 1 of a string of enas, the first node's activation, must be 0..3, got 4"),
        ("enas 0 | 0 4", "number 3 of a string of enas, an activation, must be 0..3, got 4"),
        ("enas 0 | 0 0 | 2 0", "number 4 of a string of enas, a predecessor, must be 0..1, got 2"),
        ("enas_lm:", "a string of enas_lm must have an even count of numbers"),
        ("enas_lm 0 2 1", "for each node, got 3"),
        ("enas_lm 1 2", "number 1 of a string of enas_lm, a predecessor, must be 0..0, got 1"),
        ("enas_lm 0 2 1 4 3 9", "number 4 of a string of enas_lm, an activation, must be 0..3, got 4; and 2 more mist"),
        ("enas_lm 0 relu", "must hold whole numbers, got 'relu'"),
        ("enas_lm 0 -1 0 x", "must hold whole numbers, got '-1'; and 1 more mistake"),
        (f"enas_lm 0 {'9' * 5000}", "must hold whole numbers, got '9999"),
    ],
)
def test_a_bad_string_is_one_sentence(text: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        SPACE.read(text)
    (problem,) = caught.value.problems
    assert says in problem and len(problem) < 250
    assert nas(["draw", text]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == f"error: randomNAS_files: {problem}"


def test_the_other_space_says_whose_it_is() -> None:
    with pytest.raises(ConfigError, match=r"but of recurrent cells \(randomNAS_files\)"):
        CONVOLUTIONAL.read(f"enas_lm {CORRECTED}")


@pytest.mark.parametrize("source", ["ENAS_LM", f"enas_lm {CORRECTED}"])
def test_the_commands_take_both(source: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert nas(["draw", source]) == 0
    out = capsys.readouterr().out
    assert "7 sigmoid" in out and out.endswith("output: mean of 1-8\n")
    assert nas(["export", source, "--form", "text"]) == 0
    assert capsys.readouterr().out.strip() == ENAS_LM.to_text()
    retrained: Any = from_config({"arch_to_use": source})
    assert retrained == ENAS_LM

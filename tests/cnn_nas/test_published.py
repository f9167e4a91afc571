"""Cells of others: those with names in `published.py`, the JSON of DARTS-CC, and the capstone's genotype.arch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cnn_nas import darts_cc, genotypes, published
from cnn_nas.counting import count
from cnn_nas.from_config import from_config
from cnn_nas.space import SPACE
from nas.core.errors import ConfigError
from nas.core.space import named_genotypes
from nas.results import architecture as results

CIFAR: dict[str, Any] = {"init_channels": 36, "layers": 20, "classes": 10, "input_size": (3, 32, 32)}
GRAPHENE: dict[str, Any] = {"init_channels": 36, "layers": 8, "classes": 1, "input_size": (1, 32, 80)}
# As logs print them; of DARTS-CC as counted for its JSON.
PARAMETERS = {
    **{"DARTS_CC_CIFAR_0_LOW": 3_722_374, "DARTS_CC_CIFAR_0_MID": 3_290_158, "DARTS_CC_CIFAR_0_HIGH": 1_977_094},
    **{"DARTS_CC_CIFAR_50_LOW": 4_506_454, "DARTS_CC_CIFAR_50_MID": 3_371_374, "DARTS_CC_CIFAR_50_HIGH": 2_313_622},
    **{"DARTS_CC_CIFAR_100_LOW": 5_025_286, "DARTS_CC_CIFAR_100_MID": 3_961_702, "DARTS_CC_CIFAR_100_HIGH": 2_314_918},
}
OTHERS = (
    *("CAPSTONE_CIFAR10_1", "CAPSTONE_CIFAR10_2", "CAPSTONE_MNIST_2", "CAPSTONE_FASHION_MNIST_2"),
    *("CAPSTONE_GRAPHENE_2", "CAPSTONE_CHEST_XRAY", "CAPSTONE_CHEST_XRAY_V1", "CAPSTONE_GRAPHENE_RANDOM_BEST"),
    *("PT_DARTS_CIFAR10", "PT_DARTS_FASHION_MNIST", "PT_DARTS_MNIST"),
)
NAMES = sorted([*PARAMETERS, *OTHERS])
# Of all their edges as their sources have them, as JSON with sorted keys.
DIGEST = "2992765714e1f99a8268adf9c74d33fda48632d465895e506f88b5d1b476162f"
# DARTS_CC_CIFAR_0_LOW, written down by hand from its picture.
LOW = [[[5, 0], [4, 7, 2], [0, 7, 7, 6], [7, 0, 7, 6, 7]], [[4, 4], [2, 7, 6], [7, 7, 5, 4], [7, 7, 4, 5, 7]]]


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        SPACE.read(text)
    return str(caught.value)


def test_each_cell_is_that_of_its_source() -> None:
    cells = {name: SPACE.genotypes[name].to_json() for name in NAMES}
    assert hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest() == DIGEST
    named = {*named_genotypes("cnn_nas", type(genotypes.NASNET))}
    assert {*SPACE.genotypes} - named == {*NAMES} and not named & {*NAMES}


@pytest.mark.parametrize("name", PARAMETERS)
def test_counts_are_the_published_ones(name: str) -> None:
    assert count(SPACE.by_name(name), **CIFAR).parameters == PARAMETERS[name]


def test_the_capstones_networks_have_the_parameters_of_their_logs() -> None:
    found = [
        count(genotypes.DARTS_V2, **CIFAR),
        count(genotypes.MNIST, **{**CIFAR, "input_size": (1, 28, 28)}),
        count(genotypes.FASHION_MNIST, **{**CIFAR, "input_size": (1, 28, 28)}),
        count(genotypes.GRAPHENE, **{**GRAPHENE, "layers": 20}),
        count(genotypes.GRAPHENE, **GRAPHENE),
        count(published.CAPSTONE_GRAPHENE_RANDOM_BEST, **GRAPHENE),
    ]
    assert [size.parameters for size in found] == [3_349_342, 3_279_358, 3_576_790, 1_655_893, 780_949, 1_159_021]


def test_a_name_is_an_architecture_to_use() -> None:
    from cnn_nas.settings import _SOME_SIZE

    assert from_config({"arch_to_use": "PT_DARTS_MNIST"}, None, _SOME_SIZE) is published.PT_DARTS_MNIST
    assert "did you mean PT_DARTS_MNIST" in problem("PT_DARTS_MINST")


def test_a_constant_of_ones_own_comes_before_one_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genotypes, "PT_DARTS_MNIST", genotypes.NASNET, raising=False)
    assert SPACE.by_name("PT_DARTS_MNIST") is genotypes.NASNET


# DARTS-CC


def test_a_file_of_darts_cc_is_read_with_its_reduction_cell_first(tmp_path: Path) -> None:
    (tmp_path / "lam_0.json").write_text(json.dumps(LOW, indent=1))
    for source in (json.dumps(LOW), str(tmp_path / "lam_0.json")):
        assert SPACE.read(source) == published.DARTS_CC_CIFAR_0_LOW
    found = results.find(str(tmp_path / "lam_0.json"))
    assert found.package == "cnn_nas" and found.genotype == published.DARTS_CC_CIFAR_0_LOW


def test_every_operation_has_its_number() -> None:
    """Two edges of each, from a cell of four nodes whose order is that of the numbers."""
    cell = [[0, 1], [2, 3, 7], [4, 7, 7, 5], [7, 6, 7, 7, 6]]
    assert SPACE.read(json.dumps([cell, cell])).normal == (
        *(("max_pool_3x3", 0), ("avg_pool_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_5x5", 0), ("dil_conv_3x3", 3), ("dil_conv_5x5", 1), ("dil_conv_5x5", 4)),
    )


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (
            [LOW[0], [[4, 4], [2, 3, 6], *LOW[1][2:]]],
            "normal node 2 of a DARTS-CC cell must keep two edges, got 3; cells",
        ),
        ([[[0] * (i + 2) for i in range(4)]] * 2, "reduce node 2 of a DARTS-CC cell must keep two edges, got 3"),
        ([[[7, 7]], [[1, 1]]], "reduce node 1 of a DARTS-CC cell must keep two edges, got 0"),
        ([LOW[0]], "must hold two cells, [reduce, normal], got 1"),
        ([*LOW, LOW[0]], "must hold two cells, [reduce, normal], got 3"),
        ([LOW[0], [[4, 4, 7], *LOW[1][1:]]], "normal node 1 of a DARTS-CC cell must have 2 numbers, an operation for"),
        ([LOW[0], [[4], *LOW[1][1:]]], "states 0..1, got 1"),
        ([LOW[0], [[4, 8], *LOW[1][1:]]], "number 0..6, or 7 for no edge, got 8 for state 1"),
        ([LOW[0], [[4, -1], *LOW[1][1:]]], "got -1 for state 1"),
        ([LOW[0], [[4, 1.5], *LOW[1][1:]]], "got 1.5 for state 1"),
        ([LOW[0], [[4, True], *LOW[1][1:]]], "got True for state 1"),
        ([LOW[0], [[4, None], *LOW[1][1:]]], "got None for state 1"),
    ],
)
def test_a_file_of_darts_cc_that_is_none_is_refused_in_a_sentence(cells: Any, says: str, tmp_path: Path) -> None:
    assert says in problem(json.dumps(cells))
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    with pytest.raises(ConfigError) as caught:
        results.find(str(tmp_path / "cells.json"))
    (said,) = caught.value.problems
    assert says in said and "cells.json" in said


@pytest.mark.parametrize("text", ["[]", "[[]]", "[[[]]", "[1, 2]", "[[1, 2]]", '[[["skip_connect", 0]]]', "[" * 99_999])
def test_other_lists_are_not_taken_for_a_file_of_darts_cc(text: str) -> None:
    assert not darts_cc.is_written(text)
    assert "DARTS-CC" not in problem(text)


# The capstone


def test_a_genotype_arch_is_read_by_its_name_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `experiments/eval-chest-xray-Run01-20191204-104236/genotype.arch` has it."""
    normal = "('max_pool_3x3', 0), ('dil_conv_5x5', 1), ('max_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0)"
    normal += ", ('sep_conv_5x5', 2), ('skip_connect', 2), ('max_pool_3x3', 0)"
    reduce = "('max_pool_3x3', 0), ('max_pool_3x3', 1), ('dil_conv_5x5', 2), ('dil_conv_5x5', 0), ('dil_conv_5x5', 3)"
    reduce += ", ('sep_conv_5x5', 2), ('sep_conv_5x5', 2), ('dil_conv_5x5', 3)"
    tail = "reduce_concat=range(2, 6))"
    text = f"Genotype(normal=[{normal}], normal_concat=range(2, 6), reduce=[{reduce}], {tail}"
    (tmp_path / "genotype.arch").write_text(text)
    monkeypatch.chdir(tmp_path)
    for name in ("genotype.arch", str(tmp_path / "genotype.arch")):
        assert SPACE.read(name) == results.find(name).genotype == published.CAPSTONE_CHEST_XRAY_V1
    (tmp_path / "genotype.arch").write_text(text.replace("'max_pool_3x3', 1", "'max_pool_2x2', 1"))
    assert "reduce_node1_edge2_op 'max_pool_2x2'" in problem("genotype.arch")
    assert "missing.arch" in problem("missing.arch")

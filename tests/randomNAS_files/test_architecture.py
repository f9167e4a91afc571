"""Genotypes: the published cells, their names, codecs, checks, and random sampling."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recurrent import cells, nodes_of, step

from nas.core.errors import ConfigError
from randomNAS_files import genotypes
from randomNAS_files.architecture import Genotype, from_hparams, from_json, from_text, node_hparams, sample
from randomNAS_files.space import SPACE

ALL_OF_8 = [1, 2, 3, 4, 5, 6, 7, 8]
PUBLISHED: dict[str, tuple[str, list[int]]] = {  # activation and predecessor of each node, and what is averaged
    # Pham et al. 2018, as listed with DARTS
    "ENAS": (
        "tanh 0, tanh 1, relu 1, tanh 3, tanh 3, relu 3, relu 4, relu 7, relu 8, relu 8, relu 8",
        [2, 5, 6, 9, 10, 11],
    ),
    # google-research/enas_lm, README
    "ENAS_LM": ("sigmoid 0, tanh 1, relu 2, sigmoid 2, tanh 4, tanh 5, sigmoid 3, sigmoid 6", ALL_OF_8),
    # Liu et al. 2019, first order
    "DARTS_V1": ("relu 0, relu 1, tanh 2, relu 3, relu 4, identity 1, relu 5, relu 1", ALL_OF_8),
    # Liu et al. 2019, second order
    "DARTS_V2": ("sigmoid 0, relu 1, relu 1, identity 1, tanh 2, sigmoid 5, tanh 3, relu 5", ALL_OF_8),
    # Determined's NAS example, 2020
    "ASHA": ("relu 0, relu 0, sigmoid 0, tanh 0, relu 1, tanh 0, identity 5, sigmoid 0", ALL_OF_8),
}


TEXT_OF_V2 = (  # as DARTS's own genotypes.py and logs spell it
    "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), "
    "('tanh', 3), ('relu', 5)], concat=range(1, 9))"
)


def problems_of(call: Any, *arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return caught.value.problems


# Names


@pytest.mark.parametrize("name", PUBLISHED)
def test_named_cells_are_the_published_ones(name: str) -> None:
    nodes, concat = PUBLISHED[name]
    cell = SPACE.by_name(name)
    assert cell.recurrent == nodes_of(nodes)
    assert list(cell.concat) == concat


def test_darts_means_the_second_order_cell() -> None:
    assert SPACE.by_name("DARTS") == Genotype(nodes_of(PUBLISHED["DARTS_V2"][0]))


def test_names_are_all_published_ones_and_nothing_else() -> None:
    assert sorted(SPACE.genotypes) == sorted([*PUBLISHED, "DARTS"])


def test_a_constant_that_a_user_adds_is_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Genotype((("tanh", 0), ("relu", 1)))
    monkeypatch.setattr(genotypes, "MY_CELL", mine, raising=False)
    assert SPACE.by_name("MY_CELL") is mine
    assert "MY_CELL" in SPACE.genotypes


@pytest.mark.parametrize(
    ("name", "nearest"), [("DARTS_v2", "DARTS_V2"), ("DART", "DARTS"), ("ASHA1", "ASHA"), ("enas", "ENAS")]
)
def test_a_misspelt_name_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    (problem,) = problems_of(SPACE.by_name, name)
    assert repr(name) in problem and nearest in problem.partition("did you mean")[2]


@pytest.mark.parametrize("name", ["", "zzzzzz", "Genotype", "by_name", "__name__", "annotations"])
def test_a_name_of_no_cell_is_refused(name: str) -> None:
    (problem,) = problems_of(SPACE.by_name, name)
    assert repr(name) in problem


# Codecs


@settings(deadline=None)
@given(cells())
def test_json_round_trip(cell: Genotype) -> None:
    assert from_json(json.loads(json.dumps(cell.to_json()))) == cell


@settings(deadline=None)
@given(cells())
def test_text_round_trip(cell: Genotype) -> None:
    assert from_text(cell.to_text()) == cell


@settings(deadline=None)
@given(cells(full=True))
def test_hyperparameters_round_trip(cell: Genotype) -> None:
    assert from_hparams({"emsize": 4, **cell.to_hparams(), "some_op": 1}) == cell


@settings(deadline=None)
@given(cells())
def test_text_is_code_for_genotypes_py(cell: Genotype) -> None:
    assert eval(cell.to_text(), {"Genotype": Genotype}) == cell


@pytest.mark.parametrize("text", [TEXT_OF_V2, f"  {TEXT_OF_V2}\n"])
def test_the_line_of_a_darts_log_is_read(text: str) -> None:
    assert from_text(text) == Genotype(nodes_of(PUBLISHED["DARTS_V2"][0]), tuple(range(1, 9)))


def test_json_is_plain_lists() -> None:
    cell = Genotype((("tanh", 0), ("relu", 1)), (2,))
    assert cell.to_json() == {"recurrent": [["tanh", 0], ["relu", 1]], "concat": [2]}


def test_hyperparameters_are_spelt_as_configs_spell_them() -> None:
    assert Genotype((("tanh", 0), ("relu", 1))).to_hparams() == {
        "node1_op": "tanh",
        "node1_edge": 0,
        "node2_op": "relu",
        "node2_edge": 1,
    }


def test_a_line_for_readers() -> None:
    assert str(Genotype((("relu", 0), ("tanh", 1)))) == "1 relu(0)  2 tanh(1)  mean of 1-2"
    assert str(Genotype((("relu", 0), ("tanh", 1)), (2,))) == "1 relu(0)  2 tanh(1)  mean of 2"


def test_a_partial_mean_has_no_hyperparameters() -> None:
    (problem,) = problems_of(Genotype((("relu", 0), ("tanh", 1)), (2,)).to_hparams)
    assert "concat is [2]" in problem


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(recurrent=__import__('os').system('touch {path}'))",
        "Genotype(recurrent=open({path!r}, 'w'))",
        "Genotype(recurrent=[('relu', open({path!r}, 'w'))])",
        "Genotype(recurrent=range(1, open({path!r}, 'w')))",
        "__import__('pathlib').Path({path!r}).touch()",
        "(lambda: open({path!r}, 'w'))()",
    ],
)
def test_text_is_never_evaluated(text: str, tmp_path: Path) -> None:
    path = tmp_path / "touched"
    problems_of(from_text, text.format(path=str(path)))
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Genotype",
        "Genotype()",
        "Other(recurrent=[('relu', 0)])",
        "Genotype(recurrent=[('relu', 0)]",
        "Genotype(recurrent=relu)",
        "Genotype(recurrent=5)",
        "Genotype(recurrent=[('relu',)])",
        "Genotype(recurrent=[('relu', 0)], concat='x')",
        "Genotype(recurrent=[('relu', 0)], concat=7)",
        "Genotype(recurrent=[('relu', 0)], concat=range('a'))",
        "Genotype(recurrent=[('relu', 0)], concat=range())",
        "Genotype(recurrent=[('relu', 0)], concat=range([1]))",
        "Genotype(recurrent={[]: 1})",
        "Genotype(normal=[('skip_connect', 0)], normal_concat=range(2, 6))",
    ],
)
def test_text_that_describes_no_cell_is_refused(text: str) -> None:
    assert len(problems_of(from_text, text)) >= 1


@pytest.mark.parametrize("data", [None, [], "x", 3, {"recurrent": None}, {"recurrent": [["relu"]]}])
def test_json_that_describes_no_cell_is_refused(data: Any) -> None:
    (problem,) = problems_of(from_json, data)
    assert (repr(data) if not isinstance(data, dict) else "must be a list of pairs (name, predecessor)") in problem


@pytest.mark.parametrize("concat", [[[1]], [None], [{}]])
def test_json_whose_concat_is_no_list_of_nodes_is_refused(concat: Any) -> None:
    assert "concat must name nodes 1..1" in problems_of(from_json, {"recurrent": [["relu", 0]], "concat": concat})[0]


def test_an_empty_concat_is_told_with_what_may_stand_there() -> None:
    says = "concat must name at least one of the nodes 1..1, got []; leave it out for all"
    assert problems_of(Genotype, (("relu", 0),), ()) == problems_of(Genotype, (("relu", 0),), []) == [says]
    assert problems_of(from_json, {"recurrent": [["relu", 0]], "concat": []}) == [says]
    assert problems_of(from_text, "Genotype(recurrent=[('relu', 0)], concat=range(1, 1))") == [f"{says} (column 42)"]


def test_a_misspelt_hyperparameter_is_no_other() -> None:
    cell = {"node1_op": "relu", "node1_edge": 0}
    (problem,) = problems_of(from_hparams, {**cell, "node1_egde": 0})
    assert "node1_egde" in problem and problem.endswith("did you mean node1_edge?")
    assert from_hparams({**cell, "nonmono": 5, "nhid": 3}) == Genotype((("relu", 0),))


def test_only_the_keys_of_nodes_spell_a_cell() -> None:
    wanted = {"node1_op": "relu", "node12_edge": 0}
    others = {"node_op": 1, "node1": 1, "xnode1_op": 1, "node1_ops": 1, "nodeA_op": 1, "node1_edge_": 1, 5: 1}
    assert node_hparams({**others, **wanted}) == wanted


def test_each_missing_hyperparameter_of_a_node_is_named() -> None:
    problems = problems_of(from_hparams, {"node1_op": "relu", "node3_edge": 1})
    assert [problem.split()[0] for problem in problems] == ["node1_edge", "node2_op", "node2_edge", "node3_op"]


def test_nodes_are_counted_from_one() -> None:
    problems = problems_of(from_hparams, {"node0_op": "relu", "node1_op": "relu", "node1_edge": 0})
    assert len(problems) == 1 and problems[0].startswith("node0_op ")


# Checks


def test_a_predecessor_out_of_range_is_named_with_its_range() -> None:
    assert problems_of(Genotype, (("relu", 0), ("relu", 1), ("relu", 5))) == ["node3_edge must be 0..2, got 5"]


@pytest.mark.parametrize("predecessor", [-1, 1, 1.0, True, "0", None])
def test_the_first_node_can_only_follow_the_initial_state(predecessor: Any) -> None:
    assert problems_of(Genotype, (("relu", predecessor),)) == [f"node1_edge must be 0..0, got {predecessor!r}"]


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(-3, 12))
def test_a_predecessor_is_any_earlier_state(node: int, predecessor: int) -> None:
    nodes = (*(("tanh", 0) for _ in range(node - 1)), ("relu", predecessor))
    if 0 <= predecessor < node:
        assert Genotype(nodes).recurrent[-1] == ("relu", predecessor)
    else:
        assert problems_of(Genotype, nodes) == [f"node{node}_edge must be 0..{node - 1}, got {predecessor}"]


def test_an_unknown_activation_is_answered_with_the_nearest() -> None:
    (problem,) = problems_of(Genotype, (("relu", 0), ("sigmoyd", 0)))
    assert problem.startswith("node2_op 'sigmoyd'") and problem.endswith("did you mean sigmoid?")


@pytest.mark.parametrize("concat", [(0,), (3,), (1, 9), (-1,), (1.0,), ("1",), (True,)])
def test_concat_must_name_nodes(concat: tuple[Any, ...]) -> None:
    problems = problems_of(Genotype, (("relu", 0), ("tanh", 0)), concat)
    assert problems == [f"concat must name nodes 1..2, got {list(concat)}"]


def test_concat_must_not_repeat_a_node() -> None:
    assert problems_of(Genotype, (("relu", 0), ("tanh", 0)), (2, 2)) == ["concat must name each node once, got [2, 2]"]


def test_a_cell_needs_a_node() -> None:
    assert len(problems_of(Genotype, ())) == 1


def test_all_problems_of_a_cell_are_reported_at_once() -> None:
    problems = problems_of(Genotype, (("rlu", 0), ("relu", 2), ("sine", 3)), (4, 4))
    assert [problem.split()[0] for problem in problems] == [
        "node1_op",
        "node2_edge",
        "node3_op",
        "node3_edge",
        "concat",
        "concat",
    ]


def test_concat_left_out_means_all_nodes() -> None:
    assert Genotype((("relu", 0), ("tanh", 0), ("relu", 2))).concat == (1, 2, 3)


@pytest.mark.parametrize(("field", "value"), [("recurrent", ()), ("concat", (1,))])
def test_a_genotype_is_frozen(field: str, value: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Genotype((("relu", 0),)), field, value)


@settings(deadline=None)
@given(cells())
def test_equal_cells_given_as_lists_are_one_key_of_a_dictionary(cell: Genotype) -> None:
    twin = Genotype([list(node) for node in cell.recurrent], list(cell.concat))  # type: ignore[arg-type]
    assert twin == cell and len({twin: 1, cell: 2}) == 1


# Sampling


@pytest.mark.parametrize(
    ("seed", "nodes"),
    [
        (0, "tanh 0, tanh 0, sigmoid 2, relu 0, sigmoid 4, sigmoid 2, sigmoid 6, identity 5"),
        (1, "identity 0, identity 1, sigmoid 1, sigmoid 1, sigmoid 3, sigmoid 3, tanh 1, tanh 7"),
        (2020, "tanh 0, identity 0, sigmoid 1, identity 1, identity 1, sigmoid 2, tanh 1, sigmoid 7"),
    ],
)
def test_a_seed_names_the_same_cell_with_every_version_of_every_library(seed: int, nodes: str) -> None:
    assert sample(seed) == Genotype(nodes_of(nodes))


def test_other_labels_name_other_cells() -> None:
    assert len({sample(0), sample(1), sample(0, "eval", 0), sample(0, "eval", 1), sample(0, "other", 0)}) == 5


def test_labels_and_size_name_the_same_cell_with_every_version() -> None:
    assert sample(5, "eval", 3, nodes=3) == Genotype((("tanh", 0), ("identity", 0), ("sigmoid", 2)))


@pytest.fixture(scope="module")
def many() -> list[Genotype]:
    return [sample(seed) for seed in range(2000)]


def test_a_sampled_cell_averages_eight_nodes_and_never_none(many: list[Genotype]) -> None:
    assert all(len(cell.recurrent) == 8 and cell.concat == tuple(range(1, 9)) for cell in many)
    assert all(name != "none" for cell in many for name, _ in cell.recurrent)


def chi_square(counts: Counter[Any], choices: list[Any]) -> float:
    expected = sum(counts.values()) / len(choices)
    assert set(counts) <= set(choices)
    return sum((counts[choice] - expected) ** 2 / expected for choice in choices)


# The quantiles 0.9999 of chi-square with 3, 1..7 and 19 degrees of freedom (any table).
QUANTILE = {1: 15.14, 2: 18.42, 3: 21.11, 4: 23.51, 5: 25.74, 6: 27.86, 7: 29.88, 15: 44.26}


@pytest.mark.parametrize("node", range(8))
def test_activations_are_uniform(node: int, many: list[Genotype]) -> None:
    counts = Counter(cell.recurrent[node][0] for cell in many)
    assert chi_square(counts, ["tanh", "relu", "sigmoid", "identity"]) < QUANTILE[3]


@pytest.mark.parametrize("node", range(1, 8))
def test_predecessors_are_uniform_over_all_earlier_states(node: int, many: list[Genotype]) -> None:
    counts = Counter(cell.recurrent[node][1] for cell in many)
    assert chi_square(counts, list(range(node + 1))) < QUANTILE[node]


def test_neighbouring_choices_are_independent(many: list[Genotype]) -> None:
    names = ["tanh", "relu", "sigmoid", "identity"]
    counts = Counter((cell.recurrent[3][0], cell.recurrent[3][1]) for cell in many)
    assert chi_square(counts, [(name, pred) for name in names for pred in range(4)]) < QUANTILE[15]


# Unused nodes


def idle_weights(cell: Genotype) -> list[int]:
    """The nodes whose weights change nothing, found by changing them."""
    rng = np.random.RandomState(0)
    weights = [rng.normal(size=(5, 10)) for _ in cell.recurrent]
    s0 = rng.normal(size=(7, 5))
    reference, idle = step(cell, weights, s0), []
    for i in range(len(weights)):
        changed = [weight + (rng.normal(size=(5, 10)) if i == j else 0) for j, weight in enumerate(weights)]
        if np.array_equal(step(cell, changed, s0), reference):
            idle.append(i + 1)
    return idle


@settings(deadline=None)
@given(cells())
def test_the_weights_of_unused_nodes_change_nothing(cell: Genotype) -> None:
    assert set(cell.unused_nodes()) <= set(idle_weights(cell))


@settings(deadline=None)
@given(cells())
def test_the_weights_of_used_nodes_change_the_output(cell: Genotype) -> None:
    # A node that follows a `none` multiplies its weights by zero: they are used, to no effect.
    follows_none = {
        i for i, (_, pred) in enumerate(cell.recurrent, 1) if pred and cell.recurrent[pred - 1][0] == "none"
    }
    while True:
        zero = {i for i in follows_none if cell.recurrent[i - 1][0] != "sigmoid"}
        more = {i for i, (_, pred) in enumerate(cell.recurrent, 1) if pred in zero}
        if more <= follows_none:
            break
        follows_none |= more
    assert set(idle_weights(cell)) <= set(cell.unused_nodes()) | follows_none


@pytest.mark.parametrize("name", [*PUBLISHED, "DARTS"])
def test_every_node_of_a_published_cell_is_used(name: str) -> None:
    cell = SPACE.by_name(name)
    assert cell.unused_nodes() == idle_weights(cell) == []

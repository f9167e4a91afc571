"""Convolutional genotypes: the published ones, their names, codecs, checks, random sampling, and choosing one."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from itertools import permutations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_nas import genotypes, published
from cnn_nas.architecture import (
    ALL_OPERATIONS,
    EXTRA_OPERATIONS,
    NODES,
    OPERATIONS,
    Genotype,
    edge_hparams,
    from_hparams,
    from_json,
    from_text,
    sample,
)
from cnn_nas.constraints import Constraints, Range
from cnn_nas.counting import NetworkSize
from cnn_nas.from_config import from_config
from cnn_nas.space import SPACE
from nas.core.errors import ConfigError

CIFAR = NetworkSize(36, 20, 10, (3, 32, 32))


def edges_of(text: str) -> tuple[tuple[str, int], ...]:
    """`sep 0, skip 1` as edges: `sep3`, `dil5`, `max`, `avg` and `skip` are short for the operations."""
    short = {"max": "max_pool_3x3", "avg": "avg_pool_3x3", "skip": "skip_connect", "none": "none"}
    short |= {f"{kind}{k}": f"{kind}_conv_{k}x{k}" for kind in ("sep", "dil") for k in (3, 5, 7)}
    pairs = [edge.split() for edge in text.split(", ")]
    return tuple((short.get(name, name), int(predecessor)) for name, predecessor in pairs)


ALL_OF_4 = [2, 3, 4, 5]
PUBLISHED: dict[str, tuple[str, list[int], str, list[int]]] = {
    "NASNET": (
        "sep5 1, sep3 0, sep5 0, sep3 0, avg 1, skip 0, avg 0, avg 0, sep3 1, skip 1",
        [2, 3, 4, 5, 6],
        "sep5 1, sep7 0, max 1, sep7 0, avg 1, sep5 0, skip 3, avg 2, sep3 2, max 1",
        [4, 5, 6],
    ),
    "AMOEBANET": (
        "avg 0, max 1, sep3 0, sep5 2, sep3 0, avg 3, sep3 1, skip 1, skip 0, avg 1",
        [4, 5, 6],
        "avg 0, sep3 1, max 0, sep7 2, sep7 0, avg 1, max 0, max 1, conv_7x1_1x7 0, sep3 5",
        [3, 4, 6],
    ),
    "DARTS_V1": (
        "sep3 1, sep3 0, skip 0, sep3 1, skip 0, sep3 1, sep3 0, skip 2",
        ALL_OF_4,
        "max 0, max 1, skip 2, max 0, max 0, skip 2, skip 2, avg 0",
        ALL_OF_4,
    ),
    "DARTS_V2": (
        "sep3 0, sep3 1, sep3 0, sep3 1, sep3 1, skip 0, skip 0, dil3 2",
        ALL_OF_4,
        "max 0, max 1, skip 2, max 1, max 0, skip 2, skip 2, max 1",
        ALL_OF_4,
    ),
    "PC_DARTS_CIFAR": (
        "sep3 1, skip 0, sep3 0, dil3 1, sep5 0, sep3 1, avg 0, dil3 1",
        ALL_OF_4,
        "sep5 1, max 0, sep5 1, sep5 2, sep3 0, sep3 3, sep3 1, sep3 2",
        ALL_OF_4,
    ),
    "PC_DARTS_IMAGENET": (
        "skip 1, sep3 0, sep3 0, skip 1, sep3 1, sep3 3, sep3 1, dil5 4",
        ALL_OF_4,
        "sep3 0, skip 1, dil5 2, max 1, sep3 2, sep3 1, sep5 0, sep3 3",
        ALL_OF_4,
    ),
    "GAEA_PC_DARTS": (
        "sep3 1, skip 0, sep3 1, skip 2, sep3 1, sep3 2, sep3 0, dil3 4",
        ALL_OF_4,
        "max 0, max 1, sep5 0, sep5 2, dil3 3, sep5 2, sep5 4, sep3 1",
        ALL_OF_4,
    ),
    "MNIST": (
        "max 0, skip 1, max 0, sep3 2, sep3 3, sep3 2, sep5 4, sep3 3",
        ALL_OF_4,
        "avg 0, avg 1, avg 0, avg 1, avg 0, dil5 3, avg 0, dil5 4",
        ALL_OF_4,
    ),
    "FASHION_MNIST": (
        "skip 0, sep5 1, dil5 1, skip 0, sep5 3, sep3 0, sep3 4, sep5 1",
        ALL_OF_4,
        "avg 0, dil3 1, avg 0, skip 2, avg 0, dil5 2, avg 0, skip 2",
        ALL_OF_4,
    ),
    "GRAPHENE": (
        "avg 1, skip 0, avg 2, skip 1, avg 3, avg 2, avg 3, skip 4",
        ALL_OF_4,
        "skip 0, skip 1, sep5 2, sep3 0, avg 3, avg 2, sep5 4, sep3 2",
        ALL_OF_4,
    ),
    "CONSTRAINED_ASHA": (
        "sep3 1, sep3 1, skip 0, dil3 1, sep3 0, dil3 0, max 0, sep3 0",
        ALL_OF_4,
        "dil3 1, max 1, skip 2, dil3 0, sep3 1, max 1, max 0, sep3 4",
        ALL_OF_4,
    ),
}
TEXT_OF_V2 = (  # as DARTS's logs spell it
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)
ONE = (("sep_conv_3x3", 0), ("skip_connect", 1))  # a cell of one node


def lists(nodes: int | None) -> st.SearchStrategy[list[tuple[str, int]]]:
    sizes = st.integers(1, 6) if nodes is None else st.just(nodes)
    return sizes.flatmap(
        lambda n: st.tuples(
            *(st.tuples(st.sampled_from(ALL_OPERATIONS), st.integers(0, i // 2 + 1)) for i in range(2 * n))
        ).map(list)
    )


@st.composite
def genomes(draw: st.DrawFn, nodes: int | None = None) -> Genotype:
    normal, reduce = draw(lists(nodes)), draw(lists(nodes))
    if nodes:
        return Genotype(normal=tuple(normal), reduce=tuple(reduce))
    concats = [
        draw(st.lists(st.integers(2, len(edges) // 2 + 1), unique=True, min_size=1)) for edges in (normal, reduce)
    ]
    return Genotype(
        normal=tuple(normal), normal_concat=tuple(concats[0]), reduce=tuple(reduce), reduce_concat=tuple(concats[1])
    )


def problems_of(call: Any, *arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return caught.value.problems


# Names


@pytest.mark.parametrize("name", PUBLISHED)
def test_named_architectures_are_the_published_ones(name: str) -> None:
    normal, normal_concat, reduce, reduce_concat = PUBLISHED[name]
    genotype = SPACE.by_name(name)
    assert (genotype.normal, list(genotype.normal_concat)) == (edges_of(normal), normal_concat)
    assert (genotype.reduce, list(genotype.reduce_concat)) == (edges_of(reduce), reduce_concat)


def test_names_are_all_published_ones_and_two_short_ones() -> None:
    others = vars(published)
    assert sorted({*SPACE.genotypes} - {*others}) == sorted([*PUBLISHED, "DARTS", "PC_DARTS"])
    assert SPACE.by_name("DARTS") is genotypes.DARTS_V2
    assert SPACE.by_name("PC_DARTS") is genotypes.PC_DARTS_CIFAR


def test_a_constant_that_a_user_adds_is_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Genotype(normal=ONE, reduce=ONE)
    monkeypatch.setattr(genotypes, "MY_CELLS", mine, raising=False)
    assert SPACE.by_name("MY_CELLS") is mine and "MY_CELLS" in SPACE.genotypes


@pytest.mark.parametrize(("name", "nearest"), [("DARTS_v2", "DARTS_V2"), ("PCDARTS", "PC_DARTS"), ("nasnet", "NASNET")])
def test_a_misspelt_name_is_refused_with_the_nearest_one(name: str, nearest: str) -> None:
    (problem,) = problems_of(SPACE.by_name, name)
    assert repr(name) in problem and nearest in problem.partition("did you mean")[2]


# Codecs


@given(genomes())
def test_json_round_trip(genotype: Genotype) -> None:
    assert from_json(json.loads(json.dumps(genotype.to_json()))) == genotype


@given(genomes())
def test_text_round_trip(genotype: Genotype) -> None:
    assert from_text(genotype.to_text()) == genotype


@given(genomes(NODES))
def test_hyperparameters_round_trip(genotype: Genotype) -> None:
    hparams = genotype.to_hparams()
    assert len(hparams) == 32
    assert from_hparams({"init_channels": 4, **hparams, "normal": 1}) == genotype
    assert from_hparams({k: float(v) if isinstance(v, int) else v for k, v in hparams.items()}) == genotype


@given(genomes())
def test_text_is_code_for_genotypes_py(genotype: Genotype) -> None:
    assert eval(genotype.to_text(), {"Genotype": Genotype}) == genotype


def test_the_line_of_a_darts_log_is_read() -> None:
    assert from_text(f"  {TEXT_OF_V2}\n") == genotypes.DARTS_V2


def test_hyperparameters_are_spelt_as_users_know_them() -> None:
    hparams = genotypes.CONSTRAINED_ASHA.to_hparams()
    assert list(hparams)[:4] == [
        "normal_node1_edge1",
        "normal_node1_edge1_op",
        "normal_node1_edge2",
        "normal_node1_edge2_op",
    ]
    assert hparams["reduce_node4_edge2"] == 4 and hparams["reduce_node4_edge2_op"] == "sep_conv_3x3"
    assert hparams["normal_node2_edge1"] == 0 and hparams["normal_node2_edge1_op"] == "skip_connect"


def test_a_line_for_readers() -> None:
    genotype = Genotype(normal=ONE, reduce=(*ONE, *ONE), reduce_concat=(3,))
    assert str(genotype) == (
        "normal: 2 sep_conv_3x3(0)+skip_connect(1)  concat 2; "
        "reduce: 2 sep_conv_3x3(0)+skip_connect(1)  3 sep_conv_3x3(0)+skip_connect(1)  concat 3"
    )
    assert "concat 2-5; reduce" in str(genotypes.DARTS_V2) and "\n" not in str(genotypes.DARTS_V2)


@pytest.mark.parametrize("name", ["NASNET", "AMOEBANET"])
def test_cells_of_five_nodes_have_no_hyperparameters(name: str) -> None:
    (problem,) = problems_of(SPACE.by_name(name).to_hparams)
    assert "normal has 5 nodes" in problem


def test_a_partial_concat_has_no_hyperparameters() -> None:
    (problem,) = problems_of(dataclasses.replace(genotypes.DARTS_V2, reduce_concat=(4, 5)).to_hparams)
    assert "reduce has 4 nodes and concat [4, 5]" in problem


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=__import__('os').system('touch {path}'), reduce=[])",
        "Genotype(normal=[('skip_connect', open({path!r}, 'w'))], reduce=[])",
        "Genotype(normal_concat=range(1, open({path!r}, 'w')))",
        "__import__('pathlib').Path({path!r}).touch()",
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
        "Genotype()",
        "Genotype([], [], [], [])",
        "Genotype(recurrent=[('relu', 0)], concat=range(1, 9))",
        "Genotype(normal=[('skip_connect', 0)]",
        "Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)], normal_concat=range(2, 3))",
        "Genotype(normal=5, reduce=5)",
        "Genotype(normal={[]: 1}, reduce={})",
        "Genotype(normal=[[('skip_connect', 0), ('skip_connect', 1)]], reduce=[])",
        "Genotype(normal=[], reduce=[], normal_concat=range(10 ** 12))",
        "Genotype(normal=[], reduce=[], normal_concat=range(1000000000000))",
        "Genotype(normal=" + "[" * 5000 + "]" * 5000 + ")",
        "Genotype(**{'normal': []})",
    ],
)
def test_text_that_describes_no_architecture_is_refused(text: str) -> None:
    assert len(problems_of(from_text, text)) >= 1


@pytest.mark.parametrize(
    "data", [None, [], "x", 3, {"normal": None, "reduce": None}, {"normal": [["none"]], "reduce": []}]
)
def test_json_that_describes_no_architecture_is_refused(data: Any) -> None:
    (problem,) = problems_of(from_json, data)
    assert (repr(data) if not isinstance(data, dict) else "must be a list of pairs (name, predecessor)") in problem


def test_an_empty_concat_is_told_with_what_may_stand_there() -> None:
    """As code in genotypes.py, as JSON and as text; left out it means all nodes."""
    cell = (("skip_connect", 0), ("none", 1), ("skip_connect", 0), ("none", 1))
    says = "normal_concat must name at least one of the states 2..3, got []; leave it out for all"
    for empty in ((), []):
        assert problems_of(Genotype, normal=cell, reduce=cell, normal_concat=empty) == [says]
    edges = [list(edge) for edge in cell]
    assert problems_of(from_json, {"normal": edges, "reduce": edges, "normal_concat": []}) == [says]
    text = f"Genotype(normal={edges}, reduce={edges}, normal_concat=range(2, 2))"
    assert problems_of(from_text, text) == [f"{says} (column {text.index('range') + 1})"]
    assert from_json({"normal": edges, "reduce": edges}).normal_concat == (2, 3)
    assert problems_of(Genotype, normal=cell, reduce=cell, normal_concat=(-1,))  # which is how the default is written


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("normal_node1_egde1", "normal_node1_edge1"), ("reduce_node2_edge1_opp", "reduce_node2_edge1_op")],
)
def test_a_misspelt_hyperparameter_is_no_other(wrong: str, right: str) -> None:
    """Beside all the right ones too, where it would say something else."""
    hparams = genotypes.DARTS_V2.to_hparams()
    (problem,) = problems_of(from_hparams, {**hparams, wrong: 1})
    assert wrong in problem and problem.endswith(f"did you mean {right}?")
    others = {"init_channels": 3, "reduce_on_plateau": True, "normalise": 1, "layers": 2}
    assert from_hparams({**hparams, **others}) == genotypes.DARTS_V2


def test_only_the_keys_of_edges_spell_an_architecture() -> None:
    wanted = {"normal_node1_edge1": 0, "reduce_node9_edge3_op": "none"}
    others: dict[Any, Any] = {
        "node1_edge": 1,
        "normal_node1": 1,
        "xnormal_node1_edge1": 1,
        "normal_node1_edge1_o": 1,
        5: 1,
    }
    assert edge_hparams({**others, **wanted}) == wanted


def test_every_missing_and_every_strange_hyperparameter_is_named() -> None:
    hparams = genotypes.DARTS_V2.to_hparams()
    del hparams["normal_node3_edge2_op"], hparams["reduce_node1_edge1"]
    problems = problems_of(from_hparams, {**hparams, "normal_node5_edge1": 0, "normal_node1_edge0_op": "none"})
    assert [problem.split()[0] for problem in problems] == [
        "normal_node3_edge2_op",
        "reduce_node1_edge1",
        "normal_node5_edge1",
        "normal_node1_edge0_op",
    ]


# Checks


def test_a_predecessor_out_of_range_is_named_with_its_range() -> None:
    problems = problems_of(Genotype, normal=(*ONE, ("none", 5), ("none", 2)), reduce=ONE)
    assert problems == ["normal_node2_edge1 must be 0..2, got 5"]


@pytest.mark.parametrize("predecessor", [-1, 2, 1.0, True, "0", None])
def test_the_first_node_can_only_follow_the_inputs(predecessor: Any) -> None:
    problems = problems_of(Genotype, normal=ONE, reduce=(ONE[0], ("skip_connect", predecessor)))
    assert problems == [f"reduce_node1_edge2 must be 0..1, got {predecessor!r}"]


@given(st.integers(0, 11), st.integers(-2, 9))
def test_a_predecessor_is_any_earlier_state(edge: int, predecessor: int) -> None:
    edges = [("none", 0)] * 12
    edges[edge] = ("none", predecessor)
    if predecessor in range(edge // 2 + 2):
        assert Genotype(normal=tuple(edges), reduce=ONE).normal[edge] == ("none", predecessor)
    else:
        assert len(problems_of(Genotype, normal=tuple(edges), reduce=ONE)) == 1


def test_an_unknown_operation_is_answered_with_the_nearest() -> None:
    (problem,) = problems_of(Genotype, normal=(("sep_conv3x3", 0), ONE[1]), reduce=ONE)
    assert problem.startswith("normal_node1_edge1_op 'sep_conv3x3'")
    assert "sep_conv_3x3" in problem.partition("did you mean")[2]


@pytest.mark.parametrize("concat", [(0,), (1,), (4,), (2, 9), (2.0,), ("2",), (True,), ([2],)])
def test_concat_must_name_nodes(concat: tuple[Any, ...]) -> None:
    problems = problems_of(Genotype, normal=ONE, reduce=(*ONE, *ONE), reduce_concat=concat)
    assert problems == [f"reduce_concat must name states 2..3, got {list(concat)}"]


def test_all_problems_are_reported_at_once() -> None:
    problems = problems_of(
        Genotype, normal=(("skip", 0), ("none", 7), ("none", 0)), reduce=(), normal_concat=(2, 2), reduce_concat=()
    )
    assert [problem.split()[0] for problem in problems] == [
        "normal",
        "normal_node1_edge1_op",
        "normal_node1_edge2",
        "normal_concat",
        "reduce:",
    ]


@given(genomes())
def test_equal_architectures_given_as_lists_are_one_key_of_a_dictionary(genotype: Genotype) -> None:
    twin = Genotype(**genotype.to_json())
    assert twin == genotype and len({twin: 1, genotype: 2}) == 1


def test_a_genotype_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        genotypes.DARTS_V2.normal = ()  # type: ignore[misc]


# Sampling

GOLDEN = {  # normal and reduction cell
    0: (
        "max 0, max 1, skip 1, dil5 0, skip 2, dil5 0, skip 2, skip 3",
        "dil3 0, avg 1, dil3 2, dil3 0, avg 0, sep5 1, dil3 2, sep3 3",
    ),
    1: (
        "sep3 0, avg 1, sep3 2, dil3 1, skip 2, sep3 0, avg 4, sep5 1",
        "skip 1, sep3 0, sep3 0, dil5 2, avg 3, sep5 0, dil3 4, dil3 2",
    ),
    2020: (
        "max 0, sep3 1, skip 1, dil3 2, avg 2, dil5 0, avg 3, dil5 0",
        "max 1, max 0, sep5 2, sep5 0, max 2, dil3 3, max 2, sep5 0",
    ),
}


@pytest.mark.parametrize("seed", GOLDEN)
def test_a_seed_names_the_same_architecture_with_every_version_of_every_library(seed: int) -> None:
    normal, reduce = GOLDEN[seed]
    assert sample(seed) == Genotype(normal=edges_of(normal), reduce=edges_of(reduce))


def test_other_labels_name_other_architectures() -> None:
    assert len({sample(0), sample(1), sample(0, "eval", 0), sample(0, "eval", 1)}) == 4


@pytest.fixture(scope="module")
def many() -> list[Genotype]:
    return [sample(seed, operations=OPERATIONS[:4]) for seed in range(2000)]


# The quantiles 0.9999 of chi-square by degrees of freedom (any table).
QUANTILE = {1: 15.14, 3: 21.11, 5: 25.74, 11: 37.37, 19: 50.80}


def chi_square(counts: Counter[Any], choices: list[Any]) -> float:
    expected = sum(counts.values()) / len(choices)
    assert set(counts) <= set(choices)
    return sum((counts[choice] - expected) ** 2 / expected for choice in choices)


@pytest.mark.parametrize("cell", ["normal", "reduce"])
@pytest.mark.parametrize("node", range(NODES))
def test_pairs_of_distinct_predecessors_are_uniform(cell: str, node: int, many: list[Genotype]) -> None:
    counts = Counter(tuple(pred for _, pred in getattr(each, cell)[2 * node : 2 * node + 2]) for each in many)
    pairs = list(permutations(range(node + 2), 2))
    assert chi_square(counts, pairs) < QUANTILE[len(pairs) - 1]


@pytest.mark.parametrize("cell", ["normal", "reduce"])
@pytest.mark.parametrize("edge", range(2 * NODES))
def test_operations_are_uniform(cell: str, edge: int, many: list[Genotype]) -> None:
    counts = Counter(getattr(each, cell)[edge][0] for each in many)
    assert chi_square(counts, list(OPERATIONS[:4])) < QUANTILE[3]


def test_predecessors_may_be_drawn_with_replacement() -> None:
    drawn = [sample(seed, distinct_predecessors=False) for seed in range(2000)]
    counts = Counter((each.normal[0][1], each.normal[1][1]) for each in drawn)
    assert chi_square(counts, list(product(range(2), repeat=2))) < QUANTILE[3]


def test_none_and_the_extra_operations_are_drawn_only_if_listed(many: list[Genotype]) -> None:
    drawn = {name for seed in range(200) for cell in (sample(seed).normal, sample(seed).reduce) for name, _ in cell}
    assert drawn == set(OPERATIONS) - {"none"}
    assert "none" in {name for each in many for name, _ in each.normal}
    assert {name for name, _ in sample(0, operations=EXTRA_OPERATIONS).normal} == set(EXTRA_OPERATIONS)


# Choosing


def test_an_architecture_is_named_seeded_or_spelt_out() -> None:
    assert from_config({"arch_to_use": "DARTS", "layers": 3}, None, CIFAR) is genotypes.DARTS_V2
    assert from_config({"arch_seed": 7.0}, None, CIFAR) == sample(7)
    assert from_config({"arch_seed": 7, "distinct_predecessors": False}, None, CIFAR) == sample(
        7, distinct_predecessors=False
    )
    assert from_config(genotypes.DARTS_V1.to_hparams(), Constraints(), CIFAR) == genotypes.DARTS_V1


@given(genomes(NODES))
@settings(max_examples=25)
def test_any_architecture_can_be_spelt_out(genotype: Genotype) -> None:
    assert from_config(genotype.to_hparams(), None, CIFAR) == genotype


@pytest.mark.parametrize(
    ("hparams", "got"),
    [
        ({}, "none of them"),
        ({"arch_to_use": None, "arch_seed": None}, "none of them"),
        ({"arch_to_use": "DARTS", "arch_seed": 1}, "arch_to_use and arch_seed"),
        ({"arch_seed": 1, "normal_node1_edge1": 0}, "arch_seed and normal_node1_edge1..."),
    ],
)
def test_exactly_one_way_must_be_taken(hparams: dict[str, Any], got: str) -> None:
    (problem,) = problems_of(from_config, hparams, None, CIFAR)
    assert problem.endswith(f"got {got}")


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    (problem,) = problems_of(from_config, {"arch_seed": seed}, None, CIFAR)
    assert problem == f"hyperparameters.arch_seed must be a whole number of at least 0, got {seed!r}"


def test_every_constraint_that_a_given_architecture_breaks_is_named() -> None:
    rules = Constraints(normal={"skip_connect": Range(3, None)}, parameters=Range(None, 3_000_000))
    by_name = problems_of(from_config, {"arch_to_use": "DARTS_V2"}, rules, CIFAR)
    assert by_name == [
        "hyperparameters: arch_to_use DARTS_V2 breaks constraints.normal: skip_connect 2, allowed at least 3",
        "hyperparameters: arch_to_use DARTS_V2 breaks constraints.parameters 3,349,342, allowed at most 3,000,000",
    ]
    spelt = problems_of(from_config, genotypes.DARTS_V2.to_hparams(), rules, CIFAR)
    assert [problem.partition("breaks")[2] for problem in spelt] == [p.partition("breaks")[2] for p in by_name]


def test_a_seed_is_drawn_within_the_constraints() -> None:
    rules = Constraints(reduce={"none": Range(8, 8)}, operations=("none", "skip_connect"), normal={"none": Range(0, 0)})
    drawn = from_config({"arch_seed": 0}, rules, CIFAR)
    assert {name for name, _ in drawn.reduce} == {"none"} and {name for name, _ in drawn.normal} == {"skip_connect"}

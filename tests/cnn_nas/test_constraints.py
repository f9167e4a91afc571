"""Constraints: reading them, what breaks them, and draws that hold with exactly the right distribution."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cnn_nas import genotypes
from cnn_nas.architecture import ALL_OPERATIONS, Genotype, sample
from cnn_nas.constraints import Constraints, Range
from cnn_nas.counting import NetworkSize, count_size
from cnn_nas.sampling import draw, survey
from nas.core.errors import ConfigError

CIFAR = NetworkSize(36, 20, 10, (3, 32, 32))
SPACE = YAML(typ="safe").load("""
operations: [max_pool_3x3, skip_connect, sep_conv_3x3, dil_conv_3x3]
normal: {skip_connect: [1, 2], sep_conv_3x3: [3, null]}
reduce: {skip_connect: [1, 2]}
fixed: {normal_node1_edge1_op: sep_conv_3x3, normal_node1_edge2_op: sep_conv_3x3}
parameters: [2.5e6, 4.5e6]
""")
RULES = Constraints.from_mapping(SPACE)
GOLDEN = (
    "normal: 2 sep_conv_3x3(0)+sep_conv_3x3(1)  3 dil_conv_3x3(2)+max_pool_3x3(1)  "
    "4 dil_conv_3x3(3)+skip_connect(1)  5 sep_conv_3x3(4)+sep_conv_3x3(1)  concat 2-5; "
    "reduce: 2 sep_conv_3x3(0)+dil_conv_3x3(1)  3 sep_conv_3x3(0)+dil_conv_3x3(1)  "
    "4 max_pool_3x3(0)+skip_connect(1)  5 sep_conv_3x3(0)+sep_conv_3x3(2)  concat 2-5"
)


def problems_of(call: Any, *arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return caught.value.problems


# The constrained space


def breaks(genotype: Genotype) -> bool:
    """The constrained space in plain words, without the module under test."""
    normal, reduce = [n for n, _ in genotype.normal], [n for n, _ in genotype.reduce]
    return not (
        {*normal, *reduce} <= {"max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"}
        and normal.count("skip_connect") in (1, 2)
        and reduce.count("skip_connect") in (1, 2)
        and normal.count("sep_conv_3x3") >= 3
        and normal[:2] == ["sep_conv_3x3"] * 2
        and 2.5e6 <= count_size(genotype, CIFAR).parameters <= 4.5e6
    )


@pytest.mark.parametrize("distinct", [True, False])
def test_every_draw_of_the_constrained_space_holds(distinct: bool) -> None:
    drawn = [draw(seed, RULES, CIFAR, distinct) for seed in range(300)]
    assert not any(breaks(genotype) or RULES.broken(genotype, CIFAR) for genotype in drawn)
    assert len(set(drawn)) == 300
    twins = sum(cell[i][1] == cell[i + 1][1] for g in drawn for cell in (g.normal, g.reduce) for i in range(0, 8, 2))
    assert (twins == 0) == distinct


@given(st.integers(0, 10**6))
@settings(max_examples=200)
def test_an_architecture_is_broken_exactly_if_it_is_outside_the_space(seed: int) -> None:
    genotype = sample(seed, operations=SPACE["operations"])
    edges = (("sep_conv_3x3", genotype.normal[0][1]), ("sep_conv_3x3", genotype.normal[1][1]))
    inside = Genotype(normal=edges + genotype.normal[2:], reduce=genotype.reduce)
    for each in (genotype, inside):
        assert bool(RULES.broken(each, CIFAR)) == breaks(each)


def test_the_published_constrained_architecture_holds() -> None:
    assert RULES.broken(genotypes.CONSTRAINED_ASHA, CIFAR) == []


def test_a_seed_draws_the_same_architecture_with_every_version_of_every_library() -> None:
    assert str(draw(2020, RULES, CIFAR)) == GOLDEN


def test_without_rules_a_draw_is_a_sample() -> None:
    assert all(draw(seed, Constraints(), CIFAR) == sample(seed) for seed in range(20))


# The distribution, against a space small enough to be written out: three free operations and a free pair of predecessors in
# the normal cell, two free operations in the reduction cell; the rules couple all of them.

TINY = NetworkSize(2, 3, 10, (3, 8, 8))
NAMES = ("none", "skip_connect", "sep_conv_3x3")
FIXED: dict[str, Any] = {
    f"{cell}_node{node}_edge{edge}{suffix}": value
    for cell, node, edge in product(("normal", "reduce"), (1, 2, 3, 4), (1, 2))
    for suffix, value in (("", edge - 1), ("_op", "skip_connect"))
}
FREE_OPERATIONS = [f"normal_{edge}_op" for edge in ("node1_edge1", "node2_edge2", "node4_edge1")]
FREE_OPERATIONS += ["reduce_node1_edge1_op", "reduce_node3_edge2_op"]
FREE_PREDECESSORS = ["normal_node2_edge1", "normal_node2_edge2"]
for name in FREE_OPERATIONS + FREE_PREDECESSORS:
    del FIXED[name]


def all_of_the_tiny_space(distinct: bool) -> list[Genotype]:
    pairs = list(permutations(range(3), 2) if distinct else product(range(3), repeat=2))
    found = []
    for operations, pair in product(product(NAMES, repeat=5), pairs):
        free = dict(zip(FREE_OPERATIONS, operations, strict=True)) | dict(zip(FREE_PREDECESSORS, pair, strict=True))
        values = FIXED | free
        cells = {
            cell: tuple(
                (values[f"{cell}_node{node}_edge{edge}_op"], values[f"{cell}_node{node}_edge{edge}"])
                for node, edge in product((1, 2, 3, 4), (1, 2))
            )
            for cell in ("normal", "reduce")
        }
        found.append(Genotype(normal=cells["normal"], reduce=cells["reduce"]))
    return found


@pytest.mark.parametrize("distinct", [True, False])
def test_draws_are_distributed_as_filtered_uniform_samples(distinct: bool) -> None:
    everything = all_of_the_tiny_space(distinct)
    sizes = [count_size(genotype, TINY).parameters for genotype in everything]
    low, high = np.quantile(sizes, [0.2, 0.7])
    rules = Constraints(
        operations=NAMES,
        fixed=FIXED,
        normal={"none": Range(1, 2)},
        reduce={"skip_connect": Range(None, 7)},
        parameters=Range(float(low), float(high)),
    )
    allowed = [
        genotype
        for genotype, size in zip(everything, sizes, strict=True)
        if 1 <= [name for name, _ in genotype.normal].count("none") <= 2
        and [name for name, _ in genotype.reduce].count("skip_connect") <= 7
        and low <= size <= high
    ]
    assert 100 < len(allowed) < len(everything) / 2
    draws = 8 * len(allowed)
    counts = Counter(draw(seed, rules, TINY, distinct) for seed in range(draws))
    assert set(counts) <= set(allowed)
    statistic = sum((counts[genotype] - 8) ** 2 / 8 for genotype in allowed)
    freedom = len(allowed) - 1
    assert abs(statistic - freedom) < 4 * (2 * freedom) ** 0.5  # chi-square has mean n and variance 2n


def test_the_share_is_that_of_the_written_out_space() -> None:
    everything = all_of_the_tiny_space(distinct=True)
    rules = Constraints(operations=NAMES, fixed=FIXED, normal={"none": Range(1, 2)})
    truth = float(np.mean([not rules.broken(genotype, TINY) for genotype in everything]))
    found = survey(rules, TINY, 4000, seed=1)
    assert abs(found.share - truth) < 4 * (truth * (1 - truth) / 4000) ** 0.5
    assert found.rejected_by == {"normal: none": pytest.approx(1 - found.share)}
    assert found.unsatisfiable is None


# Infeasible spaces


@pytest.mark.parametrize(
    ("change", "guilty"),
    [
        ({"parameters": [9e6, None]}, ["parameters at least 9,000,000 (samples have"]),
        ({"macs": [None, 1e6]}, ["macs at most 1,000,000 (samples have"]),
        ({"reduce": {"sep_conv_3x3": [8, 8]}, "parameters": [None, 2.2e6]}, ["reduce: sep_conv_3x3", "parameters"]),
    ],
)
def test_a_draw_from_an_empty_space_names_what_cannot_be_satisfied(change: dict[str, Any], guilty: list[str]) -> None:
    rules = Constraints.from_mapping({**SPACE, **change})
    (problem,) = problems_of(draw, 7, rules, CIFAR, max_attempts=300)
    assert "300 draws for arch_seed 7" in problem
    assert any(each in problem for each in guilty) and "skip_connect" not in problem


def test_two_rules_that_only_together_keep_nothing_are_both_named() -> None:
    everything = survey(Constraints(), CIFAR, 200)
    middle = float(np.median(everything.parameters))
    rules = Constraints(parameters=Range(middle, None), macs=Range(None, float(everything.macs.min())))
    found = survey(rules, CIFAR, 200)
    assert found.share == 0 and found.rejected_by["parameters"] < 1 and found.rejected_by["macs"] < 1
    assert found.unsatisfiable and "parameters" in found.unsatisfiable and "macs" in found.unsatisfiable


def test_a_draw_that_is_only_unlucky_says_what_each_rule_rejects() -> None:
    (problem,) = problems_of(draw, 0, RULES, CIFAR, max_attempts=1)
    assert "reduce: skip_connect rejects" in problem


def test_a_survey_measures_what_it_drew() -> None:
    found = survey(RULES, CIFAR, 500, seed=3)
    assert found.parameters.shape == found.macs.shape == found.satisfies.shape == (500,)
    assert found.satisfies.mean() == found.share and 0.25 < found.share < 0.4
    inside = (found.parameters >= 2.5e6) & (found.parameters <= 4.5e6)
    assert found.rejected_by["parameters"] == pytest.approx(1 - inside.mean())
    assert inside[found.satisfies].all()
    assert set(found.rejected_by) == {
        "normal: skip_connect",
        "normal: sep_conv_3x3",
        "reduce: skip_connect",
        "parameters",
    }
    again = survey(RULES, CIFAR, 500, seed=3)
    assert (again.macs == found.macs).all() and again.share == found.share


def test_fixed_twins_contradict_distinct_predecessors() -> None:
    rules = Constraints(fixed={"normal_node1_edge1": 1, "normal_node1_edge2": 1})
    (problem,) = problems_of(draw, 0, rules, CIFAR)
    assert "normal_node1_edge1 and normal_node1_edge2 must differ" in problem
    assert [pred for _, pred in draw(0, rules, CIFAR, distinct_predecessors=False).normal[:2]] == [1, 1]


# What is broken, in words


def test_every_broken_rule_is_named_with_what_is_there() -> None:
    rules = Constraints.from_mapping({**SPACE, "macs": [None, 5e8], "fixed": {"reduce_node1_edge1": 1}})
    allowed = "allowed max_pool_3x3, skip_connect, sep_conv_3x3, dil_conv_3x3"
    assert rules.broken(genotypes.GRAPHENE, CIFAR) == [
        *(f"operations: normal_node{node} is avg_pool_3x3, {allowed}" for node in NODES_WITH_AVG["normal"]),
        f"operations: reduce_node2_edge1_op is sep_conv_5x5, {allowed}",
        *(f"operations: reduce_node{node} is avg_pool_3x3, {allowed}" for node in NODES_WITH_AVG["reduce"]),
        f"operations: reduce_node4_edge1_op is sep_conv_5x5, {allowed}",
        "fixed: reduce_node1_edge1 is 0, allowed 1",
        "normal: skip_connect 3, allowed 1..2",
        "normal: sep_conv_3x3 0, allowed at least 3",
        "parameters 1,663,030, allowed 2,500,000..4,500,000",
    ]


NODES_WITH_AVG = {
    "normal": ["1_edge1_op", "2_edge1_op", "3_edge1_op", "3_edge2_op", "4_edge1_op"],
    "reduce": ["3_edge1_op", "3_edge2_op"],
}


def test_cells_of_five_nodes_can_be_checked_too() -> None:
    rules = Constraints(operations=ALL_OPERATIONS, normal={"avg_pool_3x3": Range(None, 2)})
    assert rules.broken(genotypes.NASNET, CIFAR) == ["normal: avg_pool_3x3 3, allowed at most 2"]


# Reading


def test_a_yaml_is_read() -> None:
    assert Constraints.from_mapping(SPACE) == Constraints(
        operations=("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"),
        normal={"skip_connect": Range(1, 2), "sep_conv_3x3": Range(3, None)},
        reduce={"skip_connect": Range(1, 2)},
        fixed={"normal_node1_edge1_op": "sep_conv_3x3", "normal_node1_edge2_op": "sep_conv_3x3"},
        parameters=Range(2_500_000, 4_500_000),
    )
    assert Constraints.from_mapping({}) == Constraints.from_mapping({"fixed": None}) == Constraints()


def test_a_master_that_delivers_whole_numbers_as_floats_changes_nothing() -> None:
    floats = {**SPACE, "normal": {"skip_connect": [1.0, 2.0]}, "fixed": {"normal_node3_edge2": 2.0}}
    whole = {**SPACE, "normal": {"skip_connect": [1, 2]}, "fixed": {"normal_node3_edge2": 2}}
    rules = Constraints.from_mapping(floats)
    assert rules == Constraints.from_mapping(whole)
    assert draw(1, rules, CIFAR) == draw(1, Constraints.from_mapping(whole), CIFAR)
    assert type(draw(1, rules, CIFAR).normal[5][1]) is int and draw(1, rules, CIFAR).normal[5][1] == 2


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"paramters": [1, 2]}, ".paramters is no rule; did you mean parameters"),
        ({"operations": ["skip_conect"]}, ".operations 'skip_conect' is not an operation; did you mean skip_connect?"),
        ({"operations": []}, ".operations must be a list of operations, got []"),
        ({"operations": "none"}, ".operations must be a list of operations, got 'none'"),
        ({"operations": ["none", "none"]}, ".operations must name each operation once, got none twice"),
        ({"operations": [["none"]]}, ".operations ['none'] is not an operation"),
        ({"normal": {"sep_conv_33": [1, 2]}}, ".normal.sep_conv_33 is not an operation; did you mean sep_conv_3x3"),
        ({"normal": [1, 2]}, ".normal must be a mapping like {skip_connect: [1, 2]}, got [1, 2]"),
        ({"reduce": {"none": 2}}, ".reduce.none must be [lowest, highest] with null for an open end, got 2"),
        ({"reduce": {"none": [1]}}, ".reduce.none must be [lowest, highest] with null for an open end, got [1]"),
        ({"reduce": {"none": [3, 1]}}, ".reduce.none.low must be at most high, got 3 and 1"),
        ({"reduce": {"none": [-1, 1]}}, ".reduce.none.low must be at least 0, got -1"),
        ({"parameters": [True, None]}, ".parameters.low must be a number or null, got true"),
        ({"parameters": ["2e6", None]}, ".parameters.low must be a number"),
        ({"macs": [0, float("nan")]}, ".macs.high must be a finite number or null, got nan"),
        ({"fixed": ["none"]}, ".fixed must be a mapping like {normal_node1_edge1_op: sep_conv_3x3}, got ['none']"),
        ({"fixed": {"normal_node5_edge1": 0}}, ".fixed.normal_node5_edge1 is no edge; did you mean"),
        ({"fixed": {"normal_node2_edge1": 3}}, ".fixed.normal_node2_edge1 must be 0..2, got 3"),
        ({"fixed": {"normal_node2_edge1_op": 3}}, ".fixed.normal_node2_edge1_op 3 is not an operation"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named(mapping: dict[str, Any], problem: str) -> None:
    (found,) = problems_of(Constraints.from_mapping, mapping)
    assert found.startswith(f"hyperparameters.constraints{problem}")


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"operations": ["none"], "normal": {"none": [1, 7]}}, ".normal must allow 8 edges, got rules that allow 7"),
        (
            {"normal": {"avg_pool_3x3": [5, 8], "skip_connect": [4, 8]}},
            ".normal must leave room for 8 edges, got rules that need 9",
        ),
        ({"operations": ["none"], "reduce": {"skip_connect": [1, 2]}}, ".reduce.skip_connect must be 1..2, but"),
        ({"fixed": {"normal_node1_edge1_op": "none"}}, ".fixed: none in the normal cell must be among the operations"),
        (
            {"reduce": {"skip_connect": [0, 0]}, "fixed": {"reduce_node1_edge1_op": "skip_connect"}},
            ".reduce.skip_connect must be 0, but 1 are fixed",
        ),
    ],
)
def test_rules_that_contradict_are_refused(mapping: dict[str, Any], problem: str) -> None:
    (found,) = problems_of(Constraints.from_mapping, mapping)
    assert found.startswith(f"hyperparameters.constraints{problem}")


def test_every_problem_is_named_at_once() -> None:
    problems = problems_of(
        Constraints.from_mapping, {"rule": 1, "macs": 3, "normal": {"x": [1, 2]}, "fixed": {"normal_node1_edge1": 9}}
    )
    assert len(problems) == 4
    assert problems_of(Constraints.from_mapping, [1]) == [
        "hyperparameters.constraints must be a mapping of rules, got [1]"
    ]


RANGES = st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)).map(list)


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    st.dictionaries(st.sampled_from(NAMES), RANGES),
    st.lists(st.sampled_from(NAMES), max_size=8),
)
@settings(max_examples=300)
def test_rules_on_operations_are_refused_exactly_if_no_cell_keeps_them(
    operations: list[str], ranges: dict[str, list[int | None]], fixed: list[str]
) -> None:
    """Against all ways to fill a cell, as multisets."""

    def kept(names: list[str]) -> bool:
        return all((low or 0) <= names.count(n) <= (9 if high is None else high) for n, (low, high) in ranges.items())

    fills = [
        [*fixed, *("none",) * a, *("skip_connect",) * b, *("sep_conv_3x3",) * (8 - len(fixed) - a - b)]
        for a in range(9 - len(fixed))
        for b in range(9 - len(fixed) - a)
    ]
    possible = any(kept(fill) and {*fill} <= {*operations} for fill in fills)
    positions = [f"normal_node{i // 2 + 1}_edge{i % 2 + 1}_op" for i in range(8)]
    mapping = {"operations": operations, "normal": ranges, "fixed": dict(zip(positions, fixed, strict=False))}
    if possible:
        assert Constraints.from_mapping(mapping).normal.keys() == ranges.keys()
    else:
        assert problems_of(Constraints.from_mapping, mapping)

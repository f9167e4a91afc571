"""Spaces of other cells (one activation, a fixed topology, several numbers of nodes and sizes), against all of their cells."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from support.strategy_suite import seeded

from nas.core.relaxation import Paths, Relaxation
from one_shot.cell_tokens import CellTokens
from one_shot.controller import Attention, Controller, Heads
from one_shot.random_search import draw
from one_shot.reinforce import objective, with_entropy
from randomNAS_files.architecture import Genotype
from randomNAS_files.outputs import with_output
from randomNAS_files.relaxation import CELL
from randomNAS_files.space import RecurrentSpace

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
SPACES: dict[str, dict[str, Any]] = {
    "all": {"nodes": 2},
    "one activation": {"nodes": 3, "one_activation": True},
    "chain": {"nodes": 3, "topology": "chain"},
    "tree": {"nodes": 3, "topology": "tree"},
    "one activation in a tree": {"nodes": 3, "one_activation": True, "topology": "tree"},
    "1 to 2 nodes": {"nodes": 2, "least": 1, "output": "loose_ends"},
    "1 to 3 nodes, one activation": {"nodes": 3, "least": 1, "one_activation": True},
    "2 to 3 nodes in a chain": {"nodes": 3, "least": 2, "topology": "chain"},
    "1 to 4 nodes, one activation in a chain": {"nodes": 4, "least": 1, "topology": "chain", "one_activation": True},
    "two sizes": {"nodes": 2, "sizes": (3, 5)},
    "three sizes, 1 to 2 nodes": {"nodes": 2, "least": 1, "sizes": (2, 3, 5)},
}
COUNTS = (4 * 8, 4 * 6, 64, 64, 4, 4 + 32, 4 * (1 + 2 + 6), 16 + 64, 4 * 4, 2 * 32, 3 * (4 + 32))
KINDS = [Heads, Attention]


pytestmark = pytest.mark.usefixtures("double_precision")


def every_cell(given: Mapping[str, Any]) -> Iterator[Genotype]:
    """Of all cells those that obey, node by node."""
    for nodes in range(given.get("least", given["nodes"]), given["nodes"] + 1):
        names = itertools.product(ACTIVATIONS, repeat=nodes)
        preds = list(itertools.product(*(range(i) for i in range(1, nodes + 1))))
        for name, pred in itertools.product(names, preds):
            if given.get("one_activation") and len(set(name)) > 1:
                continue
            wanted = {"chain": (0, 1, 2, 3), "tree": (0, 0, 1, 1), None: pred}[given.get("topology")]
            if pred == tuple(wanted[:nodes]):
                cell = Genotype(tuple(zip(name, pred, strict=True)))
                yield with_output(cell, given.get("output", "all"))


def space(name: str) -> tuple[RecurrentSpace, list[Paths], Relaxation]:
    """A space and all paths in it."""
    made, found = RecurrentSpace(**SPACES[name]), list[Paths]()
    for cell in every_cell(SPACES[name]):
        assert made.genotype_of(made.paths_of(cell)) == cell
        if made.sizes:
            found += [{CELL: made.paths_of(cell)[CELL], "hidden": ((k,),)} for k in range(len(made.sizes))]
        else:
            found.append(made.paths_of(cell))
    return made, found, made.relaxation


def key(paths: Paths) -> tuple[Any, ...]:
    return tuple(sorted(paths.items()))


def controller(tokens: CellTokens, kind: type[Controller]) -> Controller:
    """One that is far from uniform."""
    made = kind(tokens.decisions, 6, seeded(0))
    for parameter in made.parameters():
        parameter.data.mul_(30)
    return made


def uniform(found: Counter[Any], expected: Mapping[Any, float]) -> None:
    """By the chi-squared test."""
    assert set(found) <= set(expected)
    chi_squared = sum((found[each] - mean) ** 2 / mean for each, mean in expected.items())
    assert chi_squared < len(expected) - 1 + 5 * math.sqrt(2 * len(expected))


@pytest.mark.parametrize(("name", "count"), list(zip(SPACES, COUNTS, strict=True)))
def test_tokens_paths_and_genotypes_of_all_cells(name: str, count: int) -> None:
    _, every, relaxation = space(name)
    tokens = CellTokens(relaxation)
    found = set()
    for paths in every:
        assert tokens.paths_of(tokens.cell_of(paths)) == paths
        assert len(tokens.cell_of(paths)) == len(tokens.decisions)
        found.add(tuple(tokens.cell_of(paths)))
    assert len(found) == len(every) == math.prod(each.count() for each in relaxation.values()) == count


def test_what_is_no_choice_is_no_decision() -> None:
    def decisions(**given: Any) -> list[tuple[str, int]]:
        found = CellTokens(RecurrentSpace(**given).relaxation).decisions
        return [(each.kind, each.options) for each in found]

    act = ("activation", 4)
    assert decisions(nodes=3) == [act, ("predecessor", 2), act, ("predecessor", 3), act]
    assert decisions(nodes=3, one_activation=True) == [act, ("predecessor", 2), ("predecessor", 3)]
    assert decisions(nodes=3, topology="chain") == [act, act, act]
    assert decisions(nodes=30, topology="tree", one_activation=True) == [act]
    assert decisions(nodes=2, least=1) == [("nodes", 2), act, ("predecessor", 2), act]
    assert decisions(nodes=2, least=1, sizes=(4, 8, 16))[:3] == [("nodes", 2), ("size", 3), act]
    labels = [each.label for each in CellTokens(RecurrentSpace(2, least=1, sizes=(4, 8)).relaxation).decisions]
    assert labels == ["nodes", "size", "activation 1", "reads 2", "activation 2"]
    largest = RecurrentSpace(2, sizes=(4, 8)).paths_of(Genotype((("tanh", 0),) * 2))
    assert RecurrentSpace(2, sizes=(4, 8)).beside(largest) == {"hidden": 8} and not RecurrentSpace(2).beside(largest)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPACES)
def test_probabilities_sum_to_one_draws_follow_them_and_entropies_add_up(name: str, kind: type[Controller]) -> None:
    _, cells, relaxation = space(name)
    tokens = CellTokens(relaxation)
    policy, numbers = controller(tokens, kind), torch.tensor([tokens.cell_of(paths) for paths in cells])
    log_probs, entropies = (each.detach() for each in policy(numbers))
    probabilities = log_probs.sum(1).exp()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-12)
    assert float(probabilities.max()) > 1.3 / len(cells), "it is far from uniform"
    exact = -float((probabilities * log_probs.sum(1)).sum())
    assert float((probabilities * entropies.sum(1)).sum()) == pytest.approx(exact, abs=1e-12)
    drawn = Counter(map(tuple, policy.draw(3000, seeded(1)).tolist()))
    shares = [3000 * p for p in probabilities.tolist()]
    uniform(drawn, dict(zip(map(tuple, numbers.tolist()), shares, strict=True)))


@pytest.mark.parametrize("kind", KINDS)
def test_decisions_of_nodes_that_a_cell_does_not_have_are_not_taken(kind: type[Controller]) -> None:
    """Log pi and entropy are 0 there, and what the first decision says is learned."""
    tokens = CellTokens(RecurrentSpace(4, least=2).relaxation)
    policy = controller(tokens, kind)
    cells = policy.draw(200, seeded(0))
    log_probs, entropies = (each.detach() for each in policy(cells))
    nodes = 2 + cells[:, 0]
    assert set(nodes.tolist()) == {2, 3, 4}
    for column, decision in enumerate(policy.decisions):
        there = torch.ones_like(nodes, dtype=torch.bool) if column == 0 else decision.node < nodes
        assert bool((log_probs[there, column] < 0).all()) and bool((entropies[there, column] > 0).all())
        for values in (cells, log_probs, entropies):
            assert not values[~there, column].any()
    (gradient,) = torch.autograd.grad(policy(cells)[0][:, 0].sum(), [policy.cell.bias_ih])
    assert bool(gradient.any())
    parameters = list(policy.parameters())
    found = torch.autograd.grad(policy(cells)[0].sum(), parameters, allow_unused=True)
    assert all(each is None or bool(each.isfinite().all()) for each in found)


@pytest.mark.parametrize("entropy", ["gradient", "reward"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["1 to 3 nodes, one activation", "three sizes, 1 to 2 nodes"])
def test_the_expected_gradient_is_that_of_expected_reward_and_entropy(
    name: str, kind: type[Controller], entropy: str
) -> None:
    _, cells, relaxation = space(name)
    tokens, weight = CellTokens(relaxation), 0.3
    policy, numbers = controller(tokens, kind), torch.tensor([tokens.cell_of(paths) for paths in cells])
    rewards = torch.randn(len(cells), generator=seeded(7))
    parameters = list(policy.parameters())

    def gradient(value: torch.Tensor) -> torch.Tensor:
        found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        return torch.cat([(p * 0 if g is None else g).flatten() for g, p in zip(found, parameters, strict=True)])

    log_probs, entropies = policy(numbers)
    probabilities = log_probs.sum(1).exp()
    exact = gradient((probabilities * (rewards - weight * log_probs.sum(1))).sum())
    expected = torch.zeros_like(exact)
    for k in range(len(cells)):
        one = slice(k, k + 1)
        scored = with_entropy(rewards[one], log_probs[one], weight, entropy) - 0.7
        drawn = objective(log_probs[one], entropies[one], scored, weight, entropy)
        expected += probabilities[k].detach() * gradient(drawn)
    assert float(exact.norm()) > 1e-3 and float((expected - exact).abs().max()) < 1e-10


@pytest.mark.parametrize("name", SPACES)
def test_uniform_search_draws_all_cells_of_a_number_of_nodes_alike(name: str) -> None:
    made, every, relaxation = space(name)
    cells = {key(paths): made.genotype_of(paths) for paths in every}
    counts = Counter(len(cell.recurrent) for cell in cells.values())
    expected = {paths: 1000 / len(counts) / counts[len(cell.recurrent)] for paths, cell in cells.items()}
    generator, sizes = seeded(5), max(1, len(made.sizes))
    uniform(Counter(key(draw(relaxation, generator)) for _ in range(1000)), expected)
    uniform(Counter(map(made.sample, range(1000))), {cell: sizes * expected[paths] for paths, cell in cells.items()})


def test_it_says_which_cells_are_drawn() -> None:
    assert RecurrentSpace().scope == "recurrent 36 edges x 5 operations"
    assert RecurrentSpace().relaxation[CELL].count() == 4**8 * math.factorial(8)
    assert RecurrentSpace(topology="chain").scope.endswith("; drawn: a chain, 65,536 cells")
    both = RecurrentSpace(8, least=3, one_activation=True)
    count = sum(4 * math.factorial(nodes) for nodes in range(3, 9))
    assert both.scope.endswith(f"; drawn: 3 to 8 nodes, one activation a cell, {count:,} cells")
    assert RecurrentSpace(sizes=(64, 200)).scope == "recurrent 36 edges x 5 operations; hidden size 64, 200"

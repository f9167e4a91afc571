"""Selection by perturbation finds what matters, and only that."""

from __future__ import annotations

import torch

from nas.core.arch_weights import ArchWeights
from nas.core.relaxation import complete_cell, derive
from one_shot.selection import select_by_perturbation

RELAXATION = {"cell": complete_cell(2, 2, ("none", "a", "b"), kept=2)}
EDGES = len(RELAXATION["cell"].edges)


def select(loss, table=None):
    mixture = ArchWeights({"cell": torch.full((EDGES, 3), 1 / 3) if table is None else table})
    calls: list[int] = []

    def score(entrants):
        calls.append(len(entrants))
        return [float(loss(each.operations["cell"])) for each in entrants]

    return select_by_perturbation(RELAXATION, mixture, score, torch.Generator().manual_seed(0)), calls


def test_the_operation_whose_removal_costs_most_stays_whatever_its_weight() -> None:
    """The weights favour "a" everywhere, the loss needs "b" on every edge, and edges 1, 2 and 4 most."""
    table = torch.tensor([[0.1, 0.8, 0.1]] * EDGES)
    worth = torch.tensor([1.0, 9.0, 8.0, 1.0, 7.0])
    found, calls = select(lambda w: -(worth * w[:, 2]).sum(), table)
    assert found == {"cell": ((2,), (2,), (2,), (), (2,))}
    assert calls == [2] * EDGES + [2, 3]  # an edge at a time, then a node at a time
    by_weight = derive(RELAXATION, {"cell": table.tolist()})
    assert all(path in ((), (1,)) for path in by_weight["cell"])


def test_equal_losses_are_broken_by_the_lower_number() -> None:
    found, _ = select(lambda w: 0.0)
    assert found == {"cell": ((1,), (1,), (1,), (1,), ())}


def test_a_loss_that_is_no_number_counts_as_the_highest() -> None:
    found, _ = select(lambda w: float("nan") if w[3, 2] == 0 else 0.0)
    assert found["cell"][3] == (2,)


def test_scores_are_of_the_weights_decided_so_far() -> None:
    seen: list[torch.Tensor] = []

    def loss(w: torch.Tensor) -> float:
        seen.append(w.clone())
        return 0.0

    select(loss)
    last = seen[-3:]  # the three edges of the second node, each without one of them
    assert [int((table.sum(1) == 0).sum()) for table in last] == [1, 1, 1]
    assert all(set(table.unique().tolist()) == {0.0, 1.0} for table in last)
    assert len({tuple(table.flatten().tolist()) for table in last}) == 3

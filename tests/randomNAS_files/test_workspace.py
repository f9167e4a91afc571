"""The memory of the fast recurrent form: one arena for any cell, length and number of columns."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import pytest
import torch
from support.recurrent import CELLS, HIDDEN, build_cell, fast_cell, normal

from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.fast.model import FastRecurrentCell
from randomNAS_files.fast.plan import plan_of
from randomNAS_files.fast.workspace import Arena, Layout, WorkspacePool
from randomNAS_files.model import RecurrentCell

TIME, COLUMNS, NODES, DOUBLE = 6, 3, 8, 8


def inputs(time: int = TIME, columns: int = COLUMNS, masked: bool = True) -> tuple[torch.Tensor | None, ...]:
    masks = [normal(columns, HIDDEN, seed=seed) for seed in (6, 7)] if masked else [None, None]
    return normal(time, columns, HIDDEN).requires_grad_(), normal(columns, HIDDEN, seed=2), *masks


def train(cell: RecurrentCell, genotype: Genotype, *what: int, masked: bool = True) -> list[torch.Tensor]:
    """The outputs and the gradient of x."""
    given = inputs(*what, masked=masked)
    outputs, _ = cell(*given, genotype=genotype)
    return [outputs, *torch.autograd.grad(outputs.square().sum(), [given[0]])]


def most_bytes(steps: int = TIME, columns: int = COLUMNS) -> int:
    """Of any cell: a group each for all nodes and the initial state, each with a state, two gates and what it read."""
    states = NODES + 1
    rows = (steps + 1) + states * steps + 2 * states * steps + states * steps + 3 * steps
    parts = 5 + 2 * states
    return (rows * columns * HIDDEN + 64 * parts) * DOUBLE


def small(cell: RecurrentCell) -> FastRecurrentCell:
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(0.3)
    return fast_cell(cell)


def test_a_new_genotype_every_step_takes_no_new_memory() -> None:
    cell = small(build_cell(CELLS["ASHA"]))
    held, places = [], []
    for seed in range(40):
        train(cell, sample(seed))
        (arena,) = cell._workspaces._free
        held.append(cell._workspaces.nbytes)
        places.append(arena.memory.data_ptr())
    needed = [Layout(plan_of(sample(seed), "tanh"), HIDDEN, COLUMNS, True).numbers(TIME) * DOUBLE for seed in range(40)]
    assert held == [max(needed[: k + 1]) for k in range(40)]  # what the largest one needed, and once
    assert max(held) <= most_bytes()
    grown = sum(later > earlier for earlier, later in pairwise(held))
    assert grown < 8 and all(held[k] > held[k - 1] for k in range(1, 40) if places[k] != places[k - 1])


def test_all_that_a_workspace_needs_is_in_its_arena_and_nothing_overlaps() -> None:
    for name, genotype in CELLS.items():
        layout = Layout(plan_of(genotype, "tanh"), HIDDEN, COLUMNS, True)
        arena = Arena(layout.numbers(TIME), normal(1))
        assert arena.lay_out(layout, TIME), name
        space, memory = arena.space, arena.memory
        sources = [source for source in space.sources if source is not None]
        parts = [space.outputs, space.states, *space.gates, *sources, *space.turned]
        memory.zero_()
        for part in parts:
            assert part.untyped_storage().data_ptr() == memory.untyped_storage().data_ptr()
            assert part.storage_offset() % 64 == 0
            part.add_(1)
        assert memory.max() == 1 and memory.sum() == sum(part.numel() for part in parts)
        assert not Arena(layout.numbers(TIME) - 1, normal(1)).lay_out(layout, TIME)


def test_lengths_columns_masks_and_cells_in_turn_compute_what_the_plain_form_does() -> None:
    plain = build_cell(CELLS["DARTS_V2"])
    cell = small(plain)
    cases = [
        (genotype, time, columns, masked)
        for genotype in (
            sample(1),
            Genotype(CELLS["with_none"].recurrent),
            Genotype((("none", 0), ("tanh", 0), ("relu", 1)), (1, 2, 3)),
            sample(2),
            CELLS["partial"],
        )
        for time, columns in ((6, 3), (2, 1), (9, 2))
        for masked in (True, False)
    ]
    for case in (*cases, *reversed(cases), *cases[::7]):
        genotype, time, columns, masked = case
        for ours, theirs in zip(
            *(train(form, genotype, time, columns, masked=masked) for form in (cell, plain)), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    assert len(cell._workspaces._free) == 1 and cell._workspaces.nbytes <= most_bytes(9, 3)


def test_an_arena_that_is_too_small_is_freed_at_once() -> None:
    pool, plan = WorkspacePool(), plan_of(CELLS["ASHA"], "tanh")
    pool.release(pool.acquire(Layout(plan, HIDDEN, COLUMNS, True), 2, normal(1)))
    (arena,) = pool._free
    gone = weakref.ref(arena)
    del arena
    gc.disable()
    try:
        pool.acquire(Layout(plan, HIDDEN, COLUMNS, True), 20, normal(1))
        assert gone() is None and pool.nbytes == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("waiting", [1, 2, 5])
def test_passes_that_wait_have_memory_of_their_own_and_two_are_kept(waiting: int) -> None:
    plain = build_cell(CELLS["ASHA"])
    cell = small(plain)
    found = []
    for form in (plain, cell):
        x, *rest = inputs()
        total = sum(form(x * (k + 1), *rest, genotype=sample(k))[0].square().sum() for k in range(waiting))
        found.append(torch.autograd.grad(total, [x])[0])  # type: ignore[arg-type]
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-10)
    assert len(cell._workspaces._free) == min(waiting, 2)


def test_another_type_gets_memory_of_its_type_and_the_old_one_is_freed() -> None:
    cell = small(build_cell(CELLS["ASHA"]))
    train(cell, sample(0))
    single = cell.float()
    outputs, _ = single(*(part if part is None else part.float() for part in inputs()))
    outputs.sum().backward()
    assert [arena.memory.dtype for arena in cell._workspaces._free] == [torch.float32]

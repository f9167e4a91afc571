"""The fast supernet against the plain one, in float64: values, all gradients, several passes, and what it refuses."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.relaxation import Path
from randomNAS_files import scoring
from randomNAS_files.architecture import NODES, Genotype, sample
from randomNAS_files.fast import column_sparse, decoder, supernet
from randomNAS_files.fast import scoring as fast_scoring
from randomNAS_files.fast.blocks import blocks_of, stretches
from randomNAS_files.fast.mixture import Mixture
from randomNAS_files.fast.once import ONCE
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.genotypes import DARTS_V2
from randomNAS_files.model import ModelConfig, Output, activation_penalty
from randomNAS_files.relaxation import CELL, RELAXATION, paths_of
from randomNAS_files.slices import IGNORED, Columns
from randomNAS_files.supernet import Supernet, SupernetConfig

WORDS, COLUMNS, LENGTH, HIDDEN = 11, 5, 4, 6
EDGES, KINDS = 36, 5
WITH_NONE = Genotype((*((("tanh", 0),) * (NODES - 2)), ("none", 0), ("relu", 7)))


def config(depth: int = 1, init_op: str = "tanh", dropout: float = 0.3) -> ModelConfig:
    rates = (0.3, 0.2, 0.25, 0.1, 0.1) if dropout else (0.0,) * 5
    return ModelConfig(HIDDEN, HIDDEN, HIDDEN, depth, *rates, init_op)


def both(state_norm: bool, depth: int = 1, init_op: str = "tanh") -> tuple[Supernet, FastSupernet]:
    nets = [
        kind(config(depth, init_op), WORDS, torch.Generator().manual_seed(1), SupernetConfig(state_norm)).double()
        for kind in (Supernet, FastSupernet)
    ]
    with torch.no_grad():
        for weight in nets[0].parameters():
            weight.mul_(20)  # at 0.04 a cell is nearly linear
    nets[1].load_state_dict(nets[0].state_dict())
    return nets[0], nets[1]  # type: ignore[return-value]


def uniform(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sparse_path(seed: int, share: float) -> Path:
    """Some operations on some edges."""
    keep = uniform(EDGES, KINDS, seed=seed) < share
    return tuple(tuple(k for k in range(KINDS) if keep[edge, k]) for edge in range(EDGES))


def cases() -> dict[str, ArchWeights]:
    p = {CELL: uniform(EDGES, KINDS, seed=8).requires_grad_()}
    e = {CELL: uniform(EDGES, seed=9).requires_grad_()}
    one = paths_of(DARTS_V2)
    return {
        "mixture": ArchWeights(p),
        "mixture with edges": ArchWeights(p, e),
        "edges alone": ArchWeights(None, e),
        "everything counts 1": ArchWeights(),
        "one cell": one_path(one),
        "one cell with none": one_path(paths_of(WITH_NONE)),
        "one cell of nothing": one_path(paths_of(Genotype((("none", 0),) * NODES))),
        "one cell with weights": ArchWeights(p, paths=one),
        "one cell with edges": ArchWeights(None, e, one),
        "half of it": ArchWeights(p, e, {CELL: sparse_path(1, 0.5)}),
        "little of it": ArchWeights(p, None, {CELL: sparse_path(2, 0.1)}),
        "little of it, unscaled": ArchWeights(paths={CELL: sparse_path(3, 0.2)}),
        "nothing": ArchWeights(p, e, {CELL: ((),) * EDGES}),
        "constants": ArchWeights(p, e).detach(),
        "hard": ArchWeights({CELL: p[CELL]}, None, paths_of(sample(3))),
    }


NAMES = list(cases())


class Passes:
    """Forward passes of one net, each with words, masks and weights of its own."""

    def __init__(self, net: Supernet, weights: ArchWeights, targets: bool = True) -> None:
        self.net, self.weights, self.targets, self.count = net, weights, targets, 0

    def run(self, hidden: list[torch.Tensor] | None = None, weights: ArchWeights | None = None) -> Output:
        self.count += 1
        generator = torch.Generator().manual_seed(self.count)
        words, targets = (torch.randint(WORDS, (LENGTH, COLUMNS), generator=generator) for _ in range(2))
        targets[2, 1] = IGNORED
        masks = self.net.draw_masks(generator, COLUMNS, slice(0, COLUMNS)) if self.count % 3 else None
        start = self.net.initial_state(COLUMNS) if hidden is None else hidden
        output = self.net(words, start, weights or self.weights, masks, targets if self.targets else None)
        loss = output.logits.square().sum() if output.loss is None else output.loss
        return output._replace(loss=loss + activation_penalty(output, 2.0, 1.0))

    def leaves(self) -> list[torch.Tensor]:
        return [*self.net.parameters(), *(each for each in self.weights.tensors() if each.requires_grad)]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert (ours is None) == (theirs is None), i
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10, msg=lambda text, i=i: f"{i}: {text}")


def against_plain(
    nets: tuple[Supernet, Supernet], weights: ArchWeights, run: Callable[[Passes], list[Any]], targets: bool = True
) -> None:
    expected, found = (run(Passes(net, weights, targets)) for net in nets)
    assert_same(found, expected)


def all_of_a_pass(passes: Passes) -> list[Any]:
    output = passes.run()
    grads = torch.autograd.grad(output.loss, passes.leaves(), allow_unused=True)
    return [output.loss, *output.hidden, output.states, output.dropped, *grads]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state_norm", [False, True])
def test_values_and_gradients_are_those_of_the_plain_form(name: str, state_norm: bool) -> None:
    against_plain(both(state_norm), cases()[name], all_of_a_pass)


@pytest.mark.parametrize("name", ["mixture with edges", "half of it", "one cell"])
@pytest.mark.parametrize("init_op", ["relu", "sigmoid", "identity"])
def test_of_two_layers_and_every_initial_activation(name: str, init_op: str) -> None:
    for targets in (True, False):
        against_plain(both(True, 2, init_op), cases()[name], all_of_a_pass, targets)


def carried(passes: Passes) -> list[Any]:
    """The state goes on, with its gradient, from pass to pass, and one has no masks."""
    total, hidden = torch.zeros((), dtype=torch.float64), None
    for i in range(3):
        output = passes.run(hidden)
        hidden, total = output.hidden, total + (i + 1) * output.loss
    return list(torch.autograd.grad(total, passes.leaves(), allow_unused=True))


def in_another_order(passes: Passes) -> list[Any]:
    first, second = passes.run().loss, passes.run().loss
    second.backward()
    first.backward()
    grads = [leaf.grad for leaf in passes.leaves()]
    for leaf in passes.leaves():
        leaf.grad = None
    return grads


def architecture_alone(passes: Passes) -> list[Any]:
    loss = passes.run().loss + passes.run().loss
    return list(torch.autograd.grad(loss, passes.weights.tensors(), allow_unused=True))


def other_weights_between(passes: Passes) -> list[Any]:
    total = passes.run().loss + passes.run(weights=one_path(paths_of(DARTS_V2))).loss
    total = total + passes.run(weights=ArchWeights(paths={CELL: sparse_path(6, 0.4)})).loss
    return list(torch.autograd.grad(total, passes.leaves(), allow_unused=True))


def of_the_first_state(passes: Passes) -> list[Any]:
    start = [uniform(COLUMNS, HIDDEN, seed=4).requires_grad_()]
    return list(torch.autograd.grad(passes.run(start).loss, start))


@pytest.mark.parametrize("name", ["mixture with edges", "half of it"])
@pytest.mark.parametrize("state_norm", [False, True])
@pytest.mark.parametrize(
    "run", [carried, in_another_order, architecture_alone, other_weights_between, of_the_first_state]
)
def test_several_passes(run: Callable[[Passes], list[Any]], state_norm: bool, name: str) -> None:
    against_plain(both(state_norm), cases()[name], run)


@pytest.mark.parametrize("columns", [True, False])
def test_both_ways_of_decoding(columns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (column_sparse, decoder):
        monkeypatch.setattr(module, "gathering_pays", lambda *_: columns)
    for name in ("mixture", "constants"):
        against_plain(both(True), cases()[name], all_of_a_pass)


@pytest.mark.parametrize("state_norm", [False, True])
def test_the_architectures_gradient_has_the_slope_of_finite_differences(state_norm: bool) -> None:
    net = both(state_norm)[1]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.3)
    weights = cases()["mixture with edges"]
    tensors = weights.tensors()
    grads = torch.autograd.grad(Passes(net, weights).run().loss, tensors)
    directions = [uniform(*each.shape, seed=i) - 0.5 for i, each in enumerate(tensors)]
    moved = [
        Passes(net, weights.with_tensors([x + s * d for x, d in zip(tensors, directions, strict=True)])).run().loss
        for s in (1e-6, -1e-6)
    ]
    slope = sum((grad * d).sum() for grad, d in zip(grads, directions, strict=True))
    assert slope.item() == pytest.approx((moved[0] - moved[1]).item() / 2e-6, rel=1e-6)


@pytest.mark.parametrize("name", ["mixture", "one cell", "constants"])
@pytest.mark.parametrize("targets", [True, False])
def test_a_second_derivative_is_refused(name: str, targets: bool) -> None:
    passes = Passes(both(False)[1], cases()[name], targets)
    with pytest.raises(RuntimeError, match="can be differentiated once only"):
        torch.autograd.grad(passes.run().loss, passes.leaves(), create_graph=True, allow_unused=True)


@pytest.mark.parametrize("name", ["mixture", "constants"])
def test_a_kept_graph_gives_its_gradients_once(name: str) -> None:
    passes = Passes(both(True)[1], cases()[name])
    loss = passes.run().loss
    torch.autograd.grad(loss, passes.leaves(), retain_graph=True)
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(loss, passes.leaves())
    assert "once only" in ONCE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("state_norm", [False, True])
def test_evaluation_is_that_of_the_plain_form_and_keeps_nothing(name: str, state_norm: bool) -> None:
    expected, found = (Passes(net, cases()[name]) for net in both(state_norm))
    saved: list[torch.Tensor] = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x)
    with torch.no_grad(), hooks:
        ours, theirs = found.run(), expected.run()
    assert_same([ours.loss, ours.states, *ours.hidden], [theirs.loss, theirs.states, *theirs.hidden])
    assert not saved and not ours.states.requires_grad


def test_what_does_not_run_gets_no_gradient_at_all() -> None:
    """Not even zeros, which a decay would move."""
    path = list(paths_of(DARTS_V2)[CELL])
    for edge in RELAXATION[CELL].entering(5):
        path[edge] = ()
    for state_norm, weights in (
        (True, one_path({CELL: tuple(path)})),
        (False, one_path({CELL: tuple(path)})),
        (False, one_path(paths_of(WITH_NONE))),
        (True, one_path(paths_of(WITH_NONE))),
    ):
        net = both(state_norm)[1]
        Passes(net, weights).run().loss.backward()
        idle = [i for i, weight in enumerate(net.cells[0].nodes) if weight.grad is None]
        assert idle == ([5] if weights.paths[CELL] == tuple(path) else [6])


def test_architecture_gradients_compute_none_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(both(True)[1], cases()["mixture"])
    asked: list[str] = []
    own = supernet.weight_gradients
    monkeypatch.setattr(supernet, "weight_gradients", lambda *args: asked.append("weights") or own(*args))
    torch.autograd.grad(passes.run().loss, passes.weights.tensors())
    assert not asked
    passes.run().loss.backward()
    assert asked == ["weights"]


@pytest.mark.parametrize("of_architecture", [True, False])
def test_a_state_that_is_carried_on_holds_no_memory_of_the_pass(
    of_architecture: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Mixture]] = []

    class Recorded(Mixture):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self))

    monkeypatch.setattr(supernet, "Mixture", Recorded)
    passes = Passes(both(True)[1], cases()["mixture"])
    output = passes.run()
    assert [each() is not None for each in made] == [True]
    leaves = passes.weights.tensors() if of_architecture else passes.leaves()
    torch.autograd.grad(output.loss, leaves)
    assert output.hidden[0].grad_fn is not None
    assert made[0]() is None


def test_frozen_weights() -> None:
    grads = []
    for net in both(True):
        net.cells[0].nodes[3].requires_grad_(False)
        net.embedding.requires_grad_(False)
        Passes(net, cases()["mixture"].detach()).run().loss.backward()
        grads.append([parameter.grad for parameter in net.parameters()])
    assert_same(grads[1], grads[0])


def test_weights_handed_in() -> None:
    """As a step of the weights that is only tried out does."""
    plain, fast = both(True)
    p = cases()["mixture"]
    found = []
    for net in (plain, fast):
        other = {name: (1.1 * parameter).detach().requires_grad_() for name, parameter in net.named_parameters()}
        words = torch.randint(WORDS, (LENGTH, COLUMNS), generator=torch.Generator().manual_seed(1))
        args = (words, net.initial_state(COLUMNS), p, None, words)
        loss = torch.func.functional_call(net, other, args).loss
        found.append([loss, *torch.autograd.grad(loss, [*other.values(), *p.tensors()])])
    assert_same(found[1], found[0])


def test_one_column_can_not_be_normalised() -> None:
    words = torch.zeros(LENGTH, 1, dtype=torch.int64)
    for net in both(True):
        with pytest.raises(ValueError, match=r"(?i)more than 1 value|at least 2 columns"):
            net(words, net.initial_state(1), ArchWeights())


def test_the_state_dict_is_that_of_the_plain_form() -> None:
    plain, fast = both(False)
    assert list(plain.state_dict()) == list(fast.state_dict())


def test_weights_changed_before_the_backward_pass_are_refused() -> None:
    for name in ("mixture", "constants"):
        passes = Passes(both(True)[1], cases()[name])
        loss = passes.run().loss
        with torch.no_grad():
            passes.net.cells[0].nodes[2].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_half_precision_products_are_near() -> None:
    passes = Passes(both(True)[1].float(), cases()["mixture"])
    exact = passes.run()
    passes.count = 0
    with torch.autocast("cpu", torch.bfloat16):
        found = passes.run()
    found.loss.backward()
    assert found.states.dtype == torch.float32
    torch.testing.assert_close(found.loss, exact.loss, rtol=0.1, atol=0.0)


# --- scores


def columns(count: int = COLUMNS) -> Columns:
    stream = torch.randint(WORDS, (count * 9 - 1,), generator=torch.Generator().manual_seed(7))
    return Columns(stream, count, slice(None), pad=True)


def loss_of_the_stream(net: Supernet, text: Columns, weights: ArchWeights) -> float:
    """In one piece, from the logits."""
    with torch.no_grad():
        logits = net(text.inputs, net.initial_state(text.inputs.size(1)), weights).logits
    counts = text.targets != IGNORED
    chosen = logits.log_softmax(-1).gather(2, text.targets.clamp(min=0)[..., None])[..., 0]
    return float(-chosen[counts].mean())


@pytest.mark.parametrize("score", [scoring.score_cells, fast_scoring.score_cells])
def test_cells_are_scored_as_paths_of_the_supernet(score: Callable[..., list[float]]) -> None:
    cells = [*(sample(seed) for seed in range(6)), DARTS_V2, WITH_NONE]
    plain, fast = both(False)
    expected = [loss_of_the_stream(plain, columns(), one_path(paths_of(cell))) for cell in cells]
    assert len({round(each, 6) for each in expected}) > 4
    for net in (plain, fast):
        assert score(net, columns(), 3, cells) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("state_norm", [False, True])
def test_every_architecture_is_scored(state_norm: bool) -> None:
    nets, architectures = both(state_norm), list(cases().values())
    expected = [loss_of_the_stream(nets[0], columns(), each) for each in architectures]
    for net in nets:
        assert scoring.score_paths(net, columns(), 4, architectures) == pytest.approx(expected, rel=1e-9)
        assert not any(output.requires_grad for output in net.initial_state(2)) and not net.training


def test_the_first_rows_alone_are_scored() -> None:
    text = columns()
    first = columns()
    first.inputs, first.targets = text.inputs[:5], text.targets[:5]
    for net in both(False):
        for name in ("mixture", "one cell"):
            expected = loss_of_the_stream(both(False)[0], first, cases()[name])
            assert scoring.score_paths(net, text, 3, [cases()[name]], rows=5) == pytest.approx([expected], rel=1e-9)
    assert len(text) == 9


def test_single_cells_are_scored_at_once_where_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(fast_scoring, "score_cells", lambda net, text, bptt, cells: asked.append(len(cells)) or [0.0])
    single, mixed = cases()["one cell"], cases()["mixture"].detach()
    scoring.score_paths(both(False)[1], columns(), 3, [single, single])
    assert asked == [2]
    for net, architectures in (
        (both(True)[1], [single]),
        (both(False)[1], [single, mixed]),
        (both(False)[0], [single]),
    ):
        scoring.score_paths(net, columns(), 3, architectures)
    assert asked == [2]


def test_normalised_states_are_not_scored_at_once() -> None:
    with pytest.raises(ValueError, match="score_paths scores them"):
        fast_scoring.score_cells(both(True)[1], columns(), 3, [DARTS_V2])


# --- blocks


def test_stretches() -> None:
    assert stretches([True, True, False, True]) == [(0, 2), (3, 4)]
    assert stretches([False, False]) == [] and stretches([]) == []


def test_everything_is_one_block_a_node() -> None:
    nodes = blocks_of(None, NODES)
    assert [[(block.first, block.last) for block in blocks] for blocks in nodes] == [[(0, i)] for i in range(1, 9)]
    assert all(name != "none" for blocks in nodes for block in blocks for name, _, _ in block.runs)


@pytest.mark.parametrize("seed", range(20))
def test_blocks_hold_what_runs_once(seed: int) -> None:
    path = sparse_path(seed, 0.3)
    found: list[tuple[int, str]] = []
    rows: list[int] = []
    for blocks in blocks_of(path, NODES):
        for block in blocks:
            assert RELAXATION[CELL].edges[block.edge] == (block.node, block.first)
            rows += range(block.row, block.row + len(block))
            found += [(block.edge + i, name) for name, a, b in block.runs for i in range(a, b)]
    names = RELAXATION[CELL].operations
    wanted = [(edge, names[k]) for edge in range(EDGES) for k in path[edge] if names[k] != "none"]
    assert sorted(found) == sorted(wanted)
    assert rows == list(range(len({edge for edge, _ in wanted})))

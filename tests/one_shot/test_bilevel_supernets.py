"""The gradient after a step in the supernets themselves."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.smooth_supernet import differences, relative_error, step_of, stepped_loss
from support.strategy_suite import seeded
from torch import nn

from cnn_nas.relaxation import RELAXATION as CONVOLUTIONAL
from cnn_nas.supernet import Supernet as ConvolutionalSupernet
from cnn_nas.supernet import SupernetConfig as ConvolutionalConfig
from nas.core.arch_weights import ArchWeights
from nas.core.relaxation import Relaxation
from one_shot import bilevel
from one_shot.strategy import Objective, Problem
from randomNAS_files.architecture import ACTIVATIONS
from randomNAS_files.model import ModelConfig
from randomNAS_files.relaxation import CELL
from randomNAS_files.relaxation import RELAXATION as RECURRENT
from randomNAS_files.supernet import Supernet as RecurrentSupernet
from randomNAS_files.supernet import SupernetConfig as RecurrentConfig

WORDS, COLUMNS, LENGTH = 11, 6, 4


def random_weights(relaxation: Relaxation) -> ArchWeights:
    """The relu and the pooling by their largest of no edge count, so that they have no kinks to show."""
    generator, operations = seeded(3), {}
    for kind, shape in relaxation.items():
        table = torch.rand(len(shape.edges), len(shape.operations), generator=generator).double()
        kinks = [k for k, name in enumerate(shape.operations) if name in ("relu", "max_pool_3x3")]
        table[:, kinks] = 0
        operations[kind] = table / table.sum(1, keepdim=True)
    return ArchWeights(operations)


def problem_of(net: nn.Module, train: Objective, valid: Objective) -> Problem:
    parameters = list(net.parameters())
    return Problem(
        train, valid, parameters, replace(step_of(parameters, "all"), learning_rate=0.5), lambda tensors: None
    )


def recurrent(state_norm: bool = True) -> tuple[Problem, ArchWeights]:
    config = ModelConfig(5, 5, 5, 1, 0.3, 0.2, 0.25, 0.1, 0.1)
    net = RecurrentSupernet(config, WORDS, seeded(1), RecurrentConfig(state_norm)).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(10)

    def objective(seed: int) -> Objective:
        tokens, targets = (torch.randint(WORDS, (LENGTH, COLUMNS), generator=seeded(seed + k)) for k in (0, 1))
        masks = net.draw_masks(seeded(seed), COLUMNS, slice(0, COLUMNS))
        hidden = net.initial_state(COLUMNS)

        def loss(weights: ArchWeights) -> torch.Tensor:
            found = net(tokens, hidden, weights, masks, targets).loss
            return found / targets.numel()

        return loss

    return problem_of(net, objective(10), objective(20)), random_weights(RECURRENT)


def convolutional(smooth: bool) -> tuple[Problem, ArchWeights]:
    net = ConvolutionalSupernet(ConvolutionalConfig(2, 2), 3, 2, seeded(1)).double()
    if smooth:
        without_kinks(net)

    def objective(seed: int) -> Objective:
        images = torch.randn(6, 2, 8, 8, generator=seeded(seed)).double()
        classes = torch.randint(3, (6,), generator=seeded(seed))
        return lambda weights: F.cross_entropy(net(images, weights).logits, classes)

    return problem_of(net, objective(10), objective(20)), random_weights(CONVOLUTIONAL)


def without_kinks(module: nn.Module) -> None:
    """Softplus in place of every ReLU, means in place of maxima."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus())
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
        else:
            without_kinks(child)


CASES: dict[str, Callable[[], tuple[Problem, ArchWeights]]] = {
    "recurrent": recurrent,
    "recurrent without norm": lambda: recurrent(False),
    "convolutional": lambda: convolutional(smooth=True),
}
WHOLE = {"unrolled": 1e-5, "exact": 1e-9}
IMPLICIT = {"unrolled": 1e-4, "exact": 1e-8}


@pytest.mark.parametrize("case", CASES)
def test_smooth_supernets_along_random_directions(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivative along three directions; all of it would take hundreds of losses."""
    if case == "convolutional":
        monkeypatch.setattr(torch, "relu", F.softplus)  # skip connections of stride 2 call it
    problem, at = CASES[case]()
    along = []
    for k in range(3):
        tensors = [torch.randn(tensor.shape, generator=seeded(30 + k)).double() for tensor in at.tensors()]
        if "recurrent" in case:
            tensors[0][:, ACTIVATIONS.index("relu")] = 0
        along.append(tensors)

    def moved(ways: torch.Tensor, fixed: bool) -> float:
        tensors = [t + sum(w * d[i] for w, d in zip(ways, along, strict=True)) for i, t in enumerate(at.tensors())]
        return stepped_loss(problem, at.with_tensors(tensors), at if fixed else None)

    still = [torch.zeros(3).double()]
    whole, direct = (differences(lambda x, f=f: moved(x[0], f), still, 1e-4)[0] for f in (False, True))
    assert float((whole - direct).norm()) > 0.01 * float(whole.norm())
    for order in ("unrolled", "exact"):
        found, _ = bilevel.gradient(problem, at, order, 1e-3)
        slopes = torch.stack([sum((g * d).sum() for g, d in zip(found, tensors, strict=True)) for tensors in along])
        assert relative_error([slopes], [whole]) < WHOLE[order]
        assert relative_error([slopes - direct], [whole - direct]) < IMPLICIT[order]


@pytest.mark.parametrize("order", bilevel.ORDERS)
@pytest.mark.parametrize("case", [*CASES, "with kinks"])
def test_weights_are_restored_bit_for_bit_and_two_calls_agree(case: str, order: str) -> None:
    problem, at = CASES[case]() if case in CASES else convolutional(smooth=False)
    before = [p.detach().clone() for p in problem.parameters]
    found, loss = bilevel.gradient(problem, at, order)
    again, other = bilevel.gradient(problem, at, order)
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(problem.parameters, before, strict=True))
    assert loss == other and all(torch.equal(one, two) for one, two in zip(found, again, strict=True))
    assert all(bool(g.isfinite().all()) and g.shape == t.shape for g, t in zip(found, at.tensors(), strict=True))


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_nothing_is_kept_alive(order: str) -> None:
    problem, at = recurrent()
    alive: list[weakref.ref[torch.Tensor]] = []

    def watched(loss: Objective) -> Objective:
        def wrapped(weights: ArchWeights) -> torch.Tensor:
            found = loss(weights)
            alive.extend(weakref.ref(each) for each in [found, *weights.tensors()])
            return found

        return wrapped

    problem = replace(problem, train_loss=watched(problem.train_loss), valid_loss=watched(problem.valid_loss))
    gc.disable()  # nothing may wait for it
    try:
        result = bilevel.gradient(problem, at, order)
        assert alive and not any(reference() is not None for reference in alive)
    finally:
        gc.enable()
    del result


def test_a_path_of_the_recurrent_space_runs_and_learns_where_it_runs() -> None:
    problem, at = recurrent()
    shape = RECURRENT[CELL]
    path = {CELL: tuple((ACTIVATIONS.index("tanh"),) for _ in shape.edges)}
    found, _ = bilevel.gradient(problem, replace(at, paths=path), "unrolled", 0.1)
    used = found[0].abs().sum(0) > 0
    assert used.tolist() == [name == "tanh" for name in ACTIVATIONS]

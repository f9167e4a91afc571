"""What every strategy must do, in every search space: subclass `StrategySuite`, name the strategy and its hyperparameters.

class TestGaea(StrategySuite):
    values = {"sampler": "simplex", "arch_learning_rate": 0.1}
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from cnn_nas.relaxation import RELAXATION as CONVOLUTIONAL
from nas.core.arch_weights import ArchWeights, one_path
from nas.core.fields import read
from nas.core.relaxation import Path, Paths, Relaxation
from one_shot.random_search import RandomSearch, draw
from one_shot.strategies import STRATEGIES
from one_shot.strategy import Problem, Progress, Strategy, WeightStep, one_by_one
from randomNAS_files.relaxation import RELAXATION as RECURRENT

SPACES = {"convolutional": CONVOLUTIONAL, "recurrent": RECURRENT}
STEPS, EPOCH = 120, 10


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def progress(step: int) -> Progress:
    return Progress(step, STEPS, EPOCH)


class Planted(nn.Module):
    """A smooth problem that one architecture solves: its operations give 1 on their edges, where 1 is wanted, and so does
    `none` on all other edges; everything else gives -1. Small trained weights add to it.
    """

    def __init__(self, relaxation: Relaxation, planted: Paths) -> None:
        super().__init__()
        self.relaxation = relaxation
        self.gives = {kind: torch.full((len(s.edges), len(s.operations)), -1.0) for kind, s in relaxation.items()}
        for kind, shape in relaxation.items():
            for edge, running in enumerate(planted[kind]):
                self.gives[kind][edge, running[0] if running else shape.operations.index("none")] = 1.0
        self.trained = nn.ParameterDict({kind: torch.zeros_like(table) for kind, table in self.gives.items()})

    def forward(self, weights: ArchWeights) -> torch.Tensor:
        losses = []
        for kind, gives in self.gives.items():
            table = gives + 0.1 * torch.tanh(self.trained[kind])
            if weights.operations is not None:
                table = table * weights.operations[kind]
            if weights.paths is not None:
                runs = [[float(k in running) for k in range(gives.size(1))] for running in weights.paths[kind]]
                table = table * torch.tensor(runs)
            outputs = table.sum(1) + weights.auxiliary
            losses.append((1 - (outputs if weights.edges is None else outputs * weights.edges[kind])).square().mean())
        return torch.stack(losses).sum()

    def problem(self) -> Problem:
        parameters = list(self.parameters())
        step = WeightStep(0.1, 0.0, 0.0, 5.0, [None] * len(parameters))
        return Problem(self, self, parameters, step, lambda tensors: None, one_by_one(self), self)


class StrategySuite:
    """Tests of the contract `one_shot.strategy.Strategy`.

    Attributes:
        strategy: its name among the strategies.
        values: hyperparameters, as in a YAML.
        competing: whether the weights of an edge sum to 1.
        with_costs: whether it is told what operations cost.
        spaces: those that it is built for.
    """

    strategy = "gradient"
    values: Mapping[str, Any]
    competing = True
    with_costs = False
    spaces = tuple(SPACES)

    @pytest.fixture(params=list(SPACES))
    def relaxation(self, request: pytest.FixtureRequest) -> Iterator[Relaxation]:
        if request.param not in self.spaces:
            pytest.skip(f"not built for the {request.param} space")
        yield SPACES[request.param]

    def make(self, relaxation: Relaxation, seed: int = 0) -> Strategy:
        entry = STRATEGIES[self.strategy]
        (config,) = read(self.values, entry.config)
        costs = {kind: [[k / 100 for k in range(len(s.operations))] for _ in s.edges] for kind, s in relaxation.items()}
        return entry.build(relaxation, config, seeded(seed), costs if self.with_costs else None)

    def run(self, strategy: Strategy, net: Planted, optimizer: Any, first: int, last: int) -> None:
        """As a trial does it."""
        for step in range(first, last):
            for number in () if optimizer is None else strategy.updates(progress(step)):
                strategy.update(net.problem(), seeded(1000 + number), progress(step))
                optimizer.step()
            sampled = strategy.sample(seeded(2000 + step), progress(step), net)
            for p, g in zip(net.parameters(), torch.autograd.grad(net(sampled), list(net.parameters())), strict=True):
                p.data.sub_(g, alpha=0.1)
            strategy.trained(sampled)

    def test_the_sample_is_constant_and_changes_nothing(self, relaxation: Relaxation) -> None:
        strategy = self.make(relaxation)
        before = copy.deepcopy(strategy.state_dict())
        net = Planted(relaxation, draw(relaxation, seeded(0)))
        sampled = strategy.sample(seeded(1), progress(60), net)
        assert not any(tensor.requires_grad for tensor in sampled.tensors())
        assert all(parameter.grad is None for parameter in [*strategy.parameters(), *net.parameters()])
        same_state(strategy.state_dict(), before)
        self.check_weights(relaxation, sampled)
        for parameter in strategy.parameters():
            parameter.data.add_(1)
        again = self.make(relaxation).sample(seeded(1), progress(60), net)
        same_weights(sampled, again)

    def check_weights(self, relaxation: Relaxation, weights: ArchWeights) -> None:
        for kind, shape in relaxation.items():
            assert weights.operations is not None or weights.paths is not None
            if weights.operations is not None:
                table = weights.operations[kind]
                assert table.shape == (len(shape.edges), len(shape.operations)) and bool((table >= 0).all())
                assert not self.competing or torch.allclose(table.sum(1), torch.ones(len(table)))
            if weights.edges is not None:
                for node in range(shape.nodes):
                    assert float(weights.edges[kind][shape.entering(node)].sum()) == pytest.approx(1.0)
            if weights.paths is not None:
                assert len(weights.paths[kind]) == len(shape.edges)

    def test_the_same_generator_gives_the_same_sample_whatever_was_drawn_before(self, relaxation: Relaxation) -> None:
        strategy, net = self.make(relaxation), Planted(relaxation, draw(relaxation, seeded(0)))
        first = strategy.sample(seeded(1), progress(60), net)
        strategy.sample(seeded(2), progress(61), net)
        torch.rand(3)
        same_weights(strategy.sample(seeded(1), progress(60), net), first)

    def test_a_resumed_search_goes_on_bit_for_bit(self, relaxation: Relaxation) -> None:
        net, strategy = Planted(relaxation, draw(relaxation, seeded(0))), self.make(relaxation)
        optimizer = strategy.optimizer()
        self.run(strategy, net, optimizer, 0, 25)
        saved = copy.deepcopy([strategy.state_dict(), net.state_dict(), optimizer and optimizer.state_dict()])
        self.run(strategy, net, optimizer, 25, 40)
        fresh, other = self.make(relaxation, seed=1), Planted(relaxation, draw(relaxation, seeded(0)))
        anew = fresh.optimizer()
        fresh.load_state_dict(saved[0])
        other.load_state_dict(saved[1])
        if anew is not None:
            anew.load_state_dict(saved[2])
        self.run(fresh, other, anew, 25, 40)
        same_state(fresh.state_dict(), strategy.state_dict())
        same_state(other.state_dict(), net.state_dict())

    def test_the_planted_architecture_is_derived_and_the_same_seed_gives_the_same(self, relaxation: Relaxation) -> None:
        planted = draw(relaxation, seeded(3))
        found = []
        for _ in range(2):
            net, strategy = Planted(relaxation, planted), self.make(relaxation)
            self.run(strategy, net, strategy.optimizer(), 0, STEPS)
            if isinstance(strategy, RandomSearch):  # which is told what paths are worth
                for paths in [*strategy.candidates(seeded(5), 20), planted, *strategy.candidates(seeded(6), 20)]:
                    strategy.tell(paths, net(one_path(paths)).item())
            found.append(strategy.derive())
        assert found[0] == found[1] == planted

    def test_what_is_derived_is_an_architecture(self, relaxation: Relaxation) -> None:
        strategy = self.make(relaxation)
        if isinstance(strategy, RandomSearch):
            strategy.tell(strategy.candidates(seeded(0), 1)[0], 1.0)
        derived = strategy.derive()
        assert derived is not None
        check_architecture(relaxation, derived)

    def test_the_mixture_without_noise(self, relaxation: Relaxation) -> None:
        expected = self.make(relaxation).expected()
        if expected is not None:
            assert not any(tensor.requires_grad for tensor in expected.tensors()) and expected.auxiliary == 0
            self.check_weights(relaxation, expected)

    def test_gradients_are_the_parameters_only(self, relaxation: Relaxation) -> None:
        net, strategy = Planted(relaxation, draw(relaxation, seeded(0))), self.make(relaxation)
        if not strategy.learns:
            assert strategy.optimizer() is None and not list(strategy.parameters())
            return
        reported = strategy.update(net.problem(), seeded(1), progress(50))
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in strategy.parameters())
        assert all(p.grad is None for p in net.parameters())
        assert set(strategy.of_updates) <= set(reported) and "arch_loss" in strategy.of_updates
        assert all(value.shape == () and not value.requires_grad for value in reported.values())

    def test_the_report_is_finite_numbers(self, relaxation: Relaxation) -> None:
        report = self.make(relaxation).report()
        assert all(isinstance(value, float) and math.isfinite(value) for value in report.values())


def check_architecture(relaxation: Relaxation, paths: Paths, excluded: bool = False) -> None:
    """Each node keeps as many edges as it must, with one operation each."""
    assert list(paths) == list(relaxation)
    for kind, shape in relaxation.items():
        path: Path = paths[kind]
        assert len(path) == len(shape.edges)
        for node in range(shape.nodes):
            running = [path[edge] for edge in shape.entering(node) if path[edge]]
            assert len(running) == shape.kept and all(len(operations) == 1 for operations in running)
            assert excluded or all(k in shape.choices for (k,) in running)


def same_weights(one: ArchWeights, other: ArchWeights) -> None:
    assert one.paths == other.paths and one.auxiliary == other.auxiliary
    assert all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))


def same_state(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) or bool(one[name].isnan().all()) for name in one)

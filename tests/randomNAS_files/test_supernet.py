"""The supernet of the recurrent space: one path equals the language model of its genotype, and a mixture its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.core.arch_weights import ArchWeights, as_numbers, one_path
from nas.core.errors import ConfigError
from randomNAS_files import architecture
from randomNAS_files.architecture import ACTIVATIONS, NODES, Genotype
from randomNAS_files.genotypes import DARTS_V1, DARTS_V2
from randomNAS_files.model import LanguageModel, ModelConfig
from randomNAS_files.relaxation import CELL, RELAXATION, genotype_of, paths_of
from randomNAS_files.supernet import Supernet, SupernetConfig

WORDS, COLUMNS, LENGTH, HIDDEN = 11, 5, 4, 6
LIKE = torch.zeros((), dtype=torch.float64)


def config(depth: int = 1) -> ModelConfig:
    return ModelConfig(HIDDEN, HIDDEN, HIDDEN, depth, 0.3, 0.2, 0.25, 0.1, 0.1)


def supernet(state_norm: bool = False, depth: int = 1, kind: Any = Supernet) -> Supernet:
    net = kind(config(depth), WORDS, torch.Generator().manual_seed(1), SupernetConfig(state_norm)).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(20)  # at 0.04 a cell is nearly linear
    return net


def text() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    tokens, targets = (torch.randint(WORDS, (LENGTH, COLUMNS), generator=generator) for _ in range(2))
    return tokens, targets


def sigmoid_gate(previous: torch.Tensor, products: torch.Tensor, name: str) -> torch.Tensor:
    c, g = products[:, :HIDDEN].sigmoid(), products[:, HIDDEN:]
    f = {"tanh": g.tanh(), "relu": g.clamp(min=0), "sigmoid": g.sigmoid(), "identity": g}[name]
    return previous + c * (f - previous)


def activations() -> list[Genotype]:
    """Each activation alone, and random cells with all of them."""
    same = [Genotype(tuple((name, max(i - 1, 0)) for i in range(NODES))) for name in ACTIVATIONS]
    generator = torch.Generator().manual_seed(4)
    draw = lambda high: int(torch.randint(high, (), generator=generator))  # noqa: E731
    mixed = [Genotype(tuple((ACTIVATIONS[draw(5)], draw(i + 1)) for i in range(NODES))) for _ in range(10)]
    return [*same, *mixed, DARTS_V1, DARTS_V2]


@pytest.mark.parametrize("genotype", activations(), ids=lambda genotype: str(genotype)[:40])
@pytest.mark.parametrize("depth", [1, 2])
def test_one_path_is_the_language_model_of_its_genotype(genotype: Genotype, depth: int) -> None:
    net = supernet(depth=depth)
    plain = LanguageModel(config(depth), genotype, WORDS, torch.Generator()).double()
    plain.load_state_dict(net.state_dict())
    tokens, targets = text()
    masks = net.draw_masks(torch.Generator().manual_seed(5), COLUMNS, slice(0, COLUMNS))
    expected = plain(tokens, plain.initial_state(COLUMNS), masks, targets=targets)
    expected.loss.backward()
    weights = one_path(paths_of(genotype))
    found = net(tokens, net.initial_state(COLUMNS), weights, masks, targets)
    found.loss.backward()
    assert torch.equal(found.loss, expected.loss) and torch.equal(found.hidden[-1], expected.hidden[-1])
    for (name, own), (_, other) in zip(net.named_parameters(), plain.named_parameters(), strict=True):
        assert (own.grad is None) == (other.grad is None), name
        assert own.grad is None or torch.equal(own.grad, other.grad), name


@pytest.mark.parametrize("genotype", activations(), ids=lambda genotype: str(genotype)[:40])
@pytest.mark.parametrize("state_norm", [False, True])
def test_a_path_equals_its_weights_of_zeros_and_ones(genotype: Genotype, state_norm: bool) -> None:
    net, paths = supernet(state_norm), paths_of(genotype)
    tokens, targets = text()
    kinds = one_path(paths), ArchWeights(as_numbers(paths, RELAXATION, LIKE))
    one, numbers = (net(tokens, net.initial_state(COLUMNS), each, None, targets).loss for each in kinds)
    torch.testing.assert_close(one, numbers)


@pytest.mark.parametrize("state_norm", [False, True])
def test_a_mixture_is_what_its_definition_says(state_norm: bool) -> None:
    net = supernet(state_norm)
    generator = torch.Generator().manual_seed(8)
    p = torch.rand(36, 5, generator=generator, dtype=torch.float64)
    e = torch.rand(36, generator=generator, dtype=torch.float64)
    tokens, _ = text()
    masks = net.draw_masks(torch.Generator().manual_seed(5), COLUMNS, slice(0, COLUMNS))
    h0 = torch.randn(COLUMNS, HIDDEN, generator=generator, dtype=torch.float64)
    found = net(tokens, [h0], ArchWeights({CELL: p}, {CELL: e}), masks)

    def norm(state: torch.Tensor) -> torch.Tensor:
        mean, var = state.mean(0), state.var(0, correction=0)
        return (state - mean) / (var + 1e-5).sqrt() if state_norm else state

    cell, h = net.cells[0], h0
    for t in range(LENGTH):
        x = net.embedding[tokens[t]] * masks.embedding[tokens[t]] * masks.input * masks.cell_inputs[0]
        first = torch.cat([x, h * masks.hidden[0]], 1) @ cell.w0
        states, edge = [norm(sigmoid_gate(h, first, "tanh"))], 0
        for node in range(NODES):
            total = torch.zeros_like(h)
            for previous in states[: node + 1]:
                products = (previous * masks.hidden[0]) @ cell.nodes[node]
                for k, name in enumerate(ACTIVATIONS[1:], start=1):
                    total = total + e[edge] * p[edge, k] * sigmoid_gate(previous, products, name)
                edge += 1
            states.append(norm(total))
        h = sum(states[1:]) / NODES
        torch.testing.assert_close(found.states[t], h)
    torch.testing.assert_close(found.hidden[0], h)


def test_nodes_are_never_unused_by_none_in_a_mixture_but_get_no_gradient_on_a_path() -> None:
    net = supernet()
    genotype = Genotype((*((("tanh", 0),) * (NODES - 1)), ("none", 0)))
    tokens, targets = text()
    net(tokens, net.initial_state(COLUMNS), one_path(paths_of(genotype)), None, targets).loss.backward()
    grads = [weight.grad for weight in net.cells[0].nodes]
    assert grads[-1] is None and all(grad is not None for grad in grads[:-1])


def test_paths_and_genotypes_are_each_others_inverse() -> None:
    for seed in range(100):
        genotype = architecture.sample(seed)
        assert genotype_of(paths_of(genotype)) == genotype


@pytest.mark.parametrize("genotype", [Genotype((("tanh", 0),)), Genotype((("tanh", 0),) * 8, (1, 2))])
def test_what_does_not_lie_in_the_supernet_is_refused(genotype: Genotype) -> None:
    with pytest.raises(ConfigError, match="must have 8 nodes and average all of them"):
        paths_of(genotype)

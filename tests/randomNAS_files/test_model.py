"""The recurrent cell and the language model against a NumPy reference that knows only the papers' formulas."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recurrent import (
    ACTIVATIONS,
    BATCH,
    CELLS,
    HIDDEN,
    PARTIAL,
    PLAIN,
    TIME,
    WITH_NONE,
    WORDS,
    build,
    build_cell,
    cells,
    config,
    generator,
    mask_pair,
    masks_of,
    normal,
    step,
    tokens,
)

from nas.core.errors import ConfigError
from nas.core.fields import read
from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.model import LanguageModel, ModelConfig, Output, RecurrentCell, activation_penalty
from randomNAS_files.space import SPACE

# The reference


def reference_cell(
    genotype: Genotype,
    w0: np.ndarray,
    weights: Sequence[np.ndarray],
    x: np.ndarray,
    h: np.ndarray,
    init_op: str = "tanh",
    x_mask: np.ndarray | float = 1.0,
    h_mask: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Outputs at every time step; the initial state is one more node that follows h, fed with [x, h] W_0."""
    first = Genotype(((init_op, 0),))
    outputs = []
    for x_t in x:
        both = np.concatenate([x_t * x_mask, h * h_mask], axis=-1)
        # `step` multiplies the state by its weight: a weight per row makes that product the gates.
        rows = [
            step(first, [np.outer(row, gates) / (row @ row)], row[None])[0] if row.any() else from_zero(init_op, gates)
            for row, gates in zip(h, both @ w0, strict=True)
        ]
        h = step(genotype, weights, np.stack(rows), h_mask)
        outputs.append(h)
    return np.stack(outputs)


def from_zero(name: str, gates: np.ndarray) -> np.ndarray:
    """sigmoid(c) * f(g)"""
    functions = {"tanh": math.tanh, "relu": lambda x: max(x, 0.0), "identity": float}
    functions["sigmoid"] = lambda x: 1 / (1 + math.exp(-x))
    half = len(gates) // 2
    return np.array([functions[name](g) / (1 + math.exp(-c)) for c, g in zip(gates[:half], gates[half:], strict=True)])


def of_cell(cell: RecurrentCell) -> tuple[np.ndarray, list[np.ndarray]]:
    return cell.w0.detach().numpy(), [weight.detach().numpy() for weight in cell.nodes]


def reference_model(
    net: LanguageModel, words: np.ndarray, h: Sequence[np.ndarray], masks: dict[float, np.ndarray] | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits and the last states. `masks` gives the mask of each dropout probability; layers share none."""
    cfg, masks, used = net.config, masks or {}, []

    def mask(p: float) -> np.ndarray | float:
        used.append(p)
        found = masks.get(p, 1.0)
        return found[used.count(p) - 1] if isinstance(found, list) else found

    table = net.embedding.detach().numpy()
    x = (table * mask(cfg.dropoute))[words] * mask(cfg.dropouti)
    last = []
    for cell, state in zip(net.cells, h, strict=True):
        assert isinstance(cell, RecurrentCell)
        x_mask, h_mask = mask(cfg.dropoutx), mask(cfg.dropouth)
        x = reference_cell(net.genotype, *of_cell(cell), x, state, cfg.init_op, x_mask, h_mask)
        last.append(x[-1])
    return (x * mask(cfg.dropout)) @ table.T + net.decoder_bias.detach().numpy(), last


# The cell


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("name", CELLS)
def test_the_cell_is_the_papers_formula_node_by_node(name: str, masked: bool) -> None:
    cell, x, h = build_cell(CELLS[name]), normal(TIME, BATCH, HIDDEN), normal(BATCH, HIDDEN, seed=2)
    masks = mask_pair() if masked else None
    outputs, last = cell(x, h, *(masks or (None, None)))
    expected = reference_cell(
        CELLS[name], *of_cell(cell), x.numpy(), h.numpy(), "tanh", *(mask.numpy() for mask in masks or ())
    )
    np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(last.detach().numpy(), outputs[-1].detach().numpy())


@pytest.mark.parametrize("init_op", ACTIVATIONS)
def test_init_op_is_the_activation_of_the_initial_state(init_op: str) -> None:
    cell, x, h = build_cell(PARTIAL, init_op), normal(TIME, BATCH, HIDDEN), normal(BATCH, HIDDEN, seed=2)
    expected = reference_cell(PARTIAL, *of_cell(cell), x.numpy(), h.numpy(), init_op)
    np.testing.assert_allclose(cell(x, h)[0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("genotype", [WITH_NONE, PARTIAL, sample(3, nodes=4)], ids=str)
def test_the_cells_gradients_are_those_of_finite_differences(genotype: Genotype) -> None:
    cell, (x_mask, h_mask) = build_cell(genotype, hidden=2), (mask[:2] for mask in mask_pair(2))
    names = [name for name, _ in cell.named_parameters()]
    x, h = normal(2, 2, 2).requires_grad_(), normal(2, 2, seed=2).requires_grad_()

    def run(x: torch.Tensor, h: torch.Tensor, *weights: torch.Tensor) -> Any:
        return torch.func.functional_call(cell, dict(zip(names, weights, strict=True)), (x, h, x_mask, h_mask))

    weights = [weight.detach().clone().requires_grad_() for weight in cell.parameters()]
    assert torch.autograd.gradcheck(run, (x, h, *weights))


def test_the_cell_goes_on_from_the_last_state() -> None:
    cell, x, h = build_cell(sample(0)), normal(6, BATCH, HIDDEN), normal(BATCH, HIDDEN, seed=2)
    whole, end = cell(x, h)
    first, middle = cell(x[:2], h)
    second, last = cell(x[2:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, end, rtol=1e-12, atol=1e-12)


@given(cells(), cells())
@settings(max_examples=30, deadline=None)
def test_another_genotype_with_the_same_weights_is_a_cell_built_for_it(built: Genotype, scored: Genotype) -> None:
    if len(scored.recurrent) > len(built.recurrent):
        built, scored = scored, built
    cell, x, h = build_cell(built), normal(2, BATCH, HIDDEN), normal(BATCH, HIDDEN, seed=2)
    other = build_cell(scored)
    other.load_state_dict({name: cell.state_dict()[name] for name in other.state_dict()})
    torch.testing.assert_close(cell(x, h, genotype=scored)[0], other(x, h)[0], rtol=1e-12, atol=1e-12)
    assert cell.genotype == built


# The language model


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", ["DARTS_V2", "ENAS", "with_none"])
def test_logits_are_those_of_the_reference_with_a_tied_decoder(name: str, depth: int) -> None:
    net, words = build(CELLS[name], depth), tokens()
    hidden = [normal(BATCH, HIDDEN, seed=20 + layer) for layer in range(depth)]
    output = net(words, hidden)
    logits, last = reference_model(net, words.numpy(), [h.numpy() for h in hidden])
    np.testing.assert_allclose(output.logits.detach().numpy(), logits, rtol=1e-12, atol=1e-12)
    for state, expected in zip(output.hidden, last, strict=True):
        np.testing.assert_allclose(state.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(output.states[-1].detach().numpy(), last[-1], rtol=1e-12, atol=1e-12)


def test_every_dropout_masks_its_own_place() -> None:
    rng = np.random.RandomState(0)
    rates = {"dropoute": 0.1, "dropouti": 0.2, "dropoutx": 0.3, "dropouth": 0.4, "dropout": 0.5}
    net, words = build(sample(1), depth=2, **rates), tokens()
    masks: dict[float, Any] = {0.1: rng.uniform(size=(WORDS, 1)), 0.5: rng.uniform(size=(BATCH, HIDDEN))}
    masks[0.2] = rng.uniform(size=(BATCH, HIDDEN))
    masks[0.3] = list(rng.uniform(size=(2, BATCH, HIDDEN)))
    masks[0.4] = list(rng.uniform(size=(2, BATCH, HIDDEN)))
    tensors = {p: torch.from_numpy(np.stack(mask)) for p, mask in masks.items()}
    given_masks = DropoutMasks(
        tensors[0.1], tensors[0.2], tuple(tensors[0.3].unbind(0)), tuple(tensors[0.4].unbind(0)), tensors[0.5]
    )
    output = net(words, net.initial_state(BATCH), given_masks)
    logits, _ = reference_model(net, words.numpy(), [np.zeros((BATCH, HIDDEN))] * 2, masks)
    np.testing.assert_allclose(output.logits.detach().numpy(), logits, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(output.dropped.detach().numpy(), output.states.detach().numpy() * masks[0.5], rtol=1e-15)


def test_the_language_models_gradients_are_those_of_finite_differences() -> None:
    net, words = build(Genotype((("tanh", 0), ("sigmoid", 1))), depth=2, emsize=2, nhid=2, nhidlast=2), tokens(2)
    names = [name for name, _ in net.named_parameters()]
    weights = [weight.detach().clone().requires_grad_() for weight in net.parameters()]
    hidden = net.initial_state(BATCH)

    def loss(*weights: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(net, dict(zip(names, weights, strict=True)), (words, hidden))
        return output.logits.log_softmax(-1)[..., 0].sum() + activation_penalty(output, 2.0, 1.0)

    assert torch.autograd.gradcheck(loss, tuple(weights))


@pytest.mark.parametrize("depth", [1, 3])
def test_the_initial_state_is_zero_for_each_layer(depth: int) -> None:
    states = build(PARTIAL, depth).initial_state(7)
    assert len(states) == depth
    for state in states:
        assert state.shape == (7, HIDDEN) and state.dtype == torch.float64 and not state.any()


def test_the_published_model_has_23_million_parameters() -> None:
    hidden, vocabulary, nodes = 850, 10_000, 8
    by_hand = vocabulary * hidden + vocabulary + 2 * hidden * 2 * hidden + nodes * hidden * 2 * hidden
    net = LanguageModel(config(hidden), SPACE.by_name("DARTS_V2"), vocabulary, generator())
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == by_hand == 22_960_000
    assert round(count / 1e6) == 23


def test_weights_start_uniformly_within_004_and_the_bias_at_zero() -> None:
    net = LanguageModel(config(100), SPACE.by_name("DARTS_V2"), 300, generator())
    for name, parameter in net.named_parameters():
        values = parameter.detach().double().flatten()
        if name == "decoder_bias":
            assert not values.any()
            continue
        deviation, count = 0.04 / math.sqrt(3), len(values)
        assert values.abs().max() <= 0.04 and values.abs().max() > 0.0399, name
        assert abs(values.mean()) < 5 * deviation / math.sqrt(count), name
        assert abs(values.var() / deviation**2 - 1) < 5 * math.sqrt(0.8 / count), name  # kurtosis 9/5, so var 4/5 n
        assert values.unique().numel() > 0.9 * count, name


def test_initial_weights_depend_on_the_generator_only() -> None:
    torch.manual_seed(1)
    first = LanguageModel(config(), PARTIAL, WORDS, generator(3)).state_dict()
    torch.manual_seed(2)
    again = LanguageModel(config(), PARTIAL, WORDS, generator(3)).state_dict()
    other = LanguageModel(config(), PARTIAL, WORDS, generator(4)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])


def trained_once(net: LanguageModel) -> Output:
    output: Output = net(tokens(), net.initial_state(BATCH), masks_of(net))
    loss = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), tokens().flatten())
    (loss + activation_penalty(output, 2.0, 1.0)).backward()
    return output


CHAINS = {name: Genotype(tuple((name, i) for i in range(8))) for name in ACTIVATIONS}
ALL_USED = {**CHAINS, **{name: CELLS[name] for name in ("ENAS", "DARTS_V1", "DARTS_V2", "ASHA")}}


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", ALL_USED)
def test_every_parameter_gets_a_finite_gradient(name: str, depth: int) -> None:
    rates = dict.fromkeys(("dropout", "dropouth", "dropoutx", "dropouti", "dropoute"), 0.2)
    net = LanguageModel(config(16, depth, **rates), ALL_USED[name], WORDS, generator())
    output = trained_once(net)
    assert torch.isfinite(output.logits).all()
    assert net.unused_parameters() == []
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all() and parameter.grad.any(), parameter_name


def reads_its_input(genotype: Genotype) -> bool:
    """Whether some averaged node has a path to the initial state without a `none`."""
    open_states = {0}
    for i, (name, predecessor) in enumerate(genotype.recurrent, start=1):
        if name != "none" and predecessor in open_states:
            open_states.add(i)
    return bool(open_states & set(genotype.concat))


@given(cells().filter(reads_its_input))
@settings(max_examples=30, deadline=None)
def test_unused_parameters_are_exactly_those_without_a_gradient(genotype: Genotype) -> None:
    net = LanguageModel(config(4, depth=2), genotype, WORDS, generator())
    trained_once(net)
    idle = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    unused = {id(parameter) for parameter in net.unused_parameters()}
    assert {name for name, parameter in net.named_parameters() if id(parameter) in unused} == idle


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("scored", [sample(11), sample(12, nodes=5), WITH_NONE], ids=["full", "smaller", "none"])
def test_another_genotype_scored_with_the_same_weights_equals_a_model_built_for_it(
    scored: Genotype, depth: int
) -> None:
    net, words = build(sample(10), depth), tokens()
    other = build(scored, depth)
    assert set(other.state_dict()) <= set(net.state_dict())
    other.load_state_dict({name: net.state_dict()[name] for name in other.state_dict()})
    expected = other(words, other.initial_state(BATCH)).logits
    torch.testing.assert_close(net(words, net.initial_state(BATCH), genotype=scored).logits, expected)
    own = net(words, net.initial_state(BATCH)).logits
    assert not torch.allclose(own, expected)  # the weights' own cell is untouched


# Penalties


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 1.0), (0.0, 1e-3), (0.7, 0.0), (0.0, 0.0)])
def test_the_activation_penalty_is_its_plain_formula(alpha: float, beta: float) -> None:
    states, dropped = normal(TIME, BATCH, HIDDEN), normal(TIME, BATCH, HIDDEN, seed=2)
    value = activation_penalty(Output(normal(1), [], states, dropped), alpha, beta)
    activation = sum(v * v for v in dropped.flatten().tolist()) / (TIME * BATCH * HIDDEN)
    steps = (states[1:] - states[:-1]).flatten().tolist()
    assert value.item() == pytest.approx(alpha * activation + beta * sum(v * v for v in steps) / len(steps), rel=1e-12)


def test_a_single_time_step_has_no_temporal_penalty() -> None:
    states = normal(1, BATCH, HIDDEN)
    value = activation_penalty(Output(normal(1), [], states, states), 0.5, 3.0)
    assert value.item() == pytest.approx(0.5 * float(np.mean(states.numpy() ** 2)), rel=1e-12)


# Hyperparameters


def as_given(**changes: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(config()), **changes}


@pytest.mark.parametrize("field", ["emsize", "nhid", "nhidlast"])
def test_sizes_that_the_tied_decoder_does_not_allow_are_refused_by_name(field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(as_given(**{field: 6}), ModelConfig)
    (problem,) = caught.value.problems
    assert problem.startswith("hyperparameters.emsize must equal nhid and nhidlast") and f"{field} 6" in problem


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("emsize", 0),
        ("depth", 0),
        *((name, bad) for name in PLAIN for bad in (1.0, -0.1)),
        ("init_op", "none"),
        ("init_op", "sine"),
    ],
)
def test_sizes_rates_and_init_op_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"hyperparameters\.{field} must be "):
        read(as_given(**{field: value}), ModelConfig)


def test_init_op_is_tanh_unless_said() -> None:
    values = as_given()
    del values["init_op"]
    assert read(values, ModelConfig)[0].init_op == "tanh"


@settings(deadline=None)
@given(st.sampled_from(sorted(PLAIN)), st.floats(0, 1, exclude_max=True))
def test_every_rate_below_one_is_allowed(field: str, rate: float) -> None:
    assert getattr(read(as_given(**{field: rate}), ModelConfig)[0], field) == rate

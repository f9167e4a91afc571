"""Hidden sizes as parts of one supernet, against networks of that size."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.optimizers import SGD
from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import LanguageModel, ModelConfig
from randomNAS_files.nested import NestedSGD, inner, resized
from randomNAS_files.outputs import with_output
from randomNAS_files.scoring import score_paths, score_stream
from randomNAS_files.slices import Columns
from randomNAS_files.supernet import Supernet, SupernetConfig

WORDS, COLUMNS, LENGTH, SIZES, DEPTH = 11, 3, 4, (2, 3, 6), 2
FORMS = {"plain": Supernet, "fast": FastSupernet}
CLOSE = {"rtol": 1e-10, "atol": 1e-10}
CELLS = [with_output(sample(seed, nodes=4), "loose_ends") for seed in range(2)]


def config(size: int) -> ModelConfig:
    return ModelConfig(size, size, size, DEPTH, 0.3, 0.2, 0.25, 0.1, 0.1)


def supernet(form: str, sharing: str = "edge") -> Supernet:
    beside = SupernetConfig(False, sharing, "loose_ends", 4, hidden_choices=SIZES)
    net = FORMS[form](config(SIZES[-1]), WORDS, torch.Generator().manual_seed(1), beside).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(20)  # at 0.04 a cell is nearly linear
    return net


def architecture(net: Supernet, cell: Genotype, size: int) -> ArchWeights:
    return one_path({**net.supernet.space.paths_of(cell), "hidden": ((SIZES.index(size),),)})


def matrices(sharing: str, cell: Genotype) -> list[int]:
    """Which of the supernet's each node has."""
    return [i if sharing == "node" else i * (i + 1) // 2 + pred for i, (_, pred) in enumerate(cell.recurrent)]


def by_hand(name: str, weight: torch.Tensor, size: int) -> torch.Tensor:
    """What a size has of a parameter, index by index."""
    units, full = torch.arange(size), SIZES[-1]
    halves = torch.cat([units, full + units])
    if name == "decoder_bias":
        return weight.clone()
    if name == "embedding":
        return weight[:, units]
    return weight[halves if name.endswith("w0") else units][:, halves]


def discrete(net: Supernet, cell: Genotype, size: int) -> tuple[LanguageModel, dict[str, str]]:
    """The network of one cell and size with the supernet's weights, and what its parameters are called there."""
    plain = LanguageModel(config(size), cell, WORDS, torch.Generator()).double()
    places = matrices(net.supernet.sharing, cell)
    names = {name: name for name, _ in plain.named_parameters() if ".nodes." not in name}
    for k in range(DEPTH):
        names |= {f"cells.{k}.nodes.{i}": f"cells.{k}.nodes.{j}" for i, j in enumerate(places)}
    weights = dict(net.named_parameters())
    plain.load_state_dict({name: by_hand(there, weights[there].detach(), size) for name, there in names.items()})
    return plain, names


def text() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(WORDS, (LENGTH, COLUMNS), generator=generator) for _ in range(2)]


def run(net: Any, hidden: list[torch.Tensor], *more: Any, masks: Any = None) -> Any:
    tokens, targets = text()
    output = net(tokens, hidden, *more, masks=masks, targets=targets)
    output.loss.backward()
    return output


def masks_of(net: LanguageModel) -> Any:
    return net.draw_masks(torch.Generator().manual_seed(5), COLUMNS, slice(0, COLUMNS))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sharing", ["node", "edge"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("before", SIZES)
def test_a_size_is_the_network_of_that_size(form: str, sharing: str, size: int, before: int) -> None:
    """With masks that are drawn for all units, from a state of another size; the gradients fall in place, 0 elsewhere."""
    for cell in CELLS:
        net = supernet(form, sharing)
        plain, names = discrete(net, cell, size)
        generator = torch.Generator().manual_seed(3)
        states = [torch.randn(COLUMNS, before, generator=generator, dtype=torch.float64) for _ in range(DEPTH)]
        started = [torch.zeros(COLUMNS, size, dtype=torch.float64) for _ in range(DEPTH)]
        for state, h in zip(states, started, strict=True):
            h[:, : min(size, before)] = state[:, : min(size, before)]
        masks = masks_of(net)
        cut = type(masks)(
            masks.embedding,
            masks.input[:, :size],
            tuple(mask[:, :size] for mask in masks.cell_inputs),
            tuple(mask[:, :size] for mask in masks.hidden),
            masks.output[:, :size],
        )
        found = run(net, states, architecture(net, cell, size), masks=masks)
        expected = run(plain, started, masks=cut)
        torch.testing.assert_close(found.loss, expected.loss, **CLOSE)
        torch.testing.assert_close(found.states, expected.states, **CLOSE)
        assert found.hidden[0].shape == (COLUMNS, size)
        own = dict(net.named_parameters())
        for name, weight in plain.named_parameters():
            grad = own.pop(names[name]).grad
            assert grad is not None
            torch.testing.assert_close(by_hand(names[name], grad, size), weight.grad, **CLOSE)
            assert float(grad.abs().sum()) == pytest.approx(float(weight.grad.abs().sum()), rel=1e-9), "0 elsewhere"
        assert all(weight.grad is None for weight in own.values())  # outside the cell


def test_what_a_size_has_is_a_view_and_sizes_are_nested() -> None:
    net = supernet("plain")
    for name, weight in net.named_parameters():
        views = [inner(name, weight.detach(), size) for size in SIZES]
        assert all(view.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr() for view in views)
        before = weight.detach().clone()
        for size, view in zip(SIZES, views, strict=True):
            assert torch.equal(view.reshape(by_hand(name, before, size).shape), by_hand(name, before, size))
        views[0].zero_()
        assert not by_hand(name, weight.detach(), SIZES[0]).any()
        assert int((weight.detach() != before).sum()) == views[0].numel() - int((before == 0).sum())


@pytest.mark.parametrize("form", FORMS)
def test_a_step_moves_the_weights_of_its_size_only(form: str) -> None:
    """By a step of SGD on the network of that size; all else stays bitwise as it is, also after steps of larger sizes."""
    net, decay = supernet(form), 0.1
    sgd = NestedSGD(list(net.named_parameters()), 0.5, decay)
    for size, cell in ((6, CELLS[0]), (2, CELLS[1]), (3, CELLS[0]), (6, CELLS[1])):
        before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
        plain, names = discrete(net, cell, size)
        hidden = net.initial_state(COLUMNS)
        sgd.zero_grad()
        run(net, hidden, architecture(net, cell, size))
        sgd.size = size
        sgd.step()
        run(plain, plain.initial_state(COLUMNS))
        SGD(plain.parameters(), 0.5, weight_decay=decay).step()
        moved = {names[name]: weight.detach() for name, weight in plain.named_parameters()}
        for name, weight in net.named_parameters():
            rest = weight.detach().clone()
            if name in moved:
                torch.testing.assert_close(by_hand(name, rest, size), moved[name], **CLOSE)
                assert not torch.equal(rest, before[name])
                inner(name, rest, size).copy_(inner(name, before[name], size))
            assert torch.equal(rest, before[name]), name


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_architectures_of_several_sizes(form: str) -> None:
    stream = torch.randint(WORDS, (40,), generator=torch.Generator().manual_seed(3))
    net, columns = supernet(form, "node"), Columns(stream, COLUMNS, slice(None), pad=True)
    pairs = [(cell, size) for cell in CELLS for size in SIZES]
    expected = [score_stream(discrete(net, cell, size)[0], columns, 5) for cell, size in pairs]
    assert score_paths(net, columns, 5, [architecture(net, *pair) for pair in pairs]) == pytest.approx(expected)
    if isinstance(net, FastSupernet):
        with pytest.raises(ValueError, match="with hidden_choices can not be scored at once"):
            net.score_cells(columns, 5, CELLS)


def test_a_state_of_another_size_keeps_its_first_units() -> None:
    state = torch.arange(6.0).view(2, 3)
    assert resized(state, 2).tolist() == [[0, 1], [3, 4]]
    assert resized(resized(state, 2), 3).tolist() == [[0, 1, 0], [3, 4, 0]]

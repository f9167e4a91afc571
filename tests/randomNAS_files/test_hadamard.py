"""Hadamard cells: against an LSTM written down by hand, all cells of small spaces, and renumberings of random ones."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.errors import ConfigError
from nas.core.seeds import numpy_generator
from nas.results.figures.cell import draw_graph
from nas.results.figures.dot_text import parse_dot
from randomNAS_files import genotypes
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.hadamard import ACTIVATIONS, C, HadamardGenotype, loose_ends
from randomNAS_files.hadamard_canonical import canonical, numbering
from randomNAS_files.hadamard_model import HadamardCell, HadamardLanguageModel
from randomNAS_files.hadamard_relaxation import CELL, GATE, PRODUCT, SUM, shape_of
from randomNAS_files.hadamard_space import HADAMARD, HadamardSpace
from randomNAS_files.hadamard_supernet import HadamardSupernet
from randomNAS_files.memory import estimate, estimate_supernet
from randomNAS_files.model import ModelConfig
from randomNAS_files.space import SPACE
from randomNAS_files.supernet import SupernetConfig

LSTM = HadamardGenotype(
    (("product", "tanh", 0, 0), ("product", "identity", "c", 0), ("sum", 1, 2), ("product", "tanh", 3, 0)), 3, (4,)
)
STEPS, BATCH, HIDDEN, WORDS = 4, 3, 5, 11
NOTHING = dict.fromkeys(("dropout", "dropouth", "dropoutx", "dropouti", "dropoute"), 0.0)
SIZES = {"emsize": HIDDEN, "nhid": HIDDEN, "nhidlast": HIDDEN, "depth": 2}
MODEL = ModelConfig(**SIZES, **NOTHING)  # type: ignore[arg-type]
TEXT = torch.arange(STEPS * BATCH).view(STEPS, BATCH) % WORDS


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def test_a_cell_wired_as_an_lstm_is_one() -> None:
    """Input i, forget f and output gate o, candidate g: c' = g i + f V c, h' = tanh(U c') o, all of s_0 of x and h."""
    cell = HadamardCell(LSTM, HIDDEN).double()
    for k, weight in enumerate(cell.parameters()):
        weight.data = normal(*weight.shape, seed=k)
    x, mask = normal(STEPS, BATCH, HIDDEN, seed=7).requires_grad_(), (normal(BATCH, HIDDEN, seed=8) > 0).double()
    start = normal(BATCH, 2 * HIDDEN, seed=9).requires_grad_()
    outputs, last = cell(x, start, None, mask)
    w0, (input_, forget, output) = cell.w0, cell.nodes
    h, c, by_hand = start[:, :HIDDEN], start[:, HIDDEN:], []
    for word in x:
        both = torch.cat([word, h * mask], 1)
        z = torch.sigmoid(both @ w0[:, :HIDDEN])
        s = (1 - z) * h + z * torch.tanh(both @ w0[:, HIDDEN:])
        i, g = torch.sigmoid((s * mask) @ input_[:, :HIDDEN]), torch.tanh((s * mask) @ input_[:, HIDDEN:])
        f, kept = torch.sigmoid((s * mask) @ forget[:, :HIDDEN]), (c * mask) @ forget[:, HIDDEN:]
        c = g * i + kept * f
        h = torch.tanh((c * mask) @ output[:, HIDDEN:]) * torch.sigmoid((s * mask) @ output[:, :HIDDEN])
        by_hand.append(h)
    expected, direction = torch.stack(by_hand), normal(STEPS, BATCH, HIDDEN, seed=10)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(last, torch.cat([h, c], 1), rtol=0, atol=1e-10)
    wanted = [x, start, *cell.parameters()]
    found, by_autograd = (
        torch.autograd.grad((each * direction).sum() + end.square().sum(), wanted)
        for each, end in ((outputs, last), (expected, torch.cat([h, c], 1)))
    )
    torch.testing.assert_close(found, by_autograd, rtol=0, atol=1e-10)


def test_a_cell_that_doubles_its_states_stays_finite() -> None:
    """c' = 2 c + s_0 and h' = 3 c + s_0, each at most 10."""
    cell = HadamardCell(HadamardGenotype((("sum", C, 0), ("sum", C, 1), ("sum", C, 2)), 2, (3,)), HIDDEN)
    cell.w0.data = normal(2 * HIDDEN, 2 * HIDDEN).float()
    x = normal(300, BATCH, HIDDEN).float()
    outputs, last = cell(x, torch.zeros(BATCH, 2 * HIDDEN))
    assert outputs.abs().max() == last.abs().max() == 10 and outputs[0].abs().max() < 10
    outputs.sum().backward()
    assert cell.w0.grad is not None and bool(cell.w0.grad.isfinite().all()) and bool(cell.w0.grad.any())


def both(genotype: HadamardGenotype, output: str) -> tuple[HadamardSupernet, HadamardLanguageModel]:
    """A supernet, and the network of one of its cells with the same weights."""
    supernet = SupernetConfig(False, output=output, nodes=len(genotype.recurrent), hadamard=True)
    net = HadamardSupernet(MODEL, WORDS, seeded(), supernet).double()
    for k, weight in enumerate(net.parameters()):
        weight.data = normal(*weight.shape, seed=k)
    alone = HadamardLanguageModel(MODEL, genotype, WORDS, seeded()).double()
    kept = [i for i, node in enumerate(genotype.nodes) if node.kind != "sum"]
    weights = net.state_dict()
    taken = {
        f"cells.{k}.nodes.{new}": weights[f"cells.{k}.nodes.{old}"] for k in (0, 1) for new, old in enumerate(kept)
    }
    alone.load_state_dict({name: taken.get(name, weights.get(name)) for name in alone.state_dict()})
    return net, alone


@pytest.mark.parametrize("output", ["all", "loose_ends"])
def test_a_path_through_the_supernet_is_the_network_of_its_cell(output: str) -> None:
    space = HadamardSpace(4, output)
    for seed in range(8):
        genotype = space.sample(seed)
        net, alone = both(genotype, output)
        masks = DropoutMasks(
            *(None, None, (normal(BATCH, HIDDEN, seed=3),) * 2, (normal(BATCH, HIDDEN, seed=4),) * 2, None)
        )
        start = [normal(BATCH, 2 * HIDDEN, seed=k) for k in (5, 6)]
        one = net(TEXT, start, one_path(space.paths_of(genotype)), masks, TEXT)
        other = alone(TEXT, start, masks, targets=TEXT)
        for a, b in zip([one.logits, one.loss, *one.hidden], [other.logits, other.loss, *other.hidden], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_what_the_output_does_not_depend_on_gets_no_gradient_and_has_parameters() -> None:
    seen = set()
    for seed in range(24):
        genotype = replace(HadamardSpace(4).sample(seed), concat=(1 + seed % 4,))
        _, alone = both(genotype, "all")
        loss = alone(TEXT, alone.initial_state(BATCH), targets=TEXT).loss
        assert loss is not None
        loss.backward()
        unused = alone.unused_parameters()
        assert all((weight.grad is None) == any(weight is each for each in unused) for weight in alone.parameters())
        sizes = {"hidden": HIDDEN, "vocabulary": WORDS, "depth": 2}
        size, without = SPACE.size(genotype, **sizes), SPACE.size(canonical(genotype), **sizes)
        assert size.parameters == sum(weight.numel() for weight in alone.parameters())
        matrices = sum(genotype.nodes[i - 1].kind != "sum" for i in genotype.unused_nodes())
        assert size.macs == without.macs and size.parameters - without.parameters == 2 * matrices * 2 * HIDDEN**2
        assert len(unused) == 2 * matrices or not genotype.reads_input
        seen.add((matrices, genotype.reads_input))
    assert {(0, True), (1, True), (2, True), (0, False), (2, False)} <= seen


def test_weights_outside_a_cell_do_not_change_by_a_bit() -> None:
    genotype = HadamardGenotype((("gate", "tanh", 0), ("sum", "c", 1), ("product", "relu", 2, 0)), 1)
    net, _ = both(genotype, "all")
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    paths = HadamardSpace(3).paths_of(genotype)
    loss = net(TEXT, net.initial_state(BATCH), one_path(paths), None, TEXT).loss
    loss.backward()
    sgd.step()
    same = {name for name, weight in net.state_dict().items() if torch.equal(weight, before[name])}
    assert same == {"cells.0.nodes.1", "cells.1.nodes.1"}  # the sum's
    with pytest.raises(ValueError, match="with hadamard true runs one cell at a time, no mixture"):
        net(TEXT, net.initial_state(BATCH), ArchWeights(paths=paths, edges={CELL: torch.ones(9)}))


def written_out(i: int) -> set[tuple[Any, ...]]:
    """All that a genotype may have as node i, whatever is before it, each in the form that the genotype gives it."""
    states: list[Any] = [C, *range(-1, i + 2)]
    tried = [("gate", name, p) for name in (*ACTIVATIONS, "none") for p in states]
    tried += [("product", name, p, q) for name in ACTIVATIONS for p in states for q in states]
    tried += [("sum", p, q) for p in states for q in states]
    before, found = [("gate", "tanh", 0)] * (i - 1), set()
    for node in tried:
        try:
            found.add(HadamardGenotype((*before, node), 1).recurrent[-1])
        except ConfigError:
            continue
    return found


@pytest.mark.parametrize("i", [1, 2, 3])
def test_the_number_of_choices_of_a_node(i: int) -> None:
    k = i + 1  # the i states of the same step, and c
    found = written_out(i)
    assert len(found) == 4 * k + 4 * k**2 + k * (k - 1) // 2
    shape = shape_of(3)
    assert len({shape.edge_of(i - 1, choice) for choice in shape.choices_of(i - 1)}) == len(found)
    assert all(shape.choice(*shape.edge_of(i - 1, each)) == each for each in shape.choices_of(i - 1))
    assert shape.count() == 25 * 51 * 86


def every_cell() -> list[HadamardGenotype]:
    """Of two nodes."""
    nodes = itertools.product(written_out(1), written_out(2), (1, 2), ((1,), (2,), (1, 2)))
    return [HadamardGenotype(tuple(each), next_c, concat) for *each, next_c, concat in nodes]


def test_text_json_and_paths_go_there_and_back() -> None:
    drawn = [HadamardSpace(6, "loose_ends").sample(1, k) for k in range(60)]
    for genotype in [LSTM, *drawn]:
        for form in (genotype.to_text(), genotype.to_json(), str(genotype.to_json()), f"MINE = {genotype.to_text()}"):
            assert SPACE.read(form) == genotype
        assert len(SPACE.outline(genotype)) == len(genotype.recurrent) + 2
        assert list(SPACE.outline(genotype)) == sorted(SPACE.outline(genotype))
        assert max(map(len, SPACE.draw(genotype))) <= 100
    for genotype in drawn:
        space = HadamardSpace(6, "loose_ends")
        assert genotype.concat == loose_ends(genotype.recurrent) == tuple(sorted(genotype.concat))
        assert space.genotype_of(space.paths_of(genotype)) == genotype
    assert SPACE.draw(LSTM)[1:5] == [
        *("s1  tanh(s0)*sigmoid(s0)", "s2  identity(c)*sigmoid(s0)", "s3  s1+s2", "s4  tanh(s3)*sigmoid(s0)")
    ]
    assert draw_graph(parse_dot(SPACE.to_dot(replace(LSTM, concat=(1,))))).count("sigmoid") == 3
    assert str(LSTM).endswith("3 1+2  4 tanh(3)*sigmoid(0)  mean of 4  next c 3")


def test_a_constant_of_theirs_is_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genotypes, "MY_LSTM", LSTM, raising=False)
    assert SPACE.by_name("MY_LSTM") == LSTM and "DARTS_V2" in SPACE.genotypes
    assert genotypes.HadamardGenotype is HadamardGenotype  # so that a constant can be pasted
    with pytest.raises(ConfigError, match="did you mean MY_LSTM"):
        SPACE.read("MY_LSTN")


def test_all_kinds_are_drawn_alike_and_all_nodes_of_a_kind() -> None:
    shape, generator = shape_of(1), numpy_generator(0)
    drawn = Counter(shape.choices_on(shape.drawn(generator.random_sample(4).tolist()))[0] for _ in range(6000))
    assert set(drawn) == set(shape.choices_of(0))
    for kind, count in ((GATE, 8), (PRODUCT, 16), (SUM, 1)):
        numbers = [drawn[choice] for choice in drawn if choice.kind == kind]
        assert (
            1900 < sum(numbers) < 2100 and max(abs(each - 2000 / count) for each in numbers) < 5 * (2000 / count) ** 0.5
        )


def renumbered(genotype: HadamardGenotype, order: list[int]) -> HadamardGenotype | None:
    """With the nodes in another order; None if a node came before one that it reads."""
    new = {0: 0, C: C, **{old: i for i, old in enumerate(order, start=1)}}
    nodes = []
    for old in order:
        kind, activation, reads = genotype.nodes[old - 1]
        nodes.append((kind, *([] if activation is None else [activation]), *(new[state] for state in reads)))
    try:
        return HadamardGenotype(
            tuple(nodes),
            new[genotype.next_c],
            tuple(sorted(new[i] for i in genotype.concat)),  # type: ignore[arg-type]
        )
    except ConfigError:
        return None


def test_canonical_forms_of_all_cells_of_two_nodes() -> None:
    """By brute force: cells both of whose nodes count are the same if and only if an exchange makes one the other."""
    forms: dict[HadamardGenotype, set[HadamardGenotype]] = {}
    for genotype in every_cell():
        form = canonical(genotype)
        assert not form.unused_nodes() and len(form.recurrent) == 2 - len(genotype.unused_nodes())
        if len(form.recurrent) == 2 and genotype.reads_c:
            other = renumbered(genotype, [2, 1])
            forms.setdefault(form, set()).add(min({genotype, other or genotype}, key=str))
    assert len(forms) > 1000 and all(len(each) == 1 for each in forms.values())


def test_canonical_forms_of_renumbered_cells_compute_the_same() -> None:
    for seed in range(40):
        genotype = HadamardSpace(7, ("all", "loose_ends")[seed % 2]).sample(2, seed)
        form, shuffler = canonical(genotype), random.Random(seed)
        assert canonical(form) == form
        for _ in range(60):
            order = shuffler.sample(range(1, 8), 7)
            order.sort(key=lambda i: _depth(genotype, i) if shuffler.random() < 0.9 else i)
            other = renumbered(genotype, order)
            assert other is None or canonical(other) == form
        if seed < 6:
            _same_function(genotype, form)


def test_nodes_that_only_look_alike_are_told_apart() -> None:
    """Seven gates in a ring of three and a ring of four: each is in two sums, so that its neighbours do not tell which."""

    def rings(first: int) -> HadamardGenotype:
        sizes = range(1, first + 1), range(first + 1, 8)
        sums = [("sum", ring[k - 1], ring[k]) for ring in sizes for k in range(len(ring))]
        return HadamardGenotype((*[("gate", "tanh", 0)] * 7, *sums), 1, tuple(range(8, 15)))

    assert canonical(rings(3)) == canonical(rings(4)) != canonical(rings(2))


def _depth(genotype: HadamardGenotype, node: int) -> int:
    reads = [state for state in genotype.nodes[node - 1].reads if isinstance(state, int) and state]
    return 1 + max((_depth(genotype, state) for state in reads), default=0)


def _same_function(genotype: HadamardGenotype, form: HadamardGenotype) -> None:
    cells = [HadamardCell(each, HIDDEN).double() for each in (genotype, form)]
    matrices = {i: normal(HIDDEN, 2 * HIDDEN, seed=i) for i in range(1, len(genotype.recurrent) + 1)}
    for cell, order in zip(cells, (list(matrices), numbering(genotype)), strict=True):
        cell.w0.data = normal(2 * HIDDEN, 2 * HIDDEN)
        own = [matrices[i] for i in order if genotype.nodes[i - 1].kind != "sum"]
        cell.nodes = torch.nn.ParameterList([torch.nn.Parameter(each) for each in own])
    x, start = normal(STEPS, BATCH, HIDDEN), torch.zeros(BATCH, 2 * HIDDEN, dtype=torch.float64)
    torch.testing.assert_close(cells[0](x, start)[0], cells[1](x, start)[0])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[('gate', 'tanh', 1)], next_c=1", "node1 must read 'c' or states 0..0, got 1 (column 29)"),
        ("[('product', 'tanh', 0, 2)], next_c=1", "node1 must read 'c' or states 0..0, got 2"),
        (
            "[('product', 'tanh', 0)], next_c=1",
            "node1 must be ('product', activation, p, q), got ('product', 'tanh', 0)",
        ),
        ("[('sum', 'tanh', 'c', 0)], next_c=1", "node1 must be ('sum', p, q), for a sum has no activation, got"),
        ("[('sum', 0, 0)], next_c=1", "node1 must sum two different states, got 0 twice"),
        ("[('produkt', 'tanh', 0, 0)], next_c=1", "node1 'produkt' is not a kind of node; did you mean product?"),
        ("[('gate', 'none', 0)], next_c=1", "node1 'none' is not an activation"),
        ("[('gate', 'tanh', 0)], next_c=2", "next_c must be one of the nodes 1..1, got 2"),
        ("[('gate', 'tanh', 0)], next_c=0", "next_c must be one of the nodes 1..1, got 0"),
        ("[('gate', 'tanh', 0)]", "a genotype must have next_c, which is missing"),
        ("[('gate', 'tanh', 0)], next_c=1, concat=[]", "concat must name nodes 1..1, at least one, got []"),
        ("[('gate', 'tanh', 0)], next_c=1, concat=[1, 1]", "concat must name each node once, got [1, 1]"),
        ("[], next_c=1", "a cell needs at least one node, got none"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        SPACE.read(f"HadamardGenotype({'recurrent=' + text})")
    assert len(error.value.problems) == 1 and error.value.problems[0].startswith(says)


def test_what_a_space_does_not_hold_or_do_is_said() -> None:
    with pytest.raises(ConfigError, match="a cell must have 4 nodes and average all of them to lie in the supernet"):
        HadamardSpace(4).paths_of(LSTM)
    with pytest.raises(
        ConfigError, match="a Hadamard cell does not lie in a supernet of gates; one with hadamard true"
    ):
        SPACE.paths_of(LSTM)
    with pytest.raises(ConfigError, match="not for Hadamard cells"):
        SPACE.variants(LSTM)
    with pytest.raises(ConfigError, match="write arch_to_use: HadamardGenotype"):
        LSTM.to_hparams()
    with pytest.raises(ConfigError, match="write arch_to_use: HadamardGenotype"):
        HADAMARD.read({"node1_op": "tanh", "node1_edge": 0})


def test_what_a_step_keeps_is_known_without_data() -> None:
    """The estimate without contents is that of a real step, and the fast form that there is not changes nothing."""
    given: dict[str, Any] = {"alpha": 0.1, "beta": 0.1}
    alone = [
        estimate(MODEL, LSTM, WORDS, BATCH, 6, fast=fast, device=d, **given)
        for fast, d in ((True, "meta"), (False, "cpu"))
    ]
    assert alone[0] == alone[1]
    config = SupernetConfig(False, nodes=3, hadamard=True)
    searched = [
        estimate_supernet(MODEL, config, WORDS, BATCH, 6, fast=fast, order=None, mixture=False, device=d, **given)
        for fast, d in ((True, "meta"), (False, "cpu"))
    ]
    assert searched[0] == searched[1]

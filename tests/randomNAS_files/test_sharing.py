"""What a recurrent supernet's cells share, and of which nodes the output is the mean, against networks of one cell."""

from __future__ import annotations

import itertools

import pytest
import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.errors import ConfigError
from nas.core.optimizers import SGD, fused_sgd, with_momenta
from randomNAS_files.architecture import NODES, Genotype, sample
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.memory import estimate_supernet
from randomNAS_files.model import LanguageModel, ModelConfig, Output
from randomNAS_files.outputs import loose_ends
from randomNAS_files.relaxation import paths_of
from randomNAS_files.scoring import score_cells, score_paths, score_stream
from randomNAS_files.slices import Columns
from randomNAS_files.space import RecurrentSpace
from randomNAS_files.supernet import Supernet, SupernetConfig

WORDS, COLUMNS, LENGTH, HIDDEN = 11, 3, 4, 5
CONFIG = ModelConfig(HIDDEN, HIDDEN, HIDDEN, 2, 0.3, 0.2, 0.25, 0.1, 0.1)
COUNTS = {"node": 8, "edge": 36, "edge_activation": 144}
OUTPUTS = ("all", "loose_ends")
FORMS = {"plain": Supernet, "fast": FastSupernet}
WITH_NONE = Genotype(
    (
        *(("relu", 0), ("none", 1), ("tanh", 2), ("sigmoid", 0)),
        *(("identity", 4), ("none", 1), ("relu", 3), ("relu", 3)),
    )
)
CELLS = {"none": WITH_NONE, "chain": Genotype(tuple(("tanh", i) for i in range(NODES)))} | {
    f"random {seed}": sample(seed) for seed in range(2)
}
OTHER_SIZES = {f"{nodes} nodes": sample(1, nodes=nodes) for nodes in (1, 3, 11)}


def supernet(form: str, sharing: str, output: str, nodes: int | tuple[int, int] = NODES) -> Supernet:
    config = SupernetConfig(False, sharing, output, nodes)
    net = FORMS[form](CONFIG, WORDS, torch.Generator().manual_seed(1), config).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(20)  # at 0.04 a cell is nearly linear
    return net


def in_place(cell: Genotype, sharing: str) -> list[int]:
    """Which matrix each node has: node i's pairs with predecessors 0..i-1 follow those of the nodes before it."""
    found = []
    for i, (name, predecessor) in enumerate(cell.recurrent, start=1):
        pair = i * (i - 1) // 2 + predecessor
        kind = ("tanh", "relu", "sigmoid", "identity", "none").index(name) % 4
        found.append({"node": i - 1, "edge": pair, "edge_activation": 4 * pair + kind}[sharing])
    return found


def with_output(cell: Genotype, output: str) -> Genotype:
    read = [predecessor for name, predecessor in cell.recurrent if name != "none"]
    everything = range(1, len(cell.recurrent) + 1)
    return Genotype(cell.recurrent, tuple(i for i in everything if output == "all" or i not in read))


def discrete(net: Supernet, cell: Genotype) -> tuple[LanguageModel, dict[str, str]]:
    """The network of one cell with the supernet's weights, and what its parameters are called there."""
    plain = LanguageModel(CONFIG, with_output(cell, net.supernet.output), WORDS, torch.Generator()).double()
    matrices = in_place(cell, net.supernet.sharing)
    names = {name: name for name in ("embedding", "decoder_bias")}
    for k in range(CONFIG.depth):
        names[f"cells.{k}.w0"] = f"cells.{k}.w0"
        names |= {f"cells.{k}.nodes.{i}": f"cells.{k}.nodes.{j}" for i, j in enumerate(matrices)}
    weights = net.state_dict()
    plain.load_state_dict({name: weights[there] for name, there in names.items()})
    return plain, names


def run(net: LanguageModel, cell: Genotype | None = None) -> Output:
    generator = torch.Generator().manual_seed(2)
    tokens, targets = (torch.randint(WORDS, (LENGTH, COLUMNS), generator=generator) for _ in range(2))
    masks = net.draw_masks(torch.Generator().manual_seed(5), COLUMNS, slice(0, COLUMNS))
    more = ()
    if cell is not None:
        assert isinstance(net, Supernet)
        more = (one_path(net.supernet.space.paths_of(with_output(cell, net.supernet.output))),)
    output: Output = net(tokens, net.initial_state(COLUMNS), *more, masks=masks, targets=targets)
    assert output.loss is not None
    output.loss.backward()
    return output


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("sharing", COUNTS)
@pytest.mark.parametrize("cell", [*CELLS, *OTHER_SIZES])
def test_one_cell_is_the_network_of_its_genotype(cell: str, sharing: str, output: str, form: str) -> None:
    genotype = (CELLS | OTHER_SIZES)[cell]
    nodes = len(genotype.recurrent)
    net = supernet(form, sharing, output, nodes)
    plain, names = discrete(net, genotype)
    found, expected = run(net, genotype), run(plain)
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(found.loss, expected.loss, **close)
    torch.testing.assert_close(found.states, expected.states, **close)
    own = dict(net.named_parameters())
    for name, weight in plain.named_parameters():
        grad = own.pop(names[name]).grad
        assert (grad is None) == (weight.grad is None), name
        if grad is not None:
            torch.testing.assert_close(grad, weight.grad, **close)
    assert all(weight.grad is None for weight in own.values())  # outside the cell
    pairs = nodes * (nodes + 1) // 2
    assert len(own) == CONFIG.depth * ({"node": nodes, "edge": pairs, "edge_activation": 4 * pairs}[sharing] - nodes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("sharing", COUNTS)
def test_a_supernet_of_2_to_5_nodes_runs_each_as_its_own_network(sharing: str, output: str, form: str) -> None:
    """The prefix of the nodes, with the matrices that it has in any larger cell."""
    close = {"rtol": 1e-10, "atol": 1e-10}
    stream = torch.randint(WORDS, (40,), generator=torch.Generator().manual_seed(3))
    columns, cells, scores = Columns(stream, COLUMNS, slice(None), pad=True), [], []
    net = supernet(form, sharing, output, (2, 5))
    for nodes in (2, 4, 5):
        cells.append(with_output(sample(nodes, nodes=nodes), output))
        plain, names = discrete(net, cells[-1])
        scores.append(score_stream(plain, columns, 5))
        net.zero_grad()
        found, expected = run(net, cells[-1]), run(plain)
        torch.testing.assert_close(found.states, expected.states, **close)
        own = dict(net.named_parameters())
        for name, weight in plain.named_parameters():
            torch.testing.assert_close(own.pop(names[name]).grad, weight.grad, **close)
        assert all(weight.grad is None for weight in own.values())  # outside the cell
    assert score_cells(net, columns, 5, cells) == pytest.approx(scores, rel=1e-10)
    for nodes in (1, 6):
        with pytest.raises(ConfigError, match=f"must have 2 to 5 nodes and average .* got {nodes}"):
            net.supernet.space.paths_of(with_output(sample(1, nodes=nodes), output))
    with pytest.raises(ConfigError, match="must keep one edge a node, node 2 has 0"):
        net.supernet.space.genotype_of({"recurrent": ((1,), *((),) * 14)})


@pytest.mark.parametrize(("form", "kind"), [("plain", SGD), ("fast", fused_sgd)], ids=["plain", "fast"])
@pytest.mark.parametrize("sharing", ["edge", "edge_activation"])
def test_a_step_leaves_what_is_outside_the_cell_bitwise_as_it_is(sharing: str, form: str, kind: object) -> None:
    """Also after steps of other cells, whose momentum would move it."""
    in_cells = [set(in_place(sample(seed), sharing)) for seed in (11, 12, 13)]
    assert in_cells[0] - in_cells[1] and in_cells[1] - in_cells[2]
    net = supernet(form, sharing, "loose_ends")
    sgd = kind(net.parameters(), 0.1, momentum=0.9, weight_decay=0.1)  # type: ignore[operator]
    sgd = with_momenta(sgd) if form == "fast" else sgd
    for cell in (sample(11), sample(12), sample(13)):
        before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
        momenta = {name: sgd.state[weight].get("momentum_buffer") for name, weight in net.named_parameters()}
        momenta = {name: None if momentum is None else momentum.clone() for name, momentum in momenta.items()}
        sgd.zero_grad()
        run(net, cell)
        sgd.step()
        inside = {f"cells.{k}.nodes.{i}" for k in range(CONFIG.depth) for i in in_place(cell, sharing)}
        for name, weight in net.named_parameters():
            moved = name in inside or ".nodes." not in name
            assert torch.equal(weight, before[name]) != moved, name
            after, momentum = sgd.state[weight].get("momentum_buffer"), momenta[name]
            if not moved:
                assert (after is None) == (momentum is None) and (after is None or torch.equal(after, momentum)), name


@pytest.mark.parametrize("sharing", COUNTS)
def test_the_number_of_parameters(sharing: str) -> None:
    """H x 2H matrices: N, N (N + 1) / 2, and four times as many."""
    net = supernet("plain", sharing, "all")
    layer = (2 * HIDDEN) * (2 * HIDDEN) + COUNTS[sharing] * HIDDEN * (2 * HIDDEN)
    assert sum(weight.numel() for weight in net.parameters()) == WORDS * HIDDEN + WORDS + 2 * layer
    assert COUNTS["edge"] == NODES * (NODES + 1) // 2 and COUNTS["edge_activation"] == 4 * COUNTS["edge"]


def test_more_sharing_starts_with_the_same_weights_and_the_others_in_the_same_range() -> None:
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    alone = LanguageModel(CONFIG, sample(0), WORDS, generators[0]).state_dict()
    for sharing in COUNTS:
        net = Supernet(CONFIG, WORDS, torch.Generator().manual_seed(1), SupernetConfig(False, sharing))
        own = net.state_dict()
        assert all(torch.equal(own.pop(name), weight) for name, weight in alone.items())
        if own:
            values = torch.cat([weight.flatten() for weight in own.values()])
            assert 0.039 < float(values.max()) < 0.04 and -0.04 < float(values.min()) < -0.039
            assert float(values.std()) == pytest.approx(0.04 / 3**0.5, rel=0.05)


@pytest.mark.parametrize("sharing", COUNTS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_scores_are_those_of_the_networks_of_one_cell(sharing: str, output: str) -> None:
    stream = torch.randint(WORDS, (40,), generator=torch.Generator().manual_seed(3))
    columns, cells = Columns(stream, COLUMNS, slice(None), pad=True), list(CELLS.values())
    architectures = [one_path(paths_of(cell)) for cell in cells]
    for form in FORMS:
        net = supernet(form, sharing, output)
        expected = [score_stream(discrete(net, cell)[0], columns, 5) for cell in cells]
        assert score_paths(net, columns, 5, architectures) == pytest.approx(expected, rel=1e-10)
        genotypes = [with_output(cell, output) for cell in cells]
        assert score_cells(net, columns, 5, genotypes) == pytest.approx(expected, rel=1e-10)
        if isinstance(net, FastSupernet) and sharing != "node":
            with pytest.raises(ValueError, match=f"with sharing {sharing} can not be scored at once"):
                net.score_cells(columns, 5, genotypes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "given", [{"sharing": "edge"}, {"output": "loose_ends"}, {"sharing": "edge", "state_norm": True}]
)
def test_no_mixture_is_run(form: str, given: dict[str, object]) -> None:
    config = SupernetConfig(**{"state_norm": False, **given})  # type: ignore[arg-type]
    net = FORMS[form](CONFIG, WORDS, torch.Generator().manual_seed(1), config)
    weights = one_path(paths_of(sample(1))) if config.state_norm else ArchWeights()
    with pytest.raises(ValueError, match="runs one cell at a time, no mixture"):
        net(torch.zeros(2, COLUMNS, dtype=torch.int64), net.initial_state(COLUMNS), weights)


def test_loose_ends_are_the_nodes_on_no_edge_out() -> None:
    """All cells of up to four nodes; then the space's genotypes and paths are each other's inverse."""
    for count in range(1, 5):
        for predecessors in itertools.product(*(range(i) for i in range(1, count + 1))):
            edges = {(predecessor, i) for i, predecessor in enumerate(predecessors, start=1)}
            expected = [i for i in range(1, count + 1) if not any((i, j) in edges for j in range(count + 1))]
            assert list(loose_ends([("tanh", each) for each in predecessors])) == expected
    for seed in range(30):
        for nodes in (1, 5, 8):
            space, genotype = RecurrentSpace(nodes, "loose_ends"), with_output(sample(seed, nodes=nodes), "loose_ends")
            assert space.genotype_of(space.paths_of(genotype)) == genotype == space.sample(seed)
    with pytest.raises(ConfigError, match=r"average those that no other reads \(loose ends\)"):
        RecurrentSpace(output="loose_ends").paths_of(sample(0))
    with pytest.raises(ConfigError, match=r"must have 3 nodes and average all of them .* got 8"):
        RecurrentSpace(3).paths_of(sample(0))


def test_what_comes_before_a_none_changes_no_cell() -> None:
    """The supernet's output and its genotype's, whatever predecessor is written there."""
    for output in OUTPUTS:
        space, net = RecurrentSpace(4, output), supernet("plain", "node", output, 4)
        losses = set()
        for predecessor in range(3):
            nodes = (("tanh", 0), ("relu", 1), ("none", predecessor), ("sigmoid", 2))
            paths = space.paths_of(with_output(Genotype(nodes), output))
            assert space.genotype_of(paths).concat == ((1, 2, 3, 4) if output == "all" else (3, 4))
            losses.add(run(net, Genotype(nodes)).loss.item())  # type: ignore[union-attr]
        assert len(losses) == 1


@pytest.mark.parametrize("nodes", [1, 3, 11])
@pytest.mark.parametrize("state_norm", [False, True])
def test_a_mixture_of_so_many_nodes_is_the_same_in_both_forms(nodes: int, state_norm: bool) -> None:
    config, found = SupernetConfig(state_norm, nodes=nodes), []
    for kind in (Supernet, FastSupernet):
        net = kind(CONFIG, WORDS, torch.Generator().manual_seed(1), config).double()
        generator = torch.Generator().manual_seed(2)
        tokens, targets = (torch.randint(WORDS, (LENGTH, COLUMNS), generator=generator) for _ in range(2))
        weights = torch.rand(nodes * (nodes + 1) // 2, 5, generator=generator).double().requires_grad_()
        mixture = ArchWeights({"recurrent": weights})
        loss = net(tokens, net.initial_state(COLUMNS), mixture, None, targets).loss
        found.append([loss, *torch.autograd.grad(loss, [weights, *net.parameters()])])
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fast", [True, False])
def test_the_memory_of_more_matrices(fast: bool) -> None:
    def estimate(sharing: str, device: str = "meta") -> tuple[int, int, int, str]:
        config = SupernetConfig(False, sharing, "loose_ends")
        found = estimate_supernet(
            CONFIG, config, WORDS, 4, 3, fast=fast, alpha=0.0, beta=0.0, order=None, mixture=False, device=device
        )
        return found.parameters, found.optimizer, found.activations, found.note

    node, edge = estimate("node"), estimate("edge")
    assert edge == estimate("edge", "cpu")
    assert edge[0] - node[0] == 2 * (36 - 8) * HIDDEN * 2 * HIDDEN * 4
    assert edge[1:3] == node[1:3]  # gradients and activations are those of one cell
    assert not node[3] and edge[3].startswith("sharing edge: 36 matrices a layer in place of 8, 0.0 MB more")

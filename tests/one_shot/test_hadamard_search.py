"""Searches over Hadamard cells: probabilities against all cells of small spaces, a stop, the winner, and what is refused."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import assert_equal_runs, stopped_after
from support.search import go_on, search, search_config
from support.strategy_suite import seeded

from model_def import RecurrentTrial
from nas.config.load import load
from nas.core.errors import ConfigError
from nas.core.identity import Identity, MismatchError, check_resume
from nas.core.relaxation import Paths
from one_shot.cell_tokens import KIND
from one_shot.controller import Heads
from one_shot.hadamard_tokens import HadamardTokens, tokens_of
from one_shot.random_search import draw
from one_shot.reinforce import objective
from one_shot.trial import SearchTrial
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.hadamard_relaxation import CELL, NEXT_C, HadamardShape
from randomNAS_files.hadamard_space import HadamardSpace
from randomNAS_files.space import SPACE

OWN: dict[str, Any] = {"hadamard": True, "nodes": 3, "state_norm": False}
CELL_ALONE = "HadamardGenotype([('product', 'tanh', 0, 'c'), ('sum', 0, 1)], 2)"


def every_path(nodes: int) -> list[Paths]:
    shape = HadamardSpace(nodes).relaxation[CELL]
    assert isinstance(shape, HadamardShape)
    cells = itertools.product(*(shape.choices_of(node) for node in range(nodes)))
    return [{CELL: shape.path_of(cell), NEXT_C: ((c,),)} for cell in cells for c in range(nodes)]


def controller(nodes: int) -> tuple[HadamardTokens, Heads]:
    """One that is far from uniform."""
    tokens = tokens_of(HadamardSpace(nodes).relaxation)
    assert isinstance(tokens, HadamardTokens)
    heads = Heads(tokens.decisions, 6, seeded(1)).double()
    for k, parameter in enumerate(heads.parameters()):
        parameter.data.normal_(generator=seeded(k))
    return tokens, heads


@pytest.mark.parametrize(("nodes", "count"), [(1, 25), (2, 25 * 51 * 2)])
def test_probabilities_of_all_cells_sum_to_one(nodes: int, count: int) -> None:
    tokens, heads = controller(nodes)
    cells = torch.tensor([tokens.cell_of(each) for each in every_path(nodes)])
    assert len(cells) == len({tuple(cell) for cell in cells.tolist()}) == count
    assert [tokens.paths_of(cell) for cell in cells.tolist()] == every_path(nodes)
    log_probs, entropies = heads(cells)
    probabilities = log_probs.sum(1).exp()
    assert float(probabilities.detach().sum()) == pytest.approx(1, abs=1e-12)
    exact = -(probabilities * probabilities.log()).sum()
    torch.testing.assert_close((probabilities * entropies.sum(1)).sum(), exact, rtol=1e-9, atol=0)
    kinds = [number for number, each in enumerate(tokens.decisions) if each.kind == KIND]
    for number in kinds:  # a gate has no second state, and a sum no activation: nothing is decided
        kind, untaken = cells[:, number], log_probs[:, [number + 3, number + 1]]
        assert not untaken[kind == 0][:, 0].any() and not untaken[kind == 2][:, 1].any()
        assert untaken[kind == 1].all()


def test_reinforce_by_all_cells_is_the_gradient_of_the_expected_reward() -> None:
    tokens, heads = controller(1)
    cells = torch.tensor([tokens.cell_of(each) for each in every_path(1)])
    rewards = torch.randn(len(cells), generator=seeded(0), dtype=torch.float64)
    log_probs, entropies = heads(cells)
    probabilities, wanted = log_probs.sum(1).exp(), list(heads.parameters())
    exact = torch.autograd.grad((probabilities * rewards).sum(), wanted, retain_graph=True)
    weighed = probabilities.detach() * rewards * len(cells)
    found = torch.autograd.grad(objective(log_probs, entropies, weighed, 0.0, "gradient"), wanted)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


def test_a_controller_draws_cells_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, heads = controller(1)
    drawn = Counter(map(tuple, heads.draw(20_000, seeded(2)).tolist()))
    for path in every_path(1):
        cell = tokens.cell_of(path)
        expected = 20_000 * float(heads.log_prob(torch.tensor([cell])).detach().exp())
        assert abs(drawn.pop(tuple(cell), 0) - expected) < 5 * math.sqrt(expected) + 3
    assert not drawn
    tokens, heads = controller(4)
    for extreme in (0.0, 1 - 1e-16):  # which single precision rounds to 1
        monkeypatch.setattr(torch, "rand", lambda *shape, n=extreme, **_: torch.full(shape, n, dtype=torch.float64))
        (cell,) = heads.float().draw(1, seeded(0)).tolist()
        assert tokens.cell_of(tokens.paths_of(cell)) == cell
        HadamardSpace(4).genotype_of(tokens.paths_of(cell))


def test_random_search_draws_all_cells() -> None:
    found = {str(draw(HadamardSpace(1).relaxation, seeded(k))) for k in range(400)}
    assert found == {str(each) for each in every_path(1)}


@pytest.mark.parametrize("method", ["ENAS", "random"])
def test_a_search_survives_a_stop_and_its_winner_is_retrained(method: str, corpus: Path, tmp_path: Path) -> None:
    own = {**OWN, "output": "loose_ends", "max_state_norm": 1.0, "wdecay": 0.01, "depth": 2, "against_random": 1}
    own |= {"parameter_price": 0.5} if method == "ENAS" else {}
    config = search_config("text", method, corpus, retrain="quickstart.yaml", **own)
    straight = search(tmp_path / "straight", config)
    assert straight.code == 0, straight.err + straight.out
    with stopped_after(3):
        run = search(tmp_path / "cut", config)
    assert run.read("run.json")["status"] == "stopped"
    again = go_on(run)
    assert_equal_runs(again, straight)
    for name in ("genotype.json", "search.json", "architectures.json"):
        assert again.read(name) == straight.read(name)
    genotype = SPACE.from_json(straight.read("genotype.json"))
    assert isinstance(genotype, HadamardGenotype) and len(genotype.recurrent) == 3
    retrain = load(straight.path / "retrain.yaml")
    assert retrain["hyperparameters"]["arch_to_use"] == genotype.to_text()
    assert RecurrentTrial.check(retrain["hyperparameters"], retrain["data"], 1).genotype == genotype
    last = straight.read("search.json")[-1]
    assert last["parameters"] == SPACE.size(genotype, hidden=8, vocabulary=10_000, depth=2).parameters
    contenders = load(straight.path / "against_random.yaml")["hyperparameters"]["cells"]
    assert [SPACE.read(contenders[group][0]).to_text() for group in ("trained", "uniform")]


@pytest.mark.parametrize("changed", [{"hadamard": False}, {"nodes": 4}, {"output": "loose_ends"}])
def test_a_checkpoint_of_another_supernet_is_refused(changed: dict[str, Any], corpus: Path) -> None:
    config = search_config("text", "ENAS", corpus, **OWN)
    then, now = (
        Identity(SearchTrial.architecture(SearchTrial.check(hparams, config["data"], 1)), {}, 3)
        for hparams in (config["hyperparameters"], config["hyperparameters"] | changed)
    )
    ((name, value),) = changed.items()
    before = {"output": "all", **OWN, **{"hadamard": "true"}}[name]
    says = f"{name}: {before} then, {'nothing' if value is False else value} now"
    with pytest.raises(MismatchError, match=re.escape(says)):
        check_resume(then, now, "the checkpoint")


@pytest.mark.parametrize(
    ("method", "values", "says"),
    [
        ("ENAS", {"nodes": [2, 3]}, "hyperparameters.nodes must be left out with hadamard true, got 2 to 3"),
        ("ENAS", {"sharing": "edge"}, "hyperparameters.sharing must be left out with hadamard true, got edge"),
        (
            "ENAS",
            {"one_activation": True},
            "hyperparameters.one_activation must be left out with hadamard true, got true",
        ),
        ("ENAS", {"fixed_topology": "tree"}, "hyperparameters.fixed_topology must be left out with hadamard true, got"),
        ("ENAS", {"hidden_choices": [4, 8]}, "hyperparameters.hidden_choices must be left out with hadamard true, got"),
        (
            "ENAS",
            {"fast": True},
            "hyperparameters.fast must be left out with hadamard, which has no fast form, got true",
        ),
        ("ENAS", {"controller": "attention"}, "hyperparameters.controller must be heads with hadamard, as attention"),
        ("ENAS", {"state_norm": True}, "hyperparameters.state_norm must be false with hadamard true, where each step"),
        ("ENAS", {"hadamard": "yes"}, "hyperparameters.hadamard must be true or false, got 'yes'"),
        ("random", {"sample_none": True}, "hyperparameters.sample_none must be false with hadamard, whose cells have"),
        ("GAEA", {}, "with strategy gradient, which mixes cells, got hadamard true"),
    ],
)
def test_what_does_not_go_with_it_is_refused(method: str, values: dict[str, Any], says: str, corpus: Path) -> None:
    config = search_config("text", method, corpus, **{**OWN, **values})
    with pytest.raises(ConfigError, match=re.escape(says)):
        SearchTrial.check(config["hyperparameters"], config["data"], 1)


def test_a_controller_of_such_cells_is_not_analyzed(corpus: Path) -> None:
    config = search_config("text", "ENAS", corpus, **OWN)
    with pytest.raises(ConfigError, match="cells are compared as trees, which Hadamard cells are not"):
        SearchTrial.need_controller(SearchTrial.check(config["hyperparameters"], config["data"], 1))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"fast": True},
            "hyperparameters.fast must be left out with a Hadamard cell, which has no fast form, got true",
        ),
        (
            {"cuda_graphs": True},
            "hyperparameters.cuda_graphs true needs the fast form, which a Hadamard cell has not; leave it out",
        ),
        (
            {"eval_same_arch": False, "num_archs_to_eval": 3},
            "hyperparameters.eval_same_arch must be true with a Hadamard",
        ),
    ],
)
def test_what_does_not_go_with_a_cell_alone_is_refused(values: dict[str, Any], says: str) -> None:
    config = load(Path(__file__).parents[2] / "quickstart.yaml")
    hparams = {name: value for name, value in config["hyperparameters"].items() if not name.startswith("arch_")}
    with pytest.raises(ConfigError, match=re.escape(says)):
        RecurrentTrial.check({**hparams, "arch_to_use": CELL_ALONE, **values}, config["data"], 1)

"""Cells and states of a controller, and the command on a tiny search."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import stopped_after
from support.search import search, search_config
from support.strategy_suite import seeded

from model_def import RecurrentTrial
from nas.cli import main as nas
from nas.core.errors import ConfigError
from nas.core.fields import read
from nas.core.relaxation import complete_cell
from one_shot.analysis import cells_of, different
from one_shot.cell_tokens import Decision, decisions_of
from one_shot.controller import CONTROLLERS, Controller
from one_shot.enas import Enas, EnasConfig
from one_shot.trial import SearchTrial
from randomNAS_files.relaxation import RELAXATION
from randomNAS_files.space import SPACE


def decisions(nodes: int, activations: int) -> list[Decision]:
    return decisions_of(complete_cell(nodes, 1, [str(k) for k in range(activations)], kept=1))


@pytest.mark.parametrize("kind", CONTROLLERS)
def test_the_last_state_has_seen_the_last_token(kind: str) -> None:
    controller = CONTROLLERS[kind](decisions(4, 3), 6, seeded(0)).double()
    cells = controller.draw(8, seeded(1))
    states, largest = controller.follow(cells)
    assert states.shape == (8, 6) and largest.shape == (8, 7)
    assert torch.allclose(states[:5], controller.follow(cells[:5])[0])
    changed = cells.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 3
    others, same = controller.follow(changed)
    assert (states - others).norm(dim=1).min() > 1e-6 and torch.allclose(largest, same)
    seen = _step_by_step(controller, cells[0]) if kind == "heads" else None
    assert seen is None or torch.allclose(states[0], seen)


def _step_by_step(controller: Controller, cell: torch.Tensor) -> torch.Tensor:
    """The LSTM over zero and then the embeddings of all tokens, written out."""
    embedding = controller.get_submodule("embedding")
    x, state = torch.zeros(1, 6).double(), None
    for decision, token in zip(controller.decisions, cell.tolist(), strict=True):
        state = controller.cell(x, state)
        x = embedding(torch.tensor([token + 3 * decision.predecessor]))  # after the 3 activations
    return controller.cell(x, state)[0][0].detach()  # type: ignore[no-any-return]


def test_largest_probabilities_are_those_of_the_decisions() -> None:
    controller = CONTROLLERS["heads"](decisions(3, 2), 5, seeded(0)).double()
    cell = controller.draw(1, seeded(2))
    _, largest = controller.follow(cell)
    for number, decision in enumerate(controller.decisions):
        options = cell.repeat(decision.options, 1)
        options[:, number] = torch.arange(decision.options)
        assert float(controller(options)[0][:, number].detach().exp().max()) == pytest.approx(float(largest[0, number]))


def test_cells_are_there_once_with_what_they_have_in_common() -> None:
    (config,) = read({"controller_hidden": 8}, EnasConfig)
    strategy = Enas(RELAXATION, config, seeded(0))
    with torch.no_grad():  # a sure controller draws few cells
        for head in strategy.controller.get_submodule("heads").children():
            head.get_parameter("bias")[0] = 12.0
    asked: list[int] = []

    def score(entrants: Any) -> list[dict[str, float]]:
        asked.append(len(entrants))
        return [{"loss": float(k)} for k in range(len(entrants))]

    drawn = strategy.controller.draw(60, seeded(3))
    found = cells_of(strategy, SPACE, score, *different(drawn))
    count = len(found.genotypes)
    assert sum(found.counts) == 60 and max(found.counts) > 1 and asked == [count] and count < 60
    nodes = [SPACE.from_json(each).recurrent for each in found.genotypes]
    assert len(set(nodes)) == count and found.losses == [float(k) for k in range(count)]
    for i in range(count):
        assert found.tree_distances[i][i] == 0 and found.common_edges[i][i] == found.common_pairs[i][i] == 8
        for j in range(count):
            both = list(zip(nodes[i], nodes[j], strict=True))
            assert found.common_edges[i][j] == sum(a[1] == b[1] for a, b in both)
            assert found.common_pairs[i][j] == sum(a == b for a, b in both)
    totals = [math.exp(each) for each in found.log_probs]
    assert 0 < sum(totals) <= 1 and max(totals) == totals[found.counts.index(max(found.counts))]


def test_the_command_on_a_search_that_was_stopped(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = search_config("text", "ENAS", corpus)
    with stopped_after(3):
        run = search(tmp_path / "run", config)
    assert run.read("run.json")["status"] == "stopped"
    monkeypatch.setattr(SearchTrial, "evaluate_batch", lambda self, batch, batch_idx: pytest.fail("validated"))
    assert nas(["analyze", str(run.path), "--cells", "6", "--device", "cpu"]) == 0
    says = capsys.readouterr().out
    assert ", 3 batches" in says and "6 cells drawn" in says
    told = json.loads((run.path / "analysis" / "analysis.json").read_text())
    losses = [
        cell["loss"] for half in ("trained", "same cells, untrained", "untrained") for cell in told[half]["cells"]
    ]
    same, other = told["trained"]["cells"], told["same cells, untrained"]["cells"]
    for one, two in zip(same, other, strict=True):
        assert one["genotype"] == two["genotype"] and one["loss"] == two["loss"] and one["state"] != two["state"]
    assert all(0 < loss < 10 for loss in losses) and len(told["trained"]["cells"][0]["state"]) == 5
    assert nas(["analyze", str(run.path), "--cells", "1"]) == 2
    assert capsys.readouterr().err.startswith("error: --cells must be 5..1000")


def test_a_search_without_a_controller_is_told_so_before_data_is_read(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = search(tmp_path / "run", search_config("text", "random", corpus, train_epochs=1))
    assert nas(["analyze", str(run.path), "--config", "data.data_dir=/nowhere"]) == 2
    with pytest.raises(ConfigError, match="RecurrentTrial is no search with a controller"):
        RecurrentTrial.need_controller(None)
    says = "error: a search with strategy random in space recurrent has no controller, so there is"
    assert says in capsys.readouterr().err

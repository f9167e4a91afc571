"""Cells of a controller with its states, to see what the states say of the cells; see `nas analyze`.

The last hidden state that a controller draws from has not seen the last token, which is drawn from it. So that token is read
once more, and the states compared here know whole cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.drawn_cells import ControllerCells, DrawnCells, Table
from nas.core.errors import ConfigError
from nas.core.relaxation import Path
from nas.core.seeds import torch_generator
from nas.core.space import Space
from one_shot.enas import Enas
from one_shot.hadamard_tokens import HADAMARD
from one_shot.settings import Settings, build_strategy
from one_shot.strategy import Strategy
from randomNAS_files.tree_distance import postorder, tree_distance
from randomNAS_files.trees import trees_of

ScoreAll = Callable[[Sequence[ArchWeights], int | None], list[dict[str, float]]]
"""The metrics of each on the first validation batches, or on all of them."""


def need_controller(settings: Settings) -> None:
    """Raises ConfigError for a search that has none."""
    if settings.search.strategy != "enas":
        what = f"a search with strategy {settings.search.strategy} in space {settings.search.space} has no controller"
        raise ConfigError([f"{what}, so there is nothing to analyze; searches with strategy enas have one"])
    if HADAMARD in settings.space.relaxation:
        raise ConfigError(["cells are compared as trees, which Hadamard cells are not, so they are not analyzed"])


def analyze(
    settings: Settings, strategy: Strategy, score: ScoreAll, seed: int, cells: int, batches: int | None
) -> ControllerCells:
    """Draw cells of the trained controller, and as many of the one that this trial started with, by the same numbers.

    Args:
        score: with the shared weights that the trained controller belongs to.
        seed: of the trial.
        batches: of validation data to score by; None: all.

    Raises:
        ConfigError: the search has no controller.
    """
    need_controller(settings)
    fresh = build_strategy(settings, torch_generator("cpu", seed, "strategy"))
    assert isinstance(strategy, Enas) and isinstance(fresh, Enas)
    fresh.to(next(strategy.parameters()).device)

    def drawn(by: Enas) -> tuple[torch.Tensor, list[int]]:
        return different(by.controller.draw(cells, torch_generator("cpu", seed, "analysis")))

    def found(by: Enas, tokens: torch.Tensor, counts: list[int]) -> DrawnCells:
        return cells_of(by, settings.space, lambda each: score(each, batches), tokens, counts)

    decisions = strategy.controller.decisions
    names = [each.label for each in decisions]
    options = [each.options for each in decisions]
    tokens, counts = drawn(strategy)
    trained = found(strategy, tokens, counts)
    control = replace(trained, **seen_by(fresh, tokens))
    return ControllerCells(
        settings.space.package, cells, batches, names, options, trained, control, found(fresh, *drawn(fresh))
    )


def different(tokens: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """The different cells among those that were drawn `(K, D)`, in the order of their first, and how often each was."""
    counted = Counter(map(tuple, tokens.tolist()))
    return torch.tensor(list(counted), device=tokens.device), list(counted.values())


def cells_of(
    strategy: Enas,
    space: Space[Any],
    score: Callable[[Sequence[ArchWeights]], list[dict[str, float]]],
    tokens: torch.Tensor,
    counts: list[int],
) -> DrawnCells:
    """What there is to know of cells `(n, D)` of a controller."""
    paths = [strategy.paths_of(cell) for cell in tokens.tolist()]
    genotypes = [space.genotype_of(each) for each in paths]
    trees = [postorder(trees_of(genotype)) for genotype in genotypes]
    cells = [each[strategy.kind] for each in paths]
    return DrawnCells(
        genotypes=[genotype.to_json() for genotype in genotypes],
        counts=counts,
        losses=[each["loss"] for each in score([one_path(each) for each in paths])],
        common_edges=_table(cells, _common_edges),
        common_pairs=_table(cells, _common_pairs),
        tree_distances=_table(trees, tree_distance),
        **seen_by(strategy, tokens),
    )


@torch.no_grad()
def seen_by(strategy: Enas, tokens: torch.Tensor) -> dict[str, Any]:
    """What a controller makes of cells `(n, D)`, as fields of `DrawnCells`."""
    exact = deepcopy(strategy.controller).cpu().double()  # near states differ by less than single precision tells
    states, largest = exact.follow(tokens.cpu())
    log_probs = exact.log_prob(tokens.cpu())
    return {"log_probs": log_probs.tolist(), "states": states.tolist(), "largest": largest.tolist()}


def _common_edges(one: Path, other: Path) -> int:
    return sum(bool(a and b) for a, b in zip(one, other, strict=True))


def _common_pairs(one: Path, other: Path) -> int:
    return sum(bool(a) and a == b for a, b in zip(one, other, strict=True))


def _table(things: Sequence[Any], measure: Callable[[Any, Any], float]) -> Table:
    """A symmetric measure of all pairs, `(n, n)`; of a thing and itself too."""
    table = [[0.0] * len(things) for _ in things]
    for i, one in enumerate(things):
        table[i][i] = float(measure(one, one))
    for (i, one), (j, other) in combinations(enumerate(things), 2):
        table[i][j] = table[j][i] = float(measure(one, other))
    return table

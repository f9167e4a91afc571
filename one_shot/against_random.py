"""The config that retrains cells of a search's final controller and uniform cells alike: does the controller beat chance?

One ordinary experiment: a grid over the two groups and the pairs. `nas compare --groups` reads several, one a search seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nas.core.contenders import CELLS, DRAWN_BY, GROUPS, PAIR, Contenders
from nas.core.relaxation import Paths
from nas.core.seeds import torch_generator
from one_shot.random_search import draw
from one_shot.retrain import retraining_config
from one_shot.settings import Settings
from one_shot.strategy import Strategy


def contenders(settings: Settings, strategy: Strategy, config: Mapping[str, Any], seed: int) -> Contenders:
    """Cells that the strategy draws now, and uniform ones of the same space.

    Args:
        config: of the search, with one value for each hyperparameter.
        seed: of the search's trial.
    """
    count = settings.search.against_random
    trained = strategy.candidates(torch_generator("cpu", seed, "against random", "trained"), count)
    generator = torch_generator("cpu", seed, "against random", "uniform")
    uniform = [draw(strategy.relaxation, generator) for _ in range(count)]

    def text(paths: Paths) -> str:
        found: str = settings.space.genotype_of(paths).to_text()
        return found

    return Contenders(
        search=str(config.get("name", "search")),
        search_seed=seed,
        settings=_digest(config),
        strategy=settings.search.strategy,
        trained=[text(each) for each in trained],
        uniform=[text(each) for each in uniform],
    )


def against_random_config(template: Mapping[str, Any], cells: Contenders, data: Mapping[str, Any]) -> dict[str, Any]:
    """The template as an experiment that trains every cell once; validation decides, so no test set is read.

    Args:
        template: see `one_shot.retrain.retraining_template`.
        data: the section of the search.
    """
    pairs = len(cells.trained)
    pair: Any = 0 if pairs == 1 else {"type": "int", "minval": 0, "maxval": pairs - 1, "count": pairs}
    which = {CELLS: asdict(cells), DRAWN_BY: {"type": "categorical", "vals": [*GROUPS]}, PAIR: pair}
    config = retraining_config(template, which, data, cells.search)
    return {
        **config,
        "name": f"{cells.search}-against-random",
        "description": f"Trains {pairs} cells of the controller of {cells.search} and as many uniform ones alike",
        "searcher": {**config["searcher"], "name": "grid"},
        "hyperparameters": {**config["hyperparameters"], "evaluate_test": False},
    }


def _digest(config: Mapping[str, Any]) -> str:
    """Of what decides a search besides its seed; where its data lies does not."""
    hparams = {name: value for name, value in config["hyperparameters"].items() if name != "against_random"}
    data = {name: value for name, value in (config.get("data") or {}).items() if not name.endswith("_dir")}
    text = json.dumps([hparams, data], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

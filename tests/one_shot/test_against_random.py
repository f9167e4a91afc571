"""What a search leaves to retrain its controller's cells and uniform ones alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import RECURRENT, Laptop, read_config
from support.search import search, search_config
from support.strategy_suite import seeded

from model_def import RecurrentTrial
from nas.config.rules import refusals
from nas.config.search_space import trial_sampler
from nas.config.yaml_text import dump, parse
from nas.core.contenders import TRAINED, UNIFORM, Contenders
from one_shot.against_random import against_random_config, contenders
from one_shot.retrain import retraining_template
from one_shot.settings import Settings, build_strategy, read_settings
from one_shot.strategy import Strategy
from randomNAS_files.space import SPACE


def drawn(name: str, seed: int = 3, sharpened: bool = False, **changes: Any) -> tuple[Contenders, dict[str, Any]]:
    """The cells of an untrained strategy, or of one whose controller prefers the last option of every decision."""
    config = read_config(name)
    config["hyperparameters"] = {**config["hyperparameters"], "against_random": 6, **changes}
    settings: Settings = read_settings(config["hyperparameters"], config["data"], 1)
    strategy: Strategy = build_strategy(settings, seeded(0))
    if sharpened:
        with torch.no_grad():
            for head in strategy.controller.heads:  # type: ignore[union-attr]
                head.bias.fill_(-1e6)
                head.bias[-1] = 1e6
    return contenders(settings, strategy, config, seed), config


def shallow(texts: list[str]) -> float:
    """The share of nodes that do as the sharpened controller likes: read the node before."""
    cells = [SPACE.read(text).recurrent for text in texts]
    return sum(state == i for cell in cells for i, (_, state) in enumerate(cell)) / (8 * len(cells))


def test_one_group_is_the_controllers_and_the_other_is_not() -> None:
    found, _ = drawn("one_shot/enas_vs_random.yaml", sharpened=True, against_random=40)
    assert shallow(found.trained) > 0.9 and 0.2 < shallow(found.uniform) < 0.5  # 0.34 is expected
    assert found == drawn("one_shot/enas_vs_random.yaml", sharpened=True, against_random=40)[0]
    other = drawn("one_shot/enas_vs_random.yaml", seed=4, sharpened=True, against_random=40)[0]
    assert other.uniform != found.uniform and other.settings == found.settings and other.search_seed == 4
    assert drawn("one_shot/enas_vs_random.yaml", learning_rate=1)[0].settings != found.settings
    assert drawn("one_shot/enas_vs_random.yaml")[0].settings == found.settings, "how many are drawn is no setting of it"


@pytest.mark.parametrize("name", ["one_shot/enas_vs_random.yaml", "one_shot/pydoc_random.yaml"])
@pytest.mark.parametrize("count", [1, 3])
def test_it_is_an_ordinary_grid_of_trials(name: str, count: int) -> None:
    cells, search_config_ = drawn(name, against_random=count)
    settings = read_settings(search_config_["hyperparameters"], search_config_["data"], 1)
    template = retraining_template("quickstart.yaml", settings.task)
    config = parse(dump(against_random_config(template, cells, search_config_["data"])))
    assert not refusals(config) and config["searcher"]["name"] == "grid"
    trials = [each.hparams for each in trial_sampler(config, 1)]
    checked = [RecurrentTrial.check(each, config["data"], 1) for each in trials]
    texts = {
        (each["drawn_by"], each["pair"]): one.genotype.to_text() for each, one in zip(trials, checked, strict=True)
    }
    assert texts == {
        (group, k): text
        for group, group_texts in ((TRAINED, cells.trained), (UNIFORM, cells.uniform))
        for k, text in enumerate(group_texts)
    }
    assert not any(each["evaluate_test"] for each in trials) and {each["train_epochs"] for each in trials} == {9}
    seeds = {each["pair"]: set[int]() for each in trials}
    for each, one in zip(trials, checked, strict=True):
        seeds[each["pair"]].add(one.architecture.training_seed(7))
    assert all(len(each) == 1 for each in seeds.values()) and len(set.union(*seeds.values())) == count


def test_a_search_leaves_it_at_its_end_and_its_trials_train(corpus: Path, tmp_path: Path) -> None:
    config = search_config("text", "random", corpus, retrain="train_small.yaml", against_random=1, train_epochs=1)
    run = search(tmp_path / "search", config)
    assert run.code == 0, run.err
    left = parse((run.path / "against_random.yaml").read_text(encoding="utf-8"))
    assert left["hyperparameters"]["cells"]["strategy"] == "random", "whose cells are uniform too: a null"
    cells = left["hyperparameters"]["cells"]
    laptop = Laptop(tmp_path / "retrained", corpus, RECURRENT)
    trained = laptop.train(arch_to_use=None, arch_seed=None, cells=cells, drawn_by="uniform", pair=0, train_epochs=1)
    assert trained.code == 0, trained.err
    assert SPACE.from_json(trained.read("genotype.json")) == SPACE.read(cells["uniform"][0])
    without = search(
        tmp_path / "none", {**config, "hyperparameters": {**config["hyperparameters"], "against_random": 0}}
    )
    assert not (without.path / "against_random.yaml").exists()

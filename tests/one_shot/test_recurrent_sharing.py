"""A search of recurrent cells with a matrix an edge and the mean of the loose ends: whole, stopped, and its winner."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from support.runs import assert_equal_runs, stopped_after
from support.search import go_on, search, search_config

from model_def import RecurrentTrial
from nas.config.load import load
from nas.core.identity import Identity, MismatchError, check_resume
from one_shot.text_rules import TextSearchConfig
from one_shot.trial import SearchTrial
from randomNAS_files.architecture import from_json
from randomNAS_files.outputs import loose_ends
from randomNAS_files.settings import StreamConfig
from randomNAS_files.space import SPACE

OWN = {"sharing": "edge", "output": "loose_ends", "state_norm": False}
DECAY = {"learning_rate_decay": 0.5, "decay_after_epochs": 1}


def test_a_stop_changes_nothing_and_the_winner_is_the_mean_of_its_loose_ends(corpus: Path, tmp_path: Path) -> None:
    config = search_config(
        "text", "random", corpus, retrain="quickstart.yaml", nodes=[3, 5], one_activation=True, **OWN, **DECAY
    )
    straight = search(tmp_path / "straight", config)
    assert straight.code == 0, straight.err + straight.out
    with stopped_after(int(straight.values("validation", "batches")[0]) + 1):
        run = search(tmp_path / "cut", config)
    assert run.read("run.json")["status"] == "stopped"
    again = go_on(run)
    assert_equal_runs(again, straight)
    for name in ("genotype.json", "search.json", "architectures.json"):
        assert again.read(name) == straight.read(name)

    genotype = from_json(straight.read("genotype.json"))
    ends = loose_ends(genotype.recurrent)
    assert genotype.concat == ends and 3 <= len(genotype.recurrent) <= 5
    others = [from_json(each["genotype"]) for each in straight.read("architectures.json")["best"]]
    assert all(each.concat == loose_ends(each.recurrent) for each in [genotype, *others])
    assert len({len(each.recurrent) for each in others}) > 1
    assert all(len({name for name, _ in each.recurrent}) == 1 for each in others)
    retrain = load(straight.path / "retrain.yaml")
    assert retrain["hyperparameters"]["arch_to_use"] == genotype.to_text()
    assert RecurrentTrial.check(retrain["hyperparameters"], retrain["data"], 1).genotype == genotype


def test_a_search_over_sizes_and_nodes_survives_a_stop_and_its_winner_is_retrained_in_its_size(
    corpus: Path, tmp_path: Path
) -> None:
    sizes = {
        "hidden_choices": [4, 6, 8],
        "nodes": [2, 4],
        "parameter_price": 0.5,
        "max_state_norm": 1.0,
        "wdecay": 0.01,
    }
    config = search_config("text", "ENAS", corpus, retrain="quickstart.yaml", **sizes)
    straight = search(tmp_path / "straight", config)
    assert straight.code == 0, straight.err + straight.out
    with stopped_after(3):
        run = search(tmp_path / "cut", config)
    again = go_on(run)
    assert_equal_runs(again, straight)
    for name in ("genotype.json", "search.json", "architectures.json"):
        assert again.read(name) == straight.read(name)
    last, others = straight.read("search.json")[-1], straight.read("architectures.json")["best"]
    assert last["hidden"] in (4, 6, 8) and last["hidden"] == others[0]["hidden"]
    genotype = from_json(straight.read("genotype.json"))
    assert last["parameters"] == SPACE.size(genotype, hidden=last["hidden"], vocabulary=10_000).parameters
    hparams = load(straight.path / "retrain.yaml")["hyperparameters"]
    assert [hparams[name] for name in ("emsize", "nhid", "nhidlast")] == [last["hidden"]] * 3
    assert straight.read("run.json")["metadata"]["hidden"] == last["hidden"]


def test_the_learning_rate_falls_by_a_factor_an_epoch_after_so_many() -> None:
    values = {each.name: 1 for each in dataclasses.fields(StreamConfig)}
    paper = TextSearchConfig(**{**values, "learning_rate": 20.0}, learning_rate_decay=0.96, decay_after_epochs=15)
    assert [paper.rate(epoch) for epoch in (0, 14, 15, 16, 149)] == [20, 20, 19.2, 20 * 0.96**2, 20 * 0.96**135]
    assert {TextSearchConfig(**{**values, "learning_rate": 20.0}).rate(epoch) for epoch in range(3)} == {20}


@pytest.mark.parametrize(
    "changed",
    [{"sharing": "node"}, {"output": "all"}, {"nodes": 11}, {"fixed_topology": "tree"}, {"hidden_choices": [4, 8]}],
)
def test_a_checkpoint_of_another_supernet_is_refused(changed: dict[str, str | int], corpus: Path) -> None:
    config = search_config("text", "random", corpus, **OWN)
    then, now = (
        Identity(SearchTrial.architecture(SearchTrial.check(hparams, config["data"], 1)), {}, 3)
        for hparams in (config["hyperparameters"], config["hyperparameters"] | changed)
    )
    ((name, value),) = changed.items()
    says = f"{name}: {OWN.get(name, 'nothing')} then, {value} now"
    with pytest.raises(MismatchError, match=re.escape(says)):
        check_resume(then, now, "the checkpoint")

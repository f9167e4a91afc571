"""A search of recurrent cells with a matrix an edge and the mean of the loose ends: whole, stopped, and its winner."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import assert_equal_runs, stopped_after
from support.search import go_on, search, search_config

from model_def import RecurrentTrial
from nas.config.load import load
from nas.core.identity import Identity, MismatchError, check_resume
from one_shot.trial import SearchTrial
from randomNAS_files.architecture import from_json
from randomNAS_files.relaxation import loose_ends

OWN = {"sharing": "edge", "output": "loose_ends", "state_norm": False}


def test_a_stop_changes_nothing_and_the_winner_is_the_mean_of_its_loose_ends(corpus: Path, tmp_path: Path) -> None:
    config = search_config("text", "random", corpus, retrain="quickstart.yaml", **OWN)
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
    assert genotype.concat == ends and len(ends) < len(genotype.recurrent)
    others = [from_json(each["genotype"]) for each in straight.read("architectures.json")["best"]]
    assert all(each.concat == loose_ends(each.recurrent) for each in [genotype, *others])
    retrain = load(straight.path / "retrain.yaml")
    assert retrain["hyperparameters"]["arch_to_use"] == genotype.to_text()
    assert RecurrentTrial.check(retrain["hyperparameters"], retrain["data"], 1).genotype == genotype


@pytest.mark.parametrize("changed", [{"sharing": "node"}, {"output": "all"}])
def test_a_checkpoint_of_another_supernet_is_refused(changed: dict[str, str], corpus: Path) -> None:
    config = search_config("text", "random", corpus, **OWN)
    then, now = (
        Identity(SearchTrial.architecture(SearchTrial.check(hparams, config["data"], 1)), {}, 3)
        for hparams in (config["hyperparameters"], config["hyperparameters"] | changed)
    )
    ((name, value),) = changed.items()
    with pytest.raises(MismatchError, match=f"{name}: {OWN[name]} then, {value} now"):
        check_resume(then, now, "the checkpoint")

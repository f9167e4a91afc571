"""Configs of 2020 to 2022: one answer says all of it, with what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bad_inputs.texts import OLD_CNN, OLD_RNN

from nas.config.load import training_length
from nas.config.rules import refusals
from nas.core.errors import ConfigError
from nas.trial.inspection import read_experiment

LAUNCHER = "python3 -m determined.launch.torch_distributed python3"


def answers(text: str, path: Path) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_experiment(path, [], 10)
    return caught.value.problems


def test_a_recurrent_search_of_2020_gets_its_new_words(tmp_path: Path) -> None:
    found = answers(OLD_RNN, tmp_path / "old.yaml")
    for sentence in (
        f"entrypoint model_def:NASModel is a trial class, as it was before 2022; write entrypoint: {LAUNCHER} model_def.py",
        "searcher.max_length {epochs: 5} is said otherwise now; write hyperparameters.train_epochs: 5",
        "hyperparameters.lr is learning_rate now; write learning_rate: 20",
        "hyperparameters.batch_size is global_batch_size now; write global_batch_size: 64",
        "hyperparameters.clip is clip_gradients_l2_norm now; write clip_gradients_l2_norm: 0.25",
        "hyperparameters.weight_decay is wdecay now; write wdecay: 8e-07",
        "hyperparameters.seq_len is bptt now; leave it out, as bptt is there",
        "hyperparameters.seed is read by nothing; leave it out: reproducibility.experiment_seed says it",
    ):
        assert sentence in found
    (arch,) = (each for each in found if "arch_to_use" in each)
    assert "arch_seed: {type: int, minval: 0, maxval: 2147483647}" in arch
    assert not any("is missing" in each or "did you mean" in each for each in found)
    assert found == answers(OLD_RNN, tmp_path / "old.yaml")


def test_an_image_search_of_2021_gets_its_new_words(tmp_path: Path) -> None:
    found = answers(OLD_CNN, tmp_path / "old.yaml")
    length = "write time_metric: batches and max_time: 156200 in the searcher; leave hyperparameters.train_epochs out"
    for words in (f"{LAUNCHER} -m cnn_nas.trial", length, "constraint is constraints now", "download_dir: /data"):
        assert any(words in each for each in found), words
    assert not any(each.startswith(("searcher.max_time is", "searcher.time_metric is")) for each in found)


@pytest.mark.parametrize(
    ("searcher", "says"),
    [
        ({"name": "single", "max_steps": 434}, "searcher.max_steps 434 counts steps of 100 batches"),
        (
            {"name": "adaptive_asha", "max_trials": 3, "max_length": {"epochs": 5}},
            "write time_metric: epochs and max_time: 5",
        ),
        ({"name": "adaptive_asha", "max_trials": 3, "max_length": 700}, "write time_metric: batches and max_time: 700"),
    ],
)
def test_a_length_in_old_words_is_one_sentence(searcher: dict[str, Any], says: str) -> None:
    (problem,) = refusals({"entrypoint": "python3 x.py", "searcher": {"metric": "loss", **searcher}})
    assert says in problem


def test_a_length_without_effect_is_told_where_there_is_no_other() -> None:
    config = {"searcher": {"name": "single", "metric": "loss", "max_length": {"batches": 900}}}
    with pytest.raises(ConfigError, match="train_epochs: the epochs that are 900 batches"):
        training_length(config, None)
    assert refusals({"entrypoint": "python3 x.py", **config}) == [] and training_length(config, 3) == ("epochs", 3)

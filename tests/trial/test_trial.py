"""How a trial trains: against numbers kept from earlier, theory, and the paper's rule for the switch to averaging."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from determined import pytorch
from support.runs import Laptop, step_losses, tiny_config

from model_def import RecurrentTrial

# Training losses of the first 20 steps: DARTS_V2, two layers, seed 7. A change here changes everybody's results.
GOLDEN = [
    *(3.71578, 3.83145, 3.64019, 3.60767, 3.51273, 3.90763, 3.66217, 3.70028, 3.75224, 3.84238),
    *(3.72198, 3.8009, 3.79184, 3.70327, 3.68567, 3.70337, 3.63648, 3.76507, 3.82422, 3.37861),
]
GOLDEN_HPARAMS: dict[str, Any] = {
    **{"arch_to_use": "DARTS_V2", "depth": 2, "dropoute": 0.1, "alpha": 0.1, "beta": 0.1, "train_epochs": None},
    **{"emsize": 16, "nhid": 16, "nhidlast": 16, "learning_rate": 10},
}
GOLDEN_OVERRIDES = ("searcher.max_time=20", "searcher.time_metric=batches", "reproducibility.experiment_seed=7")


def test_the_first_twenty_losses_are_those_of_old(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("randomNAS_files.model.INIT_RANGE", 0.5)  # or the cell would have no say in twenty steps
    losses = step_losses(monkeypatch)
    run = laptop.train(*GOLDEN_OVERRIDES, **GOLDEN_HPARAMS)
    assert run.code == 0, run.err
    assert [round(loss, 5) for loss in losses] == [pytest.approx(loss, abs=1e-4) for loss in GOLDEN]


def test_the_first_loss_is_that_of_guessing(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = step_losses(monkeypatch)
    laptop.train("searcher.max_time=1", "searcher.time_metric=batches", train_epochs=None)
    assert losses == [pytest.approx(math.log(41), abs=0.02)]  # 40 words and <eos>


def test_a_repetitive_text_is_learned(laptop: Laptop, tmp_path: Path) -> None:
    """The next word follows from this one, though all words are equally frequent: ln(21) without context."""
    folder = tmp_path / "cycle"
    folder.mkdir()
    for split, starts in (("train", (0, 1)), ("valid", (2,)), ("test", (3,))):  # the same circle, from other places
        lines = [[f"w{(4 * line + start + i) % 20}" for i in range(20)] for line in range(30) for start in starts]
        (folder / f"{split}.txt").write_text("".join(" ".join(words) + "\n" for words in lines))
    options = {"emsize": 32, "nhid": 32, "nhidlast": 32, "train_epochs": 5, "dropout": 0.1, "learning_rate": 20}
    run = laptop.train(f"data.data_dir={folder}", **options)
    assert run.values("training", "loss")[0] > run.values("training", "loss")[-1]
    assert run.values("validation", "loss")[-1] < math.log(21) - 1.5


def transcription(losses: list[float], patience: int) -> int | None:
    """Algorithm 1 of Merity et al. 2018 (arXiv 1708.02182): the validation, counted from 0, at which T is set."""
    logs: list[float] = []
    for t, v in enumerate(losses):
        if t > patience and v > min(logs[l] for l in range(0, t - patience)):  # noqa: E741
            return t
        logs.append(v)
    return None


def switch_of(trial: RecurrentTrial, losses: list[float]) -> int | None:
    for t, loss in enumerate(losses):
        trial.on_validation({"loss": loss, "perplexity": math.exp(loss)})
        if trial.sgd.averaging:
            return t
    return None


def new_trial(corpus: Path, nonmono: int) -> RecurrentTrial:
    config = tiny_config(corpus, nonmono=nonmono, arch_to_use=None, node1_op="tanh", node1_edge=0)
    with pytorch.init(hparams=config["hyperparameters"], exp_conf=config, enable_tensorboard_logging=False) as context:
        trial = RecurrentTrial(context)
    trial.length = ("epochs", 1000)
    return trial


@pytest.mark.parametrize("nonmono", [0, 1, 2, 5])
def test_averaging_starts_as_in_the_paper(corpus: Path, nonmono: int) -> None:
    generator = random.Random(nonmono)
    switches = set()
    for trend in [0.0, 0.05, 0.2, 1.0] * 5:
        losses = [generator.random() + 5 - trend * t for t in range(12)]
        expected = transcription(losses, nonmono)
        assert switch_of(new_trial(corpus, nonmono), losses) == expected
        switches.add(expected)
    assert None in switches and len(switches) > 3


def test_equal_losses_are_no_reason_to_switch(corpus: Path) -> None:
    assert switch_of(new_trial(corpus, 1), [3.0] * 10) is None
    assert transcription([3.0] * 10, 1) is None

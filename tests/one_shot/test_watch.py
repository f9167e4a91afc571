"""A search whose weights diverge says with which architecture, and stops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.search import search, search_config

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.errors import ConfigError
from one_shot.strategy import Progress
from one_shot.task import Step
from one_shot.text import TextTask
from one_shot.watch import WAITING, Watch
from randomNAS_files.architecture import Genotype
from randomNAS_files.space import SPACE

CELL = Genotype((("relu", 0),) * 8)
PATH = one_path(SPACE.paths_of(CELL))


def test_the_architecture_is_named_at_once_on_a_cpu() -> None:
    watch = Watch(SPACE, torch.device("cpu"), "train less")
    watch.see(6, torch.tensor(3.0), PATH)
    for loss in (math.nan, math.inf):
        with pytest.raises(ConfigError) as caught:
            watch.see(7, torch.tensor(loss), PATH)
        (said,) = caught.value.problems
        assert said == (
            f"the training loss of batch 8 is {loss:g} with the architecture {CELL.to_text()}, "
            "so the shared weights have diverged; train less"
        )
    watch.check()


def test_other_devices_are_not_waited_for_in_every_step() -> None:
    watch = Watch(SPACE, torch.device("cuda"), "train less")
    for step in range(WAITING - 2):
        watch.see(step, torch.tensor(math.nan if step == 5 else 1.0), PATH)
    with pytest.raises(ConfigError, match="loss of batch 6 is nan"):
        watch.check()
    watch.check()
    for step in range(WAITING - 1):
        watch.see(step, torch.tensor(1.0), PATH)
    with pytest.raises(ConfigError, match="loss of batch 100 is nan"):
        watch.see(99, torch.tensor(math.nan), PATH)


def test_a_mixture_is_no_architecture() -> None:
    watch = Watch(SPACE, torch.device("cpu"), "train less")
    watch.see(0, torch.tensor(math.nan), ArchWeights())
    watch.see(0, torch.tensor(math.nan), ArchWeights({"recurrent": torch.ones(36, 5)}, None, PATH.paths))


def test_a_search_that_diverges_names_the_cell_and_keeps_its_checkpoint(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = TextTask.begin

    def diverging(self: TextTask, batch: Any, progress: Progress) -> Step:
        if progress.step == progress.epoch_length + 1:
            self.net.embedding.data.fill_(math.nan)
        return begin(self, batch, progress)

    monkeypatch.setattr(TextTask, "begin", diverging)
    run = search(tmp_path / "run", search_config("text", "random", corpus, state_norm=False))
    (validation,) = run.metrics("validation")
    said, batch = run.err + run.out, int(validation["batches"]) + 2
    assert run.code != 0 and f"the training loss of batch {batch} is nan with the architecture Genotype(" in said
    assert "clip_gradients_l2_norm, or set hyperparameters.max_state_norm" in said
    assert list((run.path / "checkpoints").iterdir())


def test_the_norm_of_carried_states_is_bounded(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end, norms = TextTask.end, []

    def noted(self: TextTask) -> None:
        end(self)
        norms.extend(h.norm(dim=1).max() for h in self.hidden)

    monkeypatch.setattr(TextTask, "end", noted)
    search(tmp_path / "free", search_config("text", "random", corpus, state_norm=False))
    most = float(max(norms)) / 2
    norms.clear()
    search(tmp_path / "bounded", search_config("text", "random", corpus, state_norm=False, max_state_norm=most))
    assert 0.99 * most < max(norms) < 1.0001 * most

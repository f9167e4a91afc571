"""A search that does not fit is refused before data is read, with the batch that would fit; `nas check` says so too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.runs import ROOT, read_config

from cnn_nas.trial import ImageTrial
from nas.check import check
from nas.core.errors import ConfigError
from nas.trial import fitting
from one_shot.trial import SearchTrial


@pytest.mark.parametrize("name", ["one_shot/digits_darts.yaml", "one_shot/pydoc_random.yaml"])
def test_the_batch_that_would_fit_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(name)
    settings = SearchTrial.check(config["hyperparameters"], config["data"], 1)
    needs = {batch: SearchTrial.memory(settings, 1, batch).total for batch in (32, 16, 8)}
    monkeypatch.setattr(fitting, "device_memory", lambda device: (needs[16] + needs[8]) // 2)
    with pytest.raises(ConfigError, match=r"global_batch_size 32 is too large: training needs .* free; 8 would fit"):
        fitting.check_fits(SearchTrial, settings, 1, torch.device("cpu"))
    monkeypatch.setattr(fitting, "device_memory", lambda device: needs[32])
    fitting.check_fits(SearchTrial, settings, 1, torch.device("cpu"))
    monkeypatch.setattr(fitting, "device_memory", lambda device: 2 * needs[16])
    with pytest.raises(ConfigError, match="16 would fit"):
        fitting.check_fits(SearchTrial, settings, 1, torch.device("cpu"), sharing=2)
    monkeypatch.setattr(fitting, "device_memory", lambda device: 1000)
    with pytest.raises(ConfigError, match="no batch would fit, so make the network smaller"):
        fitting.check_fits(SearchTrial, settings, 1, torch.device("cpu"))


def test_a_gpu_needs_room_for_graphs_and_half_of_it_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A float32 step would not fit where the one that runs there does, and is not refused."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    config = read_config("one_shot/digits_darts.yaml")
    for mixed, on_cpu, on_gpu in ((None, False, True), (True, True, True), (False, False, False)):
        settings = SearchTrial.check({**config["hyperparameters"], "mixed_precision": mixed}, config["data"], 1)
        found = SearchTrial.memory(settings, 1)
        half = found.activations // 2
        assert (found.on(cpu), found.on(cuda)) == (found.total - on_cpu * half, found.total - on_gpu * half)
        monkeypatch.setattr(fitting, "device_memory", lambda device, free=found.total - half: free)
        for device, fits in ((cpu, on_cpu), (cuda, on_gpu)):
            if fits:
                fitting.check_fits(SearchTrial, settings, 1, device)
            else:
                with pytest.raises(ConfigError, match="is too large"):
                    fitting.check_fits(SearchTrial, settings, 1, device)
    config = read_config("cnn_nas/digits.yaml")
    plain, graphs = (
        ImageTrial.memory(ImageTrial.check({**config["hyperparameters"], "cuda_graphs": on}, config["data"], 1), 1)
        for on in (False, True)
    )
    assert graphs.total == plain.total and graphs.on(cpu) == plain.on(cpu)
    assert plain.on(cuda) + plain.activations // 2 < graphs.on(cuda) < 2 * plain.on(cuda)


def test_nas_check_compares_with_this_machine_and_takes_the_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, small = ROOT / "one_shot" / "digits_darts.yaml", ["hyperparameters.layers=1"]
    lines = list(check(path, small, 10, tmp_path, time=True))
    assert any(line.split() == ["here", "fits", "this", "machine"] for line in lines)
    (time,) = [line for line in lines if line.startswith("time")]
    assert float(time.split()[1]) > 0 and "s a training step of one process on" in time
    assert "for 15 epochs of 22 steps" in lines[-1]
    monkeypatch.setattr(fitting, "device_memory", lambda device: 1000)
    lines = list(check(path, small, 10, tmp_path))
    assert any("too large for this machine" in line for line in lines)
    other = list(check(ROOT / "cnn_nas" / "digits.yaml", [], 10, tmp_path, time=True))
    assert "unknown: this trial does not tell" in other[-1]


def test_more_of_everything_needs_more() -> None:
    """Of what a search of images is estimated to need."""
    config = read_config("one_shot/digits_darts.yaml")

    def total(**changes: object) -> int:
        hparams = {**config["hyperparameters"], **changes}
        return SearchTrial.memory(SearchTrial.check(hparams, config["data"], 1), 1).total

    first = total()
    assert total(bilevel="unrolled") > first < total(bilevel="exact")
    assert total(init_channels=8, partial=4) < total(init_channels=8) > first
    path = {"sampler": "gumbel_st", "temperature": 1}
    assert total(**path) <= first

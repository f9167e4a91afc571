"""Real CUDA graphs: they are made, train as steps without them do, and take so much memory. `make test-gpu` runs these.

That a stop changes nothing with them is in tests/test_gpu.py.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from support.recurrent import CELLS
from support.replays import count_replays
from support.runs import HARD, IMAGES, RECURRENT, Laptop, step_losses
from torch import nn

from nas.core.optimizers import SGD, at_rate
from nas.trial.capture import CapturedStep
from nas.trial.device import prepare
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.model import ModelConfig

pytestmark = pytest.mark.gpu
IMAGE_SETTINGS: dict[str, Any] = {
    **{"train_epochs": 5, "learning_rate": 0.02, "drop_path_prob": 0.4, "cutout_length": 4, "crop_padding": 2},
    **{"flip": True, "auxiliary": True, "init_channels": 8, "channels_last": True},
}
CASES = {
    "recurrent": (RECURRENT, HARD | {"learning_rate": 1, "evaluate_test": False}),
    "images, float32": (IMAGES, IMAGE_SETTINGS | {"mixed_precision": False}),
    "images, bfloat16": (IMAGES, IMAGE_SETTINGS | {"mixed_precision": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_replayed_steps_train_as_steps_do(
    name: str,
    tmp_path: Path,
    corpus: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Losses of 20 steps, of slices of several lengths; only the learning rate is rounded otherwise."""
    kind, settings = CASES[name]
    laptop = Laptop(tmp_path / "experiments", corpus if kind is RECURRENT else pictures, kind)
    found, replays = [], count_replays(monkeypatch)
    for graphs in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            losses = step_losses(patch)
            run = laptop.main([*laptop.arguments(**settings, cuda_graphs=graphs), "--device", "cuda"])
        assert run.code == 0 and "device       cuda" in run.out, run.err
        found.append(losses[:20])
    assert len(found[0]) == 20 and replays[0] > 5 and "no CUDA graphs" not in caplog.text
    assert found[1] == pytest.approx(found[0], rel=2e-2 if "bfloat16" in name else 1e-3)


def trained(lengths: list[int], graphs: bool) -> tuple[list[torch.Tensor], int]:
    """Weights of a language model after a step for each length, and the bytes that torch had reserved at most."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    device, words, columns = torch.device("cuda"), 2000, 32
    rates = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}
    config = ModelConfig(emsize=256, nhid=256, nhidlast=256, depth=1, **rates)
    net = FastLanguageModel(config, CELLS["ASHA"], words, torch.Generator().manual_seed(0)).to(device)
    net.reserve(max(lengths), columns)
    sgd = FastAveragedSGD(net.parameters(), 1.0, 1e-6, max_norm=0.25, capturable=True)

    def work(tokens: torch.Tensor, targets: torch.Tensor, rate: torch.Tensor, hidden: torch.Tensor, *masks: Any) -> Any:
        output = net(tokens, [hidden], DropoutMasks.of(masks), targets=targets)
        assert output.loss is not None
        (output.loss / targets.numel()).backward()
        with at_rate(sgd, rate):
            sgd.step()
        sgd.zero_grad()
        return output.loss.detach(), output.hidden[0].detach()

    step = CapturedStep(work, net, sgd, device) if graphs else work
    (hidden,), generator = net.initial_state(columns), torch.Generator("cuda").manual_seed(1)
    for k, length in enumerate(lengths):
        text = torch.randint(words, (length + 1, columns), generator=generator, device=device)
        if k == len(lengths) // 2:
            sgd.start_averaging()
        rate = torch.full((), length / 20, device=device)
        masks = net.draw_masks(generator, columns, slice(None))
        _, hidden = step(text[:-1], text[1:], rate, hidden, *masks.tensors())
    if graphs:
        assert isinstance(step, CapturedStep) and step.on and not step.failed
    means = [state["mean"] for state in sgd.state.values()]
    return [each.detach().cpu() for each in (*net.parameters(), *means)], torch.cuda.max_memory_reserved()


def test_the_same_weights_in_so_much_memory() -> None:
    """To the last bit, as the kernels are the same; and as much memory again as a step takes, for all lengths together."""
    prepare(torch.device("cuda"))
    lengths = [20, 30, 12, 20, 30, 35, 20, 12, 30, 20, 35, 12, 20, 30, 35, 12] * 2
    plain, captured = trained(lengths, graphs=False), trained(lengths, graphs=True)
    for ours, theirs in zip(captured[0], plain[0], strict=True):
        assert torch.equal(ours, theirs) and ours.isfinite().all()
    assert captured[1] < 2.5 * plain[1] + 2**26  # two workspaces of cuBLAS, and what blocks are rounded up to


def test_a_step_that_cannot_be_captured_goes_on_without(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    layer = nn.Linear(2, 2, device="cuda")
    sgd = SGD(layer.parameters(), 0.1)

    def work(x: torch.Tensor) -> tuple[torch.Tensor]:
        loss = layer(x).square().sum()
        loss.backward()
        sgd.step()
        sgd.zero_grad()
        return (loss.detach() * (loss.item() > -1),)

    step, stream = CapturedStep(work, layer, sgd, torch.device("cuda")), torch.cuda.current_stream()
    losses = [step(torch.ones(3, 2, device="cuda"))[0].item() for _ in range(5)]
    assert step.failed and losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    assert torch.cuda.current_stream() == stream
    assert len([message for message in caplog.messages if "no CUDA graphs" in message]) == 1

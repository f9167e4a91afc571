"""A search on images in mixed precision: what is computed in bfloat16, and what has all digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.search import search, search_config

from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.relaxation import RELAXATION
from nas.core.arch_weights import ArchWeights
from one_shot import bilevel
from one_shot.images import ImageTask
from one_shot.settings import read_settings
from one_shot.strategy import Problem, WeightStep
from one_shot.task import Place

HALF, FULL = torch.bfloat16, torch.float32


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.dtype, bool]]:
    """The type of the logits of each pass, and whether a gradient may be asked for."""
    found, own = list[tuple[torch.dtype, bool]](), FastSupernet.forward

    def noted(net: FastSupernet, *args: Any) -> Any:
        output = own(net, *args)
        if output.logits.device.type == "cpu":  # an estimate has no contents
            found.append((output.logits.dtype, torch.is_grad_enabled()))
        return output

    monkeypatch.setattr(FastSupernet, "forward", noted)
    return found


def test_of_a_second_order_step_only_the_difference_has_all_digits(
    pictures: Path, tmp_path: Path, passes: list[tuple[torch.dtype, bool]]
) -> None:
    """Three passes of each step in bfloat16, and both sides of the difference in float32; so has the eigenvalue's."""
    own = {"mixed_precision": True, "train_epochs": 1, "eigenvalue_epochs": 1}
    run = search(tmp_path / "run", search_config("images", "DARTS, second order", pictures, **own))
    assert run.code == 0, run.err + run.out
    training = [kind for kind, gradient in passes if gradient]
    pattern, step = [HALF, HALF, FULL, FULL, HALF], 5
    steps = [training[at : at + step] for at in range(0, len(training), step) if training[at] == HALF]
    assert len(steps) > 2 and all(each == pattern for each in steps)
    assert training[step * len(steps) :] and {*training[step * len(steps) :]} == {FULL}  # of the eigenvalue
    assert {kind for kind, gradient in passes if not gradient} == {HALF}


def test_the_difference_of_two_gradients_is_that_of_float32(pictures: Path) -> None:
    """To the last bit, for the same step back. In bfloat16 a move of r = 0.01 in all is lost, and it is mostly noise."""
    generator = torch.Generator().manual_seed(2)
    tables = {
        name: torch.rand(len(cell.edges), len(cell.operations), generator=generator).softmax(-1)
        for name, cell in RELAXATION.items()
    }

    def difference(mixed: bool, digits: bool) -> torch.Tensor:
        config = search_config("images", "DARTS, second order", pictures, mixed_precision=mixed)
        settings = read_settings(config["hyperparameters"], config["data"], 1)
        task = ImageTask(settings, Place(torch.device("cpu"), 1, 0, 1, True))
        images, targets = task.data.train.batch(torch.arange(8))
        given = images, targets, *task._draws(images, "test", 0)
        live = list(task.net.parameters())
        back = [torch.randn(each.shape, generator=torch.Generator().manual_seed(3)) for each in live]
        rates = WeightStep(0.1, 0.0, 0.0, 5.0, [None] * len(live))
        more = {"all_digits": task.all_digits} if digits else {}
        problem = Problem(task.train_on(given)[1], task.valid_on(given), live, rates, lambda _: None, **more)
        leaves = ArchWeights(tables).with_tensors([each.clone().requires_grad_() for each in tables.values()])
        found = bilevel._difference(problem, leaves, live, back, 0.01)
        assert task.maps.mixed == mixed
        return torch.cat([each.flatten() for each in found])

    exact = difference(False, False)
    assert torch.equal(difference(True, True), exact)
    assert (difference(True, False) - exact).norm() > 0.2 * exact.norm()

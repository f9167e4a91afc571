from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from support.runs import ROOT

from nas.core.optimizers import SGD, at_rate, fused_sgd, has_fused_sgd, set_rate

OPTIONS: list[dict[str, Any]] = [{}, {"momentum": 0.9, "weight_decay": 0.01}, {"momentum": 0.9, "nesterov": True}]


def train(net: torch.nn.Module, sgd: torch.optim.Optimizer, steps: int) -> None:
    for i in range(steps):
        sgd.zero_grad()
        net(torch.full((2, 3), i + 1.0)).square().mean().backward()
        sgd.step()


@pytest.mark.parametrize("options", OPTIONS)
def test_sgd_is_that_of_torch(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    net = torch.nn.Linear(3, 4)
    other = copy.deepcopy(net)
    ours, theirs = SGD(net.parameters(), 0.05, **options), torch.optim.SGD(other.parameters(), 0.05, **options)
    train(net, ours, 3), train(other, theirs, 3)
    again = SGD(net.parameters(), 0.05, **options)
    again.load_state_dict(copy.deepcopy(ours.state_dict()))  # as after a resume
    train(net, again, 3), train(other, theirs, 3)
    assert torch.equal(net.weight, other.weight) and torch.equal(net.bias, other.bias)
    assert str(again.state_dict()) == str(theirs.state_dict())
    assert torch.is_grad_enabled() and net.weight.requires_grad


@pytest.mark.parametrize("made", [torch.optim.SGD, fused_sgd])
def test_a_step_at_a_rate_leaves_the_number_to_checkpoints(made: Any) -> None:
    if made is fused_sgd and not has_fused_sgd("cpu"):
        pytest.skip("without the fused operation the rate cannot be a tensor")
    net = torch.nn.Linear(3, 4)
    expected = net.weight.detach() - 0.25
    sgd = made(net.parameters(), 0.1)
    set_rate(sgd, 0.25)
    net.weight.grad = torch.ones_like(net.weight)
    rate = torch.tensor(0.25) if made is fused_sgd else 0.25
    with at_rate(sgd, rate):
        assert all(group["lr"] is rate for group in sgd.param_groups)
        sgd.step()
    assert torch.equal(net.weight, expected)
    with pytest.raises(ZeroDivisionError), at_rate(sgd, torch.tensor(7.0)):
        _ = 1 / 0
    assert [group["lr"] for group in sgd.state_dict()["param_groups"]] == [0.25]


def test_hooks_are_called() -> None:
    net, called = torch.nn.Linear(3, 4), []
    sgd = SGD(net.parameters(), 0.1)
    sgd.register_step_post_hook(lambda *_: called.append("post"))
    train(net, sgd, 2)
    assert called == ["post", "post"]


def test_the_compiler_is_not_imported() -> None:
    lines = [
        "import sys, torch; from nas.core.optimizers import SGD; net = torch.nn.Linear(3, 4)",
        "sgd = SGD(net.parameters(), 0.1, momentum=0.9); net(torch.ones(2, 3)).sum().backward()",
        "sgd.step(); sgd.zero_grad(); sgd.load_state_dict(sgd.state_dict())",
        "print('torch._dynamo' in sys.modules)",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize("when", ["made", "stepped"])
@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_where_torch_has_no_fused_optimiser_the_usual_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, when: str, error: type[Exception]
) -> None:
    """A release for CPUs refuses to make one; one for CUDA makes it, and has no operation for CPUs when it steps."""
    init, step = SGD.__init__, SGD.step

    def made(self: Any, *arguments: Any, fused: bool | None = None, **named: Any) -> None:
        if fused and when == "made":
            raise error("`fused=True` requires all the params to be floating point Tensors of ...")
        init(self, *arguments, fused=fused, **named)

    def stepped(self: Any, closure: Any = None) -> Any:
        if self.param_groups[0]["fused"]:
            raise error("Could not run 'aten::_fused_sgd_' with arguments from the 'CPU' backend.")
        return step(self, closure)

    has_fused_sgd.cache_clear()
    monkeypatch.setattr(SGD, "__init__", made)
    monkeypatch.setattr(SGD, "step", stepped)
    net = torch.nn.Linear(3, 4)
    sgd = fused_sgd(iter(net.parameters()), 0.1, 0.9, weight_decay=0.01)
    has_fused_sgd.cache_clear()
    assert [len(group["params"]) for group in sgd.param_groups] == [2] and sgd.param_groups[0]["momentum"] == 0.9
    train(net, sgd, 2)

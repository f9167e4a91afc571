"""A training step of the fast form leaves a GPU alone: nothing is copied to it, nobody waits for it, nothing moves.

On the meta device a step takes the ways of a GPU, and every operation of it can be looked at; numbers are checked on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.recurrent import BATCH, CELLS, HIDDEN, TIME, WORDS, build, config, generator, masks_of, normal, tokens
from support.torch_version import OLD_COUNTERS
from support.waiting import never_waiting
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.core.arch_weights import ArchWeights
from nas.core.optimizers import at_rate, set_rate
from randomNAS_files import averaged_sgd
from randomNAS_files.architecture import ACTIVATIONS
from randomNAS_files.averaged_sgd import AveragedSGD
from randomNAS_files.fast import averaged_sgd as fast_averaged_sgd
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.fast.embedding import sum_by_word
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.precision import FULL, HALF, TF32
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import activation_penalty
from randomNAS_files.relaxation import CELL, shape_of
from randomNAS_files.supernet import SupernetConfig

DROPOUTS = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique", "_unique2", "is_nonzero", "equal")


class Watch(TorchDispatchMode):
    """Notes operations for which the CPU would wait, or that mix devices."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.found, self.count = device, list[str](), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)}
        self.count += 1
        if name in WAITING or devices - {self.device}:
            self.found.append(f"{name} on {sorted(devices)}")
        return result


def model(name: str, depth: int = 1, device: str = "meta") -> FastLanguageModel:
    net = FastLanguageModel(config(depth=depth, **DROPOUTS), CELLS[name], WORDS, generator())
    return net.to(device)


def stepper(net: FastLanguageModel, sgd: AveragedSGD) -> Callable[[], None]:
    """A training step as a trial makes it."""
    device = net.embedding.device
    words, hidden = tokens().to(device), net.initial_state(BATCH)
    masks = net.draw_masks(generator(), BATCH, slice(None)) if device.type == "meta" else masks_of(net)
    rate = torch.full((), 0.5, device=device)

    def step() -> None:
        output = net(words, hidden, masks, targets=words)
        (output.loss / words.numel() + activation_penalty(output, 2.0, 1.0)).backward()
        with at_rate(sgd, rate):
            sgd.step()
        sgd.zero_grad()

    return step


@pytest.mark.parametrize("precision", [FULL, HALF, TF32])
@pytest.mark.parametrize(("name", "depth"), [("ASHA", 2), ("DARTS_V2", 1), ("with_none", 1), ("partial", 2)])
def test_a_step_waits_for_nothing(name: str, depth: int, precision: str) -> None:
    net = model(name, depth)
    net.use_precision(precision)
    sgd = FastAveragedSGD(net.parameters(), 1.0, 0.01, max_norm=0.25, capturable=True)
    with Watch("meta") as watch:
        net.reserve(TIME, BATCH)
    assert not watch.found
    step = stepper(net, sgd)
    for averaging in (False, True):
        if averaging:
            sgd.start_averaging()
        with Watch("meta") as watch:
            step()
        assert watch.count > 100 and not watch.found


def test_the_watch_sees_what_waits() -> None:
    """Each of what it is there for, so that the test above can fail."""
    here, there = torch.ones(3), torch.ones(3, device="meta")
    waits = (
        lambda: float(here.sum()),
        lambda: here.nonzero(),
        lambda: here[here > 0],
        lambda: there.copy_(here),
        lambda: there.new_tensor([1.0, 2.0]),
        lambda: there.__setitem__([0, 2], 0),
    )
    for wait in waits[:4] if OLD_COUNTERS else waits:  # 2.3 makes tensors of lists out of sight
        with Watch("meta") as watch:
            wait()
        assert watch.found


@pytest.mark.parametrize("edges", [False, True])
def test_a_mixture_waits_for_nothing_from_the_second_step_on(edges: bool) -> None:
    supernet = SupernetConfig(state_norm=True, nodes=3)
    net = FastSupernet(config(**DROPOUTS), WORDS, generator(), supernet).to("meta")
    shape = shape_of(supernet.most_nodes)
    with torch.device("meta"):
        operations = torch.rand(len(shape.edges), len(ACTIVATIONS)).requires_grad_()
        entering = torch.rand(len(shape.edges)).requires_grad_() if edges else None
        words = tokens().to("meta")
    weights = ArchWeights({CELL: operations}, None if entering is None else {CELL: entering})
    masks = net.draw_masks(generator(), BATCH, slice(None))
    for first in (True, False):
        with Watch("meta") as watch:
            net(words, net.initial_state(BATCH), weights, masks, targets=words).loss.backward()
        assert first or (watch.count > 100 and not watch.found)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [FULL, HALF, TF32])
@pytest.mark.parametrize("name", ["ASHA", "with_none"])
def test_a_step_waits_for_nothing_on_a_gpu(name: str, precision: str) -> None:
    net = model(name, device="cuda")
    net.use_precision(precision)
    sgd = FastAveragedSGD(net.parameters(), 1.0, 0.01, max_norm=0.25, capturable=True)
    sgd.start_averaging()
    net.reserve(TIME, BATCH)
    step = stepper(net, sgd)
    step()
    with never_waiting():
        step()


# The gradient of the embedding


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("seen", [[0], [10], [3, 3, 3], [5, 0, 10, 5, 5, 0], list(range(11)) * 9])
def test_rows_are_summed_by_word(seen: list[int], device: str) -> None:
    rows = normal(len(seen), HIDDEN)
    chosen = torch.nn.functional.one_hot(torch.tensor(seen), WORDS).double()
    found = sum_by_word(torch.tensor(seen).to(device), rows.to(device), WORDS)
    torch.testing.assert_close(found.cpu(), chosen.t() @ rows, rtol=1e-13, atol=1e-13)
    single = sum_by_word(torch.tensor(seen).to(device), rows.float().to(device), WORDS)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double().cpu(), chosen.t() @ rows, rtol=1e-5, atol=1e-5)
    assert torch.equal(single, sum_by_word(torch.tensor(seen).to(device), rows.float().to(device), WORDS))


# The optimiser


def trained(kind: type[AveragedSGD], capturable: bool, decay: float = 0.1, norm: float | None = 0.5) -> list[Any]:
    """Weights, means and state after some steps, averaged from the third on, and where all of it is."""
    params = [normal(5, 4, seed=1).float(), normal(3, seed=2).float(), normal(2, seed=4).float()]
    sgd = kind([p.requires_grad_() for p in params], 0.3, decay, max_norm=norm, capturable=capturable)
    places = []
    for k in range(6):
        for i, p in enumerate(params[:2]):  # the last one has no gradient
            p.grad = normal(*p.shape, seed=10 * k + i).float()
        if k == 2:
            sgd.start_averaging()
        rate = 0.1 * (k + 1)
        set_rate(sgd, rate)
        with at_rate(sgd, torch.tensor(rate, dtype=torch.float64) if capturable else rate):
            sgd.step()
        with sgd.averaged_weights():
            pass
        places.append([x.data_ptr() for p in params for x in (p.data, sgd.state[p].get("mean", p).data)])
    return [params, [sgd.state[p]["mean"] for p in params], sgd, places]


@pytest.mark.parametrize("as_on_a_gpu", [False, True])
@pytest.mark.parametrize("kind", [AveragedSGD, FastAveragedSGD])
@pytest.mark.parametrize(("decay", "norm"), [(0.1, 0.5), (0.0, None), (0.1, None)])
def test_a_rate_may_be_a_tensor(
    kind: type[AveragedSGD], decay: float, norm: float | None, as_on_a_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU to the same bits; in the way that it takes on a GPU, here on a CPU, to rounding."""
    expected = trained(kind, False, decay, norm)
    if as_on_a_gpu:
        for module in (averaged_sgd, fast_averaged_sgd):
            monkeypatch.setattr(module, "number", lambda value: value)
    found = trained(kind, True, decay, norm)
    bound = {"rtol": 3e-7, "atol": 3e-7} if as_on_a_gpu else {"rtol": 0.0, "atol": 0.0}
    for ours, theirs in zip(found[0] + found[1], expected[0] + expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, **bound)
    assert found[2].state_dict()["param_groups"] == expected[2].state_dict()["param_groups"]


def test_what_a_graph_knows_stays_where_it_is() -> None:
    *_, sgd, places = trained(FastAveragedSGD, True)
    assert all(place == places[2] for place in places[3:])
    (group,) = sgd.param_groups
    assert group["lr"] == pytest.approx(0.6) and type(group["lr"]) is float
    assert group["averaged_steps"].dtype == torch.float64 and float(group["averaged_steps"]) == 4


def test_means_swap_their_contents() -> None:
    params, means, sgd, _ = trained(FastAveragedSGD, True)
    before = [x.detach().clone() for x in params + means]
    sgd.exchange()
    for now, then in zip(params + means, before[3:] + before[:3], strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize(("saved", "loaded"), [(True, False), (False, True), (True, True)])
def test_a_state_goes_on_with_and_without_tensors(saved: bool, loaded: bool) -> None:
    params, _, sgd, _ = trained(FastAveragedSGD, saved)
    state = sgd.state_dict()
    assert type(state["param_groups"][0]["lr"]) is float and type(state["param_groups"][0]["averaged_steps"]) is int
    other = FastAveragedSGD([p.detach().clone().requires_grad_() for p in params], 9.0, 0.1, 0.5, capturable=loaded)
    other.load_state_dict(state)
    assert isinstance(other.param_groups[0]["averaged_steps"], torch.Tensor) == loaded
    for one in (sgd, other):
        for i, p in enumerate(one.param_groups[0]["params"][:2]):
            p.grad = normal(*p.shape, seed=90 + i).float()
        one.step()
    for a, b in zip(sgd.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
        assert torch.equal(a, b) and torch.equal(sgd.state[a]["mean"], other.state[b]["mean"])


def test_averaging_starts_over() -> None:
    params, _, sgd, _ = trained(FastAveragedSGD, True)
    sgd.restart()
    assert not sgd.averaging and not sgd.state and float(sgd.param_groups[0]["averaged_steps"]) == 0
    sgd.start_averaging()
    with sgd.averaged_weights():  # before the first step nothing was averaged
        weights = [p.detach().clone() for p in params]
    assert all(torch.equal(a, b) for a, b in zip(params, weights, strict=True))


# Memory


@pytest.mark.parametrize("name", ["ASHA", "with_none"])
def test_memory_that_was_reserved_does_not_move(name: str) -> None:
    """Of all lengths, masks or not: one arena, laid out once; and the results are those without it."""
    plain = build(CELLS[name], 2, **DROPOUTS)
    nets = [FastLanguageModel(plain.config, CELLS[name], WORDS, generator()).double() for _ in range(2)]
    for net in nets:
        net.load_state_dict(plain.state_dict())
    nets[0].reserve(9, BATCH)
    spaces = {cell._workspaces._free[0].space for cell in nets[0].cells}  # type: ignore[union-attr, index]
    held = [cell._workspaces.nbytes for cell in nets[0].cells]  # type: ignore[union-attr]
    for length in (3, 9, 1, 6):
        words = torch.randint(WORDS, (length, BATCH), generator=generator(length))
        grads = []
        for net in nets:
            loss = net(words, net.initial_state(BATCH), masks_of(net, length), targets=words).loss
            grads.append(torch.autograd.grad(loss, list(net.parameters()), allow_unused=True))
        for ours, theirs in zip(*grads, strict=True):
            assert (ours is None and theirs is None) or torch.equal(ours, theirs)
        assert {cell._workspaces._free[0].space for cell in nets[0].cells} == spaces  # type: ignore[union-attr, index]
    assert [cell._workspaces.nbytes for cell in nets[0].cells] == held  # type: ignore[union-attr]

"""Kernels of the recurrent fast form against torch's operations and against float64, in Triton's interpreter and on a GPU."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.recurrent import CELLS, build, build_cell, config, fast_cell, fast_net, generator, masks_of, normal
from support.runs import read_config
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from model_def import RecurrentTrial
from nas.core.errors import ConfigError
from randomNAS_files.architecture import Genotype
from randomNAS_files.fast import kernels
from randomNAS_files.fast.kernels import choice
from randomNAS_files.fast.kernels.choice import check_kernels
from randomNAS_files.fast.kernels.eager import EagerBackward, EagerForward
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.plan import plan_of
from randomNAS_files.fast.workspace import Arena, Layout, Workspace
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.model import RecurrentCell
from randomNAS_files.settings import EAGER, TRITON

TIME, COLUMNS, SIZE, BLOCK = 2, 3, 5, 8  # 15 numbers: two blocks, one of them not full
FUSED = "randomNAS_files.fast.kernels.fused"
CELL = Genotype((("tanh", 0), ("relu", 0), ("sigmoid", 2), ("identity", 0), ("none", 1), ("tanh", 5)), (1, 3, 5, 6))
GATED = HadamardGenotype((("gate", "tanh", 0), ("sum", "c", 1), ("product", "relu", 2, 0)), 1)


def interprets() -> bool:
    """Whether there is a Triton whose interpreter knows loops of a constant length."""
    if importlib.util.find_spec("triton") is None:
        return False
    import triton

    return int(triton.__version__.split(".")[0]) >= 3


@pytest.fixture
def whole() -> Iterator[None]:
    """Nobody was told that kernels do not work, nor is later."""
    choice._tried.cache_clear()
    yield
    choice._Told.broken = False
    choice._tried.cache_clear()


@pytest.fixture(scope="module")
def interpreted_module() -> Any:
    """The kernels once more, as functions that a CPU interprets."""
    if not interprets():
        pytest.skip("needs an interpreter of Triton 3")
    from randomNAS_files.fast.kernels import triton_kernels

    spec = importlib.util.spec_from_file_location("interpreted_kernels", triton_kernels.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def fused(interpreted_module: Any, monkeypatch: pytest.MonkeyPatch, whole: None) -> Any:
    """`fast/kernels/fused.py` with kernels that a CPU interprets."""
    from randomNAS_files.fast.kernels import fused

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(fused, "triton_kernels", interpreted_module)
    monkeypatch.setattr(fused, "BLOCK", BLOCK)
    fused.constants.cache_clear()
    yield fused
    fused.constants.cache_clear()


# Between products: the same memory afterwards


def workspace(
    cell: Genotype, masked: bool, dtype: torch.dtype, columns: int = COLUMNS, half: bool = False
) -> tuple[Arena, Workspace]:
    """One full of numbers that nobody should read, nor write past."""
    layout = Layout(plan_of(cell, "tanh"), SIZE, columns, masked, half)
    arena = Arena(layout.numbers(TIME), torch.empty(0, dtype=dtype))
    arena.memory.fill_(7)
    arena.lay_out(layout, TIME)
    arena.space.outputs[0].copy_(normal(SIZE, columns, seed=8))
    return arena, arena.space


def products(number: int, like: torch.Tensor, extreme: bool) -> torch.Tensor:
    """What a product might be."""
    found = normal(*like.shape, seed=number)
    if extreme:
        values = torch.tensor([float("nan"), float("inf"), -float("inf"), 200.0, -200.0, 0.0, -0.0])
        chosen = torch.randint(60, found.shape, generator=generator(number + 100))
        found = torch.where(chosen < 7, values.double()[chosen.clamp(max=6)], found)
    return found


def passes(
    forward: Any,
    backward: Any,
    masked: bool,
    dtype: torch.dtype,
    extreme: bool,
    columns: int = COLUMNS,
    half: bool = False,
) -> list[torch.Tensor]:
    """The memory after a forward pass of products that were made up, and after a backward pass of others."""
    arena, space = workspace(CELL, masked, dtype, columns, half)
    mask = (normal(SIZE, columns, seed=9) > 0).to(dtype) * 1.5 if masked else None
    ahead = forward(space, mask)
    for step in space.at:
        for i, group in enumerate(step.groups):
            ahead.read(step, i)
            group.product.copy_(products(10 * step.t + i, group.product, extreme))
            ahead.gate(step, i)
    after = arena.memory.clone()
    back = backward(space, mask)
    for step in reversed(space.at):
        back.start(normal(SIZE, columns, seed=step.t).to(dtype))
        for i in reversed(range(len(step.groups))):
            back.gates(step, i)
            back.products[i].copy_(normal(SIZE, columns, seed=i))
            back.pass_on(i)
    return [after, arena.memory, back.finish()]


@pytest.mark.parametrize(
    ("masked", "dtype", "extreme", "columns", "half"),
    [
        (True, torch.float32, False, COLUMNS, False),
        (False, torch.float32, False, 1, False),
        (True, torch.float32, True, 12, False),
        (True, torch.bfloat16, False, COLUMNS, False),
        (True, torch.float32, False, COLUMNS, True),
    ],
    ids=["masks", "no masks, one column", "NaN and infinity", "bfloat16", "factors of bfloat16"],
)
def test_between_products_both_forms_leave_the_same_memory(
    fused: Any, masked: bool, dtype: torch.dtype, extreme: bool, columns: int, half: bool
) -> None:
    ours = passes(fused.FusedForward, fused.FusedBackward, masked, dtype, extreme, columns, half)
    theirs = passes(EagerForward, EagerBackward, masked, dtype, extreme, columns, half)
    tolerance = 1e-5 if dtype == torch.float32 and not half else 0.05
    for kernel, torchs in zip(ours, theirs, strict=True):
        torch.testing.assert_close(kernel, torchs, rtol=tolerance, atol=tolerance, equal_nan=True)
        assert extreme == bool(kernel.isnan().any())


def test_the_hyperbolic_tangent_is_good_to_two_units_of_the_last_place(
    fused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "BLOCK", 4096)
    plan = plan_of(Genotype((("identity", 0),)), "tanh")
    arena = Arena(Layout(plan, 4096, 1, False).numbers(1), torch.empty(0))
    arena.lay_out(Layout(plan, 4096, 1, False), 1)
    near = torch.logspace(-30, 0, 1024).float()
    given = torch.cat([torch.linspace(-12, 12, 2048), near, -near])
    step = arena.space.at[0]
    arena.memory.zero_()
    step.groups[0].g.copy_(given.view(1, -1, 1))
    fused.FusedForward(arena.space, None).gate(step, 0)
    found, exact = step.groups[0].g.flatten().double(), given.double().tanh()
    assert ((found - exact).abs() / exact.abs()).max() < 2 * torch.finfo(torch.float32).eps


# A whole cell, against float64


def trained(cell: RecurrentCell, inputs: tuple[torch.Tensor | None, ...]) -> list[torch.Tensor]:
    """The outputs, the last state, and the gradients of x, h and all weights that have one."""
    x, h, *masks = [None if each is None else each.to(cell.w0) for each in inputs]
    assert x is not None and h is not None
    leaves = [x.requires_grad_(), h.requires_grad_()]
    outputs, last = cell(*leaves, *masks)
    loss = (outputs * normal(*outputs.shape, seed=3).to(cell.w0)).sum() + last.square().sum()
    leaves += cell.parameters()
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    found = [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads, strict=True)]
    return [outputs.detach(), last.detach(), *found]


def inputs_of(columns: int, size: int, masked: bool, time: int = TIME) -> tuple[torch.Tensor | None, ...]:
    masks = (torch.rand(2, columns, size, generator=generator(9)) < 0.6).double() / 0.6
    return normal(time, columns, size), normal(columns, size, seed=2), *(masks.unbind(0) if masked else (None, None))


def moderate(genotype: Genotype, init: str = "tanh", size: int = SIZE) -> RecurrentCell:
    cell = build_cell(genotype, init, size)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(1 / size**0.5)
    return cell


def with_kernels(cell: RecurrentCell, chosen: str) -> Any:
    """The fast form in float32."""
    twin = fast_cell(cell).float()
    twin.use_kernels(chosen)
    return twin


@pytest.mark.parametrize(
    ("name", "init", "masked"),
    [
        ("ENAS", "tanh", True),
        ("DARTS_V2", "sigmoid", True),
        ("ASHA", "relu", False),
        ("partial", "identity", True),
        ("with_none", "tanh", True),
        ("one_node", "tanh", False),
    ],
)
def test_a_cell_is_that_of_float64(
    fused: Any, monkeypatch: pytest.MonkeyPatch, name: str, init: str, masked: bool
) -> None:
    monkeypatch.setattr(choice, "_try", lambda *_: None)  # to save half of the time
    cell, started = moderate(CELLS[name], init), []
    monkeypatch.setattr(fused, "FusedBackward", noted(fused.FusedBackward, started))
    ours = trained(with_kernels(cell, TRITON), inputs_of(COLUMNS, SIZE, masked))
    assert started
    for kernel, exact in zip(ours, trained(cell, inputs_of(COLUMNS, SIZE, masked)), strict=True):
        torch.testing.assert_close(kernel.double(), exact.double(), rtol=2e-5, atol=1e-5)


def noted(kind: Any, started: list[Any]) -> Any:
    def make(*arguments: Any) -> Any:
        started.append(arguments)
        return kind(*arguments)

    return make


# What is started


class Operations(TorchDispatchMode):
    """Notes what torch is told to do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        self.names.append(function.overloadpacket.__name__)
        return function(*arguments, **(named or {}))


class Counter:
    """In place of a kernel."""

    def __init__(self) -> None:
        self.started = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self

    def __call__(self, *arguments: Any, **constants: Any) -> None:
        self.started += 1


def test_a_group_takes_one_kernel_and_one_product_a_direction_and_nothing_else(
    fused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, groups, found = moderate(CELLS["ASHA"]), len(plan_of(CELLS["ASHA"], "tanh").groups), {}
    for time in (3, 5):
        counters = [Counter(), Counter()]
        for name, counter in zip(("gates_forward", "gates_backward"), counters, strict=True):
            monkeypatch.setattr(fused.triton_kernels, name, counter)
        fast, given = with_kernels(cell, TRITON), inputs_of(COLUMNS, SIZE, True, time)
        trained(fast, given)  # which tries the kernels and allocates
        before = [counter.started for counter in counters]
        with Operations() as operations:
            trained(fast, given)
        views = {"view", "_unsafe_view", "t", "unbind", "select", "transpose", "detach", "alias", "as_strided"}
        work = [name for name in operations.names if name not in views]
        found[time] = [counter.started - count for counter, count in zip(counters, before, strict=True)], work
    assert [found[time][0] for time in (3, 5)] == [[groups * 3] * 2, [groups * 5] * 2]
    more = [(name, found[5][1].count(name) - found[3][1].count(name)) for name in sorted({*found[3][1], *found[5][1]})]
    assert [each for each in more if each[1]] == [("addmm_", 2), ("mm", 2 * (2 * groups - 1))]


# Where kernels are refused or do not work


def test_the_setting_is_refused_where_there_is_no_gpu_or_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    for device in ("cpu", "mps"):
        check_kernels(EAGER, torch.device(device))
        with pytest.raises(ConfigError, match=f"kernels must be eager on {device}, got triton, whose kernels run on a"):
            check_kernels(TRITON, torch.device(device))
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(ConfigError, match="kernels must be eager where the package triton is not installed"):
        check_kernels(TRITON, torch.device("cuda"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kernels": "cuda"}, "hyperparameters.kernels must be one of eager, triton, got 'cuda'"),
        (
            {"kernels": "triton", "fast": False},
            "hyperparameters.kernels triton needs the fast form, got fast false; leave one of them out",
        ),
        (
            {"kernels": "triton", "arch_to_use": GATED.to_text(), "eval_same_arch": True},
            "hyperparameters.kernels triton needs the fast form, which a Hadamard cell has not; leave it out",
        ),
    ],
)
def test_the_setting_is_refused_where_it_cannot_work(changes: dict[str, Any], says: str) -> None:
    hparams = {**read_config("train_small.yaml")["hyperparameters"], **changes}
    with pytest.raises(ConfigError) as caught:
        RecurrentTrial.check(hparams, {"corpus": "pydoc"}, 1)
    assert caught.value.problems == [says]


def losing(*_: Any) -> Any:
    raise RuntimeError("Failed to find C compiler.\nSet CC")


def test_kernels_that_do_not_compile_cost_one_warning(
    whole: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(choice, "_fused", losing)
    told = []
    for name in ("ASHA", "partial"):
        cell = moderate(CELLS[name])
        given = inputs_of(COLUMNS, SIZE, True)
        with caplog.at_level(logging.WARNING):
            found = trained(with_kernels(cell, TRITON), given)
        told += caplog.messages
        caplog.clear()
        assert all(map(torch.equal, found, trained(with_kernels(cell, EAGER), given)))
    (warning,) = told
    assert "kernels: triton does not work here (RuntimeError: Failed to find C compiler.), so torch's own" in warning


def test_nothing_needs_triton_that_does_not_ask_for_it(
    whole: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for name in list(sys.modules):
        if name == "triton" or name.startswith("triton."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)  # to import it is an error
    for name in (FUSED, "randomNAS_files.fast.kernels.triton_kernels"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(kernels, name.rpartition(".")[2], raising=False)
    cell, given = moderate(CELLS["partial"]), inputs_of(COLUMNS, SIZE, True)
    expected = trained(with_kernels(cell, EAGER), given)
    assert not caplog.messages
    found = trained(with_kernels(cell, TRITON), given)
    assert "(ModuleNotFoundError: import of triton halted" in caplog.text
    assert all(map(torch.equal, found, expected))


def test_double_precision_is_left_to_torch(whole: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(choice, "_fused", losing)
    cell = moderate(CELLS["partial"])
    twin = fast_cell(cell)
    twin.use_kernels(TRITON)
    given = inputs_of(COLUMNS, SIZE, True)
    assert all(map(torch.equal, trained(twin, given), trained(fast_cell(cell), given)))
    assert not choice._Told.broken


# On a GPU


def on_the_gpu(net: Any, chosen: str) -> list[torch.Tensor]:
    """The loss and all gradients of one step."""
    net.use_kernels(chosen)
    words = torch.randint(11, (7, 6), generator=generator(5)).cuda()
    hidden = net.initial_state(6)
    loss = net(words, hidden, masks_of(net, columns=6), targets=words).loss
    grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return [loss.detach(), *(grad for grad in grads if grad is not None)]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["ENAS", "DARTS_V2", "ASHA", "partial", "with_none"])
def test_on_a_gpu_kernels_are_as_near_to_float64_as_torch_is(whole: None, name: str) -> None:
    net = build(CELLS[name], dropouth=0.25, dropoutx=0.25)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.4)
    exact = on_the_gpu(fast_net(net).cuda(), EAGER)
    single = fast_net(net).float().cuda()
    found = {chosen: on_the_gpu(single, chosen) for chosen in (EAGER, TRITON)}
    assert not choice._Told.broken
    again = on_the_gpu(single, TRITON)
    for kernel, torchs, true, repeated in zip(found[TRITON], found[EAGER], exact, again, strict=True):
        allowed = 4 * (torchs.double() - true).abs().max() + 1e-6 * true.abs().max()
        assert (kernel.double() - true).abs().max() <= allowed
        assert torch.equal(kernel, repeated)  # the same bits every time


@pytest.mark.gpu
def test_on_a_gpu_kernels_are_fewer_launches(whole: None) -> None:
    settings = config(hidden=64, dropout=0.75, dropouth=0.25, dropoutx=0.75, dropouti=0.2)
    net = FastLanguageModel(settings, CELLS["ASHA"], 11, generator()).cuda()
    launches = {}
    for chosen in (EAGER, TRITON):
        on_the_gpu(net, chosen)  # which compiles
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
            on_the_gpu(net, chosen)
            torch.cuda.synchronize()
        launches[chosen] = sum(event.device_type == DeviceType.CUDA for event in record.events())
    assert not choice._Told.broken
    assert launches[TRITON] < launches[EAGER] / 2, launches

"""CUDA graphs emulated on a CPU, strictly: what a capture records is the operations with the very tensors they were called on.

A capture calls the step once, notes every operation below autograd, and then undoes what they changed, as a capture on a GPU
computes nothing. A replay runs the operations again on the same memory. So whatever a graph cannot see goes wrong here as it
does there: a number that Python has put into a call, a counter that Python counts, a tensor that was replaced. And before each
replay the memory of all other graphs of the same pool is overwritten, as those may use the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from nas.trial import capture

_WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2")


def tensors(*nested: Any) -> list[torch.Tensor]:
    return [value for value in tree_flatten(nested)[0] if isinstance(value, torch.Tensor)]


def place(tensor: torch.Tensor) -> int:
    """Which memory a tensor is a view of."""
    return tensor.untyped_storage().data_ptr()


class Graph:
    """Stands for `torch.cuda.CUDAGraph`."""

    made: list[Graph] = []
    """All since `emulate`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.own: dict[int, torch.Tensor] = {}  # memory that was allocated within it
        self.pool: Any = None
        self.replays = 0
        Graph.made.append(self)

    @torch.no_grad()
    def replay(self) -> None:
        """Run the operations again, and put what they return where they had put it."""
        for other in Graph.made:
            if other is not self and other.pool is self.pool:
                other.overwrite()
        self.replays += 1
        for operation, arguments, named, before in self.calls:
            given = {place(tensor) for tensor in tensors(arguments, named)}
            for old, new in zip(tensors(before), tensors(operation(*arguments, **named)), strict=True):
                if place(old) not in given:
                    old.copy_(new)

    def overwrite(self) -> None:
        for tensor in self.own.values():
            if tensor.is_floating_point():
                torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage()).fill_(float("nan"))


class Recording(TorchDispatchMode):
    """Notes operations for a graph while they are called; `undo` puts back what they changed of earlier memory."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph, self.before = graph, dict[int, tuple[torch.Tensor, torch.Tensor]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name.removeprefix("aten::")
        if name in _WAITS or kwargs.get("generator") is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        given = [*args, *kwargs.values()]
        declared = func._schema.arguments
        names = [*declared[: len(args)], *(next(a for a in declared if a.name == key) for key in kwargs)]
        for argument, value in zip(names, given, strict=True):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._remember(value)
        result = func(*args, **kwargs)
        known = {place(tensor) for tensor in tensors(args, kwargs)}
        self.graph.own.update({place(t): t for t in tensors(result) if place(t) not in known and place(t)})
        self.graph.calls.append((func, args, kwargs, result))
        return result

    def _remember(self, changed: Any) -> None:
        for tensor in tensors(changed):
            if place(tensor) not in self.graph.own and place(tensor) not in self.before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self.before[place(tensor)] = whole, whole.clone()

    def undo(self) -> None:
        for whole, content in self.before.values():
            whole.copy_(content)


class Stream:
    """Stands for `torch.cuda.Stream`."""

    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream) and other is not self


class Device:
    """What `torch.cuda` has of streams and graphs.

    Args:
        fails: what a capture raises when its step is called; None: nothing.
    """

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails, self.stream, self.capturing, self.pools = fails, Stream(), False, 0

    @contextlib.contextmanager
    def graph(self, graph: Graph, pool: Any, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        graph.pool, recording, self.capturing = pool, Recording(graph), True
        try:
            with recording:
                yield
                if self.fails is not None:
                    raise self.fails
            self.stream = before  # a capture that fails leaves its stream behind, as torch's does
        finally:
            self.capturing = False
            with torch.no_grad():
                recording.undo()

    @contextlib.contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    def set_stream(self, stream: Stream) -> None:
        self.stream = stream

    def graph_pool_handle(self) -> tuple[int, int]:
        self.pools += 1
        return (0, self.pools)


def emulate(monkeypatch: pytest.MonkeyPatch, fails: Exception | None = None) -> Device:
    """From here on there are graphs on the CPU."""
    device = Device(fails)
    Graph.made = []
    monkeypatch.setattr(capture, "captures", lambda _: True)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream())
    monkeypatch.setattr(torch.cuda, "graph", device.graph)
    monkeypatch.setattr(torch.cuda, "stream", device.on)
    monkeypatch.setattr(torch.cuda, "set_stream", device.set_stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _=None: device.stream)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", device.graph_pool_handle)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _=None: None)
    return device

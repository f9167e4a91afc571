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

from nas.trial import capture

_WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "lift_fresh")
"""The last one is of what Python makes a tensor of, such as a list that is an index: it is copied to the device."""
_MOVING = ("running_mean", "running_var")
"""What batch norm changes without saying so."""


def tensors(nested: Any) -> list[torch.Tensor]:
    """All of some arguments or results."""
    if isinstance(nested, torch.Tensor):
        return [nested]
    return [each for part in nested for each in tensors(part)] if isinstance(nested, list | tuple) else []


def place(tensor: torch.Tensor) -> int:
    """Which memory a tensor is a view of."""
    return tensor.untyped_storage().data_ptr()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of that memory."""
    return torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())


class Graph:
    """Stands for `torch.cuda.CUDAGraph`."""

    made: list[Graph] = []
    """All since `emulate`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, list[torch.Tensor | None]]] = []  # and where results go that are new
        self.own: dict[int, torch.Tensor] = {}  # memory that was allocated within it
        self.pool: Any = None
        self.replays = 0
        self.holds = False  # in its memory what it computed
        Graph.made.append(self)

    @torch.no_grad()
    def replay(self) -> None:
        """Run the operations again, and put what they return where they had put it."""
        for other in Graph.made:
            if other is not self and other.pool is self.pool:
                other.overwrite()
        self.replays += 1
        for operation, arguments, named, places in self.calls:
            for old, new in zip(places, tensors(operation(*arguments, **named)), strict=True):
                if old is not None:
                    old.copy_(new)
        self.holds = True

    def overwrite(self) -> None:
        """Leave nothing in its memory."""
        if self.holds:
            self.holds = False
            for tensor in self.own.values():
                if tensor.is_floating_point():
                    whole(tensor).fill_(float("nan"))


class Recording(TorchDispatchMode):
    """Notes operations for a graph while they are called; `undo` puts back what they changed of earlier memory."""

    def __init__(self, graph: Graph, fails: Exception | None) -> None:
        super().__init__()
        self.graph, self.fails, self.before = graph, fails, dict[int, tuple[torch.Tensor, torch.Tensor]]()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """For it, torch would import its compiler."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name.removeprefix("aten::")
        if name in _WAITS or kwargs.get("generator") is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        changed = self._changed(func, args, kwargs)
        for tensor in changed:
            if place(tensor) not in self.graph.own and place(tensor) not in self.before:
                if self.fails is not None:
                    raise self.fails
                self.before[place(tensor)] = whole(tensor), whole(tensor).clone()
        result = func(*args, **kwargs)
        known = {place(tensor) for tensor in tensors([*args, *kwargs.values()])}
        places = [None if place(tensor) in known else tensor for tensor in tensors(result)]
        self.graph.own.update({place(tensor): tensor for tensor in places if tensor is not None})
        if changed or any(tensor is not None for tensor in places):  # else it is a view
            self.graph.calls.append((func, args, kwargs, places))
        return result

    def _changed(self, func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
        """The tensors that an operation writes to."""
        declared = func._schema.arguments
        given = dict(zip((argument.name for argument in declared), args, strict=False)) | kwargs
        writes = [each.name for each in declared if each.alias_info is not None and each.alias_info.is_write]
        return tensors([given.get(name) for name in (*writes, *_MOVING)])

    def undo(self) -> None:
        """As if nothing had been computed."""
        for kept, content in self.before.values():
            kept.copy_(content)
        self.graph.holds = True
        self.graph.overwrite()


class Stream:
    """Stands for `torch.cuda.Stream`."""

    def wait_stream(self, other: Stream) -> None:
        assert isinstance(other, Stream) and other is not self


class Device:
    """What `torch.cuda` has of streams and graphs.

    Args:
        fails: what a capture raises in the middle, where its step first changes something; None: nothing.
    """

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails, self.stream, self.pools = fails, Stream(), 0

    @contextlib.contextmanager
    def graph(self, graph: Graph, pool: Any, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        graph.pool, recording = pool, Recording(graph, self.fails)
        try:
            with recording:
                yield
        except Exception:
            # As torch's, which also leaves its stream behind
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")  # noqa: B904
        else:
            self.stream = before
        finally:
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

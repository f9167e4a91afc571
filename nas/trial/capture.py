"""A training step as CUDA graphs, so that a GPU is told once what to do in a step, and not kernel by kernel.

Launching the thousands of small kernels of a step keeps the CPU busy for longer than the GPU. A CUDA graph is recorded
("captured") while a step is called once, and replayed in one launch: the same kernels on the same memory. So

- what changes from step to step is copied into memory of its own before each replay: batch, masks, carried states, the
  learning rate. Whatever chance decides is drawn before, and given as a tensor;
- shapes are fixed: there is a graph for each combination that occurs, such as each length of a slice, made when it occurs
  for the second time. The first time the step runs as it is. This is the warm-up that a capture needs: the optimiser makes
  its state, and libraries load and choose their kernels. It trains as any step does, and as recording computes nothing,
  training goes on exactly as without graphs;
- all graphs share one pool of memory: they run one after another, nothing of a step is needed by the next but what is copied
  out, and gradients are allocated and freed within a step. It is as large as the largest step needs.

PyTorch's recipe, "whole-network capture": https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import nn

from nas.trial.user_errors import out_of_memory

logger = logging.getLogger(__name__)

MOST = 64
"""Graphs that are kept, those used last: one for each length of slices of 5 to 68 words."""

Input = torch.Tensor | float | None
Step = Callable[..., tuple[torch.Tensor, ...]]


def captures(device: torch.device) -> bool:
    """Whether a device has graphs."""
    return device.type == "cuda"


class _Graph(NamedTuple):
    replay: Callable[[], None]
    outputs: tuple[torch.Tensor, ...]  # in the graphs' pool, until the next replay of any of them


class CapturedStep:
    """Calls a training step; where there are CUDA graphs, as one of them, or as it is once a capture has failed.

    Args:
        work: the step, of tensors, numbers (which it is given as tensors where there are graphs) and None; returns tensors that
            need no gradient. It draws nothing, waits for nothing, and leaves no gradients behind. All else that it reads and
            changes is the network's and the optimiser's. Graphs know where that is in memory, so all of them are made anew
            once some of it has moved, as after loading a checkpoint.
        most: graphs that are kept.
    """

    def __init__(
        self, work: Step, net: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, most: int = MOST
    ) -> None:
        self._work, self._optimizer, self._device, self._most = work, optimizer, device, most
        self._tensors = [*net.parameters(), *net.buffers()]
        self.on = captures(device)
        self.failed = False
        self._stream: Any = torch.cuda.Stream(device) if self.on else None
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._drop()
        if not self.on:
            logger.info("cuda_graphs true changes nothing on %s, which has none: steps run as they are", device.type)

    def _drop(self) -> None:
        """Forget all graphs, and with them their pool."""
        if self._graphs:
            torch.cuda.synchronize(self._device)  # one may still run
        self._graphs.clear()
        self._warm: set[Hashable] = set()
        self._buffers: dict[Hashable, torch.Tensor] = {}
        self._places: list[int] = []
        self._pool: Any = None

    def __call__(self, *inputs: Input) -> tuple[torch.Tensor, ...]:
        """What the work returns, in memory of its own."""
        if not self.on:
            return self._work(*inputs)
        if self._places != self._addresses():
            self._drop()
        key = tuple(map(_signature, inputs))
        given = self._fill(key, inputs)
        if key in self._warm and key not in self._graphs and not self.failed:
            self._capture(key, given)
        if key not in self._graphs:
            return self._warm_up(key, given)
        self._graphs.move_to_end(key)
        self._graphs[key].replay()
        return tuple(output.clone() for output in self._graphs[key].outputs)

    def _addresses(self) -> list[int]:
        """Where everything is that a step reads and changes beside its inputs."""
        optimizer = self._optimizer
        values = chain.from_iterable(each.values() for each in (*optimizer.state.values(), *optimizer.param_groups))
        return [each.data_ptr() for each in chain(self._tensors, values) if isinstance(each, torch.Tensor)]

    def _fill(self, key: Sequence[Hashable], inputs: Sequence[Input]) -> list[torch.Tensor | None]:
        """Copy the inputs to where graphs read them. Inputs of the same place and shape share memory."""
        given: list[torch.Tensor | None] = []
        for place, (signature, value) in enumerate(zip(key, inputs, strict=True)):
            if value is None:
                given.append(None)
                continue
            name = (place, signature)
            if name not in self._buffers:
                like = value if isinstance(value, torch.Tensor) else torch.empty((), device=self._device)
                self._buffers[name] = torch.empty_like(like, device=self._device, memory_format=torch.preserve_format)
            buffer = self._buffers[name]
            given.append(buffer.copy_(value) if isinstance(value, torch.Tensor) else buffer.fill_(value))
        return given

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On the stream of the captures: after what was launched before, and before what is launched later."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def _warm_up(self, key: Hashable, given: Sequence[torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
        """Run the step as it is, on the memory and the stream of the captures: the same kernels, so the same bits."""
        with self._aside():
            outputs = self._work(*given)
        self._warm.add(key)
        self._places = self._addresses()  # the first step makes the optimiser's state
        return outputs

    def _capture(self, key: Hashable, given: Sequence[torch.Tensor | None]) -> None:
        """Record the step, which computes nothing."""
        current = torch.cuda.current_stream(self._device)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                outputs = self._work(*given)
        except Exception as error:  # whatever a driver, a compiler or a library raises: training can go on without
            torch.cuda.set_stream(current)  # a capture that fails leaves its own behind
            self._give_up(error)
            return
        self._graphs[key] = _Graph(graph.replay, outputs)
        while len(self._graphs) > self._most:
            self._graphs.popitem(last=False)

    def _give_up(self, error: Exception) -> None:
        """From now on steps run as they are."""
        self.failed = True
        warm, places, buffers = self._warm, self._places, self._buffers
        self._drop()  # their memory as well
        self._warm, self._places, self._buffers = warm, places, buffers
        self._optimizer.zero_grad()  # of a backward pass that computed nothing
        first: BaseException = error
        while first.__context__ is not None:  # the error of the step, and not that its capture has ended for it
            first = first.__context__
        reason = out_of_memory(first) or " ".join(str(first).split())[:300] or type(first).__name__
        logger.warning(
            "no CUDA graphs: a step could not be captured (%s); training goes on as without cuda_graphs", reason
        )


def _signature(value: Input) -> Hashable:
    """What two inputs have in common that one graph can read."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype
    return None if value is None else float

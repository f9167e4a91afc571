"""Cells compiled by `torch.compile`: one graph for each kind of cell, and not one for the whole network.

A network of 20 cells has some ten kinds, so there is half as much to compile. The compiler merges what is between convolutions
(batch norm, ReLU, drop path, sums) into a few operations. torch keeps what it has compiled for other processes, in
TORCHINDUCTOR_CACHE_DIR.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch

from cnn_nas.fast.cells import State, run_cell
from cnn_nas.fast.tensors import Given, Tensors, given, layers_of
from cnn_nas.model import Cell

logger = logging.getLogger(__name__)
COMPILER = ("torch._dynamo", "torch._inductor", "torch._functorch")
"""Where its errors are defined."""
Compiler = Callable[..., Any]
Compiled = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, Sequence[Tensors]], torch.Tensor]


class CompiledCells:
    """Runs cells, each kind compiled when it is first met; uncompiled from the first on that cannot be compiled.

    Args:
        backend: of `torch.compile`.
    """

    def __init__(self, backend: str | Compiler) -> None:
        self.backend, self.works = backend, True
        self.kinds: dict[Any, Compiled] = {}

    def __deepcopy__(self, memo: Any) -> CompiledCells:
        """What is compiled belongs to the cells of one network."""
        return CompiledCells(self.backend)

    def __call__(
        self, cell: Cell, input0: State, input1: State, masks: torch.Tensor | None, final: bool, tensors: Given
    ) -> State:
        """See `run_cell`, for inputs that are known after a ReLU."""
        kind = repr(cell), cell.edges, cell.concat, final
        if self.works:
            try:
                if kind not in self.kinds:
                    self.kinds[kind] = _compile(cell, final, self.backend, len(self.kinds))
                given = [tensors.of(layer) for layer in layers_of(cell)]
                made = self.kinds[kind](input0.positive, input1.positive, masks, given)
                return State(made) if final else State(None, made)
            except RuntimeError as error:
                if kind in self.kinds and not type(error).__module__.startswith(COMPILER):
                    raise  # of the step, such as a lack of memory
                self.works = False
                reason = " ".join(str(error).split("\n")[:2])  # the first line may say no more than who failed
                logger.warning("cells are not compiled, as the compiler fails: %s", reason)
        return run_cell(cell, input0, input1, masks, final, tensors)


def _compile(cell: Cell, final: bool, backend: str | Compiler, number: int) -> Compiled:
    """The function of a kind of cell; `cell` is one of them, of which no tensor is used."""
    layers = list(layers_of(cell))

    def compute(
        input0: torch.Tensor, input1: torch.Tensor, masks: torch.Tensor | None, tensors: Sequence[Tensors]
    ) -> torch.Tensor:
        state = run_cell(cell, State(None, input0), State(None, input1), masks, final, given(layers, tensors))
        return state.value if final else state.positive

    # The compiler counts the graphs of a piece of code, and gives up at the eighth: each kind has its own.
    code = compute.__code__.replace(co_name=f"cell_{number}")
    apart = types.FunctionType(code, compute.__globals__, code.co_name, None, compute.__closure__)
    compiled: Compiled = torch.compile(apart, backend=backend, fullgraph=True, dynamic=False)
    return compiled

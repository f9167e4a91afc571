"""Twelve depthwise convolutions of the CNN at 36 channels, forward and backward, in both layouts and precisions.

As trials compute (cuDNN's deterministic kernels) and with those that cuDNN finds fastest; the batch is 96.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F

from benchmarks.gpu_parts.task import Found, Items, Task
from benchmarks.gpu_parts.timing import device_seconds
from benchmarks.gpu_parts.works import set_up

BATCH = 96
LAYOUTS = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}
PRECISIONS = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class Shape(NamedTuple):
    """A convolution; `side` of the images that it takes."""

    channels: int
    side: int
    kernel: int
    dilation: int = 1
    stride: int = 1

    @property
    def words(self) -> str:
        """Such as `36 channels, 32x32, 3x3`."""
        more = (", dilated" if self.dilation > 1 else "") + (", stride 2" if self.stride > 1 else "")
        return f"{self.channels} channels, {self.side}x{self.side}, {self.kernel}x{self.kernel}{more}"


SHAPES = (
    *(Shape(36, 32, 3), Shape(36, 32, 5), Shape(36, 32, 3, 2), Shape(36, 32, 5, 2)),
    *(Shape(40, 32, 3), Shape(40, 32, 5)),  # 36 channels padded to a multiple of 8
    *(Shape(72, 32, 3, 1, 2), Shape(72, 16, 3), Shape(72, 16, 5)),
    *(Shape(144, 16, 5, 1, 2), Shape(144, 8, 3), Shape(144, 8, 5, 2)),
)


def items(task: Task) -> Items:
    """One item a layout, precision and choice of kernels."""
    set_up(task.device)
    for fastest, layout, kind in product((False, True), LAYOUTS, PRECISIONS):
        name = f"{layout}, {kind}, {'fastest' if fastest else 'as in trials'}"
        yield name, partial(measure, layout, kind, fastest, task)


def measure(layout: str, kind: str, fastest: bool, task: Task) -> Found:
    """Microseconds of each shape."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = not fastest, fastest
    try:
        found = {shape.words: times(shape, LAYOUTS[layout], PRECISIONS[kind], task) for shape in SHAPES}
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
    lines = [
        f"{name}: forward {each['forward_us']:.0f} us, input {each['input_us']:.0f} us, weight {each['weight_us']:.0f} us"
        for name, each in found.items()
    ]
    return {"text": "\n".join(lines), "shapes": found}


def times(shape: Shape, layout: torch.memory_format, kind: torch.dtype, task: Task) -> dict[str, float]:
    """Of the output, and of the gradients of input and weight."""
    batch, calls = (2, 1) if task.small else (BATCH, 10)
    x = torch.randn(batch, shape.channels, shape.side, shape.side, device=task.device).to(kind, memory_format=layout)
    weight = torch.randn(shape.channels, 1, shape.kernel, shape.kernel, device=task.device).to(kind)
    padding = shape.dilation * (shape.kernel - 1) // 2
    y = F.conv2d(x, weight, None, shape.stride, padding, shape.dilation, shape.channels)
    grad = torch.randn_like(y)

    def forward() -> None:
        for _ in range(calls):
            F.conv2d(x, weight, None, shape.stride, padding, shape.dilation, shape.channels)

    def backward(which: tuple[bool, bool, bool]) -> None:
        places = [[size, size] for size in (shape.stride, padding, shape.dilation)]
        for _ in range(calls):
            torch.ops.aten.convolution_backward(
                grad, x, weight, None, *places, False, [0, 0], shape.channels, list(which)
            )

    runs = {
        "forward_us": forward,
        "input_us": lambda: backward((True, False, False)),
        "weight_us": lambda: backward((False, True, False)),
    }
    return {name: 1e6 * device_seconds(run, task.device, calls) for name, run in runs.items()}

"""Matrix products of the recurrent step at 850 units against sizes that are multiples of 4, 8, 16 or 32.

A cell's products go through its weights in turn, and so does this: over as many as nine nodes have, more than some caches hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.cnn_step import precision
from benchmarks.gpu_parts.task import Found, Items, Task
from benchmarks.gpu_parts.timing import device_seconds
from benchmarks.gpu_parts.works import BF16, PRECISIONS, set_up

SIZES, GROUPS, NODES = (850, 848, 856, 864), (1, 2, 3), 9
COLUMNS, LENGTH, WORDS = 64, 35, 10_000
Product = tuple[str, int, int, Callable[[], object]]
"""A name, the floating-point operations of one product, how many there are in turn, and what runs them."""


def items(task: Task) -> Items:
    """One item a precision."""
    set_up(task.device)
    for kind in PRECISIONS:
        yield kind, partial(measure, kind, task)


def measure(kind: str, task: Task) -> Found:
    """Microseconds and the rate of each product at each size."""
    sizes, words = ((10, 12), 50) if task.small else (SIZES, WORDS)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for size in sizes:
        for name, operations, calls, run in products(
            size, words, torch.bfloat16 if kind == BF16 else torch.float32, task
        ):
            with precision("TF32" if kind == "TF32" else "float32", task.device):
                took = device_seconds(run, task.device, calls)
            table.setdefault(name, {})[str(size)] = {"us": 1e6 * took, "tflops": operations / took / 1e12}
    lines = [
        f"{name}: " + ", ".join(f"{size} {each['us']:.1f} us" for size, each in found.items())
        for name, found in table.items()
    ]
    return {"text": "\n".join(lines), "products": table}


def products(size: int, words: int, kind: torch.dtype, task: Task) -> Iterator[Product]:
    """Names, operations of one, how many in turn, and what runs them."""

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=task.device).to(kind)

    columns, steps = COLUMNS, LENGTH
    for nodes in GROUPS:
        weights = [tensor(2 * nodes * size, size) for _ in range(NODES // nodes)]
        x, y = tensor(size, columns), tensor(2 * nodes * size, columns)
        xs, ys = tensor(size, steps * columns), tensor(2 * nodes * size, steps * columns)
        name, count = f"({2 * nodes}H, H)", len(weights)
        one = 2 * 2 * nodes * size * size * columns
        yield f"{name} x (H, {columns}), forward", one, count, partial(_in_turn, weights, x)
        yield (
            f"its transpose x ({2 * nodes}H, {columns}), backward",
            one,
            count,
            partial(_in_turn, [w.t() for w in weights], y),
        )
        yield f"gradient of {name} over {steps} steps", steps * one, 1, partial(torch.matmul, ys, xs.t())
    table, rows, grad = tensor(words, size), tensor(steps * columns, size), tensor(steps * columns, words)
    one = 2 * words * size * steps * columns
    yield "decoder, forward", one, 1, partial(torch.matmul, rows, table.t())
    yield "decoder, gradient of its input", one, 1, partial(torch.matmul, grad, table)
    yield "decoder, gradient of its weight", one, 1, partial(torch.matmul, grad.t(), rows)


def _in_turn(weights: list[torch.Tensor], x: torch.Tensor) -> None:
    for weight in weights:
        weight @ x

"""How far `precision` puts the gradients of a recurrent supernet off, against float64. From the root:

    python -m benchmarks.rounding

A mixture with batch norm of its states, as DARTS searches with, and single cells without, as random search and ENAS train;
64 units, 500 words, 32 columns of 35 words, initial weights of six seeds. On a CPU the factors of TF32 are rounded here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas.core.arch_weights import ArchWeights, one_path
from randomNAS_files.architecture import sample
from randomNAS_files.dropout import DropoutMasks, draw_masks
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import ModelConfig
from randomNAS_files.relaxation import CELL, RELAXATION, paths_of
from randomNAS_files.settings import PRECISIONS
from randomNAS_files.supernet import SupernetConfig

HIDDEN, WORDS, COLUMNS, LENGTH, SEEDS = 64, 500, 32, 35, 6
MODEL = ModelConfig(HIDDEN, HIDDEN, HIDDEN, 1, 0.2, 0.067, 0.2, 0.053, 0.0)
KINDS = {"mixture, batch norm of states": True, "single cells": False}


class RoundedToTF32(TorchDispatchMode):
    """Rounds the factors of float32 products to 11 binary digits where a GPU may."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.mm.default, torch.ops.aten.mm.out) and torch.backends.cuda.matmul.allow_tf32:
            args = [tf32(each) for each in args]
        return func(*args, **(kwargs or {}))


def tf32(x: torch.Tensor) -> torch.Tensor:
    """To the nearest of 11 binary digits, to the even one of two."""
    if x.dtype != torch.float32 or x.device.type != "cpu":
        return x
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


def errors(kind: str, seed: int, device: str) -> Iterator[tuple[str, str, float]]:
    """By precision and what the gradient is of: its error as a whole, relative."""
    weights = _architecture(kind, seed)
    exact = gradients(_supernet(kind, seed).double(), weights, seed)
    for precision in PRECISIONS:
        net = _supernet(kind, seed).to(device)
        net.use_precision(precision)
        with RoundedToTF32():
            found = gradients(net, weights, seed)
        for name, theirs in exact.items():
            pairs = list(zip(found[name], theirs, strict=True))
            wrong = [(ours.double().cpu() - right).norm() for ours, right in pairs]
            yield (
                precision,
                name,
                float(torch.stack(wrong).norm() / torch.stack([right.norm() for right in theirs]).norm()),
            )


def gradients(net: FastSupernet, weights: ArchWeights, seed: int) -> dict[str, list[torch.Tensor]]:
    """Of the mean loss, by the weights and by the architecture, if it has weights."""
    generator, like = torch.Generator().manual_seed(seed), net.embedding
    inputs, targets = torch.randint(WORDS, (2, LENGTH, COLUMNS), generator=generator).to(like.device)
    drawn = draw_masks(MODEL, WORDS, generator, COLUMNS, slice(None), dtype=like.dtype).tensors()
    masks = DropoutMasks.of([None if mask is None else mask.to(like.device) for mask in drawn])
    tensors = [each.to(like).requires_grad_() for each in weights.tensors()]
    output = net(inputs, net.initial_state(COLUMNS), weights.with_tensors(tensors), masks, targets)
    assert output.loss is not None
    found = torch.autograd.grad(output.loss, [*net.parameters(), *tensors], allow_unused=True)
    groups = {"weights": found[: len(found) - len(tensors)], "architecture": found[len(found) - len(tensors) :]}
    return {name: [each for each in group if each is not None] for name, group in groups.items() if group}


def _supernet(kind: str, seed: int) -> FastSupernet:
    return FastSupernet(MODEL, WORDS, torch.Generator().manual_seed(seed), SupernetConfig(state_norm=KINDS[kind]))


def _architecture(kind: str, seed: int) -> ArchWeights:
    if not KINDS[kind]:
        return one_path(paths_of(sample(seed)))
    cell, generator = RELAXATION[CELL], torch.Generator().manual_seed(seed)
    logits = 0.1 * torch.randn(len(cell.edges), len(cell.operations), generator=generator, dtype=torch.float64)
    return ArchWeights({CELL: logits.softmax(1)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the smallest, the median and the largest error of the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args(arguments)
    for kind in KINDS:
        found: dict[tuple[str, str], list[float]] = {}
        for seed in range(given.seeds):
            for precision, name, error in errors(kind, seed, given.device):
                found.setdefault((precision, name), []).append(error)
        for (precision, name), each in found.items():
            low, high = min(each), max(each)
            middle = float(torch.tensor(each, dtype=torch.float64).quantile(0.5))
            print(f"{kind:<30} {name:<13} {precision:<5} {low:9.2%} {middle:9.2%} {high:9.2%}")


if __name__ == "__main__":
    main()

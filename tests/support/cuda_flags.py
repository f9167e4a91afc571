"""What `nas.trial.device` sets for a process, put back after a test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

FLAGS = {
    (torch.backends.cudnn, "deterministic"): True,
    (torch.backends.cudnn, "benchmark"): False,
    (torch.backends.cudnn, "allow_tf32"): False,
    (torch.backends.cuda.matmul, "allow_tf32"): False,
}
"""What a trial on CUDA sets them to."""


def flags() -> list[bool]:
    """Their present values."""
    return [getattr(owner, name) for owner, name in FLAGS]


@contextlib.contextmanager
def preserved_flags() -> Iterator[None]:
    """They are the same afterwards."""
    before = flags()
    try:
        yield
    finally:
        for (owner, name), value in zip(FLAGS, before, strict=True):
            setattr(owner, name, value)

"""Random generators that depend on nothing but a seed and the names of what they are for.

Nothing in this project draws from a global generator: what happened before (a resume, another trial, a library) can then
not change what is drawn. The streams are frozen: `RandomState` and SHA-256 give the same numbers with every version of
NumPy and Python, so the same seed names the same architecture everywhere.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *labels: str | int) -> int:
    """A seed of 63 bits for the purpose that the labels name, for example `derive(7, "masks", batch)`."""
    plain = [label if isinstance(label, str) else int(label) for label in labels]  # NumPy's integers print otherwise
    digest = hashlib.sha256(repr((int(seed), *plain)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def numpy_generator(seed: int, *labels: str | int) -> np.random.RandomState:
    """A NumPy generator for the purpose that the labels name."""
    derived = derive(seed, *labels)
    return np.random.RandomState([derived & 0xFFFFFFFF, derived >> 32])


def torch_generator(device: torch.device | str, seed: int, *labels: str | int) -> torch.Generator:
    """A torch generator on `device` for the purpose that the labels name."""
    import torch  # takes a second and 200 MB; who draws with NumPy does without

    generator = torch.Generator(device=device)
    generator.manual_seed(derive(seed, *labels))
    return generator

"""What language models of recurrent cells cost, and how one without dropout is made; the same for all kinds of cells."""

from __future__ import annotations

from typing import Any

from nas.core.seeds import torch_generator
from nas.core.space import Size


def model_size(
    matrices: int, used: int, *, hidden: int, vocabulary: int, depth: int = 1, init_op: str = "tanh"
) -> Size:
    """Of a cell with so many matrices `(H, 2H)` beside that of its initial state.

    Args:
        matrices: that it has.
        used: those of them that its output depends on.
        hidden, vocabulary, depth, init_op: see `space.RecurrentSpace`.
    """
    first, node = 2 * hidden * 2 * hidden, hidden * 2 * hidden  # weights of the initial state, and of one node
    decoder = hidden * vocabulary
    parameters = decoder + vocabulary + depth * (first + matrices * node)  # the decoder's weights are the embedding's
    return Size(parameters, decoder + depth * (first + used * node))


def plain_network(
    kind: Any, genotype: Any, seed: int, *, hidden: int, vocabulary: int, depth: int = 1, init_op: str = "tanh"
) -> Any:
    """A model without dropout, with the initial weights of a trial of that seed.

    Args:
        kind: `LanguageModel`, or a subclass.
    """
    from randomNAS_files.model import ModelConfig  # here, so that the rest does not wait for torch

    nothing = {f"dropout{place}": 0.0 for place in ("", "h", "x", "i", "e")}
    config = ModelConfig(hidden, hidden, hidden, depth, init_op=init_op, **nothing)
    return kind(config, genotype, vocabulary, torch_generator("cpu", seed, "weights"))

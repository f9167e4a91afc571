"""What one process needs in memory to train a recurrent language model, estimated without data: see `nas.core.memory`."""

from __future__ import annotations

import torch

from nas.core.memory import MemoryEstimate, estimate_memory, saved_bytes
from nas.core.seeds import torch_generator
from randomNAS_files.architecture import Genotype
from randomNAS_files.fast.decoder import CHUNK
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.model import LanguageModel, ModelConfig, activation_penalty


def estimate(
    model: ModelConfig,
    genotype: Genotype,
    words: int,
    columns: int,
    length: int,
    *,
    fast: bool,
    alpha: float,
    beta: float,
    device: str = "meta",
) -> MemoryEstimate:
    """The estimate for a slice of `length` words in each of `columns` columns of one process.

    Args:
        words: of the vocabulary.
        alpha, beta: of the activation penalties.
        device: where the step runs; the tests run it on real ones.
    """
    with torch.device(device):
        kind = FastLanguageModel if fast else LanguageModel
        net = kind(model, genotype, words, torch_generator("cpu", 0))
        masks = net.draw_masks(torch_generator("cpu", 0), columns, slice(None))
        tokens = torch.zeros(length, columns, dtype=torch.int64)

        def forward() -> list[torch.Tensor]:
            output = net(tokens, net.initial_state(columns), masks, targets=tokens)
            kept = [] if output.logits is None else [output.logits]
            penalty = activation_penalty(output, alpha, beta)
            return [*kept, output.states, output.dropped, *output.hidden, output.loss + penalty]

        activations = saved_bytes(forward, net.parameters())
    logits = min(CHUNK, length * columns) * words * net.embedding.element_size()
    working = logits + net.embedding.nbytes if fast else None  # some rows' logits, and the gradient of shared weights
    return estimate_memory(
        net, activations, 1, 2 * tokens.nbytes, working=working, assumes=f"batch of {columns}, longest slices"
    )

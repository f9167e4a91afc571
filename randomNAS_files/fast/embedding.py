"""The embedding, whose weights the decoder shares: one gradient for both.

The gradient of the few words that were read is added to the decoder's, instead of filling a table of all words for autograd
to add up.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from randomNAS_files.fast.once import once_only


class SharedEmbedding(torch.autograd.Function):
    """Rows `(T, B, H)` of an embedding `(V, H)` for tokens `(T, B)`, and the embedding itself, for the decoder to use.

    The decoder's gradient then comes here, by way of autograd, and the embedding gets one tensor from each forward pass: the
    decoder's, which nobody else holds, with that of the few words of the tokens added to it.
    """

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.words = len(embedding)
        ctx.set_materialize_grads(False)  # a part that the result does not depend on has no gradient
        ctx.save_for_backward(tokens)
        return F.embedding(tokens, embedding), embedding

    @staticmethod
    @once_only
    def backward(
        ctx: Any, of_rows: torch.Tensor | None, of_decoder: torch.Tensor | None
    ) -> tuple[None, torch.Tensor | None]:
        (tokens,) = ctx.saved_tensors
        if of_rows is None:
            return None, of_decoder
        if tokens.device.type != "cpu":
            table = sum_by_word(tokens.flatten(), of_rows.flatten(0, -2), ctx.words)
            return None, table if of_decoder is None else of_decoder.add_(table)
        table = of_rows.new_zeros(ctx.words, of_rows.size(-1)) if of_decoder is None else of_decoder
        return None, table.index_add_(0, tokens.flatten(), of_rows.flatten(0, -2))


def sum_by_word(tokens: torch.Tensor, rows: torch.Tensor, words: int) -> torch.Tensor:
    """The sum of the rows `(N, H)` of each word, of their tokens `(N,)`, `(words, H)`: in the same order in every run.

    `index_add_` adds rows on a GPU in any order. Here they are sorted by word, and each word's are added one after another;
    nobody waits for the device, as finding out which words occur would.
    """
    ordered, order = torch.sort(tokens, stable=True)
    starts = torch.searchsorted(ordered, torch.arange(words + 1, device=tokens.device))
    return torch.segment_reduce(rows.index_select(0, order), "sum", offsets=starts, unsafe=True, initial=0)

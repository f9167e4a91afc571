"""Embedding and decoder that share their weights, with the decoder's cross entropy: the fast form of all three.

The logits of all words are never held. Those of some rows at a time become probabilities, and at once the gradients, in
memory that is used again; they take V numbers a row, more than anything else in a language model. And the embedding adds
its gradient, of few words, to the decoder's, instead of filling a table of all words for autograd to add up.

R is the number of rows (T * B), H the hidden size, V the words.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from randomNAS_files.fused import ONCE

CHUNK = 1120  # rows at a time: enough for fast products, few enough for little memory


class Tie:
    """Where the decoder of one forward pass leaves the gradient of the shared weights, for the embedding to add its own.

    Autograd holds this very tensor until the embedding's backward pass, which depends on the decoder's, has run as well.
    """

    def __init__(self) -> None:
        self.grad: torch.Tensor | None = None


class Lookup(torch.autograd.Function):
    """Rows `(T, B, H)` of an embedding `(V, H)`, for tokens `(T, B)`."""

    @staticmethod
    def forward(ctx: Any, tie: Tie, tokens: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        ctx.tie, ctx.words = tie, len(embedding)
        ctx.save_for_backward(tokens)
        return F.embedding(tokens, embedding)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        shared, ctx.tie.grad = ctx.tie.grad, None
        table = grad.new_zeros(ctx.words, grad.size(-1)) if shared is None else shared
        table.index_add_(0, tokens.flatten(), grad.flatten(0, -2))
        return None, None, table if shared is None else None


class DecodedLoss(torch.autograd.Function):
    """Summed cross entropy of hidden `(R, H)` with targets `(R,)`, for an embedding `(V, H)` and a bias `(V,)`.

    Rows whose target is negative do not count.
    """

    @staticmethod
    def forward(
        ctx: Any, tie: Tie, hidden: torch.Tensor, embedding: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        grads = Grads(hidden, embedding, bias) if any(ctx.needs_input_grad) else None
        chunk = min(CHUNK, max(len(hidden), 1))
        memory = hidden.new_empty(chunk, len(embedding))
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), chunk):
            rows, wanted = hidden[start : start + chunk], targets[start : start + chunk]
            logits = torch.mm(rows, embedding.t(), out=memory[: len(rows)]).add_(bias)
            torch.log_softmax(logits, dim=1, out=logits)
            place, counts = wanted.clamp(min=0)[:, None], (wanted >= 0)[:, None].to(hidden.dtype)
            total -= (logits.gather(1, place) * counts).sum()
            if grads is not None:
                grads.add(start, rows, logits.exp_().scatter_add_(1, place, torch.full_like(counts, -1.0)), counts)
        if grads is not None:
            ctx.save_for_backward(*grads.memory())  # for those who count what is kept
        ctx.tie, ctx.grads = tie, grads
        return total

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grads, ctx.grads = ctx.grads, None  # they are changed here, and serve once
        if grads is None:
            raise RuntimeError(ONCE)
        hidden, embedding, bias = grads.times(grad)
        ctx.tie.grad = embedding if ctx.needs_input_grad[2] else None
        return None, hidden, embedding, bias, None


class Grads:
    """Gradients of the summed loss, chunk by chunk. Both products are written the way in which CPU libraries are fastest."""

    def __init__(self, hidden: torch.Tensor, embedding: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = embedding
        self._hidden = torch.empty_like(hidden)
        self._embedding = embedding.new_empty(embedding.shape[::-1])  # transposed
        self._bias = torch.zeros_like(bias)

    def memory(self) -> tuple[torch.Tensor, ...]:
        """All of it."""
        return self._hidden, self._embedding, self._bias

    def add(self, start: int, rows: torch.Tensor, logits: torch.Tensor, counts: torch.Tensor) -> None:
        """Add what the rows from `start` on give, of the gradients of their logits `(rows, V)`.

        Args:
            counts: `(rows, 1)`, 0 where a row does not count and 1 elsewhere.
        """
        torch.mul((self._weight.t() @ logits.t()).t(), counts, out=self._hidden[start : start + len(rows)])
        self._embedding.addmm_((rows * counts).t(), logits, beta=1.0 if start else 0.0)
        self._bias.addmv_(logits.t(), counts[:, 0])

    def times(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of hidden, embedding and bias, times the gradient of the loss."""
        embedding = torch.mul(self._embedding.t(), grad, out=torch.empty_like(self._weight))
        return self._hidden.mul_(grad), embedding, self._bias.mul_(grad)

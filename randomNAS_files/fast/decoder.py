"""The cross entropy of a decoder that shares the weights of the embedding, computed faster and in less memory.

The logits of all words are never held. Those of some rows at a time become probabilities, and at once the gradients, in
memory that is used again; they take V numbers a row, more than anything else in a language model.

The active features of a column, those that dropout keeps, are multiplied by their own weights only, where that saves work
(`column_sparse.py`).

T is time, B the batch's columns, R some rows of both, H the hidden size, V the words, K the active features of a column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from randomNAS_files.fast.column_sparse import active_features, active_states, gather_buffer, gathering_pays
from randomNAS_files.fast.once import ONCE, once_only, wants_gradient
from randomNAS_files.fast.precision import FULL
from randomNAS_files.fast.rounded_decoder import RoundedGrads, rounded_loss

CHUNK = 1120  # rows at a time: enough for fast products, few enough for little memory
SCORED = 192  # on a CPU without gradients, which need no large products: at 10,000 words they stay in a cache
BLOCK = 8  # a product of 40 rows is faster than one of 35


class DecodedLoss(torch.autograd.Function):
    """Summed cross entropy of hidden `(T, B, H)` with targets `(T, B)`, for an embedding `(V, H)` and a bias `(V,)`.

    Places whose target is negative do not count. With a mask `(B, H)`, hidden states are multiplied by it, a column at a time;
    not so with a precision other than fp32, see `precision.py`, where the mask must be None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        mask: torch.Tensor | None,
        embedding: torch.Tensor,
        bias: torch.Tensor,
        targets: torch.Tensor,
        precision: str = FULL,
    ) -> torch.Tensor:
        total, grads = LossInputs(hidden, mask, embedding, bias, targets, precision).loss(True, True)
        ctx.save_for_backward(*grads.memory())  # so that saved-tensor hooks, which measure memory, see it
        ctx.grads = grads
        return total

    @staticmethod
    @once_only
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grads, ctx.grads = ctx.grads, None  # they are changed here, and serve once
        if grads is None:
            raise RuntimeError(ONCE)
        hidden, embedding, bias = grads.times(grad)
        return hidden, None, embedding, bias, None, None


@dataclass
class LossInputs:
    """What a loss is computed from, see `DecodedLoss`; `grad` is that of the loss, once there is one."""

    hidden: torch.Tensor
    mask: torch.Tensor | None
    embedding: torch.Tensor
    bias: torch.Tensor
    targets: torch.Tensor
    precision: str = FULL
    grad: torch.Tensor | None = None

    def loss(self, of_hidden: bool, of_weights: bool) -> tuple[torch.Tensor, Grads | RoundedGrads]:
        """The loss, and its gradients, those that are asked for."""
        tensors = self.hidden, self.embedding, self.bias
        if self.precision == FULL:
            grads = Grads(*tensors, of_hidden, of_weights)
            return summed_loss(self.hidden, self.mask, self.embedding, self.bias, self.targets, grads), grads
        rounded = RoundedGrads(*tensors, of_hidden, of_weights)
        return rounded_loss(*tensors, self.targets, self.precision, rounded, CHUNK), rounded


class DecoderGradients(torch.autograd.Function):
    """A number that stands for embedding and bias, so that autograd comes here only if their gradients are asked for."""

    @staticmethod
    def forward(ctx: Any, inputs: LossInputs, embedding: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(embedding, bias)  # those that were changed since are refused
        ctx.inputs = inputs
        return bias.new_zeros(())

    @staticmethod
    @once_only
    def backward(ctx: Any, _: torch.Tensor) -> tuple[None, torch.Tensor, torch.Tensor]:
        _, (inputs, ctx.inputs) = ctx.saved_tensors, (ctx.inputs, None)
        _, grads = inputs.loss(of_hidden=False, of_weights=True)
        _, embedding, bias = grads.times(inputs.grad)
        return None, embedding, bias


class StatesLoss(torch.autograd.Function):
    """`DecodedLoss`, whose backward pass gives the gradient of the hidden states alone, see `DecoderGradients`."""

    @staticmethod
    def forward(ctx: Any, inputs: LossInputs, stands_for: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        total, grads = inputs.loss(of_hidden=True, of_weights=False)
        ctx.save_for_backward(hidden, *grads.memory())  # so that saved-tensor hooks, which measure memory, see it
        ctx.inputs, ctx.grads = inputs, grads
        return total

    @staticmethod
    @once_only
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, torch.Tensor, torch.Tensor]:
        grads, ctx.grads = ctx.grads, None
        if grads is None:
            raise RuntimeError(ONCE)
        _, ctx.inputs.grad = ctx.saved_tensors, grad
        hidden, _, _ = grads.times(grad)
        return None, torch.zeros_like(grad), hidden


def decoded_loss(
    states: torch.Tensor,
    dropped: torch.Tensor,
    mask: torch.Tensor | None,
    embedding: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    weights_later: bool = False,
    precision: str = FULL,
) -> torch.Tensor:
    """`DecodedLoss` of `dropped`, which is `states * mask`, in the way that is less work.

    With `weights_later`, gradients of embedding and bias are computed if they are asked for, and not before: a third of the
    work less if they are not, a third more if they are.
    """
    if mask is None or precision != FULL or not gathering_pays(mask, len(states), len(embedding)):
        states, mask = dropped, None
    if not wants_gradient(states, embedding, bias):
        return summed_loss(states, mask, embedding, bias, targets)
    if weights_later:
        inputs = LossInputs(states.detach(), mask, embedding.detach(), bias.detach(), targets, precision)
        later: torch.Tensor = StatesLoss.apply(inputs, DecoderGradients.apply(inputs, embedding, bias), states)
        return later
    loss: torch.Tensor = DecodedLoss.apply(states, mask, embedding, bias, targets, precision)
    return loss


@torch.no_grad()
def summed_loss(
    hidden: torch.Tensor,
    mask: torch.Tensor | None,
    embedding: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    grads: Grads | None = None,
) -> torch.Tensor:
    """The loss of `DecodedLoss`; `grads`, where it is given, gets its gradients, which are two thirds of the work."""
    if mask is None:
        chunk = min(CHUNK, SCORED) if grads is None and hidden.device.type == "cpu" else CHUNK
        parts, rows = parts_by_rows(hidden, embedding, targets, chunk), min(chunk, targets.numel())
    else:
        parts, rows = parts_by_column(hidden, mask, embedding, targets), min(CHUNK, len(hidden)) + BLOCK
    memory, total = hidden.new_empty(rows, len(embedding)), hidden.new_zeros(())
    for part in parts:
        logits = torch.mm(part.states, part.weight, out=memory[: len(part.states)]).add_(bias)
        torch.log_softmax(logits, dim=1, out=logits)  # in place one pass; a log-sum-exp of torch's takes three
        place, counts = part.targets.clamp(min=0)[:, None], (part.targets >= 0)[:, None].to(hidden.dtype)
        log_probability = logits.gather(1, place)  # of each row's target
        total -= (log_probability * counts).sum()
        if grads is not None:
            grads.add(part, logits.exp_().scatter_(1, place, log_probability.expm1()), counts)
    return total


class Part(NamedTuple):
    """Some rows, and what decodes them."""

    states: torch.Tensor  # (R, K), masked
    weight: torch.Tensor  # (K, V)
    targets: torch.Tensor  # (R,), negative where a row does not count
    steps: slice  # the rows' time steps
    column: int
    active: tuple[torch.Tensor, torch.Tensor] | None = None  # indices of the active features, and their mask; None: all


def parts_by_rows(hidden: torch.Tensor, embedding: torch.Tensor, targets: torch.Tensor, chunk: int) -> Iterator[Part]:
    """Rows of all columns with all features, so many at a time, as if they were time steps of one column."""
    states, wanted = hidden.reshape(-1, hidden.size(-1)), targets.flatten()
    for start in range(0, len(states), chunk):
        steps = slice(start, start + chunk)
        yield Part(states[steps], embedding.t(), wanted[steps], steps, 0)


def parts_by_column(
    hidden: torch.Tensor, mask: torch.Tensor, embedding: torch.Tensor, targets: torch.Tensor
) -> Iterator[Part]:
    """A column at a time, with its active features only. The gathered weights are in memory that the next part reuses."""
    features = active_features(mask)
    weights = embedding.t().contiguous()  # all words of a feature side by side
    memory = gather_buffer(features, weights)
    for column, active in enumerate(features):
        for start in range(0, len(hidden), CHUNK):
            steps = slice(start, start + CHUNK)
            states, wanted = active_states(hidden[steps], mask, column, active), targets[steps, column]
            more = -len(wanted) % BLOCK
            weight = torch.index_select(weights, 0, active, out=memory[: len(active)])
            # Not by F.pad, which in torch 2.3 refuses states without a feature.
            padded = torch.cat([states, states.new_zeros(more, len(active))])
            yield Part(
                padded, weight, F.pad(wanted, (0, more), value=-1), steps, column, (active, mask[column, active])
            )


class Grads:
    """Gradients of the summed loss, part by part. Products are written the way in which CPU libraries are fastest.

    Args:
        of_hidden, of_weights: which of them; the others are empty.
    """

    def __init__(
        self,
        hidden: torch.Tensor,
        embedding: torch.Tensor,
        bias: torch.Tensor,
        of_hidden: bool = True,
        of_weights: bool = True,
    ) -> None:
        self._like, self._of_hidden, self._of_weights = embedding, of_hidden, of_weights
        self._hidden = hidden.new_zeros(hidden.shape if of_hidden else (0,))
        self._bias = bias.new_zeros(bias.shape if of_weights else (0,))
        self._embedding = embedding.new_zeros(embedding.shape[::-1] if of_weights else (0, 0))  # transposed

    def memory(self) -> tuple[torch.Tensor, ...]:
        """All of it."""
        return self._hidden, self._embedding, self._bias

    def add(self, part: Part, logits: torch.Tensor, counts: torch.Tensor) -> None:
        """Add what a part gives.

        Args:
            logits: the gradients of its logits `(R, V)`.
            counts: `(R, 1)`, 0 where a row does not count and 1 elsewhere.
        """
        if self._of_hidden:
            hidden = (part.weight @ logits.t()).t()
            if part.active is None:
                torch.mul(hidden, counts, out=self._hidden.flatten(0, 1)[part.steps])
            else:
                (active, scale), rows = part.active, self._hidden[part.steps, part.column]
                rows.index_copy_(1, active, (hidden * counts * scale)[: len(rows)])
        if self._of_weights:
            states = (part.states * counts).t()
            if part.active is None:
                self._embedding.addmm_(states, logits)
            else:
                products = torch.mm(states, logits, out=part.weight)  # which has served
                self._embedding.index_add_(0, part.active[0], products)
            self._bias.addmv_(logits.t(), counts[:, 0])

    def times(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of hidden, embedding and bias, times the gradient of the loss."""
        like = self._like if self._of_weights else self._embedding
        embedding = torch.mul(self._embedding.t(), grad, out=torch.empty_like(like))
        return self._hidden.mul_(grad), embedding, self._bias.mul_(grad)

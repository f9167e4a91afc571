"""The loss of `decoder.py` from products of rounded factors, see `precision.py`: the logits, and the gradients.

Losses, probabilities and the bias have all digits. R are some rows of time and columns, H the hidden size, V the words.
"""

from __future__ import annotations

import torch

from randomNAS_files.fast.precision import factor, multiply, multiply_into, tensor_cores, widened


class RoundedGrads:
    """Gradients of the summed loss, see `decoder.Grads`."""

    def __init__(
        self,
        hidden: torch.Tensor,
        embedding: torch.Tensor,
        bias: torch.Tensor,
        of_hidden: bool = True,
        of_weights: bool = True,
    ) -> None:
        self._of_hidden, self._of_weights = of_hidden, of_weights
        self._hidden = torch.empty_like(hidden) if of_hidden else hidden.new_empty(0)
        self._embedding = torch.zeros_like(embedding) if of_weights else embedding.new_empty(0)
        self._bias = torch.zeros_like(bias) if of_weights else bias.new_empty(0)

    def memory(self) -> tuple[torch.Tensor, ...]:
        """All of it."""
        return self._hidden, self._embedding, self._bias

    def add(self, first: int, states: torch.Tensor, decoder: torch.Tensor, logits: torch.Tensor) -> None:
        """Add what some rows give.

        Args:
            first: the first of them.
            states, decoder: factors.
            logits: the gradients of their logits as a factor, of which rows that do not count are 0.
        """
        if self._of_hidden:
            hidden = self._hidden.flatten(0, 1)[first : first + len(states)]
            hidden.copy_(multiply(logits, decoder, hidden.dtype)[: len(hidden), : hidden.size(1)])
        if self._of_weights:
            words, size = self._embedding.shape
            self._embedding.add_(multiply(logits.t(), states, self._embedding.dtype)[:words, :size])

    def add_bias(self, logits: torch.Tensor, counts: torch.Tensor) -> None:
        """Add what some rows give to the bias, of the gradients of logits `(R, V)` and what counts `(R,)`."""
        if self._of_weights:
            self._bias.addmv_(logits.t(), counts)

    def times(self, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of hidden, embedding and bias, times the gradient of the loss."""
        return self._hidden.mul_(grad), self._embedding.mul_(grad), self._bias.mul_(grad)


@torch.no_grad()
def rounded_loss(
    hidden: torch.Tensor,
    embedding: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    precision: str,
    grads: RoundedGrads,
    chunk: int,
) -> torch.Tensor:
    """The loss of `decoder.DecodedLoss`, of hidden `(T, B, H)` after dropout, of `chunk` rows at a time; `grads`
    gets its gradients.
    """
    (words, size), wanted = embedding.shape, targets.flatten()
    rows, total = hidden.reshape(-1, size), hidden.new_zeros(())
    decoder = factor(embedding, precision)  # once a step
    chunk = min(chunk, len(rows))
    memory, given = hidden.new_empty(chunk, words), widened(chunk, words, precision, hidden)
    with tensor_cores(precision):
        for first in range(0, len(rows), chunk):
            part = rows[first : first + chunk]
            states, logits = factor(part, precision), memory[: len(part)]
            if len(states) == len(part):
                multiply_into(logits, states, decoder[:words].t())
            else:
                logits.copy_(multiply(states, decoder[:words].t(), hidden.dtype)[: len(part)])
            torch.log_softmax(logits.add_(bias), dim=1, out=logits)
            goals = wanted[first : first + chunk]
            place, counts = goals.clamp(min=0)[:, None], (goals >= 0)[:, None].to(hidden.dtype)
            log_probability = logits.gather(1, place)  # of each row's target
            total -= (log_probability * counts).sum()
            logits.exp_().scatter_(1, place, log_probability.expm1())
            grads.add_bias(logits, counts[:, 0])
            own = given[: len(states)]
            own[len(part) :].zero_()  # where the chunk before may have written
            torch.mul(logits, counts, out=own[: len(part), :words])
            grads.add(first, states, decoder, own)
    return total

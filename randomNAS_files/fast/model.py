"""The language model of `randomNAS_files/model.py`, computed faster: the same parameters, masks and function.

What differs: a cell runs a whole sequence as one operation (`sequence.py`), products leave out what dropout dropped where that
saves work (`column_sparse.py`), and the loss is computed without holding the logits of all words (`decoder.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from randomNAS_files.architecture import Genotype
from randomNAS_files.dropout import DropoutMasks, apply
from randomNAS_files.fast import inference
from randomNAS_files.fast.column_sparse import masked_product
from randomNAS_files.fast.decoder import decoded_loss
from randomNAS_files.fast.embedding import SharedEmbedding
from randomNAS_files.fast.once import wants_gradient
from randomNAS_files.fast.plan import plan_of
from randomNAS_files.fast.precision import FULL, HALF, RoundedProduct, WithPrecision
from randomNAS_files.fast.sequence import CellSequence
from randomNAS_files.fast.workspace import Layout, WorkspacePool
from randomNAS_files.model import LanguageModel, Output, RecurrentCell


class FastRecurrentCell(RecurrentCell):
    """`RecurrentCell` with another forward pass, which can be differentiated once only."""

    def __init__(self, genotype: Genotype, hidden: int, init_op: str = "tanh") -> None:
        super().__init__(genotype, hidden, init_op)
        self._workspaces = WorkspacePool()
        self.precision = FULL

    def reserve(self, steps: int, columns: int, masked: bool) -> None:
        """Allocate at once the memory of all training passes of this cell over at most `steps` time steps.

        Args:
            columns: of the batch.
            masked: whether there is a mask of states.
        """
        plan, half = plan_of(self.genotype, self.init_op), self.precision == HALF
        layout = Layout(plan, len(self.w0) // 2, columns, masked, half)
        self._workspaces.reserve(layout, steps, self.w0)

    def use_kernels(self, kernels: str) -> None:
        """Train with those of `settings.KERNELS`; see `kernels/choice.py`."""
        self._workspaces.kernels = kernels

    def forward(
        self,
        x: torch.Tensor,
        h: torch.Tensor,
        x_mask: torch.Tensor | None = None,
        h_mask: torch.Tensor | None = None,
        genotype: Genotype | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `RecurrentCell.forward`."""
        genotype = genotype or self.genotype
        from_inputs, *weights = self.weights_of(genotype, x.size(-1))
        plan, training = plan_of(genotype, self.init_op), wants_gradient(x, from_inputs, h, *weights)
        inputs = product_of_inputs(x, x_mask, from_inputs, self.precision if training else FULL)
        if training:
            outputs = CellSequence.apply(self._workspaces, plan, self.precision, inputs, h, h_mask, *weights)
        else:
            outputs = inference.run(plan, inputs, h, h_mask, weights)
        return outputs, outputs[-1].clone()


def product_of_inputs(x: torch.Tensor, mask: torch.Tensor | None, weight: torch.Tensor, precision: str) -> torch.Tensor:
    """The inputs' part of the first gates, `(T, B, 2H)`, of inputs x `(T, B, H)`, their mask `(B, H)` or None."""
    if precision == FULL:
        return masked_product(x, mask, weight)
    product: torch.Tensor = RoundedProduct.apply(x, mask, weight, precision)
    return product


class FastLanguageModel(WithPrecision, LanguageModel):
    """`LanguageModel` with another forward pass, which can be differentiated once only.

    Where targets are given, it returns no logits.
    """

    cell_type = FastRecurrentCell

    def reserve(self, steps: int, columns: int) -> None:
        """Allocate at once what cells need to train on slices of at most `steps` words in so many columns.

        Otherwise memory grows with the slices. A CUDA graph that was captured of a step needs it to stay where it is.
        """
        for cell in self.cells:
            cell.reserve(steps, columns, masked=self.config.dropouth > 0)  # type: ignore[operator]

    def use_kernels(self, kernels: str) -> None:
        """See `FastRecurrentCell.use_kernels`."""
        for cell in self.cells:
            cell.use_kernels(kernels)  # type: ignore[operator]

    def forward(
        self,
        tokens: torch.Tensor,
        hidden: list[torch.Tensor],
        masks: DropoutMasks | None = None,
        genotype: Genotype | None = None,
        targets: torch.Tensor | None = None,
    ) -> Output:
        """See `LanguageModel.forward`."""
        embedded, shared = SharedEmbedding.apply(tokens, self.embedding)
        states, last = self.unroll(embedded, tokens, hidden, masks, genotype)
        mask = None if masks is None else masks.output
        dropped = apply(states, mask)
        if targets is None:
            return Output(F.linear(dropped, shared, self.decoder_bias), last, states, dropped)
        loss = decoded_loss(states, dropped, mask, shared, self.decoder_bias, targets, precision=self.precision)
        return Output(None, last, states, dropped, loss)

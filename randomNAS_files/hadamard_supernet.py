"""A language model that holds every Hadamard cell of some nodes, with one matrix a node, and runs one of them at a time."""

from __future__ import annotations

import torch

from nas.core.arch_weights import ArchWeights
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.hadamard_model import Mask, unroll
from randomNAS_files.supernet import SuperCell, Supernet


class HadamardSuperCell(SuperCell):
    """All cells at once. A sum leaves the matrix of its node alone."""

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, h: torch.Tensor, x_mask: Mask, h_mask: Mask, weights: ArchWeights
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `hadamard_model.unroll`. Raises ValueError for a mixture of cells."""
        if weights.paths is None or weights.operations is not None or weights.edges is not None:
            self.check_mixture()
        genotype = self.config.space.genotype_of(weights.paths or {})
        assert isinstance(genotype, HadamardGenotype)
        return unroll(genotype, self.init_op, [self.w0, *self.nodes], x, h, x_mask, h_mask)


class HadamardSupernet(Supernet):
    """See `Supernet`; states are those of `HadamardLanguageModel`."""

    cell_type = HadamardSuperCell

    def initial_state(self, batch: int) -> list[torch.Tensor]:
        """Zeros, `(batch, 2H)` a layer: h and c."""
        return [self.embedding.new_zeros(batch, 2 * self.config.nhid) for _ in self.cells]

    def sized(
        self, hidden: list[torch.Tensor], masks: DropoutMasks | None, weights: ArchWeights
    ) -> tuple[torch.Tensor, list[torch.Tensor], DropoutMasks | None]:
        """As they are: all cells have one size."""
        return self.embedding, hidden, masks

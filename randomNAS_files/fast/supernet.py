"""The supernet of `randomNAS_files/supernet.py`, computed faster: the same parameters, masks and function.

One cell runs as in `FastLanguageModel`; a mixture, and a cell whose states are normalised, as in `mixture.py`. The loss is
computed without holding the logits of all words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from nas.core.arch_weights import ArchWeights
from nas.core.relaxation import Path
from randomNAS_files.architecture import ACTIVATIONS, Genotype
from randomNAS_files.dropout import DropoutMasks, apply
from randomNAS_files.fast import scoring
from randomNAS_files.fast.blocks import blocks_of
from randomNAS_files.fast.decoder import decoded_loss
from randomNAS_files.fast.embedding import SharedEmbedding
from randomNAS_files.fast.mixture import Mixture, Nodes, shapes_for_weights, weight_gradients
from randomNAS_files.fast.model import FastRecurrentCell, product_of_inputs
from randomNAS_files.fast.once import ONCE, once_only, wants_gradient
from randomNAS_files.fast.precision import FULL, WithPrecision
from randomNAS_files.fast.rounded_mixture import RoundedMixture, rounded_read, rounded_weight_gradients
from randomNAS_files.model import Output
from randomNAS_files.relaxation import CELL, shape_of
from randomNAS_files.slices import Columns
from randomNAS_files.space import RecurrentSpace
from randomNAS_files.supernet import SuperCell, Supernet, is_one_cell


class WeightGradients(torch.autograd.Function):
    """Stands for the weights of a mixture, so that their gradients are computed only if they are asked for.

    Autograd runs the backward pass of an operation as a whole, but only of those on the way to what it is asked for. The
    results are nothing but shapes; what arrives as their gradients is what `weight_gradients` needs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        nodes: Nodes,
        mask: torch.Tensor | None,
        precision: str,
        steps: int,
        h: torch.Tensor,
        *weights: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        ctx.nodes, ctx.mask, ctx.precision = nodes, mask, precision
        ctx.set_materialize_grads(False)
        shapes = shapes_for_weights(nodes, len(weights), steps, h)
        outputs, read, *others = (h.new_zeros(()).expand(shape) for shape in shapes)
        return outputs, read if precision == FULL else rounded_read(read, precision), *others

    @staticmethod
    @once_only
    def backward(ctx: Any, *found: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.precision == FULL:
            grads = weight_gradients(ctx.nodes, ctx.mask, found)
        else:
            grads = rounded_weight_gradients(ctx.nodes, ctx.mask, ctx.precision, found)
        wanted = ctx.needs_input_grad[5:]
        return None, None, None, None, None, *(grad if want else None for grad, want in zip(grads, wanted, strict=True))


class MixtureSequence(torch.autograd.Function):
    """A mixture over a whole sequence, with gradients of inputs, h and the operations' weights; see `Mixture.run`.

    `stand_for` is what `WeightGradients` returned.
    """

    @staticmethod
    def forward(
        ctx: Any,
        mixture: Mixture,
        inputs: torch.Tensor,
        h: torch.Tensor,
        coefficients: torch.Tensor,
        *stand_for: torch.Tensor,
    ) -> torch.Tensor:
        outputs = mixture.run(inputs, h, coefficients)
        # So that saved-tensor hooks, which measure memory, see it, and weights that were changed since are refused.
        ctx.save_for_backward(*mixture.weights, *mixture.memory())
        ctx.mixture = mixture
        return outputs

    @staticmethod
    @once_only
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        mixture, ctx.mixture = ctx.mixture, None  # whose memory is freed, though others may still hold the graph
        if mixture is None:
            raise RuntimeError(ONCE)
        _ = ctx.saved_tensors
        inputs, h, coefficients = mixture.backward(grad)
        return None, inputs.clone(), h, coefficients, *mixture.for_weights()


class FastSuperCell(FastRecurrentCell, SuperCell):
    """`SuperCell` with another forward pass, which can be differentiated once only.

    A cell runs as any does, with the matrices that are its own, whatever is shared.
    """

    def forward(  # type: ignore[override]
        self,
        x: torch.Tensor,
        h: torch.Tensor,
        x_mask: torch.Tensor | None,
        h_mask: torch.Tensor | None,
        weights: ArchWeights,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `SuperCell.forward`."""
        path, norm = None if weights.paths is None else weights.paths[CELL], self.config.state_norm
        nodes = blocks_of(path, self.config.most_nodes)
        if not nodes:  # the output is zero and depends on nothing, so that no weight gets a gradient
            return h.new_zeros(len(x), *h.shape), torch.zeros_like(h)
        if path is not None and not norm and is_one_cell(weights, self.config.least_nodes):
            return FastRecurrentCell.forward(self, x, h, x_mask, h_mask, _genotype(path, self.config.space))
        self.check_mixture()
        if norm and len(h) == 1:
            raise ValueError("a supernet with state_norm needs at least 2 columns a batch to normalise over, got 1")
        width = x.size(-1)
        from_inputs, from_state = self.w0[:width], self.w0[width:]
        tensors, coefficients = [from_state, *self.nodes], _coefficients(weights, self.config.most_nodes, h)
        keep = wants_gradient(x, from_inputs, h, coefficients, *tensors)
        precision = self.precision if keep else FULL
        inputs = product_of_inputs(x, x_mask, from_inputs, precision)
        mask = None if h_mask is None else h_mask.to(h.dtype)
        of_operations = keep and coefficients.requires_grad
        args = (nodes, tensors, mask, self.init_op, norm, keep, of_operations)
        mixture = Mixture(*args) if precision == FULL else RoundedMixture(*args, precision=precision)
        if keep:
            stand_for = WeightGradients.apply(nodes, mask, precision, len(x), h.detach(), *tensors)
            outputs = MixtureSequence.apply(mixture, inputs, h, coefficients, *stand_for)
        else:
            with torch.no_grad():
                outputs = mixture.run(inputs, h, coefficients)
        return outputs, outputs[-1].clone()


def _coefficients(weights: ArchWeights, nodes: int, like: torch.Tensor) -> torch.Tensor:
    """What each activation of each edge counts, its weight times its edge's, `(edges, K)`; 0 where it does not run."""
    path = None if weights.paths is None else weights.paths[CELL]
    found = _running(path, nodes, like.dtype, like.device)
    if weights.operations is not None:
        found = found * weights.operations[CELL]
    return found if weights.edges is None else found * weights.edges[CELL][:, None]


@lru_cache(maxsize=256)
def _running(path: Path | None, nodes: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """1 where an activation that is not `none` runs, `(edges, K)`; remembered, as to copy it to a GPU is to wait for it."""
    edges = range(len(shape_of(nodes).edges))
    everything = range(len(ACTIVATIONS))
    runs = [[ACTIVATIONS[k] != "none" and (path is None or k in path[edge]) for k in everything] for edge in edges]
    with torch.inference_mode(False):  # else it would serve no training later
        return torch.tensor(runs, dtype=dtype, device=device)


@lru_cache(maxsize=256)
def _genotype(path: Path, space: RecurrentSpace) -> Genotype:
    return space.genotype_of({CELL: path})


class FastSupernet(WithPrecision, Supernet):
    """`Supernet` with another forward pass, which can be differentiated once only.

    Where targets are given, it returns no logits.
    """

    cell_type = FastSuperCell

    def forward(  # type: ignore[override]
        self,
        tokens: torch.Tensor,
        hidden: list[torch.Tensor],
        weights: ArchWeights,
        masks: DropoutMasks | None = None,
        targets: torch.Tensor | None = None,
    ) -> Output:
        """See `Supernet.forward`."""
        embedding, hidden, masks = self.sized(hidden, masks, weights)
        embedded, shared = SharedEmbedding.apply(tokens, embedding)
        states, last = self.unroll(embedded, tokens, hidden, masks, weights)
        mask = None if masks is None else masks.output
        dropped = apply(states, mask)
        if targets is None:
            return Output(F.linear(dropped, shared, self.decoder_bias), last, states, dropped)
        of_architecture = any(tensor.requires_grad for tensor in weights.tensors())
        loss = decoded_loss(states, dropped, mask, shared, self.decoder_bias, targets, of_architecture, self.precision)
        return Output(None, last, states, dropped, loss)

    def score_cells(self, columns: Columns, bptt: int, cells: Sequence[Genotype]) -> list[float]:
        """The mean loss of each cell over a whole stream, of all at once; see `fast/scoring.py`."""
        return scoring.score_cells(self, columns, bptt, cells)

"""What one process needs in memory to train a recurrent language model, estimated without data: see `nas.core.memory`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.memory import MemoryEstimate, estimate_memory, saved_bytes
from nas.core.relaxation import Paths
from nas.core.seeds import torch_generator
from randomNAS_files.architecture import Genotype
from randomNAS_files.fast.decoder import CHUNK
from randomNAS_files.fast.networks import has_fast_form, network_type, supernet_type
from randomNAS_files.fast.precision import FULL, WithPrecision, padded, type_of
from randomNAS_files.hadamard import C, HadamardGenotype
from randomNAS_files.hadamard_space import HadamardSpace
from randomNAS_files.model import LanguageModel, ModelConfig, Output, activation_penalty
from randomNAS_files.relaxation import CELL, paths_of, shape_of
from randomNAS_files.settings import Settings
from randomNAS_files.supernet import Supernet, SupernetConfig

_MEASURED = (2, 3)  # words a column; of more, each takes what the third one does


def estimate(
    model: ModelConfig,
    genotype: Genotype | HadamardGenotype,
    words: int,
    columns: int,
    length: int,
    *,
    fast: bool,
    alpha: float,
    beta: float,
    precision: str = FULL,
    device: str = "meta",
) -> MemoryEstimate:
    """The estimate for a slice of `length` words in each of `columns` columns of one process.

    Args:
        words: of the vocabulary.
        alpha, beta: of the activation penalties.
        precision: of the fast form's products.
        device: where the step runs; the tests run it on real ones.
    """
    with torch.device(device):
        net = network_type(genotype, fast)(model, genotype, words, torch_generator("cpu", 0))
        if precision != FULL:
            net.use_precision(precision)
        masks = net.draw_masks(torch_generator("cpu", 0), columns, slice(None))
        tokens = torch.zeros(length, columns, dtype=torch.int64)

        def forward() -> list[torch.Tensor]:
            output = net(tokens, net.initial_state(columns), masks, targets=tokens)
            return _kept(output, activation_penalty(output, alpha, beta))

        activations = saved_bytes(forward, net.parameters())
    working = _decoding(net, length * columns, precision) if fast and has_fast_form(genotype) else None
    return estimate_memory(
        net, activations, 1, 2 * tokens.nbytes, working=working, assumes=f"batch of {columns}, longest slices"
    )


def estimate_trial(settings: Settings, words: int, columns: int, device: str) -> MemoryEstimate:
    """The estimate for a trial, for the longest slice that may be drawn."""
    config = settings.optimizer
    return estimate(
        settings.model,
        settings.genotype,
        words,
        columns,
        config.bptt + config.max_seq_length_delta,
        fast=settings.run.fast is not False,
        alpha=config.alpha,
        beta=config.beta,
        precision=settings.gpu.precision,
        device=device,
    ).with_graphs(settings.run.cuda_graphs)


def estimate_supernet(
    model: ModelConfig,
    supernet: SupernetConfig,
    words: int,
    columns: int,
    length: int,
    *,
    fast: bool,
    alpha: float,
    beta: float,
    order: str | None,
    mixture: bool = True,
    precision: str = FULL,
    device: str = "meta",
) -> MemoryEstimate:
    """The estimate for a search with a supernet: of the step of the weights or that of the architecture, which takes more.

    Args:
        words: of the vocabulary.
        alpha, beta: of the activation penalties, in the step of the weights.
        order: of the architecture's step: "first"; "unrolled", which keeps the looked-ahead weights, the gradient there
            and the weights moved along it; "exact", which keeps the graph of a gradient; None: there is no such step.
        mixture: whether weights are trained with a mixture of all cells; otherwise with one cell at a time.
        precision: of the fast form's products.
        device: where the steps run; the tests run them on real ones.

    Raises:
        ValueError: for the exact order with the fast form, which can be differentiated once only.
    """
    if fast and order == "exact":
        raise ValueError("an exact second order needs the plain form: fast must be false, got true")
    with torch.device(device):
        net = supernet_type(supernet, fast)(model, words, torch_generator("cpu", 0), supernet)
        if isinstance(net, WithPrecision):
            net.use_precision(precision)
        steps = _SearchSteps(net, columns, alpha, beta, mixture)
        kept = steps.keep(length, None)
        if order is not None:
            kept = max(kept, steps.keep(length, order))
    logits = length * columns * words * net.embedding.element_size()
    in_parts = fast and has_fast_form(supernet)
    working = (
        _decoding(net, length * columns, precision) if in_parts else 2 * logits
    )  # gradients of log-softmax and of logits
    if mixture and in_parts and precision != FULL:
        working = max(working, _weight_factors(net, length * columns, precision))
    copies = 3 * sum(parameter.nbytes for parameter in net.parameters()) if order == "unrolled" else 0
    batches = 2 if order is None else 4  # inputs and targets, of the architecture's batch too
    found = estimate_memory(
        net,
        [kept],
        1,
        batches * 8 * columns * length,
        working=working + copies,
        assumes=f"batch of {columns}, longest slices",
    )
    return _with_sharing(found, net)


def _with_sharing(found: MemoryEstimate, net: Supernet) -> MemoryEstimate:
    """Gradients are of one cell's matrices at a time; and what those beside one a node cost, in words."""
    supernet, node = net.supernet, net.supernet.most_nodes
    more = len(net.cells) * (supernet.matrices - node) * 2 * net.config.nhid**2 * net.embedding.element_size()
    if not more:
        return found
    what = f"sharing {supernet.sharing}: {supernet.matrices} matrices a layer in place of {node}"
    note = f"{what}, {more / 1e6:,.1f} MB more of parameters; a step has gradients of {node} of them."
    return replace(found, optimizer=found.optimizer - 2 * more, note=note)


@dataclass(frozen=True)
class _SearchSteps:
    """The forward passes of a search."""

    net: Supernet
    columns: int
    alpha: float
    beta: float
    mixture: bool

    def keep(self, length: int, order: str | None) -> int:
        """Bytes that a step of the architecture of this order keeps, or of the weights (None).

        In proportion to the length beyond a few words, as a whole slice of a mixture takes seconds without contents too.
        """
        first, second = _MEASURED
        if length <= second:
            return self._measured(length, order)
        less, more = self._measured(first, order), self._measured(second, order)
        return less + (length - first) * (more - less) // (second - first)

    def _measured(self, length: int, order: str | None) -> int:
        forward = {None: self._of_weights, "exact": self._look_ahead}.get(order, self._of_architecture)
        return sum(saved_bytes(lambda: forward(length), self.net.parameters()))

    def _of_weights(self, length: int) -> list[torch.Tensor]:
        weights = ArchWeights(self._probabilities()) if self.mixture else one_path(self._chain())
        output = self._run(length, weights)
        return _kept(output, activation_penalty(output, self.alpha, self.beta))

    def _chain(self) -> Paths:
        """Of all cells the one that takes most, as no node shares."""
        nodes = self.net.supernet.most_nodes
        if self.net.supernet.hadamard:
            products = tuple(("product", "tanh", i, i - 1 if i else C) for i in range(nodes))
            return HadamardSpace(nodes).paths_of(HadamardGenotype(products, nodes))
        return paths_of(Genotype(tuple(("tanh", i) for i in range(nodes))), nodes=nodes)

    def _of_architecture(self, length: int) -> list[torch.Tensor]:
        return _kept(self._run(length, self._learnt()))

    def _look_ahead(self, length: int) -> list[torch.Tensor]:
        """The validation loss at the weights after a step, as a function of the architecture."""
        weights = self._learnt()
        train = self._run(length, weights)
        assert train.loss is not None
        own = dict(self.net.named_parameters())
        grads = torch.autograd.grad(train.loss, list(own.values()), create_graph=True)
        moved = {name: weight - 0.1 * grad for (name, weight), grad in zip(own.items(), grads, strict=True)}
        return [*_kept(train), *moved.values(), *_kept(self._run(length, weights, moved))]

    def _run(self, length: int, weights: ArchWeights, parameters: Mapping[str, torch.Tensor] | None = None) -> Output:
        masks = self.net.draw_masks(torch_generator("cpu", 0), self.columns, slice(None))
        tokens = torch.zeros(length, self.columns, dtype=torch.int64)
        inputs = (tokens, self.net.initial_state(self.columns), weights, masks, tokens)
        output: Output = torch.func.functional_call(self.net, dict(parameters or {}), inputs)
        return output

    def _learnt(self) -> ArchWeights:
        return ArchWeights({name: p.requires_grad_() for name, p in self._probabilities().items()})

    def _probabilities(self) -> dict[str, torch.Tensor]:
        shape = shape_of(self.net.supernet.most_nodes)
        return {CELL: torch.full((len(shape.edges), len(shape.operations)), 1 / len(shape.operations))}


def _kept(output: Output, penalty: torch.Tensor | float = 0.0) -> list[torch.Tensor]:
    """What a trial holds of an output until the backward pass."""
    assert output.loss is not None
    logits = [] if output.logits is None else [output.logits]
    return [*logits, output.states, output.dropped, *output.hidden, output.loss + penalty]


def _weight_factors(net: Supernet, rows: int, precision: str) -> int:
    """Of the last node's weight gradient in `rounded_mixture.py`: what it read on all edges, and the gradients of its gates."""
    numbers = 3 * rows * net.supernet.most_nodes * padded(net.config.nhid)
    return numbers * type_of(precision, net.embedding.dtype).itemsize


def _decoding(net: LanguageModel, rows: int, precision: str = FULL) -> int:
    """What the fast form's decoder works with: the logits of some rows, and the gradient of the weights that it shares.

    With a precision other than fp32 beside them the factors of its products, and what they add to that gradient.
    """
    logits = min(CHUNK, rows) * net.embedding.size(0) * net.embedding.element_size()
    if precision == FULL:
        return logits + net.embedding.nbytes
    shorter = net.embedding.element_size() // type_of(precision, net.embedding.dtype).itemsize
    return logits + 2 * net.embedding.nbytes + (logits + net.embedding.nbytes) // shorter

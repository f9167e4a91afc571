"""Gradient descent on the weights of an architecture: one record of fields that go together in any way.

    sampler                     from parameters to weights (samplers.py)
    bilevel, finite_difference  whose gradient (bilevel.py)
    arch_*, edge_norm           how the parameters are trained
    perturb*                    what the supernet's weights are trained with beside (perturb.py)
    *_weight                    penalties on the architecture (regularisers.py), and DARTS-'s skip connection

The fields are those of `GradientConfig` in gradient_config.py, and a published method is a choice of them: DARTS is
softmax, PC-DARTS adds `edge_norm` (and partial channels, which are the supernet's), GDAS is gumbel_st with a temperature
from 10 to 0.1, GAEA is simplex.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.optimizers import Adam
from nas.core.relaxation import CellShape, Path, Paths, Relaxation, derive
from one_shot import bilevel, perturb, regularisers, schedules
from one_shot.exponentiated import ExponentiatedGradient
from one_shot.gradient_config import GradientConfig
from one_shot.samplers import ONE_PATH, SAMPLERS, mean
from one_shot.strategy import Objective, Problem, Progress, Strategy

NOISE = 1e-3  # standard deviation of the initial logits, as in DARTS
SKIPS = ("skip_connect", "identity")  # operations that pass a state on as it is

Costs = Mapping[str, Sequence[Sequence[float]]]
"""For each kind of cell, edge and operation."""


class GradientStrategy(Strategy):
    """Learns logits of every operation on every edge, or the weights themselves, by the gradient of the validation loss.

    Its parameters are `operations.<kind of cell>` `(edges, operations)` and, with `edge_norm`, `edges.<kind of cell>`
    `(edges,)`. Logits start as noise of standard deviation 0.001, on a simplex all weights start equal.

    Args:
        relaxation: the search space.
        config: the method.
        generator: draws the initial logits, on the CPU: cell by cell those of operations, then cell by cell those of edges.
        costs: what each operation of each edge costs in a unit that the caller chooses, for example in shares of the
            multiply-accumulates of the whole network; only `cost_weight` needs them.

    Raises:
        ConfigError: if `cost_weight` is above 0 and there are no costs.
        ValueError: if the costs are not one for each operation of each edge.
    """

    def __init__(
        self, relaxation: Relaxation, config: GradientConfig, generator: torch.Generator, costs: Costs | None = None
    ) -> None:
        super().__init__(relaxation)
        if config.cost_weight and costs is None:
            rule = "hyperparameters.cost_weight must be 0, as no costs are known for this space"
            raise ConfigError([f"{rule}, got {config.cost_weight}"])
        self.config = config
        self.operations, self.edges = nn.ParameterDict(), nn.ParameterDict()
        for kind, shape in relaxation.items():
            self.operations[kind] = self._initial((len(shape.edges), len(shape.operations)), generator)
        for kind, shape in relaxation.items() if config.edge_norm else ():
            self.edges[kind] = self._initial((len(shape.edges),), generator, entering(shape))
        for kind, rows in (costs or {}).items() if config.cost_weight else ():
            parameter, table = self.operations[kind], torch.tensor(rows)
            if table.shape != parameter.shape:
                raise ValueError(f"costs of {kind!r} must be {tuple(parameter.shape)}, got {tuple(table.shape)}")
            self.register_buffer(f"cost_{kind}", table, persistent=False)

    def _initial(
        self, shape: tuple[int, ...], generator: torch.Generator, groups: Sequence[int] | None = None
    ) -> nn.Parameter:
        """Noise, or equal weights: of the last dimension, or of groups of so many."""
        if self.config.sampler != "simplex":
            return nn.Parameter(NOISE * torch.randn(shape, generator=generator))
        sizes = [size for size in groups for _ in range(size)] if groups else shape[-1]
        return nn.Parameter(torch.ones(shape) / torch.tensor(sizes))

    def optimizer(self) -> torch.optim.Optimizer:
        """Exponentiated gradient descent on a simplex, Adam for logits."""
        config = self.config
        if config.sampler == "simplex":
            edges = [(weights, entering(self.relaxation[kind])) for kind, weights in self.edges.items()]
            return ExponentiatedGradient(self.operations.values(), edges, config.arch_learning_rate)
        betas = (config.arch_beta1, config.arch_beta2)
        return Adam(self.parameters(), config.arch_learning_rate, betas=betas, weight_decay=config.arch_weight_decay)

    @torch.no_grad()
    def sample(
        self, generator: torch.Generator, progress: Progress, train_loss: Objective | None = None
    ) -> ArchWeights:
        config, weights = self.config, self._drawn(generator, progress)
        assert weights.operations is not None
        if config.sampler in ONE_PATH:  # the numbers are 1, and multiplying by them would change nothing
            paths = weights.paths or _paths(weights.operations)
            return ArchWeights(None, weights.edges, paths, weights.auxiliary).detach()
        size, competing = config.perturb_size * progress.fraction, config.sampler != "sigmoid"
        if config.perturb == "random" and size:
            noisy = perturb.random(weights.operations, size, competing, generator)
            weights = ArchWeights(noisy, weights.edges, None, weights.auxiliary)
        elif config.perturb == "adversarial" and size:
            if train_loss is None:
                raise ValueError("perturb adversarial looks for weights that are bad for train_loss; give it to sample")
            constant = weights.detach()
            worst = perturb.adversarial(constant, train_loss, size, config.perturb_steps, competing, generator)
            weights = ArchWeights(worst, weights.edges, None, weights.auxiliary)
        return weights.copy()

    def update(self, problem: Problem, generator: torch.Generator, progress: Progress) -> dict[str, torch.Tensor]:
        """As in the contract; nothing is computed, and nothing reported, in the first `arch_warmup_epochs`."""
        parameters = list(self.parameters())
        if progress.epoch < self.config.arch_warmup_epochs:
            for parameter in parameters:
                parameter.grad = None
            return {}
        drawn = self._drawn(generator, progress)
        found, loss = bilevel.gradient(problem, drawn, self.config.bilevel, self.config.finite_difference)
        outputs, reported = drawn.tensors(), {"arch_loss": loss}
        penalty = self._penalty()
        if penalty is not None:
            outputs, found = [*outputs, penalty], [*found, torch.ones_like(penalty)]
            reported["arch_penalty"] = penalty.detach()
        gradients = torch.autograd.grad(outputs, parameters, found, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return reported

    def mixture(self) -> ArchWeights:
        return ArchWeights(self._means(), self._edge_weights())

    def derive(self) -> Paths:
        weights = {kind: table.tolist() for kind, table in self.probabilities().items()}
        return self.decoder.decode(weights) if self.decoder else derive(self.relaxation, weights)

    @torch.no_grad()
    def probabilities(self) -> dict[str, torch.Tensor]:
        """What a derived architecture is ranked by, `(edges, operations)` for each kind of cell.

        The weights without noise, times those of the edges: probabilities, as logits of different edges do not compare.
        """
        edges = self._edge_weights()
        return {
            kind: table.clone() if edges is None else table * edges[kind].unsqueeze(-1)
            for kind, table in self._means().items()
        }

    @torch.no_grad()
    def report(self) -> dict[str, float]:
        """What the search has come to, in the whole and for each kind of cell.

        Returns:
            `arch_entropy`: mean over edges of the entropy of an edge's weights, in nats; sigmoids are divided by their sum.
            `largest_probability`: the largest weight of an operation. `skip_connections`: those of the derived architecture.
        """
        means, derived = self._means(), self.derive()
        shares = {kind: table / table.sum(-1, keepdim=True) for kind, table in means.items()}
        entropies = {kind: torch.special.entr(table).sum(-1) for kind, table in shares.items()}
        skips = {kind: _skips(self.relaxation[kind].operations, path) for kind, path in derived.items()}
        return {
            "arch_entropy": float(torch.cat(list(entropies.values())).mean()),
            "largest_probability": max(float(table.max()) for table in means.values()),
            "skip_connections": float(sum(skips.values())),
            **{f"arch_entropy_{kind}": float(rows.mean()) for kind, rows in entropies.items()},
            **{f"skip_connections_{kind}": float(count) for kind, count in skips.items()},
        }

    def _drawn(self, generator: torch.Generator, progress: Progress) -> ArchWeights:
        """The weights of this step, differentiable by the parameters."""
        config = self.config
        end = config.temperature if config.temperature_end is None else config.temperature_end
        temperature = schedules.at(progress.fraction, config.temperature, end, config.temperature_schedule)
        draw = SAMPLERS[config.sampler]
        operations = {kind: draw(logits, temperature, generator) for kind, logits in self.operations.items()}
        paths = (
            _paths(operations) if config.sampler == "gumbel_st" else None
        )  # reinmax differentiates by all operations
        auxiliary = config.auxiliary_weight * (1.0 - progress.fraction)
        return ArchWeights(operations, self._edge_weights(), paths, auxiliary)

    def _means(self) -> dict[str, torch.Tensor]:
        """The weights of operations without noise, differentiable by the parameters."""
        return {kind: mean(self.config.sampler, logits) for kind, logits in self.operations.items()}

    def _edge_weights(self) -> dict[str, torch.Tensor] | None:
        """For each kind of cell what its edges count, which sums to 1 a node; None if they do not learn it."""
        if not self.config.edge_norm:
            return None
        if self.config.sampler == "simplex":
            return dict(self.edges.items())
        return {kind: softmax_of_edges(logits, self.relaxation[kind]) for kind, logits in self.edges.items()}

    def _penalty(self) -> torch.Tensor | None:
        """The weighted sum of the terms that are asked for."""
        config, means, terms = self.config, self._means(), []
        if config.zero_one_weight:
            terms.append(config.zero_one_weight * regularisers.zero_one(means))
        if config.anchor_weight:
            terms.append(config.anchor_weight * regularisers.anchor(dict(self.operations.items())))
        if config.entropy_weight:
            terms.append(config.entropy_weight * regularisers.negative_entropy(means))
        if config.cost_weight:
            costs = {kind: self.get_buffer(f"cost_{kind}") for kind in means}
            terms.append(config.cost_weight * regularisers.cost(means, self._edge_weights(), costs))
        return torch.stack(terms).sum() if terms else None


def entering(shape: CellShape) -> tuple[int, ...]:
    """How many edges enter each node. Edges are numbered by node."""
    return tuple(len(shape.entering(node)) for node in range(shape.nodes))


def softmax_of_edges(logits: torch.Tensor, shape: CellShape) -> torch.Tensor:
    """What edges `(edges,)` count, which sums to 1 over those that enter a node."""
    return torch.cat([of_a_node.softmax(0) for of_a_node in logits.split(entering(shape))])


def _paths(one_hot: Mapping[str, torch.Tensor]) -> dict[str, Path]:
    """The operation of each edge, brought to the host all at once."""
    chosen = torch.cat([table.detach().argmax(-1) for table in one_hot.values()]).tolist()
    rest = iter(chosen)
    return {kind: tuple((next(rest),) for _ in range(len(table))) for kind, table in one_hot.items()}


def _skips(operations: Sequence[str], path: Path) -> int:
    """How many operations of a path are skip connections."""
    return sum(operations[k] in SKIPS for running in path for k in running)

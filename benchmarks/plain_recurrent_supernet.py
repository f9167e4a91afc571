"""The recurrent supernet in plain, eager PyTorch, as it was written in 2019: what the fast one is measured against.

A Python loop over time steps, nodes and activations; the states are put together anew after every node; each activation is
mixed with all states and multiplied by its probability; one batch norm for all states, with running averages; log-softmax
over all words; and the architecture's step runs a whole backward pass, weights and all. The architecture is a tensor of the
cell. The function is that of `randomNAS_files.supernet`, from the same papers; one cell alone is that of `plain_recurrent`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.plain_recurrent import FUNCTIONS, Penalties, PlainCell, PlainMasks, PlainModel, objective
from randomNAS_files.architecture import ACTIVATIONS, NODES, Genotype
from randomNAS_files.model import ModelConfig
from randomNAS_files.supernet import Supernet

_ANY = Genotype((("tanh", 0),) * NODES)
EDGES = NODES * (NODES + 1) // 2


class PlainSuperCell(PlainCell):
    """All cells at once, or the one that `genotype` says, without batch norm, if `alone` is set."""

    def __init__(self, hidden: int, init_op: str = "tanh") -> None:
        super().__init__(_ANY, hidden, init_op)
        self.norm = nn.BatchNorm1d(hidden, affine=False)
        self.alphas = torch.zeros(EDGES, len(ACTIVATIONS), requires_grad=True)
        self.alone = False

    def step(
        self, x: torch.Tensor, h: torch.Tensor, x_mask: torch.Tensor | None, h_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """One time step."""
        if self.alone:
            return super().step(x, h, x_mask, h_mask)
        both = torch.cat([x if x_mask is None else x * x_mask, h if h_mask is None else h * h_mask], dim=-1)
        states = self.norm(self.node(both.mm(self.w0), h, self.init_op)).unsqueeze(0)  # (1, B, H)
        probabilities, edge = F.softmax(self.alphas, dim=-1), 0
        for node, weight in enumerate(self.weights, start=1):
            masked = states if h_mask is None else states * h_mask.unsqueeze(0)
            products = masked.view(-1, self.hidden).mm(weight).view(node, -1, 2 * self.hidden)
            c, g = torch.split(products, self.hidden, dim=-1)
            c, total = c.sigmoid(), torch.zeros_like(h)
            for k, name in enumerate(ACTIVATIONS):
                if name == "none":
                    continue
                mixed = states + c * (FUNCTIONS[name](g) - states)
                total = total + torch.sum(probabilities[edge : edge + node, k].view(node, 1, 1) * mixed, dim=0)
            states = torch.cat([states, self.norm(total).unsqueeze(0)], dim=0)
            edge += node
        return torch.mean(states[-NODES:], dim=0)


class PlainSupernet(PlainModel):
    """Embedding, supernet cell, and a decoder that shares the embedding's weights."""

    cell: PlainSuperCell

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__(config, _ANY, vocabulary)
        self.cell = PlainSuperCell(config.nhid, config.init_op)

    def take_weights(self, net: Supernet) -> PlainSupernet:
        """Those of ours, which must have one layer."""
        own, theirs = dict(self.named_parameters()), dict(net.named_parameters())
        names = {"encoder.weight": "embedding", "decoder.bias": "decoder_bias", "cell.w0": "cells.0.w0"}
        names |= {f"cell.weights.{i}": f"cells.0.nodes.{i}" for i in range(NODES)}
        assert set(names) == set(own)
        with torch.no_grad():
            for name, other in names.items():
                own[name].copy_(theirs[other])
        return self

    def to_device(self, device: str) -> PlainSupernet:
        """With the architecture, which is no parameter of the model."""
        self.to(device)
        self.cell.alphas = self.cell.alphas.detach().to(device).requires_grad_()
        return self

    def run_alone(self, genotype: Genotype | None) -> None:
        """Run a single cell, as random search does, or the mixture again."""
        self.cell.alone = genotype is not None
        self.cell.genotype = genotype or _ANY


def architecture_step(
    net: PlainSupernet,
    optimizer: torch.optim.Optimizer,
    tokens: torch.Tensor,
    targets: torch.Tensor,
    h: torch.Tensor,
    masks: PlainMasks | None = None,
) -> tuple[float, torch.Tensor]:
    """A first-order step of the architecture; returns the loss and the state to go on from."""
    h = h.detach()
    optimizer.zero_grad()
    _, loss, h = objective(net, tokens, targets, h, Penalties(beta=0.0), masks)
    loss.backward()
    optimizer.step()
    return loss.item(), h

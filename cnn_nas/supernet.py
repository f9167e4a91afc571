"""A network that holds every architecture of the convolutional space: all operations on all edges, with shared weights.

The search network of DARTS (Liu et al. 2019, arXiv 1806.09055, sections 2.2 and 3.1.1): batch norm without weight and bias,
also after pooling; and of PC-DARTS (Xu et al. 2020, arXiv 1907.05737), which mixes a part of the channels only. B is the
batch, C channels, H and W the size of a feature map.

Batch norm normalises by the batch it sees and keeps no running means, in evaluation too: the means of a network whose
operations are mixed otherwise at every step are those of no network, and mislead for the first epochs by tens of percent.
So nothing here is changed by a forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from cnn_nas.architecture import CELLS, NODES
from cnn_nas.model import STEM, Output, reductions
from cnn_nas.operations import FactorizedReduce, build, initialise, relu_conv_norm
from cnn_nas.relaxation import INPUTS, RELAXATION
from nas.core.arch_weights import ArchWeights
from nas.core.fields import field

SKIP = RELAXATION["normal"].operations.index("skip_connect")
NONE = RELAXATION["normal"].operations.index("none")


@dataclass(frozen=True)
class SupernetConfig:
    """Hyperparameters of the supernet."""

    init_channels: int = field(ge=1, most=16_384)  # of the operations in the first cell; each reduction doubles them
    layers: int = field(ge=1, most=300)  # cells
    partial: int = field(1, ge=1)  # k: operations see 1/k of the channels (PC-DARTS); 1: all of them
    auxiliary_skip: bool = False  # a skip connection more on every edge (DARTS-)

    def problems(self) -> list[str]:
        """Rules over several fields."""
        k, channels = self.partial, self.init_channels
        if channels % k:
            return [f"partial must divide init_channels {channels}, got {k}"]
        if channels // k < 2:
            return [
                f"init_channels must be at least {2 * k}, as with partial {k} operations see 1/{k} of them, got {channels}"
            ]
        return []


SkipMasks = Mapping[int, torch.Tensor]
"""For some cells, by number: what the skip connection of each edge is multiplied with, `(edges, B, 1, 1, 1)`."""


class MixedEdge(nn.Module):
    """All operations on one edge.

    Args:
        channels: of the state; the operations see `channels // partial` of them.
        stride: 2 where an input of a reduction cell is read.
    """

    def __init__(self, channels: int, stride: int, config: SupernetConfig) -> None:
        super().__init__()
        self.partial, self.mixed = config.partial, channels // config.partial
        names = RELAXATION["normal"].operations
        self.operations = nn.ModuleList([build(name, self.mixed, stride, affine=False, pool_bn=True) for name in names])
        self.passed = nn.MaxPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.auxiliary: nn.Module | None = None
        if config.auxiliary_skip:
            self.auxiliary = FactorizedReduce(channels, channels, affine=False) if stride == 2 else nn.Identity()

    def forward(
        self,
        x: torch.Tensor,
        running: tuple[int, ...],
        weights: torch.Tensor | None,
        skip_mask: torch.Tensor | None = None,
        auxiliary: float = 0.0,
    ) -> torch.Tensor | None:
        """The weighted sum of the operations that run on x `(B, C, H, W)`; None if nothing does.

        Args:
            running: the operations, by number.
            weights: of all operations, `(operations,)`; None: 1.
            skip_mask: `(B, 1, 1, 1)`, for the skip connection.
            auxiliary: weight of the auxiliary skip connection.
        """
        total: torch.Tensor | None = None
        for k in running:
            if k == NONE:  # adds zeros, and has no gradient
                continue
            y = self.operations[k](x[:, : self.mixed])
            if k == SKIP and skip_mask is not None:
                y = y * skip_mask
            y = y if weights is None else y * weights[k]
            total = y if total is None else total + y
        if self.partial > 1 and running:
            rest = self.passed(x[:, self.mixed :])
            if total is None:
                total = torch.zeros_like(rest[:, : self.mixed])
            total = shuffle(torch.cat([total, rest], dim=1), self.partial)
        if self.auxiliary is not None and auxiliary and running:
            skip = auxiliary * self.auxiliary(x)
            total = skip if total is None else total + skip
        return total


def shuffle(x: torch.Tensor, groups: int) -> torch.Tensor:
    """x `(B, C, H, W)` with its channels in another order, so that the next operations see others: channel i of group g, out
    of `groups` groups of neighbours, becomes channel i * groups + g.
    """
    batch, channels, height, width = x.shape
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


class SuperCell(nn.Module):
    """A cell with all edges and all operations on them.

    Args:
        kind: "normal" or "reduce".
        inputs: channels of the two inputs.
        channels: of each node; the output has that many for each.
        reduced_before: whether the cell before is a reduction, so that input 0 has twice the height and width of input 1.
    """

    def __init__(
        self, kind: str, inputs: tuple[int, int], channels: int, reduced_before: bool, config: SupernetConfig
    ) -> None:
        super().__init__()
        self.kind, self.shape = kind, RELAXATION[kind]
        self.channels_out = NODES * channels
        fit = FactorizedReduce if reduced_before else relu_conv_norm
        self.preprocess0 = fit(inputs[0], channels, affine=False)
        self.preprocess1 = relu_conv_norm(inputs[1], channels, affine=False)
        strides = [2 if kind == "reduce" and state < INPUTS else 1 for _, state in self.shape.edges]
        self.edges = nn.ModuleList([MixedEdge(channels, stride, config) for stride in strides])

    def forward(
        self,
        input0: torch.Tensor,
        input1: torch.Tensor,
        weights: ArchWeights,
        skip_masks: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The output for the two inputs; `skip_masks` has a row for each edge."""
        states = [self.preprocess0(input0), self.preprocess1(input1)]  # (B, C, H, W) each
        operations = None if weights.operations is None else weights.operations[self.kind]  # (edges, operations)
        of_edges = None if weights.edges is None else weights.edges[self.kind]  # (edges,)
        for node in range(NODES):
            total: torch.Tensor | None = None
            for edge in self.shape.entering(node):
                y = self.edges[edge](
                    states[self.shape.edges[edge][1]],
                    weights.running(self.kind, edge, len(self.shape.operations)),
                    None if operations is None else operations[edge],
                    None if skip_masks is None else skip_masks[edge],
                    weights.auxiliary,
                )
                if y is None:
                    continue
                y = y if of_edges is None else y * of_edges[edge]
                total = y if total is None else total + y
            states.append(self._nothing(states) if total is None else total)
        return torch.cat(states[INPUTS:], dim=1)

    def _nothing(self, states: list[torch.Tensor]) -> torch.Tensor:
        """The state of a node that no operation reaches."""
        stride = 2 if self.kind == "reduce" else 1
        return torch.zeros_like(states[0][:, :, ::stride, ::stride])


class Supernet(nn.Module):
    """A stem, `layers` supernet cells, and a linear layer on the mean over height and width.

    The cells number `reductions(layers)` are reduction cells; all cells of a kind have the same architecture weights.

    Args:
        outputs: classes, or numbers to predict.
        in_channels: of the images.
        generator: draws the initial weights, on the CPU; the global generator is left as it was.
    """

    def __init__(self, config: SupernetConfig, outputs: int, in_channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):  # torch fills new layers from the global generator
            channels, width, reducing = config.init_channels, STEM * config.init_channels, reductions(config.layers)
            self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
            inputs, cells = (width, width), []
            for i in range(config.layers):
                channels *= 2 if i in reducing else 1
                kind = "reduce" if i in reducing else "normal"
                cells.append(SuperCell(kind, inputs, channels, i - 1 in reducing, config))
                inputs = (inputs[1], cells[-1].channels_out)
            self.cells = nn.ModuleList(cells)
            self.classifier = nn.Linear(cells[-1].channels_out, outputs)
        initialise(self, generator)
        forget_running_means(self)

    def forward(self, x: torch.Tensor, weights: ArchWeights, skip_masks: SkipMasks | None = None) -> Output:
        """Predict for images x `(B, in_channels, H, W)` with an architecture, or a mixture of all of them.

        Args:
            weights: for the cells "normal" and "reduce".
            skip_masks: drop skip connections of some images, see `draw_skip_masks`.
        """
        before = last = self.stem(x)
        for i, cell in enumerate(self.cells):
            before, last = last, cell(before, last, weights, None if skip_masks is None else skip_masks[i])
        return Output(self.classifier(last.mean(dim=(2, 3))), None)


def draw_skip_masks(
    generator: torch.Generator, layers: int, batch_size: int, shard: slice, p: float, dtype: torch.dtype = torch.float32
) -> SkipMasks | None:
    """Draw which skip connections of which images a step drops, as P-DARTS does to slow them down.

    Chen et al. 2019, arXiv 1904.12760, section 3.3. Every process draws for the whole batch and keeps its own images.

    Returns:
        0 or 1 / (1 - p), `(edges, own images, 1, 1, 1)` for each cell; None, and nothing is drawn, where p is 0.
    """
    if p == 0:
        return None
    edges = len(RELAXATION["normal"].edges)
    drawn = torch.rand(layers, edges, batch_size, 1, 1, 1, generator=generator, device=generator.device)[:, :, shard]
    return dict(enumerate((drawn >= p).to(dtype).div_(1.0 - p)))


def forget_running_means(module: nn.Module) -> None:
    """Let batch norms normalise by the batch they see, in evaluation too, and keep nothing of it."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None


assert tuple(RELAXATION) == CELLS

"""An image network of convolutional cells of the DARTS space.

Liu et al. 2019, arXiv 1806.09055: cells in section 2.1, the network that is trained in section 3.2 and appendix A.2.1. It
takes images of any size. B is the batch, C channels, H and W the size of a feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import nn

from cnn_nas.architecture import Genotype, used_states
from cnn_nas.operations import FactorizedReduce, build, initialise, relu_conv_norm
from nas.core.errors import ConfigError
from nas.core.fields import field

STEM = 3
"""The stem has three times the channels of the first cell."""


@dataclass(frozen=True)
class ModelConfig:
    """Hyperparameters of the network."""

    init_channels: int = field(ge=1, most=16_384)  # of the operations in the first cell; each reduction doubles them
    layers: int = field(ge=1, most=300)  # cells
    auxiliary: bool = field()  # a second head, two thirds up, while training
    auxiliary_weight: float = field(ge=0)  # of that head's loss
    drop_path_prob: float = field(ge=0, lt=1)  # at the end of training; it grows linearly from 0


def draw_path_masks(
    generator: torch.Generator,
    edges: int,
    batch_size: int,
    shard: slice,
    p: float,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor | None:
    """Draw which edges of which images a training step drops: Larsson et al. 2017, arXiv 1605.07648, as DARTS uses it.

    Every process draws the masks of the whole batch and keeps its own images', so that two processes train exactly what
    one does.

    Args:
        generator: of this training step, on the device where the masks are wanted.
        edges: of the network that can be dropped, `Network.droppable_edges`.
        batch_size: images of the whole batch, over all processes.
        shard: those of them that this process has.
        p: the probability in this step that an edge is dropped.
        dtype: of the feature maps that are multiplied: under autocast its type.

    Returns:
        0 or 1 / (1 - p) for each edge and each of the own images, `(edges, own images, 1, 1, 1)`; None, and nothing is
        drawn, where p is 0.
    """
    if p == 0:
        return None
    keep = torch.rand(edges, batch_size, 1, 1, 1, generator=generator, device=generator.device)[:, shard] >= p
    return keep.to(dtype).div_(1.0 - p)


class Cell(nn.Module):
    """A cell: states 0 and 1 are its two inputs, each node is the sum of two edges, some states make the output.

    Args:
        genotype: its reduction cell if `reduction`, its normal cell otherwise.
        inputs: channels of the two inputs.
        channels: of each node; the output has that many for each state that the genotype concatenates.
        reduction: whether the edges from the inputs have stride 2.
        reduced_before: whether the cell before is a reduction, so that input 0 has twice the height and width of input 1.
    """

    def __init__(
        self, genotype: Genotype, inputs: tuple[int, int], channels: int, reduction: bool, reduced_before: bool
    ) -> None:
        super().__init__()
        self.edges = genotype.reduce if reduction else genotype.normal
        self.concat = genotype.reduce_concat if reduction else genotype.normal_concat
        self.channels_out = channels * len(self.concat)
        fit = FactorizedReduce if reduced_before else relu_conv_norm
        self.preprocess0 = fit(inputs[0], channels)
        self.preprocess1 = relu_conv_norm(inputs[1], channels)
        self.operations = nn.ModuleList(
            [build(name, channels, 2 if reduction and state < 2 else 1, affine=True) for name, state in self.edges]
        )
        self.droppable = [k for k, operation in enumerate(self.operations) if not isinstance(operation, nn.Identity)]

    def forward(self, input0: torch.Tensor, input1: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """The output for the two inputs; `masks` has a row for each of the `droppable` edges, see `draw_path_masks`."""
        states = [self.preprocess0(input0), self.preprocess1(input1)]  # (B, C, H, W) each
        edge_masks = self.edge_masks(masks)
        for k in range(0, len(self.edges), 2):
            states.append(self._edge(k, states, edge_masks[k]) + self._edge(k + 1, states, edge_masks[k + 1]))
        return torch.cat([states[i] for i in self.concat], dim=1)

    def _edge(self, k: int, states: Sequence[torch.Tensor], mask: torch.Tensor | None) -> torch.Tensor:
        x: torch.Tensor = self.operations[k](states[self.edges[k][1]])
        return x if mask is None else x * mask

    def edge_masks(self, masks: torch.Tensor | None) -> list[torch.Tensor | None]:
        """The mask `(B, 1, 1, 1)` of each edge; None for an identity, which is never dropped."""
        found: list[torch.Tensor | None] = [None] * len(self.edges)
        if masks is not None:
            for row, k in enumerate(self.droppable):
                found[k] = masks[row]
        return found

    def used_states(self) -> set[int]:
        """The states on which the output depends; nothing depends on what goes through `none`."""
        return used_states(self.edges, self.concat)

    def unused_parameters(self) -> list[nn.Parameter]:
        """Parameters on which the output does not depend."""
        used = self.used_states()
        inputs: list[nn.Module] = [self.preprocess0, self.preprocess1]
        idle = [module for state, module in enumerate(inputs) if state not in used]
        idle += [operation for k, operation in enumerate(self.operations) if 2 + k // 2 not in used]
        return [parameter for module in idle for parameter in module.parameters()]


class Output(NamedTuple):
    """What the network returns."""

    logits: torch.Tensor  # (B, outputs); for regression, the predictions
    auxiliary_logits: torch.Tensor | None  # (B, outputs) of the second head, while training


class Network(nn.Module):
    """A stem, `layers` cells, and a linear layer on the mean over height and width.

    The cells number `reductions(layers)` are reduction cells. The auxiliary head sits on cell number 2 * layers // 3.

    Args:
        outputs: classes, or numbers to predict.
        in_channels: of the images.
        input_size: height and width of the images. Others work too, but the auxiliary head's pooling is chosen for these.
        generator: draws the initial weights, on the CPU; the global generator is left as it was.
    """

    def __init__(
        self,
        config: ModelConfig,
        genotype: Genotype,
        outputs: int,
        in_channels: int,
        input_size: tuple[int, int],
        generator: torch.Generator,
    ) -> None:
        _check_sizes({"outputs": outputs, "in_channels": in_channels, "height": input_size[0], "width": input_size[1]})
        super().__init__()
        self.config = config
        self.genotype = genotype
        self.auxiliary_at = 2 * config.layers // 3
        with torch.random.fork_rng(devices=[]):  # torch fills new layers from the global generator
            width = STEM * config.init_channels
            self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
            cells = _cells(config, genotype)
            self.cells = nn.ModuleList(cells)
            self.classifier = nn.Linear(cells[-1].channels_out, outputs)
            self.auxiliary = None
            if config.auxiliary:  # comes last, so that the other weights do not depend on it
                size = map_size(input_size, config.layers, self.auxiliary_at)
                self.auxiliary = auxiliary_head(cells[self.auxiliary_at].channels_out, size, outputs)
        initialise(self, generator)

    def forward(self, x: torch.Tensor, masks: torch.Tensor | None = None) -> Output:
        """Predict for images x `(B, in_channels, H, W)`.

        Args:
            masks: of drop path in this step, from `draw_path_masks`; without them nothing is dropped.
        """
        before = last = self.stem(x)
        auxiliary_logits = None
        for i, (cell, cell_masks) in enumerate(zip(self.cells, self.cell_masks(masks), strict=True)):
            before, last = last, cell(before, last, cell_masks)
            if i == self.auxiliary_at and self.auxiliary is not None and self.training:
                auxiliary_logits = self.auxiliary(last)
        return Output(self.classifier(last.mean(dim=(2, 3))), auxiliary_logits)

    @property
    def droppable_edges(self) -> int:
        """How many edges drop path can drop, over all cells."""
        return sum(len(cast(Cell, cell).droppable) for cell in self.cells)

    def cell_masks(self, masks: torch.Tensor | None) -> Sequence[torch.Tensor | None]:
        """Each cell's rows of the masks."""
        if masks is None:
            return [None] * len(self.cells)
        parts: Sequence[torch.Tensor] = masks.split([len(cast(Cell, cell).droppable) for cell in self.cells])
        return parts

    def unused_parameters(self) -> list[nn.Parameter]:
        """Parameters that get no gradient in training, because no head depends on them, found without running anything.

        A cell of which only input 0 counts, for example, skips the cell before it.
        """
        cells = [cast(Cell, cell) for cell in self.cells]
        used = {len(cells) - 1} | ({self.auxiliary_at} if self.auxiliary is not None else set())
        for i in reversed(range(len(cells))):  # -1 is the stem, which is both inputs of the first cell
            if i in used:
                used |= {max(i - 2 + state, -1) for state in cells[i].used_states() & {0, 1}}
        idle = [] if -1 in used else list(self.stem.parameters())
        for i, cell in enumerate(cells):
            idle += cell.unused_parameters() if i in used else list(cell.parameters())
        return idle


def reductions(layers: int) -> tuple[int, ...]:
    """Which cells, counted from 0, are reduction cells: those at one and at two thirds of the depth, rounded down.

    A network of one or two cells has reduction cells only, and uses nothing of the genotype's normal cell.
    """
    return tuple(sorted({layers // 3, 2 * layers // 3}))


def map_size(input_size: tuple[int, int], layers: int, cell: int) -> tuple[int, int]:
    """Height and width of the output of that cell: halved, and rounded up, by each reduction until there."""
    height, width = input_size
    for i in reductions(layers):
        if i <= cell:
            height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


class QuarterMeans(nn.Module):
    """The means over the four quarters of feature maps, `(B, C, H, W)` to `(B, C, 2, 2)`.

    Where a side is odd, the middle belongs to both halves. It is `nn.AdaptiveAvgPool2d(2)`, whose gradient on a GPU adds in
    any order, so that no run would equal another.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = ((slice(0, (side + 1) // 2), slice(side // 2, side)) for side in x.shape[2:])
        means = [x[:, :, down, across].mean(dim=(2, 3)) for down in rows for across in columns]
        return torch.stack(means, dim=2).view(len(x), -1, 2, 2)


def auxiliary_head(channels: int, size: tuple[int, int], outputs: int) -> nn.Sequential:
    """The auxiliary head of DARTS, for feature maps `(B, channels, *size)`.

    DARTS averages windows of 5x5 pixels with stride 3, which makes 2x2 of the 8x8 pixels that CIFAR has there (and of up
    to 10x10). Other sizes, for which the rest of the head would not fit, are averaged over their four quarters instead.
    """
    fits = all(8 <= side <= 10 for side in size)
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=3) if fits else QuarterMeans(),  # (B, C, 2, 2)
        nn.Conv2d(channels, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),  # (B, 768, 1, 1)
        nn.BatchNorm2d(768),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(768, outputs),
    )


def _cells(config: ModelConfig, genotype: Genotype) -> list[Cell]:
    """The cells, each fed with the outputs of the two before it; the stem stands for those that the first ones lack."""
    cells: list[Cell] = []
    channels = config.init_channels
    inputs = (STEM * channels, STEM * channels)
    reducing = reductions(config.layers)
    for i in range(config.layers):
        if i in reducing:
            channels *= 2
        cells.append(Cell(genotype, inputs, channels, i in reducing, i - 1 in reducing))
        inputs = (inputs[1], cells[-1].channels_out)
    return cells


def _check_sizes(sizes: dict[str, int]) -> None:
    problems = [f"{name} must be at least 1, got {size}" for name, size in sizes.items() if size < 1]
    if problems:
        raise ConfigError(problems)

"""The supernet that ours is measured against computes the same function, in float64."""

from __future__ import annotations

import pytest
import torch

from benchmarks.plain_recurrent import Penalties, PlainMasks, train_step
from benchmarks.plain_recurrent_supernet import PlainSupernet, architecture_step
from nas.core.arch_weights import ArchWeights, one_path
from randomNAS_files.genotypes import DARTS_V2
from randomNAS_files.model import ModelConfig, activation_penalty
from randomNAS_files.relaxation import CELL, paths_of
from randomNAS_files.supernet import Supernet, SupernetConfig

WORDS, COLUMNS, LENGTH, HIDDEN = 11, 5, 4, 6
CONFIG = ModelConfig(HIDDEN, HIDDEN, HIDDEN, 1, 0.3, 0.2, 0.25, 0.1, 0.0)


class Both:
    """Ours and the plain one, with the same weights, words, masks and alphas."""

    def __init__(self, state_norm: bool = True) -> None:
        self.net = Supernet(CONFIG, WORDS, torch.Generator().manual_seed(1), SupernetConfig(state_norm)).double()
        with torch.no_grad():
            for weight in self.net.parameters():
                weight.mul_(20)
        self.plain = PlainSupernet(CONFIG, WORDS).double().take_weights(self.net)
        generator = torch.Generator().manual_seed(2)
        self.alphas = torch.randn(36, 5, generator=generator, dtype=torch.float64)
        self.plain.cell.alphas = self.alphas.clone().requires_grad_()
        self.tokens, self.targets = (torch.randint(WORDS, (LENGTH, COLUMNS), generator=generator) for _ in range(2))
        self.masks = self.net.draw_masks(generator, COLUMNS, slice(None))
        m = self.masks
        self.plain_masks = PlainMasks(m.input, m.cell_inputs[0], m.hidden[0], m.output)
        self.h = torch.randn(COLUMNS, HIDDEN, generator=generator, dtype=torch.float64)

    def ours(self, weights: ArchWeights, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.net(self.tokens, [self.h], weights, self.masks, self.targets)
        return output.loss / self.targets.numel() + activation_penalty(output, 0.0, beta), output.hidden[0]

    def assert_equal_weights(self) -> None:
        theirs = dict(self.plain.named_parameters())
        for name, weight in self.net.cells[0].named_parameters():
            torch.testing.assert_close(weight, theirs[f"cell.{name.replace('nodes', 'weights')}"])
        torch.testing.assert_close(self.net.embedding, theirs["encoder.weight"])
        torch.testing.assert_close(self.net.decoder_bias, theirs["decoder.bias"])


@pytest.mark.parametrize("alone", [False, True])
def test_a_step_of_the_weights(alone: bool) -> None:
    both = Both(state_norm=not alone)
    weights = ArchWeights({CELL: both.alphas.softmax(-1)})
    if alone:
        both.plain.run_alone(DARTS_V2)
        weights = one_path(paths_of(DARTS_V2))
    loss, hidden = both.ours(weights, beta=1e-3)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(both.net.parameters(), 0.25)
    torch.optim.SGD(both.net.parameters(), 2.0).step()
    theirs = torch.optim.SGD(both.plain.parameters(), 2.0)
    _, h = train_step(both.plain, theirs, both.tokens, both.targets, both.h, Penalties(), both.plain_masks)
    torch.testing.assert_close(hidden, h)
    both.assert_equal_weights()


def test_a_step_of_the_architecture() -> None:
    both = Both()
    alphas = both.alphas.clone().requires_grad_()
    loss, hidden = both.ours(ArchWeights({CELL: alphas.softmax(-1)}), beta=0.0)
    alphas.grad = torch.autograd.grad(loss, alphas)[0]
    torch.optim.Adam([alphas], 0.1).step()
    theirs = torch.optim.Adam([both.plain.cell.alphas], 0.1)
    value, h = architecture_step(both.plain, theirs, both.tokens, both.targets, both.h, both.plain_masks)
    assert value == pytest.approx(loss.item())
    torch.testing.assert_close(hidden, h)
    torch.testing.assert_close(both.plain.cell.alphas, alphas)
    assert both.plain.cell.w0.grad is not None

"""One training step of the recurrent language model, and its memory, against the plain one. From the root:

    python -m benchmarks.recurrent [--only memory] [--save]

The step: a slice of 35 words in 64 columns, 10,000 words, the ASHA cell with 850 units; forward, backward, clipping, SGD.
Both train on the same batches from the same weights. The layer alone: forward and backward of the cell without embedding
and decoder, at sizes for which Python and memory count more than arithmetic.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import torch

from benchmarks.measuring import Row, arguments, faster, finish, interleaved, smaller
from benchmarks.peak import peaks
from benchmarks.plain_recurrent import Penalties, PlainCell, PlainModel, score, train_step
from nas.core.optimizers import at_rate
from nas.core.seeds import torch_generator
from nas.trial.capture import CapturedStep, captures
from randomNAS_files import genotypes
from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.fast.model import FastLanguageModel, FastRecurrentCell
from randomNAS_files.fast.scoring import score_cells
from randomNAS_files.model import ModelConfig, activation_penalty
from randomNAS_files.scoring import score_slice
from randomNAS_files.slices import Columns, fixed_slices
from randomNAS_files.space import SPACE

WORDS, COLUMNS, LENGTH, SIZE = 10_000, 64, 35, 850
CANDIDATES, EVAL_COLUMNS = 100, 10
LEARNING_RATE, DECAY = 20.0, 8e-7
PENALTIES = Penalties()
CONFIG = ModelConfig(SIZE, SIZE, SIZE, 1, dropout=0.75, dropouth=0.25, dropoutx=0.75, dropouti=0.2, dropoute=0.0)
GOALS: dict[
    str, dict[str, tuple[float | None, float | None]]
] = {  # must and ambition; on a GPU in strict float32, which is all that ours has
    "cpu": {
        **{"step": (1.45, 1.65), "layer": (1.6, 2.0), "memory": (0.8, 0.65), "scoring": (1.5, 1.5)},
        "evaluation": (1.0, None),
    },
    "cuda": {
        **{"step": (4.0, None), "layer": (None, None), "memory": (0.6, None), "scoring": (10.0, None)},
        "evaluation": (None, None),
    },
}
Step = Callable[[], object]


def main() -> None:
    """Measure and report."""
    chosen = arguments("The recurrent training step.", rounds=7, parts=("memory",), slices=1)
    finish("recurrent", rows(chosen), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured."""
    if chosen.only == "memory":
        yield memory_row(chosen)
        return
    for name in ("ASHA", "DARTS_V2"):
        yield step_row(name, chosen)
    for size in (200, 64):
        yield layer_row(size, chosen)
    for columns in (COLUMNS, EVAL_COLUMNS):
        yield evaluation_row(columns, chosen)
    yield memory_row(chosen)
    yield scoring_row(chosen)


def step_row(name: str, chosen: argparse.Namespace) -> Row:
    """The whole step."""
    plain, ours = steps(SPACE.by_name(name), chosen.device)
    must, ambition = GOALS[chosen.device]["step"] if name == "ASHA" else (None, None)
    pairs = interleaved(plain, ours, chosen.rounds, chosen.device)
    return faster(f"recurrent step, {name}, {SIZE} units, batch {COLUMNS}, bptt {LENGTH}", pairs, must, ambition)


def layer_row(size: int, chosen: argparse.Namespace) -> Row:
    """The cell alone."""
    plain, ours = layers(genotypes.ASHA, size, chosen.device)
    pairs = interleaved(plain, ours, 3 * chosen.rounds, chosen.device)
    return faster(f"recurrent layer alone, ASHA, {size} units", pairs, *GOALS[chosen.device]["layer"])


def evaluation_row(columns: int, chosen: argparse.Namespace) -> Row:
    """The loss of a slice without gradients, as validation computes it."""
    plain, ours = evaluations(genotypes.ASHA, columns, chosen.device)
    pairs = interleaved(plain, ours, 3 * chosen.rounds, chosen.device)
    work = f"recurrent forward without gradient (validation), ASHA, {SIZE} units, batch {columns}"
    return faster(work, pairs, *GOALS[chosen.device]["evaluation"])


def memory_row(chosen: argparse.Namespace) -> Row:
    """Peak memory of the first steps, see `peak`: weights, gradients, and all that is allocated for a step or kept."""
    pairs = [peaks("benchmarks.recurrent:named_steps", "ASHA", chosen.device) for _ in range(2)]
    return smaller("peak memory of the recurrent step, ASHA", pairs, *GOALS[chosen.device]["memory"])


def scoring_row(chosen: argparse.Namespace) -> Row:
    """Random cells with one set of weights, on some words: the time of a whole stream is in proportion."""
    plain, ours, rows = scorings(chosen.slices, chosen.device)
    pairs = interleaved(plain, ours, 3, chosen.device, warm_up=1)
    return faster(scoring_words(), pairs, *GOALS[chosen.device]["scoring"], scoring_note(rows))


def scoring_words() -> str:
    """What is scored."""
    return f"scoring {CANDIDATES} random cells with shared weights, {SIZE} units"


def scoring_note(rows: int) -> str:
    """On how much."""
    return f"on {rows} of the 7,376 rows of PTB's validation text"


def scorings(count: int, device: str) -> tuple[Step, Step, int]:
    """All cells scored on so many slices, by each; and the rows that these have."""
    cells = [sample(seed) for seed in range(CANDIDATES)]
    net = FastLanguageModel(CONFIG, cells[0], WORDS, torch.Generator().manual_seed(1))
    reference = PlainModel(CONFIG, cells[0], WORDS).copy_weights(net).to(device)
    net.to(device)
    stream = torch.randint(WORDS, (count * LENGTH * EVAL_COLUMNS + 1,))
    columns = Columns(stream, EVAL_COLUMNS, slice(None), pad=True)
    pieces = (columns[each] for each in fixed_slices(len(columns), LENGTH))
    slices = [(tokens.to(device), targets.to(device)) for tokens, targets in pieces]

    def plain() -> None:
        for cell in cells:
            reference.cell.genotype = cell
            score(reference, slices, EVAL_COLUMNS)

    return plain, lambda: score_cells(net, columns, LENGTH, cells), len(columns)


def named_steps(name: str, device: str) -> tuple[Step, Step]:
    """`steps` of a published cell."""
    return steps(SPACE.by_name(name), device)


def steps(
    genotype: Genotype,
    device: str,
    change: Callable[[FastLanguageModel], object] | None = None,
    graphs: bool = False,
) -> tuple[Step, Step]:
    """One training step of each, to be called again and again.

    Args:
        change: may set how ours computes.
        graphs: whether ours is replayed from a CUDA graph, as with `cuda_graphs`; what is new in a step is copied in.
    """
    net = FastLanguageModel(CONFIG, genotype, WORDS, torch.Generator().manual_seed(1))
    if change is not None:
        change(net)
    reference = PlainModel(CONFIG, genotype, WORDS).copy_weights(net).to(device)
    net.to(device)
    tokens, targets = (torch.randint(WORDS, (LENGTH, COLUMNS), device=device) for _ in range(2))
    sgd = torch.optim.SGD(reference.parameters(), LEARNING_RATE, weight_decay=DECAY)
    plain_hidden = torch.zeros(COLUMNS, SIZE, device=device)

    def plain_step() -> None:
        nonlocal plain_hidden
        _, plain_hidden = train_step(reference, sgd, tokens, targets, plain_hidden, PENALTIES)

    return plain_step, _training(net, tokens, targets, device, graphs)


def _training(net: FastLanguageModel, tokens: torch.Tensor, targets: torch.Tensor, device: str, graphs: bool) -> Step:
    """What `model_def.py` does with a slice; the loss stays on the device."""
    place = torch.device(device)
    sgd = FastAveragedSGD(
        net.parameters(), LEARNING_RATE, DECAY, max_norm=PENALTIES.clip, capturable=graphs and captures(place)
    )
    if device != "cpu":
        net.reserve(LENGTH, COLUMNS)

    def work(
        tokens: torch.Tensor, targets: torch.Tensor, rate: float | torch.Tensor, h: torch.Tensor, *masks: Any
    ) -> tuple[torch.Tensor, ...]:
        output = net(tokens, [h], DropoutMasks.of(masks), targets=targets)
        assert output.loss is not None
        (output.loss / targets.numel() + activation_penalty(output, PENALTIES.alpha, PENALTIES.beta)).backward()
        with at_rate(sgd, rate):
            sgd.step()
        sgd.zero_grad()
        return output.loss.detach(), output.hidden[0].detach()

    step = CapturedStep(work, net, sgd, place) if graphs else work
    (hidden,), turn = net.initial_state(COLUMNS), count(1)

    def run() -> None:
        nonlocal hidden
        masks = net.draw_masks(torch_generator(device, 1, "dropout", next(turn)), COLUMNS, slice(None))
        _, hidden = step(tokens, targets, LEARNING_RATE, hidden, *masks.tensors())

    return run


def evaluations(genotype: Genotype, columns: int, device: str) -> tuple[Step, Step]:
    """The loss of one slice, by each."""
    net = FastLanguageModel(CONFIG, genotype, WORDS, torch.Generator().manual_seed(1)).eval()
    reference = PlainModel(CONFIG, genotype, WORDS).copy_weights(net).to(device)
    net.to(device)
    tokens, targets = (torch.randint(WORDS, (LENGTH, columns), device=device) for _ in range(2))

    @torch.no_grad()
    def ours() -> None:
        score_slice(net, tokens, targets, net.initial_state(columns))[0].item()

    return lambda: score(reference, [(tokens, targets)], columns), ours


def layers(genotype: Genotype, size: int, device: str) -> tuple[Step, Step]:
    """Forward and backward of the cell alone, with masks."""
    cell, reference = FastRecurrentCell(genotype, size), PlainCell(genotype, size)
    generator = torch.Generator().manual_seed(1)  # on the CPU, as are the weights until they are drawn
    for ours, theirs in zip(cell.parameters(), reference.parameters(), strict=True):
        torch.nn.init.uniform_(ours, -0.04, 0.04, generator=generator)
        theirs.data.copy_(ours.data)
    cell.to(device), reference.to(device)
    x = torch.randn(LENGTH, COLUMNS, size, device=device, requires_grad=True)
    grad, h = torch.randn_like(x), torch.zeros(COLUMNS, size, device=device)
    masks = [(torch.rand(COLUMNS, size, device=device) < p).float() / p for p in (0.25, 0.75)]

    def run(net: torch.nn.Module) -> None:
        net.zero_grad()
        x.grad = None
        outputs, _ = net(x, h, *masks)
        outputs.backward(grad)

    return lambda: run(reference), lambda: run(cell)


if __name__ == "__main__":
    main()

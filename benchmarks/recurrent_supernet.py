"""Steps of one-shot search with the recurrent supernet, and its memory, against the plain one. From the root:

    python -m benchmarks.recurrent_supernet [--only memory] [--save]

The step of the weights: a slice of 35 words in 64 columns, forward and backward of the mixture, clipping, SGD. The step of the
architecture: first order, forward, backward, Adam. With 64 units and 10,000 words, where the decoder takes most of the time,
and with 200 units and 1,000 words, where it does not. A step of random search trains a new cell each time; it is measured
against the plain one, against the mixture's, against that of a language model that has one cell alone, and against a second
step of the same cell. Both sides train on the same batches from the same weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import torch

from benchmarks.measuring import Row, arguments, faster, finish, interleaved, seconds, smaller
from benchmarks.peak import peaks
from benchmarks.plain_recurrent import Penalties, score, train_step
from benchmarks.plain_recurrent_supernet import EDGES, PlainSupernet, architecture_step
from nas.core.arch_weights import ArchWeights, one_path
from nas.core.optimizers import Adam, at_rate
from nas.core.seeds import torch_generator
from nas.trial.capture import CapturedStep, captures
from randomNAS_files.architecture import ACTIVATIONS, sample
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import LanguageModel, ModelConfig, Output, activation_penalty
from randomNAS_files.relaxation import CELL, paths_of
from randomNAS_files.scoring import score_paths
from randomNAS_files.slices import Columns, fixed_slices
from randomNAS_files.supernet import SupernetConfig

COLUMNS, LENGTH = 64, 35
SIZES = {"64": (64, 10_000), "200": (200, 1_000)}  # units and words
CANDIDATES, SCORED_ROWS = 40, 70
LEARNING_RATE, DECAY, ARCH_LEARNING_RATE = 20.0, 5e-7, 3e-3
PENALTIES = Penalties()
WEIGHTS, ARCHITECTURE, ONE_CELL = "weights", "architecture", "one cell"
ONE_OF_SUPERNET = 1 / 0.53  # what random search saved in the original code: a step took 0.53 of the mixture's
NEW_CELL = {"node": 1 / 1.2, "edge": 1 / 1.3}  # by sharing
WARM_UP = 2
AS_ONE_MODEL = 0.95  # a step of a single cell may take a twentieth longer than a model that has that cell alone
Step = Callable[[], object]


class Form(NamedTuple):
    """How ours computes.

    Attributes:
        graphs: replay steps from CUDA graphs, as with `cuda_graphs`; what is new in a step is copied in.
        change: sets more.
    """

    graphs: bool = False
    change: Callable[[FastSupernet], object] | None = None


AS_EVER = Form()


def main() -> None:
    """Measure and report."""
    chosen = arguments("Steps of the recurrent supernet.", rounds=7, parts=("memory",))
    finish("recurrent_supernet", rows(chosen), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured."""
    if chosen.only != "memory":
        for size in SIZES:
            for kind in (WEIGHTS, ARCHITECTURE, ONE_CELL):
                pairs = interleaved(*steps(kind, size, chosen.device), chosen.rounds, chosen.device)
                yield faster(f"recurrent supernet, step of {_words(kind)}, {setting(size)}", pairs, 1.0)
            yield from one_cell_rows(size, chosen)
            yield from (new_cell_row(size, sharing, chosen) for sharing in NEW_CELL)
        yield scoring_row(chosen)
    for kind in (WEIGHTS, ARCHITECTURE):
        found = [peaks("benchmarks.recurrent_supernet:steps", kind, "64", chosen.device) for _ in range(2)]
        yield smaller(f"peak memory of the recurrent supernet, step of {_words(kind)}, {setting('64')}", found, 1.0)


def one_cell_rows(size: str, chosen: argparse.Namespace) -> Iterator[Row]:
    """Our step of random search against our other steps."""
    one, mixture, alone = (make(size, chosen.device)[1] for make in (one_cell_steps, weight_steps, alone_steps))
    pairs = interleaved(mixture, one, chosen.rounds, chosen.device)
    yield faster(f"step of one cell against that of the mixture, ours, {setting(size)}", pairs, ONE_OF_SUPERNET)
    pairs = interleaved(alone, one, 3 * chosen.rounds, chosen.device)
    yield faster(f"step of one cell against that of a language model, ours, {setting(size)}", pairs, AS_ONE_MODEL)


def new_cell_row(size: str, sharing: str, chosen: argparse.Namespace) -> Row:
    """Our step of a cell that was never trained before, against the next step, of the same cell."""
    config, words = model_config(SIZES[size][0]), SIZES[size][1]
    supernet = SupernetConfig(False, sharing, "all" if sharing == "node" else "loose_ends")
    net = FastSupernet(config, words, torch.Generator().manual_seed(1), supernet).to(chosen.device)
    step = training(net, size, chosen.device, lambda turn: {"weights": one_path(paths_of(sample(turn // 2)))})
    pairs = []
    for _ in range(WARM_UP + 3 * chosen.rounds):
        new = seconds(step, chosen.device)
        pairs.append((seconds(step, chosen.device), new))
    what = f"step of a new cell against that of the same cell again, ours, sharing {sharing}"
    return faster(f"{what}, {setting(size)}", pairs[WARM_UP:], NEW_CELL[sharing])


def scoring_row(chosen: argparse.Namespace) -> Row:
    """Random cells with one set of weights."""
    net, reference = networks("64", chosen.device, state_norm=False)
    cells = [sample(seed) for seed in range(CANDIDATES)]
    words = SIZES["64"][1]
    stream = torch.randint(words, (SCORED_ROWS * COLUMNS + 1,), generator=torch.Generator().manual_seed(3))
    columns = Columns(stream, COLUMNS, slice(None), pad=True)
    pieces = (columns[each] for each in fixed_slices(len(columns), LENGTH))
    slices = [(tokens.to(chosen.device), targets.to(chosen.device)) for tokens, targets in pieces]
    architectures = [one_path(paths_of(cell)) for cell in cells]

    def plain() -> None:
        for cell in cells:
            reference.run_alone(cell)
            score(reference, slices, COLUMNS)

    pairs = interleaved(plain, lambda: score_paths(net, columns, LENGTH, architectures), 3, chosen.device, warm_up=1)
    return faster(f"scoring {CANDIDATES} cells of the recurrent supernet, {setting('64')}", pairs, 1.0)


def _words(kind: str) -> str:
    return kind if kind == ONE_CELL else f"the {kind}"


def setting(size: str) -> str:
    """In words."""
    units, words = SIZES[size]
    return f"{units} units, {words:,} words"


def steps(kind: str, size: str, device: str, form: Form = AS_EVER) -> tuple[Step, Step]:
    """A step of a kind, of the plain form and of ours, to be called again and again."""
    if kind == ONE_CELL:
        return one_cell_steps(size, device)
    return (weight_steps if kind == WEIGHTS else architecture_steps)(size, device, form)


def networks(
    size: str, device: str, state_norm: bool, change: Callable[[FastSupernet], object] | None = None
) -> tuple[FastSupernet, PlainSupernet]:
    """Both, with the same weights; `change` may set how ours computes."""
    config, words = model_config(SIZES[size][0]), SIZES[size][1]
    net = FastSupernet(config, words, torch.Generator().manual_seed(1), SupernetConfig(state_norm))
    if change is not None:
        change(net)
    reference = PlainSupernet(config, words).take_weights(net).to_device(device)
    return net.to(device), reference


def model_config(units: int) -> ModelConfig:
    """Of a language model with dropout."""
    return ModelConfig(units, units, units, 1, dropout=0.2, dropouth=0.067, dropoutx=0.2, dropouti=0.053, dropoute=0.0)


def weight_steps(size: str, device: str, form: Form = AS_EVER) -> tuple[Step, Step]:
    """With the mixture as it starts, all probabilities about the same."""
    net, reference = networks(size, device, state_norm=True, change=form.change)
    mixture = ArchWeights({CELL: torch.full((EDGES, len(ACTIVATIONS)), 1 / len(ACTIVATIONS), device=device)})
    ours = training(net, size, device, lambda _: {"weights": mixture}, form.graphs)
    return _plain_training(reference, size, device), ours


def one_cell_steps(size: str, device: str) -> tuple[Step, Step]:
    """With another random cell in every step."""
    net, reference = networks(size, device, state_norm=False)
    train, turn = _plain_training(reference, size, device), count()

    def plain() -> None:
        reference.run_alone(sample(next(turn)))
        train()

    return plain, training(net, size, device, lambda step: {"weights": one_path(paths_of(sample(step)))})


def alone_steps(size: str, device: str) -> tuple[Step, Step]:
    """The same cells in a language model of ours, twice."""
    net = FastLanguageModel(
        model_config(SIZES[size][0]), sample(0), SIZES[size][1], torch.Generator().manual_seed(1)
    ).to(device)
    ours = training(net, size, device, lambda step: {"genotype": sample(step)})
    return ours, ours


def _batch(size: str, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    words = torch.randint(SIZES[size][1], (2, LENGTH, COLUMNS), generator=generator).to(device)
    return words[0], words[1]


def _plain_training(reference: PlainSupernet, size: str, device: str) -> Step:
    tokens, targets = _batch(size, device)
    sgd = torch.optim.SGD(reference.parameters(), LEARNING_RATE, weight_decay=DECAY)
    hidden = torch.zeros(COLUMNS, reference.config.nhid, device=device)

    def step() -> None:
        nonlocal hidden
        _, hidden = train_step(reference, sgd, tokens, targets, hidden, PENALTIES)

    return step


def training(
    net: LanguageModel, size: str, device: str, chosen: Callable[[int], dict[str, object]], graphs: bool = False
) -> Step:
    """A step of the weights.

    Args:
        chosen: what the network is told of the architecture in each step; with graphs always the same.
    """
    tokens, targets = _batch(size, device)
    capturable = graphs and captures(torch.device(device))
    sgd = FastAveragedSGD(net.parameters(), LEARNING_RATE, DECAY, max_norm=PENALTIES.clip, capturable=capturable)
    turn = count()

    def work(
        tokens: torch.Tensor, targets: torch.Tensor, rate: float | torch.Tensor, *others: Any
    ) -> tuple[torch.Tensor, ...]:
        h, *masks = others
        output: Output = net(tokens, [h], masks=DropoutMasks.of(masks), targets=targets, **told)
        assert output.loss is not None
        (output.loss / targets.numel() + activation_penalty(output, PENALTIES.alpha, PENALTIES.beta)).backward()
        with at_rate(sgd, rate):
            sgd.step()
        sgd.zero_grad()
        return (output.hidden[0].detach(),)

    run, told = CapturedStep(work, net, sgd, torch.device(device)) if graphs else work, chosen(0)
    (hidden,) = net.initial_state(COLUMNS)

    def step() -> None:
        nonlocal hidden, told
        number = next(turn)
        told = chosen(number)
        masks = net.draw_masks(torch_generator(device, 1, "dropout", number), COLUMNS, slice(None))
        (hidden,) = run(tokens, targets, LEARNING_RATE, hidden, *masks.tensors())

    return step


def architecture_steps(size: str, device: str, form: Form = AS_EVER) -> tuple[Step, Step]:
    """First order."""
    net, reference = networks(size, device, state_norm=True, change=form.change)
    tokens, targets = _batch(size, device)
    plain_adam = torch.optim.Adam([reference.cell.alphas], ARCH_LEARNING_RATE)
    alphas = torch.zeros(EDGES, len(ACTIVATIONS), device=device, requires_grad=True)
    place = torch.device(device)
    adam = Adam([alphas], ARCH_LEARNING_RATE, capturable=form.graphs and captures(place))
    plain_hidden, (hidden,) = torch.zeros(COLUMNS, net.config.nhid, device=device), net.initial_state(COLUMNS)
    turn = count()

    def plain_step() -> None:
        nonlocal plain_hidden
        reference.zero_grad()
        _, plain_hidden = architecture_step(reference, plain_adam, tokens, targets, plain_hidden)

    def work(tokens: torch.Tensor, targets: torch.Tensor, *others: Any) -> tuple[torch.Tensor, ...]:
        h, *masks = others
        weights = ArchWeights({CELL: alphas.softmax(-1)})
        output = net(tokens, [h], weights, DropoutMasks.of(masks), targets)
        assert output.loss is not None
        (alphas.grad,) = torch.autograd.grad(output.loss / targets.numel(), [alphas])
        adam.step()
        adam.zero_grad()
        return (output.hidden[0].detach(),)

    run = CapturedStep(work, net, adam, place) if form.graphs else work

    def our_step() -> None:
        nonlocal hidden
        masks = net.draw_masks(torch_generator(device, 1, "dropout", next(turn)), COLUMNS, slice(None))
        (hidden,) = run(tokens, targets, hidden, *masks.tensors())

    return plain_step, our_step


if __name__ == "__main__":
    main()

"""Recurrent cells and small models to test, and the papers' formula in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from nas.core.seeds import torch_generator
from randomNAS_files.architecture import ACTIVATIONS as ALL_ACTIVATIONS
from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.dropout import DropoutMasks, draw_masks
from randomNAS_files.fast.model import FastLanguageModel, FastRecurrentCell
from randomNAS_files.model import LanguageModel, ModelConfig, RecurrentCell
from randomNAS_files.space import SPACE

TIME, BATCH, HIDDEN, WORDS = 4, 3, 5, 11
WITH_NONE = Genotype((("tanh", 0), ("none", 1), ("relu", 2), ("sigmoid", 3), ("identity", 2)), (2, 4, 5))
PARTIAL = Genotype((("relu", 0), ("sigmoid", 0), ("identity", 1), ("tanh", 2)), (4, 1))
CELLS = {
    **{name: SPACE.by_name(name) for name in ("ENAS", "DARTS_V1", "DARTS_V2", "ASHA")},
    **{f"sample{seed}": sample(seed) for seed in range(4)},
    "with_none": WITH_NONE,
    "partial": PARTIAL,
    "one_node": Genotype((("sigmoid", 0),)),
}
ACTIVATIONS = ["tanh", "relu", "sigmoid", "identity"]
PLAIN = {"dropout": 0.0, "dropouth": 0.0, "dropoutx": 0.0, "dropouti": 0.0, "dropoute": 0.0}


def config(hidden: int = HIDDEN, depth: int = 1, **changes: Any) -> ModelConfig:
    return ModelConfig(**{"emsize": hidden, "nhid": hidden, "nhidlast": hidden, "depth": depth, **PLAIN, **changes})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wide_weights(module: torch.nn.Module, seed: int = 0) -> None:
    """Weights of float64, large enough for the nonlinearities to matter."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=(rng := generator(seed)))
            seed = int(torch.randint(2**31, (), generator=rng))


def build_cell(genotype: Genotype, init_op: str = "tanh", hidden: int = HIDDEN) -> RecurrentCell:
    cell = RecurrentCell(genotype, hidden, init_op)
    wide_weights(cell)
    return cell


def build(genotype: Genotype, depth: int = 1, **changes: Any) -> LanguageModel:
    net = LanguageModel(config(depth=depth, **changes), genotype, WORDS, generator())
    wide_weights(net)
    return net


def build_model(settings: ModelConfig, genotype: Genotype, words: int, *, fast: bool) -> LanguageModel:
    """Of either form, with the initial weights of a trial."""
    return (FastLanguageModel if fast else LanguageModel)(settings, genotype, words, generator())


def fast_cell(cell: RecurrentCell) -> FastRecurrentCell:
    """The fast form, with the same weights."""
    twin = FastRecurrentCell(cell.genotype, cell.w0.size(0) // 2, cell.init_op).to(cell.w0)
    twin.load_state_dict(cell.state_dict())
    return twin


def fast_net(net: LanguageModel) -> FastLanguageModel:
    """The fast form, with the same weights."""
    twin = FastLanguageModel(net.config, net.genotype, len(net.embedding), generator()).to(net.embedding)
    twin.load_state_dict(net.state_dict())
    return twin


def masks_of(net: LanguageModel, step: int = 0, columns: int = BATCH) -> DropoutMasks:
    """The dropout masks of a step, drawn where the model is."""
    device = "cuda" if net.embedding.is_cuda else "cpu"
    return net.draw_masks(torch_generator(device, 1, "dropout", step), columns, slice(None))


def same_masks(net: LanguageModel, columns: int, seed: int = 1) -> DropoutMasks:
    """Drawn on the CPU and copied to the model, so that they are the same on every device; all of them there."""
    like, words = net.embedding, len(net.embedding)
    masks = draw_masks(net.config, words, generator(seed), columns, slice(None), dtype=like.dtype)
    return DropoutMasks.of([None if mask is None else mask.to(like.device) for mask in masks.tensors()])


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def tokens(time: int = TIME) -> torch.Tensor:
    return torch.randint(WORDS, (time, BATCH), generator=generator(5))


def mask_pair(hidden: int = HIDDEN) -> tuple[torch.Tensor, torch.Tensor]:
    keep = torch.rand(2, BATCH, hidden, generator=generator(9)) < 0.6
    return tuple((keep.double() / 0.6).unbind(0))  # type: ignore[return-value]


def nodes_of(text: str) -> tuple[tuple[str, int], ...]:
    """`relu 0, tanh 1` as a genotype's nodes."""
    return tuple((name, int(predecessor)) for name, predecessor in (node.split() for node in text.split(", ")))


@st.composite
def cells(draw: st.DrawFn, full: bool = False) -> Genotype:
    count = draw(st.integers(1, 12))
    nodes = [(draw(st.sampled_from(ALL_ACTIVATIONS)), draw(st.integers(0, i))) for i in range(count)]
    concat = draw(st.lists(st.integers(1, count), unique=True, min_size=1)) if not full else []
    return Genotype(tuple(nodes), tuple(concat)) if concat else Genotype(tuple(nodes))


def step(cell: Genotype, weights: Sequence[np.ndarray], s0: np.ndarray, h_mask: np.ndarray | float = 1.0) -> np.ndarray:
    """The output for the initial state `s0`, from the papers' formula, without anything of the modules under test."""
    functions: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "tanh": np.tanh,
        "relu": lambda x: np.where(x > 0, x, 0.0),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "identity": lambda x: x,
    }
    states = [s0]
    for weight, (name, predecessor) in zip(weights, cell.recurrent, strict=True):
        previous = states[predecessor]
        hidden = previous.shape[-1]
        if name == "none":
            states.append(np.zeros_like(previous))
            continue
        gates = (previous * h_mask) @ weight
        share = 1 / (1 + np.exp(-gates[..., :hidden]))
        states.append((1 - share) * previous + share * functions[name](gates[..., hidden:]))
    return sum(states[i] for i in cell.concat) / len(cell.concat)

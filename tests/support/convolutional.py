"""Convolutional cells with parts cut off, and a run's network and its scores computed plainly."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch

from cnn_nas.architecture import OPERATIONS, Genotype
from cnn_nas.genotypes import DARTS_V2
from cnn_nas.images.arrays import Images
from cnn_nas.model import ModelConfig, Network
from support.runs import Run


def cell(text: str) -> tuple[tuple[str, int], ...]:
    """The edges of a cell: `sep_conv_3x3 0, skip_connect 1` is one node."""
    return tuple((name, int(state)) for name, state in (edge.split() for edge in text.split(",")))


def genotypes_with_gaps() -> Iterator[Genotype]:
    """Cells in which `none` and a partial concat cut some nodes, inputs, or whole cells off."""
    for seed in range(16):
        rng = random.Random(seed)
        operations = rng.choice([OPERATIONS, ("none", "none", "sep_conv_3x3", "skip_connect")])
        cells, concats = [], []
        for _ in range(2):
            nodes, only = rng.randint(1, 4), rng.choice([None, 0, 1])
            states = [rng.randrange(2 + k // 2) for k in range(2 * nodes)]
            states = [only if only is not None and state < 2 else state for state in states]
            cells.append(tuple((rng.choice(operations), state) for state in states))
            concats.append(tuple(rng.sample(range(2, 2 + nodes), rng.randint(1, nodes))))
        yield Genotype(normal=cells[0], normal_concat=concats[0], reduce=cells[1], reduce_concat=concats[1])
    yield DARTS_V2
    constant = cell("none 0, none 1")
    yield Genotype(normal=cell("none 0, sep_conv_3x3 0"), reduce=cell("sep_conv_3x3 0, sep_conv_5x5 0"))
    yield Genotype(normal=constant, reduce=constant)


def network_of(run: Run, outputs: int, shape: tuple[int, int, int], genotype: Genotype = DARTS_V2) -> Network:
    """The network of the latest checkpoint, to evaluate."""
    hparams = run.read("run.json")["hyperparameters"]
    names = ("init_channels", "layers", "auxiliary", "auxiliary_weight", "drop_path_prob")
    config = ModelConfig(*(hparams[name] for name in names))
    net = Network(config, genotype, outputs, shape[0], shape[1:], torch.Generator())
    state = {name.removeprefix("module."): value for name, value in run.checkpoint()["models_state_dict"][0].items()}
    net.load_state_dict(state)
    return net.eval()


@torch.no_grad()
def outputs_of(net: Network, images: Images, train: Images) -> np.ndarray:
    """Image by image, in double precision, normalised by what the pixels of the training images have."""
    net = net.double()
    pixels = train.images.double().numpy() / 255
    mean, std = (torch.from_numpy(getattr(pixels, name)((0, 2, 3))).view(-1, 1, 1) for name in ("mean", "std"))
    return np.stack([net(((x.double() / 255 - mean) / std)[None]).logits[0].numpy() for x in images.images])


def plain_scores(outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    right = outputs[np.arange(len(targets)), targets][:, None]
    losses = np.log(np.exp(outputs - right).sum(1))
    rank = (outputs > right).sum(1)
    return {"loss": losses.mean(), "top1_accuracy": (rank < 1).mean(), "top5_accuracy": (rank < 5).mean()}

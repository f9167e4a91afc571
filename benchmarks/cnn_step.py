"""One training step of the convolutional network, and its memory, against the plain one. From the root:

    python -m benchmarks.cnn_step [--only memory] [--save]

The step: images of 32 x 32 pixels, 36 channels, 20 cells, the auxiliary head, drop path at 0.2; forward, backward, clipping,
SGD. Both train on the same images from the same weights. On a CPU both compute in float32, in batches of 16. On a GPU
batches are of 96, and ours, in bfloat16 as it trains there, is compared with the plain one in float32, TF32 and bfloat16,
so that precision and engineering are told apart; ours in float32 is compared with the plain one in float32.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from benchmarks.measuring import Row, arguments, faster, finish, interleaved, smaller
from benchmarks.peak import peaks
from benchmarks.plain_cnn import PlainNetwork, PlainStep
from cnn_nas.fast.model import FastForm, FastNetwork
from cnn_nas.model import ModelConfig, draw_path_masks
from cnn_nas.space import SPACE
from nas.core.optimizers import at_rate, fused_sgd
from nas.core.seeds import torch_generator
from nas.trial.capture import CapturedStep

CHANNELS, CELLS, CLASSES, SIDE, DROP, RATE = 36, 20, 10, 32, 0.2, 0.025
CONFIG = ModelConfig(CHANNELS, CELLS, auxiliary=True, auxiliary_weight=0.4, drop_path_prob=DROP)
CPU_GOALS = {"CONSTRAINED_ASHA": (1.5, 1.8), "DARTS_V2": (1.35, 1.5)}
GPU_GOALS = (4.0, 6.0)  # of what trains by default on a GPU, against float32
GPU_PRECISIONS = (("bfloat16", "float32"), ("bfloat16", "TF32"), ("bfloat16", "bfloat16"), ("float32", "float32"))
Step = Callable[[], object]


def main() -> None:
    """Measure and report."""
    chosen = arguments("The training step of the convolutional network.", rounds=7, parts=("memory",))
    finish("cnn_step", rows(chosen), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured."""
    precisions = GPU_PRECISIONS if chosen.device == "cuda" else (("float32", "float32"),)
    for name in () if chosen.only == "memory" else CPU_GOALS:
        for pair in precisions:
            yield step_row(name, *pair, chosen)
    for name in CPU_GOALS:
        yield memory_row(name, *precisions[0], chosen)


def step_row(name: str, our_precision: str, plain_precision: str, chosen: argparse.Namespace) -> Row:
    """The whole step."""
    plain, ours = steps(name, our_precision, plain_precision, chosen.device)
    goals: tuple[float, float] | tuple[None, None] = CPU_GOALS[name]
    if chosen.device == "cuda":
        goals = GPU_GOALS if (our_precision, plain_precision) == GPU_PRECISIONS[0] else (None, None)
    pairs = interleaved(plain, ours, chosen.rounds, chosen.device)
    return faster(f"CNN step, {_words(name, our_precision, plain_precision, chosen.device)}", pairs, *goals)


def memory_row(name: str, our_precision: str, plain_precision: str, chosen: argparse.Namespace) -> Row:
    """Peak memory of the first steps, see `peak`: weights, gradients, momentum, and all that is allocated for a step."""
    words = (name, our_precision, plain_precision, chosen.device)
    pairs = [peaks("benchmarks.cnn_step:steps", *words) for _ in range(2)]
    return smaller(f"peak memory of the CNN step, {_words(name, our_precision, plain_precision, chosen.device)}", pairs)


def _words(name: str, our_precision: str, plain_precision: str, device: str) -> str:
    size = f"{name}, {CHANNELS} channels, {CELLS} cells, batch {_batch(device)}"
    return size if device == "cpu" else f"{size}, plain in {plain_precision}, ours in {our_precision}"


def _batch(device: str) -> int:
    return 96 if device == "cuda" else 16


def steps(
    name: str,
    our_precision: str,
    plain_precision: str,
    device: str,
    form: FastForm | None = None,
    graphs: bool = False,
) -> tuple[Step, Step]:
    """One training step of each, to be called again and again.

    Args:
        form: of ours.
        graphs: whether ours is replayed from a CUDA graph, as with `cuda_graphs`; what is new in a step is copied in.
    """
    genotype, batch = SPACE.by_name(name), _batch(device)
    net = FastNetwork(CONFIG, genotype, CLASSES, 3, (SIDE, SIDE), torch_generator("cpu", 1), form=form)
    reference = PlainNetwork(genotype, CHANNELS, CELLS, CLASSES)
    reference.copy_weights(net).to(device)
    images = torch.randn(batch, 3, SIDE, SIDE, generator=torch_generator("cpu", 2)).to(device)
    classes = torch.randint(CLASSES, (batch,), generator=torch_generator("cpu", 3)).to(device)
    plain, ours = PlainStep(reference, DROP), OurStep(net.to(device), our_precision, graphs)

    def plain_step() -> None:
        with precision(plain_precision, device):
            plain(images, classes)

    return plain_step, lambda: ours(images, classes)


class OurStep:
    """What `cnn_nas.trial` does with a batch once it is augmented; the losses stay on the device."""

    def __init__(self, net: FastNetwork, kind: str, graphs: bool = False) -> None:
        self.net, self.kind, self.count = net.to(memory_format=torch.channels_last), kind, 0
        self.sgd = fused_sgd(net.parameters(), RATE, 0.9, weight_decay=3e-4)
        device = next(net.parameters()).device
        self.step = CapturedStep(self._work, net, self.sgd, device) if graphs else self._work

    def __call__(self, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Train on images `(B, 3, H, W)`; returns the loss."""
        self.count += 1
        images = images.contiguous(memory_format=torch.channels_last)
        generator = torch_generator(images.device, 0, "drop path", self.count)
        kind = torch.bfloat16 if self.kind == "bfloat16" else torch.float32
        masks = draw_path_masks(generator, self.net.droppable_edges, len(images), slice(None), DROP, kind)
        return self.step(images, classes, RATE, masks)[0]

    def _work(
        self, images: torch.Tensor, classes: torch.Tensor, rate: float | torch.Tensor, masks: torch.Tensor | None
    ) -> tuple[torch.Tensor]:
        with precision(self.kind, images.device.type):
            output = self.net(images, masks)
            assert output.auxiliary_logits is not None
            loss = F.cross_entropy(output.logits.float(), classes)
            loss = loss + CONFIG.auxiliary_weight * F.cross_entropy(output.auxiliary_logits.float(), classes)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5)
        with at_rate(self.sgd, rate):
            self.sgd.step()
        self.sgd.zero_grad()
        return (loss.detach(),)


@contextlib.contextmanager
def precision(kind: str, device: str) -> Iterator[None]:
    """float32, TF32, or bfloat16 by autocast."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind == "TF32"
    try:
        with torch.autocast(device, torch.bfloat16, enabled=kind == "bfloat16"):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


if __name__ == "__main__":
    main()

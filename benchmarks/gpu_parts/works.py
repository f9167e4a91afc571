"""The steps that are compared, by name: each a plain implementation of 2019 and ours, in any precision.

On a CPU they are made small, so that the script itself can be tried in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks import cnn_step, recurrent, recurrent_supernet, supernet_step
from benchmarks.gpu_parts.task import SkippedError
from nas.trial.device import prepare
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.space import SPACE

Step = Callable[[], object]
Steps = Callable[[str, str, str], tuple[Step, Step]]
"""Precision of the plain one and of ours, and the device; returns both."""
FP32, TF32, BF16 = "float32", "TF32", "bfloat16"
PRECISIONS = (FP32, TF32, BF16)
SEARCH_GOALS = {FP32: (5.0, 8.0)}


@dataclass(frozen=True)
class Work:
    """What is compared.

    Attributes:
        words: with its sizes.
        ours: precisions that ours can compute in, the first as by default on a GPU.
        goals: must and ambition of a precision of ours against the plain one in float32, and of any against it compiled.
    """

    name: str
    words: str
    make: Steps
    ours: tuple[str, ...]
    goals: Mapping[str, tuple[float | None, float | None]]


def set_up(device: str) -> None:
    """As a trial does, and small on a CPU."""
    prepare(torch.device(device))
    if device == "cpu":
        make_small()


def make_small() -> None:
    """Sizes at which a step takes milliseconds."""
    recurrent.WORDS, recurrent.COLUMNS, recurrent.LENGTH, recurrent.SIZE, recurrent.CANDIDATES = 50, 4, 5, 16, 3
    recurrent.CONFIG = dataclasses.replace(recurrent.CONFIG, emsize=16, nhid=16, nhidlast=16)
    cnn_step.CHANNELS, cnn_step.CELLS = 4, 3
    cnn_step.CONFIG = dataclasses.replace(cnn_step.CONFIG, init_channels=4, layers=3)
    cnn_step._batch = lambda device: 2
    supernet_step.SETTINGS["cifar"] = supernet_step.Setting(4, 3, 2, 3, 8)
    recurrent_supernet.COLUMNS, recurrent_supernet.LENGTH = 4, 5
    recurrent_supernet.SIZES.update({"64": (8, 50), "200": (8, 40)})


def works(device: str) -> list[Work]:
    """All of them, those of most worth first; on a CPU one of each kind."""
    recurrent_steps = [_recurrent(name) for name in ("ASHA", "DARTS_V2")]
    cnn_steps = [_cnn(name, device) for name in ("CONSTRAINED_ASHA", "DARTS_V2")]
    kinds = [recurrent_steps, cnn_steps, _image_supernets(device), _text_supernets()]
    return [work for kind in kinds for work in (kind[:1] if device == "cpu" else kind)]


def _recurrent(name: str) -> Work:
    words = f"recurrent step, {name}, {recurrent.SIZE} units, batch {recurrent.COLUMNS}, bptt {recurrent.LENGTH}"

    def make(plain: str, ours: str, device: str) -> tuple[Step, Step]:
        steps = recurrent.steps(SPACE.by_name(name), device, partial(use_precision, precision=ours))
        return in_precision(steps[0], plain, device), steps[1]

    goals = {FP32: (4.0, None), TF32: (10.0, 15.0), BF16: (10.0, 15.0)} if name == "ASHA" else {}
    return Work(f"recurrent {name}", words, make, PRECISIONS, goals)


def use_precision(net: FastLanguageModel, precision: str) -> None:
    """Train with products of that precision. Raises SkippedError where this version has no such setting."""
    if precision == FP32:
        return
    if (use := getattr(net, "use_precision", None)) is None:
        raise SkippedError("this version has no hyperparameters.precision")
    use({TF32: "tf32", BF16: "bf16"}[precision])


def _cnn(name: str, device: str) -> Work:
    words = f"CNN step, {name}, {cnn_step.CHANNELS} channels, {cnn_step.CELLS} cells, batch {cnn_step._batch(device)}"

    def make(plain: str, ours: str, device: str) -> tuple[Step, Step]:
        return cnn_step.steps(name, ours, plain, device)

    goals = {BF16: (4.0, 6.0)} if name == "CONSTRAINED_ASHA" else {}
    return Work(f"CNN {name}", words, make, (BF16, FP32), goals)


def _image_supernets(device: str) -> list[Work]:
    words = supernet_step.SETTINGS["cifar"].words(device)
    return [
        Work(f"CNN supernet, {kind}", f"search step, {kind}, {words}", _image_search(kind), (FP32, BF16), SEARCH_GOALS)
        for kind in supernet_step.KINDS
    ]


def _text_supernets() -> list[Work]:
    found = []
    for kind in (recurrent_supernet.WEIGHTS, recurrent_supernet.ARCHITECTURE):
        words = f"recurrent supernet, step of the {kind}, {recurrent_supernet.setting('64')}"
        found.append(Work(f"recurrent supernet, {kind}", words, _text_search(kind), (FP32, TF32), SEARCH_GOALS))
    return found


def _image_search(kind: str) -> Steps:
    return lambda plain, ours, device: in_precisions(supernet_step.steps("cifar", kind, device), plain, ours, device)


def _text_search(kind: str) -> Steps:
    return lambda plain, ours, device: in_precisions(recurrent_supernet.steps(kind, "64", device), plain, ours, device)


def in_precisions(steps: tuple[Step, Step], plain: str, ours: str, device: str) -> tuple[Step, Step]:
    """Both, each in its own."""
    return in_precision(steps[0], plain, device), in_precision(steps[1], ours, device)


def in_precision(step: Step, kind: str, device: str) -> Step:
    """A step with TF32 products, or under autocast."""

    def run() -> None:
        with cnn_step.precision(kind, device):
            step()

    return run

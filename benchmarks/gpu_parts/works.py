"""The steps that are compared, by name: each a plain implementation of 2019 and ours, with any settings that a trial has.

On a CPU they are made small, so that the script itself can be tried in seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks import cnn_step, recurrent, recurrent_supernet, supernet_step
from benchmarks.gpu_parts.fallbacks import strict
from benchmarks.gpu_parts.task import SkippedError
from cnn_nas.fast.model import FastForm
from nas.config.load import load
from nas.core.errors import ConfigError
from nas.core.program import ROOT
from nas.trial.device import prepare
from randomNAS_files.fast.kernels.choice import check_kernels
from randomNAS_files.space import SPACE

Step = Callable[[], object]
Chosen = Mapping[str, Any]
FP32, TF32, BF16 = "float32", "TF32", "bfloat16"
PRECISIONS = (FP32, TF32, BF16)
DEFAULT = ""

# Settings of ours, as on a command line; those that should be fastest first
RECURRENT = (
    *("cuda_graphs=true kernels=triton precision=bf16", "cuda_graphs=true kernels=triton precision=tf32"),
    *("cuda_graphs=true precision=bf16", "cuda_graphs=true kernels=triton", "cuda_graphs=true"),
)
CNN = ("cuda_graphs=true weight_casts=once pad_channels=true", "cuda_graphs=true weight_casts=once", "cuda_graphs=true")
CNN_LATER = (
    "cuda_graphs=true weight_casts=once compile=cells",
    "cuda_graphs=true weight_casts=once pad_channels=true cudnn_benchmark=true",
)
TEXT_SEARCH = ("cuda_graphs=true precision=bf16", "cuda_graphs=true", DEFAULT)
IMAGE_SEARCH = ("cuda_graphs=true", DEFAULT)
SEARCH_GOALS = (5.0, 8.0)


@dataclass(frozen=True)
class Work:
    """What is compared.

    Attributes:
        words: with its sizes.
        trial: whose settings ours has, and `config` its YAML.
        make: of the plain one's precision, settings of ours, and the device.
        best: settings whose rows come first.
        others: more of them.
        goals: must and ambition in strict float32, and with any other precision, against the plain one in float32.
    """

    name: str
    words: str
    trial: str
    config: str
    make: Callable[[str, Chosen, str], tuple[Step, Step]]
    best: tuple[str, ...]
    others: tuple[str, ...] = ()
    goals: tuple[tuple[float | None, float | None], ...] = ((None, None), (None, None))

    def steps(self, plain: str, setting: str, device: str) -> tuple[Step, Step]:
        """Both. Raises SkippedError where this version lacks a setting, or it cannot be used here."""
        theirs, ours = self.make(plain, self.chosen(setting, device), device)
        return in_2019(theirs, plain, device), strict(ours, setting)

    def chosen(self, setting: str, device: str) -> Chosen:
        """Settings as the trial reads them."""
        if not setting:
            return {}
        skip_compiler(setting, device)
        values = {"true": True, "false": False}
        pairs = (each.split("=") for each in setting.split())
        found: dict[str, Any] = {name: values.get(value, value) for name, value in pairs}
        config = load(ROOT / self.config)
        try:
            check = pkgutil.resolve_name(self.trial).check
            check({**config["hyperparameters"], **found}, config.get("data") or {}, 1)
            check_kernels(found.get("kernels", "eager"), torch.device(device))
        except ConfigError as error:
            raise SkippedError(error.problems[0].partition("; known: ")[0]) from error
        return found

    def goals_of(self, setting: str, plain: str) -> tuple[float | None, float | None]:
        """Against the plain one in that precision."""
        return self.goals["precision" in setting] if plain == FP32 else (None, None)


def said(setting: str) -> str:
    """In words."""
    return f"with {setting}" if setting else "by default"


def skip_compiler(setting: str, device: str) -> None:
    """Raises SkippedError where trying the script would take minutes."""
    if device == "cpu" and "compile=" in setting:
        raise SkippedError("the compiler takes minutes on a CPU")


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

    def make(plain: str, chosen: Chosen, device: str) -> tuple[Step, Step]:
        def change(net: Any) -> None:
            net.use_precision(chosen.get("precision", "fp32"))
            net.use_kernels(chosen.get("kernels", "eager"))

        return recurrent.steps(SPACE.by_name(name), device, change, chosen.get("cuda_graphs", False))

    place = ("model_def:RecurrentTrial", "train_one_arch.yaml")
    others = (DEFAULT, "kernels=triton", "precision=tf32", "precision=bf16", "cuda_graphs=true precision=tf32")
    if name != "ASHA":
        return Work(f"recurrent {name}", words, *place, make, RECURRENT[:1], (RECURRENT[-1], DEFAULT))
    return Work(f"recurrent {name}", words, *place, make, RECURRENT, others, ((4.0, None), (10.0, 15.0)))


def _cnn(name: str, device: str) -> Work:
    words = f"CNN step, {name}, {cnn_step.CHANNELS} channels, {cnn_step.CELLS} cells, batch {cnn_step._batch(device)}"

    def make(plain: str, chosen: Chosen, device: str) -> tuple[Step, Step]:
        compiler = "inductor" if chosen.get("compile") == "cells" else None
        form = FastForm(chosen.get("weight_casts") == "once", chosen.get("pad_channels", False), compiler)
        precision = BF16 if chosen.get("mixed_precision", True) else FP32  # a trial's default on a GPU
        theirs, ours = cnn_step.steps(name, precision, plain, device, form, chosen.get("cuda_graphs", False))
        return theirs, measured_kernels(ours, chosen.get("cudnn_benchmark", False))

    place = ("cnn_nas.trial:ImageTrial", "cnn_nas/const.yaml")
    if name != "CONSTRAINED_ASHA":
        return Work(f"CNN {name}", words, *place, make, CNN[:1], (DEFAULT,))
    others = (*CNN_LATER, DEFAULT, "cuda_graphs=true mixed_precision=false", "mixed_precision=false")
    return Work(f"CNN {name}", words, *place, make, CNN, others, ((4.0, 6.0),) * 2)


def _image_supernets(device: str) -> list[Work]:
    words = supernet_step.SETTINGS["cifar"].words(device)

    def make(kind: str, plain: str, chosen: Chosen, device: str) -> tuple[Step, Step]:
        mixed = chosen.get("mixed_precision", device == "cuda")
        return supernet_step.steps("cifar", kind, device, mixed, chosen.get("cuda_graphs", False))

    def work(kind: str) -> Work:
        place = ("one_shot.trial:SearchTrial", "one_shot/cnn_darts.yaml")
        sides, others = partial(make, kind), ("mixed_precision=false",)
        name = f"CNN supernet, {kind}"
        return Work(name, f"search step, {kind}, {words}", *place, sides, IMAGE_SEARCH, others, (SEARCH_GOALS,) * 2)

    return [work(kind) for kind in supernet_step.KINDS]


def _text_supernets() -> list[Work]:
    def make(kind: str, plain: str, chosen: Chosen, device: str) -> tuple[Step, Step]:
        def change(net: Any) -> None:
            if "precision" in chosen:
                net.use_precision(chosen["precision"])

        form = recurrent_supernet.Form(chosen.get("cuda_graphs", False), change)
        return recurrent_supernet.steps(kind, "64", device, form)

    def work(kind: str) -> Work:
        words = f"recurrent supernet, step of the {kind}, {recurrent_supernet.setting('64')}"
        place = ("one_shot.trial:SearchTrial", "one_shot/rnn_darts.yaml")
        sides, others = partial(make, kind), ("precision=tf32", "precision=bf16", "cuda_graphs=true precision=tf32")
        name = f"recurrent supernet, {kind}"
        return Work(name, words, *place, sides, TEXT_SEARCH, others, (SEARCH_GOALS,) * 2)

    return [work(kind) for kind in (recurrent_supernet.WEIGHTS, recurrent_supernet.ARCHITECTURE)]


def in_2019(step: Step, precision: str, device: str) -> Step:
    """A plain step in a precision, with the convolutions that its authors had: those that cuDNN measures to be fastest."""

    def run() -> None:
        with cnn_step.precision(precision, device), convolutions(deterministic=False, benchmark=True):
            step()

    return run


def measured_kernels(step: Step, measured: bool) -> Step:
    """A step of ours as `cudnn_benchmark` has it."""

    def run() -> None:
        with convolutions(deterministic=True, benchmark=True):
            step()

    return run if measured else step


@contextlib.contextmanager
def convolutions(deterministic: bool, benchmark: bool) -> Iterator[None]:
    """Which kernels cuDNN may take."""
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    flags.deterministic, flags.benchmark = deterministic, benchmark
    try:
        yield
    finally:
        flags.deterministic, flags.benchmark = before

"""What the tests share: a tiny corpus, hyperparameters with which a trial takes a second, and ways to run one."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import training
from model_def import RecurrentTrial
from training import config as configs

ROOT = Path(__file__).resolve().parent.parent
TRIAL = "model_def:RecurrentTrial"
WORDS = 40
TINY: dict[str, Any] = {
    "emsize": 8,
    "nhid": 8,
    "nhidlast": 8,
    "global_batch_size": 4,
    "eval_batch_size": 3,
    "bptt": 8,
    "max_seq_length_delta": 4,
    "train_epochs": 2,
}
# All that has a state, on weights that learn something: small changes grow until they cannot be overlooked.
HARD: dict[str, Any] = {
    **{"arch_to_use": None, "node1_op": "sigmoid", "node1_edge": 0, "node2_op": "tanh", "node2_edge": 1},
    **{"node3_op": "relu", "node3_edge": 0, "depth": 2, "learning_rate": 40, "nonmono": 0, "train_epochs": 4},
    **{"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.2, "dropouti": 0.1, "dropoute": 0.1, "alpha": 0.5, "beta": 0.5},
    **{"global_batch_size": 3, "bptt": 5, "evaluate_test": True},
}

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nothing_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches go to a folder of the tests, which know of no data of yours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("NAS_DATA", raising=False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus of 41 words and 800 tokens, nearly predictable."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = random.Random(0)
    for split, lines in (("train", 60), ("valid", 12), ("test", 10)):
        text = [[(7 * i + 3 * j + generator.randrange(3)) % WORDS for j in range(9)] for i in range(lines)]
        (folder / f"{split}.txt").write_text("".join(" ".join(f"w{k}" for k in line) + "\n" for line in text))
    return folder


@dataclass(frozen=True)
class Run:
    """What a run on this machine did; the folder is that of the newest run, if there is any."""

    code: int
    out: str
    err: str
    folder: Path | None

    @property
    def path(self) -> Path:
        assert self.folder is not None, self.err
        return self.folder

    def read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def metrics(self, group: str) -> list[dict[str, Any]]:
        return metrics_of(self.path, group)

    def values(self, group: str, name: str) -> list[Any]:
        return [record[name] for record in self.metrics(group)]

    def checkpoint(self, which: str = "latest") -> dict[str, Any]:
        return torch.load(self.path / "checkpoints" / self.read("run.json")[which]["uuid"] / "state_dict.pth")


@dataclass(frozen=True)
class Laptop:
    """Runs trials on the tiny corpus, in this process, as the command line would."""

    experiments: Path
    corpus: Path

    def arguments(self, *overrides: str, config: str | Path = "train_small.yaml", **hparams: Any) -> list[str]:
        """The command line that trains a config at tiny size; a hyperparameter that is None becomes null."""
        values = {"data.corpus": "text", "data.data_dir": str(self.corpus)}
        values |= {f"hyperparameters.{name}": value for name, value in (TINY | hparams).items()}
        pairs = [f"{name}={json.dumps(value)}" for name, value in values.items()] + list(overrides)
        sets = [part for pair in pairs for part in ("--set", pair)]
        return ["--config", str(ROOT / config), "--experiments", str(self.experiments), *sets]

    def train(self, *overrides: str, config: str | Path = "train_small.yaml", **hparams: Any) -> Run:
        """A new run."""
        return self.main(self.arguments(*overrides, config=config, **hparams))

    def resume(self, folder: Path) -> Run:
        """Go on with a run."""
        return replace(self.main(["--resume", str(folder)]), folder=folder)

    def main(self, arguments: list[str]) -> Run:
        """Any command line."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = training.main(TRIAL, arguments)
        return Run(code, out.getvalue(), err.getvalue(), self.newest())

    def newest(self) -> Path | None:
        """The folder of the newest run."""
        found = sorted(self.left(), key=lambda path: int(path.name.rpartition("-")[2]))
        return found[-1] if found else None

    def left(self) -> list[Path]:
        """All that lies in the folder of experiments."""
        return list(self.experiments.iterdir()) if self.experiments.is_dir() else []


@pytest.fixture
def laptop(tmp_path: Path, corpus: Path, caplog: pytest.LogCaptureFixture) -> Laptop:
    """Trials on this machine, with a folder of experiments of the test's own."""
    caplog.set_level(logging.INFO)
    return Laptop(tmp_path / "experiments", corpus)


@pytest.fixture(scope="module")
def module_laptop(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[Laptop]:
    """The same for runs that several tests of a module look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.delenv("NAS_DATA", raising=False)
        yield Laptop(tmp_path_factory.mktemp("experiments"), corpus)


def metrics_of(folder: Path, group: str | None = None) -> list[dict[str, Any]]:
    """The complete lines of a run's metrics, maybe those of one group only."""
    file = folder / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [record for record in map(json.loads, lines) if group in (None, record["group"])]


def read_config(name: str) -> dict[str, Any]:
    """A config of the repository."""
    return configs.load(ROOT / name)


def tiny_config(corpus: Path, name: str = "train_small.yaml", **hparams: Any) -> dict[str, Any]:
    """A config of the repository at tiny size, for the cluster; hyperparameters of value None are left out."""
    config = read_config(name)
    values = {**config["hyperparameters"], **TINY, **hparams}
    config["hyperparameters"] = {key: value for key, value in values.items() if value is not None}
    config["data"] = {"corpus": "text", "data_dir": str(corpus)}
    return config


def assert_same(a: Any, b: Any, place: str = "") -> None:
    """Nested structures are equal to the last bit."""
    assert type(a) is type(b), place
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{place}[{i}]")
    else:
        assert a == b, place


def state_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What of a checkpoint decides how training goes on: weights, their means, hidden state, losses so far."""
    return {name: checkpoint[name] for name in ("models_state_dict", "optimizers_state_dict", "callbacks")}


def weights_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that count: the averaged ones if there are any, in the order of the model's parameters."""
    weights = {name.removeprefix("module."): value for name, value in checkpoint["models_state_dict"][0].items()}
    means = checkpoint["optimizers_state_dict"][0]["state"]
    if means:
        assert len(means) == len(weights)
        weights = {name: means[i]["mean"] for i, name in enumerate(weights)}
    return weights


def averaged_steps(checkpoint: dict[str, Any]) -> int:
    """How many steps the averaged weights are the mean of."""
    return int(checkpoint["optimizers_state_dict"][0]["param_groups"][0]["averaged_steps"])


def after_step(monkeypatch: pytest.MonkeyPatch, then: Callable[[RecurrentTrial, int], None]) -> None:
    """Call `then(trial, index)` after each training step."""
    original = RecurrentTrial.train_step

    def train_step(self: RecurrentTrial, batch: Any, epoch: int, index: int) -> dict[str, float]:
        metrics = original(self, batch, epoch, index)
        then(self, index)
        return metrics

    monkeypatch.setattr(RecurrentTrial, "train_step", train_step)


@contextlib.contextmanager
def stopped_after(batches: int) -> Iterator[None]:
    """A signal asks the run to stop while its batch number `batches`, counted from 1, is trained."""

    def stop(_: RecurrentTrial, index: int) -> None:
        if index + 1 == batches:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as monkeypatch:
        after_step(monkeypatch, stop)
        yield


def step_losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mean training loss of each step, filled while training goes on."""
    losses: list[float] = []
    before = [0.0, 0.0]

    def note(trial: RecurrentTrial, index: int) -> None:
        if index % (trial.context._epoch_len or 1) == 0:
            before[:] = [0.0, 0.0]
        totals = trial.train_means.totals()
        losses.append((totals[0] - before[0]) / (totals[1] - before[1]))
        before[:] = totals

    after_step(monkeypatch, note)
    return losses


def environment() -> dict[str, str]:
    """For a process of its own: as quiet and narrow as this one."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}


def start(arguments: list[str], cwd: Path = ROOT, module: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start `python [-m launcher ...] model_def.py arguments` in a process group of its own."""
    command = [sys.executable, *module, str(ROOT / "model_def.py"), *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=environment(), start_new_session=True, **pipes)


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait for something that a running process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)

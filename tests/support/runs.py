"""What the tests share: tiny data, hyperparameters with which a trial takes a second, and ways to run one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from nas import trial as training
from nas.config import load as configs
from nas.core.errors import ConfigError
from support.stub_master import StubMaster

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 600.0
"""Seconds that a process of an end-to-end test may take; far more than it needs on an idle machine."""
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
    **{"node3_op": "tanh", "node3_edge": 0, "depth": 2, "learning_rate": 40, "nonmono": 0, "train_epochs": 4},
    **{"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.2, "dropouti": 0.1, "dropoute": 0.1, "alpha": 0.5, "beta": 0.5},
    **{"global_batch_size": 3, "bptt": 5, "evaluate_test": True},
}
# One image network of three cells, of which one is normal, on images of 8 x 8 pixels in six classes. Not channels last: with
# few channels, torch 2.15 corrupts the heap on some CPUs (a strided 1 x 1 convolution, backward, oneDNN).
CLASSES = 6
TINY_IMAGES: dict[str, Any] = {
    **{"init_channels": 2, "layers": 3, "global_batch_size": 16, "eval_batch_size": 7, "train_epochs": 2},
    **{"crop_padding": 1, "cutout_length": 2, "evaluate_test": False, "channels_last": False},
}


@dataclass(frozen=True)
class Kind:
    """One of the trials, and what shrinks its configs."""

    trial: str
    config: str  # the one that is shrunk where a test names none
    script: tuple[str, ...]  # what Python runs
    tiny: dict[str, Any]
    data: dict[str, Any]  # of the section of that name, beside the folder


RECURRENT = Kind(
    "model_def:RecurrentTrial", "train_small.yaml", (str(ROOT / "model_def.py"),), TINY, {"corpus": "text"}
)
IMAGES = Kind(
    "cnn_nas.trial:ImageTrial",
    "cnn_nas/folder.yaml",
    ("-m", "cnn_nas.trial"),
    TINY_IMAGES,
    {"dataset": "folder", "image_size": 8, "validation_fraction": 0.25},
)


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
    """Runs trials of one kind on tiny data, in this process, as the command line would."""

    experiments: Path
    data: Path
    kind: Kind = RECURRENT

    def arguments(self, *overrides: str, config: str | Path = "", **hparams: Any) -> list[str]:
        """The command line that trains a config at tiny size; a hyperparameter that is None becomes null."""
        values = {f"data.{name}": value for name, value in (self.kind.data | {"data_dir": str(self.data)}).items()}
        values |= {f"hyperparameters.{name}": value for name, value in (self.kind.tiny | hparams).items()}
        pairs = [f"{name}={json.dumps(value)}" for name, value in values.items()] + list(overrides)
        sets = [part for pair in pairs for part in ("--set", pair)]
        path = ROOT / (config or self.kind.config)
        # A trial's seed is a master's draw from the experiment's; here they are the same.
        seeds = [pair.partition("=")[2] for pair in overrides if pair.startswith("reproducibility.experiment_seed=")]
        if not seeds:
            with contextlib.suppress(ConfigError):
                seeds = [str(configs.experiment_seed(configs.load(path)))]
        chosen = ["--seed", seeds[-1]] if seeds and seeds[-1].isdecimal() else []
        return ["--config", str(path), "--experiments", str(self.experiments), *chosen, *sets]

    def train(self, *overrides: str, config: str | Path = "", **hparams: Any) -> Run:
        """A new run."""
        return self.main(self.arguments(*overrides, config=config, **hparams))

    def resume(self, folder: Path) -> Run:
        """Go on with a run."""
        return replace(self.main(["--resume", str(folder)]), folder=folder)

    def main(self, arguments: list[str]) -> Run:
        """Any command line."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = training.main(self.kind.trial, arguments)
        return Run(code, out.getvalue(), err.getvalue(), self.newest())

    def newest(self) -> Path | None:
        """The folder of the newest run."""
        found = sorted(self.left(), key=lambda path: int(path.name.rpartition("-")[2]))
        return found[-1] if found else None

    def left(self) -> list[Path]:
        """All that lies in the folder of experiments."""
        return list(self.experiments.iterdir()) if self.experiments.is_dir() else []


def metrics_of(folder: Path, group: str | None = None) -> list[dict[str, Any]]:
    """The complete lines of a run's metrics, maybe those of one group only."""
    file = folder / "metrics.jsonl"
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [record for record in map(json.loads, lines) if group in (None, record["group"])]


def read_config(name: str) -> dict[str, Any]:
    """A config of the repository."""
    return configs.load(ROOT / name)


def tiny_config(data: Path, kind: Kind = RECURRENT, **hparams: Any) -> dict[str, Any]:
    """A config of the repository at tiny size, for the cluster; hyperparameters of value None are left out."""
    config = read_config(kind.config)
    values = {**config["hyperparameters"], **kind.tiny, **hparams}
    config["hyperparameters"] = {key: value for key, value in values.items() if value is not None}
    config["data"] = {**kind.data, "data_dir": str(data)}
    return config


def master_of(
    data: Path, storage: Path, searcher: dict[str, Any] | None = None, *, kind: Kind = RECURRENT, **hparams: Any
) -> StubMaster:
    """A master that runs one trial of a tiny config."""
    config = tiny_config(data, kind, **hparams)
    config["searcher"] = searcher or config["searcher"]
    return StubMaster(config, config["hyperparameters"], storage=storage, trial_seed=300)


def run_on(master: StubMaster, kind: Kind = RECURRENT) -> None:
    """What a container does: the script, without arguments."""
    with master:
        assert training.main(kind.trial) == 0
    assert master.unknown_requests == [] and master.complaints == []


def assert_invalid(master: StubMaster, kind: Kind = RECURRENT) -> None:
    """A trial of a search reports invalid hyperparameters, and nothing else; the only one of its experiment fails."""
    searcher = master.config["searcher"]
    if searcher["name"] == "single":
        assert_cannot_work(master, kind)
        master = replace(master, config={**master.config, "searcher": {**searcher, "name": "random", "max_trials": 2}})
    with pytest.raises(SystemExit) as error, master:
        training.main(kind.trial)
    assert error.value.code == 0 and master.early_exits == ["INVALID_HP"]
    assert master.reports == [] and master.checkpoints == [] and master.unknown_requests == []


def assert_cannot_work(master: StubMaster, kind: Kind = RECURRENT) -> None:
    """The trial fails before it has reported anything, without an exception."""
    with master:
        assert training.main(kind.trial) == 2
    assert master.reports == [] and master.checkpoints == [] and master.unknown_requests == master.early_exits == []


def checkpoint_of(master: StubMaster) -> dict[str, Any]:
    """The last checkpoint, read as torch does since 2.6."""
    return torch.load(master.storage / master.checkpoints[-1]["uuid"] / "state_dict.pth", weights_only=True)


def groups_of(master: StubMaster) -> list[str]:
    """The groups of all reports, in order."""
    return [report.group for report in master.reports]


def reports_of(master: StubMaster) -> dict[tuple[str, int], dict[str, Any]]:
    """All reports, by group and batches trained."""
    return {(report.group, report.steps_completed): report.metrics for report in master.reports}


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


def regular(run: Run) -> list[dict[str, Any]]:
    """What is reported, without the report that a stop adds; times and identities are not among it."""
    ends = set(run.values("validation", "batches"))
    return [r for r in metrics_of(run.path) if r["group"] != "training" or r["step"] % 100 == 0 or r["step"] in ends]


def assert_equal_runs(run: Run, straight: Run) -> None:
    """Both are complete, and what they trained and reported is equal to the last bit."""
    assert run.read("run.json")["status"] == "completed"
    assert_same(state_of(run.checkpoint()), state_of(straight.checkpoint()))
    assert_same(state_of(run.checkpoint("best")), state_of(straight.checkpoint("best")))
    assert regular(run) == regular(straight)
    assert len(list((run.path / "checkpoints").iterdir())) == len(list((straight.path / "checkpoints").iterdir()))


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


def after_step(monkeypatch: pytest.MonkeyPatch, then: Callable[[Any, int], None]) -> None:
    """Call `then(trial, index)` after each training step of any trial."""
    original = training.Trial.train_batch

    def train_batch(self: training.Trial, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, float]:
        metrics = original(self, batch, epoch_idx, batch_idx)
        then(self, batch_idx)
        return metrics

    monkeypatch.setattr(training.Trial, "train_batch", train_batch)


@contextlib.contextmanager
def stopped_after(batches: int) -> Iterator[None]:
    """A signal asks the run to stop while its batch number `batches`, counted from 1, is trained."""

    def stop(_: training.Trial, index: int) -> None:
        if index + 1 == batches:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as monkeypatch:
        after_step(monkeypatch, stop)
        yield


def step_losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mean training loss of each step, filled while training goes on."""
    losses: list[float] = []
    before = [0.0, 0.0]

    def note(trial: Any, index: int) -> None:
        if index % (trial.epoch_length or 1) == 0:
            before[:] = [0.0, 0.0]
        loss, *_, weight = trial.train_means.totals()
        losses.append((loss - before[0]) / (weight - before[1]))
        before[:] = [loss, weight]

    after_step(monkeypatch, note)
    return losses


def environment() -> dict[str, str]:
    """For a process of its own: as quiet and narrow as this one."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}


def start(
    arguments: list[str], kind: Kind = RECURRENT, cwd: Path = ROOT, launcher: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start `python [-m launcher ...] script arguments` in a process group of its own."""
    command = [sys.executable, *launcher, *kind.script, *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=environment(), start_new_session=True, **pipes)


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def torchrun(arguments: list[str], kind: Kind = RECURRENT) -> subprocess.Popen[str]:
    """Two processes on the CPU."""
    return start([*arguments, "--device", "cpu"], kind, launcher=TWO)


class Pollable(Protocol):
    """A process, or several that are looked at as one."""

    def poll(self) -> int | None: ...

    def communicate(self, timeout: float) -> tuple[str, str]: ...


def wait_until(condition: Callable[[], Any], process: Pollable, seconds: float = DEADLINE) -> None:
    """Wait for something that a running process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate(DEADLINE)
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)

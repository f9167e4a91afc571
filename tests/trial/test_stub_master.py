"""The stub master against the real harness, with a toy trial: linear regression on seeded data."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import determined as det
import pytest
import torch
from determined import pytorch
from support.stub_master import StubMaster

# One epoch is 8 batches.
CONFIG = {"searcher": {"name": "single", "metric": "loss"}, "data": {"rows": 32}}
HPARAMS = {"lr": 0.1, "batch_size": 4}


class PlainRngState(pytorch.PyTorchCallback):
    """Stores numpy's RNG state as plain types, which `torch.load` accepts with `weights_only`."""

    def on_checkpoint_save_start(self, checkpoint: dict[str, Any]) -> None:
        name, state, *rest = checkpoint["rng_state"]["np_rng_state"]
        checkpoint["rng_state"]["np_rng_state"] = (name, state.tolist(), *rest)


class LineTrial(pytorch.PyTorchTrial):
    """Learns y = 2x + 1, and remembers which batches it was given."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        self.batches: list[int] = []
        self.model = context.wrap_model(torch.nn.Linear(1, 1))
        self.optimizer = context.wrap_optimizer(torch.optim.SGD(self.model.parameters(), lr=context.get_hparam("lr")))

    def loader(self) -> pytorch.DataLoader:
        rows = self.context.get_experiment_config()["data"]["rows"]
        x = torch.rand(rows, 1, generator=torch.Generator().manual_seed(0))
        data = torch.utils.data.TensorDataset(x, 2 * x + 1)
        return pytorch.DataLoader(data, batch_size=self.context.get_hparam("batch_size"))

    build_training_data_loader = build_validation_data_loader = loader

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        return {"rng": PlainRngState()}

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        self.batches.append(batch_idx)
        loss = torch.nn.functional.mse_loss(self.model(batch[0]), batch[1])
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        return {"loss": loss}

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return {"loss": torch.nn.functional.mse_loss(self.model(batch[0]), batch[1])}


def train(epochs: int = 3) -> LineTrial:
    """What the script of a container does."""
    info = det.get_cluster_info()
    assert info is not None
    with pytorch.init(hparams=info.trial.hparams, enable_tensorboard_logging=False) as context:
        trial = LineTrial(context)
        pytorch.Trainer(trial, context).fit(
            max_length=pytorch.Epoch(epochs),
            validation_period=pytorch.Epoch(1),
            reporting_period=pytorch.Batch(4),
            latest_checkpoint=info.latest_checkpoint,
        )
    return trial


def weights(master: StubMaster) -> dict[str, torch.Tensor]:
    """The model in the last checkpoint."""
    path = Path(master.storage) / master.checkpoints[-1]["uuid"] / "state_dict.pth"
    return torch.load(path)["models_state_dict"][0]


def test_a_trial_reports_everything_in_order(tmp_path: Path) -> None:
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path) as master:
        trial = train()
    assert trial.batches == list(range(24))
    assert master.values("training", "batches") == [4, 8, 12, 16, 20, 24]
    assert master.values("training", "epochs") == [0, 1, 1, 2, 2, 3]
    assert master.validation("batches") == [8, 16, 24]
    assert master.validation("epochs") == [1, 2, 3]
    assert [(report.group, report.steps_completed) for report in master.reports[:3]] == [
        ("training", 4),
        ("training", 8),
        ("validation", 8),
    ]
    losses = master.validation("loss")
    assert losses == sorted(losses, reverse=True) and master.best() == losses[-1]
    assert master.progress[-1] == 1.0 and master.progress == sorted(master.progress)
    assert [checkpoint["steps_completed"] for checkpoint in master.checkpoints] == [8, 16, 24]
    assert "state_dict.pth" in master.checkpoints[-1]["resources"]
    assert set(master.statuses) == {"training", "validating", "checkpointing"}
    assert (master.unknown_requests, master.complaints, master.early_exits) == ([], [], [])
    assert not master.preemption_acknowledged


@pytest.mark.parametrize("preempt_after", [4, 8, 12])
def test_preempt_and_resume_equal_an_uninterrupted_run(tmp_path: Path, preempt_after: int) -> None:
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path) as whole:
        train()
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path, preempt_after=preempt_after) as first:
        before = train()
    with first.resume() as second:
        after = train()
    assert before.batches == list(range(preempt_after)) and first.preemption_acknowledged
    assert second.steps_completed == preempt_after and second.trial_run_id == 2
    assert after.batches == list(range(preempt_after, 24))
    steps = [(report.group, report.steps_completed) for report in [*first.reports, *second.reports]]
    assert sorted(set(steps)) == sorted((report.group, report.steps_completed) for report in whole.reports)
    assert second.validation("batches")[-1] == 24 and second.best() == whole.best()
    assert {name: value.tolist() for name, value in weights(second).items()} == {
        name: value.tolist() for name, value in weights(whole).items()
    }
    assert first.unknown_requests == second.unknown_requests == []


def test_resume_without_a_new_checkpoint_starts_over(tmp_path: Path) -> None:
    master = StubMaster(CONFIG, HPARAMS, storage=tmp_path, latest_checkpoint="abc", steps_completed=5, preempt_after=1)
    again = master.resume(trial_seed=7)
    assert (again.latest_checkpoint, again.steps_completed, again.trial_seed) == ("abc", 5, 7)
    assert again.preempt_after is None


def test_preempt_is_seen_at_the_next_check(tmp_path: Path) -> None:
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path) as master:
        master.preempt()
        assert len(train().batches) == 4
    assert [checkpoint["steps_completed"] for checkpoint in master.checkpoints] == [4]


def test_a_slow_watcher_does_not_delay_a_preemption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = det.core._preempt._PreemptionWatcher
    poll = watcher._get_preemption

    def slow_poll(self: Any, seconds: int) -> bool:
        answer = poll(self, seconds)
        time.sleep(0.3)
        return answer

    monkeypatch.setattr(watcher, "_get_preemption", slow_poll)
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path, preempt_after=8) as master:
        assert len(train().batches) == 8
    assert [checkpoint["steps_completed"] for checkpoint in master.checkpoints] == [8]


def test_invalid_hp_is_an_early_exit_with_status_zero(tmp_path: Path) -> None:
    def refuse() -> None:
        with pytorch.init(hparams=HPARAMS, enable_tensorboard_logging=False):
            raise det.InvalidHP("too many parameters")

    with StubMaster(CONFIG, HPARAMS, storage=tmp_path) as master, pytest.raises(SystemExit) as error:
        refuse()
    assert error.value.code == 0
    assert master.early_exits == ["INVALID_HP"]
    assert master.unknown_requests == []


@pytest.mark.parametrize(("smaller_is_better", "expected"), [(True, 0.5), (False, 2.0)])
def test_best_validation_of_the_experiment(tmp_path: Path, smaller_is_better: bool, expected: float) -> None:
    config = {"searcher": {"metric": "score", "smaller_is_better": smaller_is_better}}
    with (
        StubMaster(config, HPARAMS, storage=tmp_path) as master,
        pytorch.init(enable_tensorboard_logging=False) as context,
    ):
        harness = context._core.train
        assert harness.get_experiment_best_validation() is None and harness._get_last_validation() is None
        for step, score in enumerate([1.0, 0.5, 2.0, float("nan")]):
            harness.report_validation_metrics(step, {"score": score})
        assert harness.get_experiment_best_validation() == expected and harness._get_last_validation() == 3
    assert master.complaints == ["validation at 3: score must be a finite number, got 'NaN'"]
    assert master.resume().best() == expected


def test_only_improvements_on_other_trials_are_checkpointed(tmp_path: Path) -> None:
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path, best_validation=0.0) as master:
        train()
    assert [checkpoint["steps_completed"] for checkpoint in master.checkpoints] == [24]


def test_a_validation_without_the_time_metric_is_a_complaint(tmp_path: Path) -> None:
    searcher = {"name": "adaptive_asha", "metric": "loss", "time_metric": "hours", "max_time": 3}
    with StubMaster({**CONFIG, "searcher": searcher}, HPARAMS, storage=tmp_path) as master:
        train(epochs=1)
    assert master.complaints == ["validation at 8: hours must be a finite number, got None"]


def test_metadata_and_other_metric_groups(tmp_path: Path) -> None:
    with (
        StubMaster(CONFIG, HPARAMS, storage=tmp_path) as master,
        pytorch.init(enable_tensorboard_logging=False) as context,
    ):
        assert context._core.train.set_metadata({"genotype": {"normal": "x"}}) == {"genotype": {"normal": "x"}}
        assert context._core.train.get_metadata() == master.run_metadata
        context._core.train.report_metrics("test", 24, {"test_loss": 1.5})
    assert master.values("test", "test_loss") == [1.5] and master.validation("test_loss") == []
    assert master.resume().run_metadata == {"genotype": {"normal": "x"}}


def test_unknown_routes_are_recorded(tmp_path: Path) -> None:
    with (
        StubMaster(CONFIG, HPARAMS, storage=tmp_path) as master,
        pytorch.init(enable_tensorboard_logging=False) as context,
    ):
        session = context._core._session
        assert session is not None and session.get("/api/v1/nothing", params={"a": 1}).json() == {}
    assert master.unknown_requests == ["GET /api/v1/nothing"]


def test_a_report_that_can_not_be_sent_raises_as_usual(tmp_path: Path) -> None:
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path), pytorch.init(enable_tensorboard_logging=False) as context:
        context._core.train.report_metrics("test", 1, {"x": object()})
        with pytest.raises(TypeError):
            context._core.train.report_metrics("test", 2, {"x": 1})


def test_checkpoints_hold_the_context_folder(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "model_def.py").write_text("")
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path / "storage", code=code) as master:
        train(epochs=1)
    assert "code/model_def.py" in master.checkpoints[0]["resources"]


def test_tensorboard_files_go_to_storage(tmp_path: Path) -> None:
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path), pytorch.init() as context:
        folder = context._core.train.get_tensorboard_path()
        folder.mkdir()
        (folder / "events").write_text("")
        context._core.train.upload_tensorboard_files()
    assert not folder.exists()
    assert [path.name for path in tmp_path.glob("stub-cluster/tensorboard/**/*") if path.is_file()] == ["events"]


def test_everything_is_put_back(tmp_path: Path) -> None:
    environment, threads = dict(os.environ), set(threading.enumerate())
    kept = det.constants.MANAGED_TRAINING_MODEL_COPY, det.core._MetricsContext.report, det.get_cluster_info()
    with StubMaster(CONFIG, HPARAMS, storage=tmp_path) as master:
        train(epochs=1)
        os.environ["LEFT_BEHIND"] = "1"
        with pytest.raises(RuntimeError, match="inside a trial"), StubMaster(CONFIG, HPARAMS, storage=tmp_path):
            pass
    assert kept == (det.constants.MANAGED_TRAINING_MODEL_COPY, det.core._MetricsContext.report, det.get_cluster_info())
    assert dict(os.environ) == environment and set(threading.enumerate()) <= threads
    with pytest.raises(RuntimeError, match="has ended"), master:
        pass

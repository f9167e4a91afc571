"""A Determined master in a thread: tests run the on-cluster path of `determined.pytorch` for real.

    with StubMaster(config, hparams, storage=tmp_path, preempt_after=10) as master:
        main()  # what a container runs: det.get_cluster_info(), pytorch.init, Trainer.fit
    with master.resume() as again:
        main()
    assert again.values("training", "batches") == [...]
    with StubMaster(config, hparams, storage=tmp_path, stops=lambda report: report.steps_completed >= 20) as master:
        main()  # as under ASHA: the trial's state becomes STATE_STOPPING_COMPLETED, and nothing is signalled

Inside the block this process believes that it is the only slot of a trial; the real harness talks HTTP to the stub, and
checkpoints are real files in `storage`. Two liberties keep thread timing out of the results:

- The harness ships metrics from a background thread. Here a report returns once the master has it, so that reports,
  checkpoints and the best validation come in program order.
- The harness polls for preemption in a background thread. Here `should_preempt` waits until that thread has heard, if
  (and only if) the master has decided to preempt.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import determined as det
from determined import _info, constants, core

Json = dict[str, Any]
ENVIRONMENT = {
    "DET_SESSION_TOKEN": "stub-token",
    "DET_USER": "stub-user",
    "DET_MASTER_CERT_FILE": "noverify",  # else the harness looks for certificates in the home folder
    "DET_RETRY_CONFIG": '{"total": 0}',
    "USE_TORCH_DISTRIBUTED": "",
    "no_proxy": "127.0.0.1",
}


@dataclass(frozen=True)
class Report:
    """Metrics as posted: NaN and the infinities arrive as the strings "NaN", "Infinity" and "-Infinity"."""

    group: str
    steps_completed: int
    metrics: Json


@dataclass(eq=False)
class StubMaster:
    """One allocation of one trial. The lists hold what the harness posted, in order of arrival."""

    config: Json  # becomes the experiment config with the master's defaults, storing checkpoints in `storage`
    hparams: Json
    _: KW_ONLY
    storage: Path
    trial_seed: int = 1
    trial_id: int = 1
    trial_run_id: int = 1
    latest_checkpoint: str | None = None
    steps_completed: int = 0
    preempt_after: int | None = None  # preempt at the first report of at least so many batches
    stops: Callable[[Report], bool] | None = None  # the searcher: whether this validation stops the trial
    late: int = 0  # so many answers about the trial do not know yet of the last validation's decision
    later: int = 0  # so many answers about the trial, before those, do not know yet of the last validation
    reply: Callable[[Json], tuple[int, Any]] | None = None  # answers questions about the trial, given the right answer
    best_validation: float | None = None  # what the other trials of the experiment have reached
    gpu_uuids: Sequence[str] = ()  # none: the trial runs on the CPU
    code: Path | None = None  # the context folder, which every checkpoint copies; None: an empty one
    earlier: Sequence[Report] = ()  # reports of the trial's earlier allocations

    reports: list[Report] = field(default_factory=list, init=False)
    progress: list[float] = field(default_factory=list, init=False)
    checkpoints: list[Json] = field(default_factory=list, init=False)  # the posted body and `steps_completed`
    early_exits: list[str] = field(default_factory=list, init=False)  # "INVALID_HP" or "USER_REQUESTED_STOP"
    statuses: list[str] = field(default_factory=list, init=False)
    questions: int = field(default=0, init=False)  # about the trial
    state: str = field(default="STATE_RUNNING", init=False)  # the trial's
    run_metadata: Json = field(default_factory=dict, init=False)
    preemption_acknowledged: bool = field(default=False, init=False)
    unknown_requests: list[str] = field(default_factory=list, init=False)  # "GET /path", each answered 200 {}
    complaints: list[str] = field(default_factory=list, init=False)  # what a real master would refuse or fail for

    def __post_init__(self) -> None:
        self.config = with_defaults(self.config, self.storage, self.trial_seed)
        self.hparams = json.loads(json.dumps(self.hparams))
        self._changed = threading.Condition()  # guards all that the server's threads touch
        self._sent = 0
        self._unaware = 0  # answers to come that do not know of the last validation, or of what it decided
        self._preempting = self._closed = False

    def values(self, group: str, name: str) -> list[Any]:
        """Metric `name` of the reports of `group` that have it, in order."""
        return [report.metrics[name] for report in self.reports if report.group == group and name in report.metrics]

    def validation(self, name: str) -> list[Any]:
        """Validation metric `name`, in order."""
        return self.values("validation", name)

    def validations(self) -> list[Report]:
        """Validation reports of the whole trial, earlier allocations included."""
        return [report for report in [*self.earlier, *self.reports] if report.group == "validation"]

    def best(self) -> float | None:
        """Best finite searcher metric of the experiment so far."""
        searcher = self.config["searcher"]
        seen = [self.best_validation, *(report.metrics.get(searcher["metric"]) for report in self.validations())]
        numbers = [value for value in seen if isinstance(value, (int, float))]
        return (min if searcher["smaller_is_better"] else max)(numbers, default=None)

    def preempt(self) -> None:
        """Preempt now, like a pause or the scheduler. A stop by the searcher is never signalled, see `stops`."""
        with self._changed:
            self._preempting = True
            self._changed.notify_all()

    def resume(self, **changes: Any) -> StubMaster:
        """The trial's next allocation: it starts from the last checkpoint (from this one's start if there is none)."""
        options: Json = {"trial_run_id": self.trial_run_id + 1, "preempt_after": None}
        options["earlier"] = [*self.earlier, *self.reports]
        if self.checkpoints:
            options["latest_checkpoint"] = self.checkpoints[-1]["uuid"]
            options["steps_completed"] = self.checkpoints[-1]["steps_completed"]
        again = replace(self, **{**options, **changes})
        again.run_metadata = dict(self.run_metadata)
        return again

    def __enter__(self) -> StubMaster:
        if self._closed or det.get_cluster_info() is not None:
            raise RuntimeError("this allocation has ended (use resume()), or the process is inside a trial already")
        with contextlib.ExitStack() as stack:
            self._disguise(stack, self._cluster_info(stack.enter_context(self.serving())))
            self._undo = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def _disguise(self, stack: contextlib.ExitStack, info: det.ClusterInfo) -> None:
        """Make this process look like a container, until `stack` is closed."""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "code").mkdir()
        stack.enter_context(patch.dict(os.environ, ENVIRONMENT))  # restores all other variables as well
        build = importlib.import_module("determined.tensorboard.build")  # the attribute of that name is a function
        for target, attribute, value in (
            (_info, "_info", info),
            (constants, "MANAGED_TRAINING_MODEL_COPY", str(self.code or folder / "code")),
            (build, "get_base_path", lambda _: folder / "tensorboard"),
            (core._MetricsContext, "report", self._patient_report(core._MetricsContext.report)),
            (core.PreemptContext, "should_preempt", self._patient_should_preempt(core.PreemptContext.should_preempt)),
        ):
            stack.enter_context(patch.object(target, attribute, value))

    def _cluster_info(self, url: str) -> det.ClusterInfo:
        """What a container reads from its info files."""
        trial = self._trial_info()
        task = f"1.{self.trial_id}"
        names = ("stub-cluster", "stub-agent", [0], task, f"{task}.{self.trial_run_id}", "stub-token", "TRIAL")
        return det.ClusterInfo(
            url,
            *names,
            latest_checkpoint=self.latest_checkpoint,
            trial_info=det.TrialInfo(*trial, debug=False, inter_node_network_interface=None),
            rendezvous_info=det.RendezvousInfo(["127.0.0.1"], 0, [1]),
            resources_info=det.ResourcesInfo(list(self.gpu_uuids)),
        )

    def _trial_info(self) -> tuple[Any, ...]:
        """Arguments of `det.TrialInfo`."""
        return self.trial_id, 1, self.trial_seed, self.hparams, self.config, self.steps_completed, self.trial_run_id

    def parts_of_info(self, url: str, slots: int) -> Json:
        """For a container in another process, see `container.py`."""
        trial, checkpoint = list(self._trial_info()), self.latest_checkpoint
        return {"url": url, "trial": trial, "latest_checkpoint": checkpoint, "slots": list(range(slots))}

    def _patient_report(self, original: Callable[..., None]) -> Callable[..., None]:
        """`report`, and then wait until the shipper thread has delivered or died (its error surfaces as usual)."""

        def report(context: Any, *args: Any, **kwargs: Any) -> None:
            original(context, *args, **kwargs)
            with self._changed:
                self._sent = awaited = self._sent + 1
                while len(self.reports) < awaited and context._shipper.is_alive():
                    self._changed.wait(0.05)

        return report

    def _patient_should_preempt(self, original: Callable[..., bool]) -> Callable[..., bool]:
        """`should_preempt`, after the watcher thread has heard of a preemption, at which it ends."""

        def should_preempt(context: Any, auto_ack: bool = True) -> bool:
            if self._preempting and context._watcher is not None:
                context._watcher.join(10)
            return original(context, auto_ack)

        return should_preempt

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Serve at the URL that this yields; afterwards no thread is left, neither the stub's nor a watcher's."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.master = self
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()  # answers the long polls
            for watcher in threading.enumerate():
                if isinstance(watcher, core._preempt._PreemptionWatcher):
                    watcher.join(1)
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, method: str, url: str, body: Json) -> tuple[int, Any]:
        """Status and body of the reply to one request; a body that is text is sent as it is."""
        status, answer = self._answer(method, url, body)
        if "trial" in answer and self.reply is not None:
            return self.reply(answer)
        return status, answer

    def _trial(self) -> Json:
        """What a question about the trial is answered."""
        self.questions += 1
        seen, state = [{"totalBatches": report.steps_completed} for report in self.validations()], self.state
        if self._unaware:
            self._unaware, state = self._unaware - 1, "STATE_RUNNING"
            seen = seen if self._unaware < self.late else seen[:-1]
        return {"id": self.trial_id, "state": state, "latestValidation": seen[-1] if seen else None}

    def _answer(self, method: str, url: str, body: Json) -> tuple[int, Json]:
        address = urlsplit(url)
        with self._changed:
            match (method, *address.path.removeprefix("/api/v1/").split("/")):
                case "GET", "trials", _:
                    return 200, {"trial": self._trial()}
                case "POST", "trials", _, "metrics":
                    self._receive(body)
                case "POST", "trials", _, "early_exit":
                    self.early_exits.append(body["reason"].removeprefix("EXITED_REASON_"))
                case "POST", "trials", _, "progress":
                    self.progress.append(body["progress"])
                case "POST", "trials", _, "runner", "metadata":
                    self.statuses.append(body["state"])
                case "POST", "checkpoints":
                    self.checkpoints.append({**body, "steps_completed": body["metadata"]["steps_completed"]})
                case "GET", "experiments", _, "searcher", "best_searcher_validation_metric":
                    best = self.best()
                    return (404, {"message": "no validation yet"}) if best is None else (200, {"metric": best})
                case (("GET" | "POST"), "runs", _, "metadata"):
                    self.run_metadata = body.get("metadata", self.run_metadata)
                    return 200, {"metadata": self.run_metadata}
                case "POST", "runs", "start":
                    return 200, {"storageId": 1}
                case "GET", "allocations", _, "signals", "preemption":
                    patience = float(parse_qs(address.query)["timeout_seconds"][0])
                    self._changed.wait_for(lambda: self._preempting or self._closed, patience)
                    return 200, {"preempt": self._preempting}
                case "POST", "allocations", _, "signals", "ack_preemption":
                    self.preemption_acknowledged = True
                case _:
                    self.unknown_requests.append(f"{method} {address.path}")
        return 200, {}

    def _receive(self, body: Json) -> None:
        """Take in a metrics report."""
        posted = body["metrics"]
        report = Report(body["group"], posted.get("stepsCompleted") or 0, posted["metrics"]["avgMetrics"])
        self.reports.append(report)
        if report.group == "validation":
            self.complaints += searcher_complaints(self.config["searcher"], report)
            self._unaware = self.later + self.late
            if self.stops is not None and self.stops(report):
                self.state = "STATE_STOPPING_COMPLETED"
        if self.preempt_after is not None and report.steps_completed >= self.preempt_after:
            self.preempt()
        self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for the requests in flight
    server_bind = socketserver.TCPServer.server_bind  # HTTPServer's looks the host name up, which can take seconds
    master: StubMaster


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _reply(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = self.server.master.answer(self.command, self.path, json.loads(raw or b"{}"))
        with contextlib.suppress(ConnectionError):  # the harness may have gone
            self.send_response(status)
            self.end_headers()
            self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _reply

    def log_message(self, format: str, *args: Any) -> None:
        pass


def with_defaults(config: Json, storage: Path, trial_seed: int) -> Json:
    """`config` as the master hands it to a trial: a JSON copy, with the defaults that harness and trials may read."""
    config = json.loads(json.dumps(config))
    searcher = {"name": "single", "metric": "validation_loss", "smaller_is_better": True, **config.get("searcher", {})}
    filled = {"name": "stub", "hyperparameters": {}, "data": {}, "debug": False, **config, "searcher": searcher}
    filled["resources"] = {"slots_per_trial": 1, **config.get("resources", {})}
    filled["reproducibility"] = {"experiment_seed": trial_seed, **config.get("reproducibility", {})}
    filled["checkpoint_storage"] = {"type": "directory", "container_path": str(storage)}
    return filled


def searcher_complaints(searcher: Json, report: Report) -> Iterator[str]:
    """What in a validation report would fail the experiment."""
    for name in [searcher[key] for key in ("metric", "time_metric") if key in searcher]:
        value = report.metrics.get(name)
        if not isinstance(value, (int, float)):
            yield f"validation at {report.steps_completed}: {name} must be a finite number, got {value!r}"

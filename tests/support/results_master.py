"""A Determined master in a thread that has one experiment and answers what asks for its results, over HTTP.

    with ResultsMaster(config, [ServedTrial(31, {"depth": 2}, records=[...])], experiment=17) as master:
        monkeypatch.setenv("DET_MASTER", master.url)  # and the rest of `environment`
        read("17")
    assert master.asked("/trials") == 2

Answers have the fields that `determined.common.api.bindings` of 0.38.1 demands; NaN and the infinities are text in them.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import tarfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from determined.common.api import authentication

from nas.config.yaml_text import dump
from support.stub_master import _Server

Json = dict[str, Any]
USER, PASSWORD, TOKEN = "ada", "Correct-1horse", "token-of-ada"
BEGIN = "2026-03-01T12:00:00.250Z"
PAGE = 100


def environment(url: str, folder: Path, password: str | None = PASSWORD) -> dict[str, str]:
    """Of a user of that master, whose home is `folder`."""
    found = {"DET_MASTER": url, "DET_DEBUG_CONFIG_PATH": str(folder), "DET_MASTER_CERT_FILE": "noverify"}
    return {**found, "no_proxy": "127.0.0.1", **({"DET_USER": USER, "DET_PASS": password} if password else {})}


@dataclass
class ServedTrial:
    """A trial; `records` are lines of a run's `metrics.jsonl`."""

    id: int
    hparams: Json
    state: str = "COMPLETED"
    records: Sequence[Json] = ()
    metadata: Json = field(default_factory=dict)
    checkpoint: str | None = None
    restarts: int = 0
    seconds: float | None = 60.0
    policy: str | None = None

    def to_json(self, experiment: int) -> Json:
        """The master's `trialv1Trial`."""
        names = {"training": "avg_metrics", "validation": "validation_metrics"}
        summary = {names.get(record["group"], record["group"]): {} for record in self.records}
        best = {"state": "STATE_COMPLETED", "totalBatches": 8, "uuid": self.checkpoint, "resources": {}}
        batches = max((record["step"] for record in self.records if record["group"] != "architectures"), default=0)
        return {
            "id": self.id,
            "experimentId": experiment,
            "hparams": self.hparams,
            "restarts": self.restarts,
            "startTime": BEGIN,
            "endTime": "2026-03-01T12:01:30.25Z",
            "wallClockTime": self.seconds,
            "state": f"STATE_{self.state}",
            "totalBatchesProcessed": batches,
            "bestCheckpoint": best if self.checkpoint else None,
            "summaryMetrics": summary,
            "logPolicyMatched": self.policy,
        }


@dataclass(eq=False)
class ResultsMaster:
    """The master. `requests` has the paths that were asked, in order, with the query."""

    config: Json  # as submitted
    trials: Sequence[ServedTrial]
    experiment: int = 17
    state: str = "COMPLETED"
    version: str = "0.38.1"
    files: dict[str, bytes] = field(default_factory=dict)  # of every checkpoint
    slow: float = 0  # seconds before each answer
    page: int = PAGE  # trials in an answer, at most
    instead: dict[str, tuple[int, Any]] = field(default_factory=dict)  # answers to paths that begin so

    requests: list[str] = field(default_factory=list, init=False)

    def __enter__(self) -> ResultsMaster:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.master = self  # type: ignore[assignment]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked(self, part: str) -> int:
        """How many requests have it in their path."""
        return sum(part in urlsplit(request).path for request in self.requests)

    def answer(self, method: str, url: str, token: str, body: Json) -> tuple[int, Any]:
        """Status and body of the reply; text and bytes are sent as they are."""
        self.requests.append(url)
        time.sleep(self.slow)
        address = urlsplit(url)
        query = parse_qs(address.query)
        for path, answer in self.instead.items():
            if address.path.startswith(path):
                return answer
        parts = address.path.strip("/").removeprefix("api/v1/").split("/")
        if parts == ["master"]:
            names = dict.fromkeys(("clusterId", "clusterName", "masterId"), "stub")
            return 200, {**names, "version": self.version, "hasCustomLogo": False, "strictJobQueueControl": False}
        if (method, parts) == ("POST", ["auth", "login"]):
            return self._login(body)
        if token != f"Bearer {TOKEN}":
            return 401, _error("Unauthenticated", "token not valid")
        return self._content(parts, query)

    def _login(self, body: Json) -> tuple[int, Any]:
        if (body["username"], body["password"]) != (USER, authentication.salt_and_hash(PASSWORD)):
            return 403, _error("PermissionDenied", "invalid credentials")
        return 200, {"token": TOKEN, "user": {"active": True, "admin": False, "username": USER}}

    def _content(self, parts: list[str], query: dict[str, list[str]]) -> tuple[int, Any]:
        by_id = {trial.id: trial for trial in self.trials}
        match parts:
            case ["me"]:
                return 200, {"username": USER}
            case ["experiments", number] if int(number) == self.experiment:
                return 200, {"experiment": self._experiment()}
            case ["experiments", number, "trials"] if int(number) == self.experiment:
                return 200, self._page(int(query["offset"][0]), int(query["limit"][0]))
            case ["trials", "metrics", "trial_metrics"]:
                asked = [by_id[int(each)] for each in query["trialIds"]]
                return 200, "".join(f"{json.dumps(line)}\n" for line in _stream(query["group"][0], asked))
            case ["runs", number, "metadata"] if int(number) in by_id:
                return 200, {"metadata": by_id[int(number)].metadata}
            case ["checkpoints", uuid] if any(trial.checkpoint == uuid for trial in self.trials):
                return 200, {"checkpoint": self._checkpoint(uuid)}
        return 404, _error("NotFound", f"{' '.join(parts)} not found")

    def _experiment(self) -> Json:
        """The master's `v1Experiment`; its config has defaults that were not submitted."""
        constants = {
            name: value if isinstance(value, dict) else {"type": "const", "val": value}
            for name, value in self.config["hyperparameters"].items()
        }
        searcher = {"smaller_is_better": True, "source_trial_id": None, "max_rungs": 5, "mode": "standard"}
        filled = {
            **{"description": None, "resources": {"slots_per_trial": 1}, "reproducibility": {"experiment_seed": 7}},
            **self.config,
            **{"hyperparameters": constants, "searcher": {**searcher, **self.config["searcher"]}},
        }
        return {
            **{"id": self.experiment, "archived": False, "jobId": "job", "name": self.config["name"]},
            **{"numTrials": len(self.trials), "projectId": 1, "projectOwnerId": 1, "username": USER},
            **{"searcherType": searcher.get("name", ""), "startTime": BEGIN, "state": f"STATE_{self.state}"},
            **{"config": filled, "originalConfig": dump(self.config)},
        }

    def _page(self, offset: int, limit: int) -> Json:
        by_id = sorted(self.trials, key=lambda trial: trial.id)
        shown = by_id[offset : offset + min(limit, self.page)]
        place = {"offset": offset, "limit": limit, "startIndex": offset, "endIndex": offset + len(shown)}
        trials = [trial.to_json(self.experiment) for trial in shown]
        return {"trials": trials, "pagination": {**place, "total": len(by_id)}}

    def _checkpoint(self, uuid: str) -> Json:
        storage = {"checkpoint_storage": {"type": "directory", "container_path": "/not/on/this/machine"}}
        training = {"trialId": 1, "experimentId": self.experiment, "experimentConfig": storage, "hparams": {}}
        known = {"uuid": uuid, "state": "STATE_COMPLETED", "resources": {}, "metadata": {"steps_completed": 8}}
        return {**known, "training": training}


def archive(files: dict[str, bytes]) -> bytes:
    """As the master sends a checkpoint."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _stream(group: str, trials: Sequence[ServedTrial]) -> list[Json]:
    """One message a trial, as the master sends them; a trial without such metrics gets none."""
    key = "validation_metrics" if group == "validation" else "avg_metrics"
    messages = []
    for trial in trials:
        reports = [
            {
                **{"trialId": trial.id, "trialRunId": 1, "totalBatches": record["step"], "archived": False},
                **{"endTime": BEGIN, "group": group, "id": number},
                "metrics": {
                    key: {name: _text(value) for name, value in record.items() if name not in ("group", "step")}
                },
            }
            for number, record in enumerate(trial.records)
            if record["group"] == group
        ]
        messages += [{"result": {"metrics": reports}}] if reports else []
    return messages


def _text(value: Any) -> Any:
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _error(reason: str, message: str) -> Json:
    return {"error": {"code": 5, "reason": reason, "error": message}}


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def _reply(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "")
        master: ResultsMaster = self.server.master
        if self.path.startswith("/checkpoints/") and token == f"Bearer {TOKEN}":
            status, answer = 200, archive(master.files)
            status, answer = next(
                (each for path, each in master.instead.items() if self.path.startswith(path)), (status, answer)
            )
        else:
            status, answer = master.answer(self.command, self.path, token, json.loads(raw or b"{}"))
        body = (
            answer
            if isinstance(answer, bytes)
            else (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        )
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

    do_GET = do_POST = _reply

    def log_message(self, format: str, *args: Any) -> None:
        pass

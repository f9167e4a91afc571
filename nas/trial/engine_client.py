"""A trial's connection to the local engine: what it reports, and whether it should stop.

Messages are JSON. The trial says `started`, `progress`, `validation`, `note` and `ended`; the engine answers a validation
with {"stop": true or false} and says nothing else. If the engine dies, so does the trial: its folder is all that counts.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from multiprocessing.connection import Client
from typing import Any

from nas.runs.engine_protocol import KEY

ORPHANED = 4
"""Exit status of a trial whose engine died."""


class EngineClient:
    """The trial's end of the connection.

    Args:
        address: of the engine's socket.
        trial: the trial's number.
    """

    def __init__(self, address: str, trial: int) -> None:
        self._connection = Client(address, authkey=bytes.fromhex(os.environ.pop(KEY)))
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._told = 0.0
        self.stopped = False
        threading.Thread(target=self._listen, name="engine", daemon=True).start()
        self._say("started", trial=trial, pid=os.getpid())

    def progress(self, batches: int, total: int) -> None:
        """So many batches of all are trained; said once a second at most."""
        now = time.monotonic()
        if now - self._told >= 1:
            self._told = now
            self._say("progress", batches=batches, total=total)

    def validation(self, metrics: dict[str, Any]) -> bool:
        """Validation metrics were reported; returns whether the trial should stop now."""
        self._say("validation", metrics=metrics)
        self.stopped = bool(self._answers.get()["stop"])
        return self.stopped

    def note(self, text: str) -> None:
        """What whoever watches the search should know."""
        self._say("note", text=text)

    def ended(self, outcome: str, errors: list[str] | None = None) -> None:
        """Last words, how it ended: completed, diverged, stopped, invalid, changed, data, disk or error."""
        self._say("ended", outcome=outcome, errors=errors or [])

    def _say(self, what: str, **content: Any) -> None:
        try:
            self._connection.send_bytes(json.dumps({"say": what, **content}).encode())
        except OSError:
            os._exit(ORPHANED)

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(json.loads(self._connection.recv_bytes()))
        except (EOFError, OSError):
            os._exit(ORPHANED)

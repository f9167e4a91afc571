"""A trial's connection to the local engine: what it reports, and whether it should stop.

Messages are JSON. The trial says `started`, `threads`, `progress`, `validation`, `note` and `ended`; the engine answers a
validation with {"stop": true or false}, as late as it likes, and may say {"leave": true} at any time. If the engine dies, so
does the trial: its folder is all that counts.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from typing import Any, NoReturn

from nas.core.errors import ConfigError
from nas.core.program import ORPHANED
from nas.runs.engine_protocol import KEY, LEAVE


class EngineClient:
    """The trial's end of the connection.

    Args:
        address: of the engine's socket.
        trial: the trial's number.

    Raises:
        ConfigError: the process was started by no engine.
    """

    def __init__(self, address: str, trial: int) -> None:
        try:
            key = bytes.fromhex(os.environ.pop(KEY))
        except (KeyError, ValueError) as error:
            raise ConfigError(["--engine is said by nas run only; leave it out"]) from error
        try:
            self._connection = Client(address, authkey=key)
        except (OSError, EOFError, AuthenticationError):
            _leave()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._told = 0.0
        self.stopped = self.told_to_leave = False
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
        answer = self._answers.get()
        self.stopped = bool(answer["stop"]) and not answer.get("leave")  # by the searcher
        return bool(answer["stop"])

    def threads(self, count: int) -> None:
        """So many threads are what the first steps are fastest with."""
        self._say("threads", count=count)

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
            _leave()

    def _listen(self) -> None:
        try:
            while True:
                said = json.loads(self._connection.recv_bytes())
                if said == LEAVE:
                    self.told_to_leave = True
                else:
                    self._answers.put(said)
        except (EOFError, OSError):
            _leave()


def _leave() -> NoReturn:
    os.write(2, b"nas run has ended, so this trial leaves; its last checkpoint is kept\n")
    os._exit(ORPHANED)

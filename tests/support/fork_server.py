"""`python3 fork_server.py`: forks trials from one process, which has imported them already; see `forked.py`.

Reads a request a line, and says a line when its processes have started and when each has ended.
"""

from __future__ import annotations

import json
import os
import select
import sys
import traceback
from typing import Any

import torch._dynamo  # which an estimate of memory imports, for seconds

import cnn_nas.trial
import model_def
import one_shot.trial
from nas import trial as training

IMPORTED = (torch._dynamo, cnn_nas.trial, model_def, one_shot.trial)
LOOK = 0.02
"""Seconds between two looks at whether a process has ended."""


def say(what: dict[str, Any]) -> None:
    os.write(1, (json.dumps(what) + "\n").encode())


def fork(request: dict[str, Any], environment: dict[str, str], group: int) -> int:
    """Start a process that trains, in the process group `group`; 0: in one of its own."""
    pid = os.fork()
    if pid:
        os.setpgid(pid, group)
        return pid
    code = 1
    try:
        os.setpgid(0, group)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in ("out", "err"):
            file = os.open(request[stream], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(file, {"out": 1, "err": 2}[stream])
        os.environ.update(environment)
        os.chdir(request["cwd"])
        code = training.main(request["trial"], request["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def reap(running: set[int]) -> None:
    """Say who has ended."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.remove(pid)
            say({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def main() -> None:
    running: set[int] = set()
    requests = b""
    while True:
        if select.select([0], [], [], LOOK if running else None)[0]:
            read = os.read(0, 1 << 16)
            if not read:  # nobody asks any more
                return
            requests += read
        while b"\n" in requests:
            line, _, requests = requests.partition(b"\n")
            request, pids = json.loads(line), list[int]()
            for environment in request["environments"]:
                pids.append(fork(request, environment, pids[0] if pids else 0))
            running.update(pids)
            say({"pids": pids})
        reap(running)


if __name__ == "__main__":
    main()

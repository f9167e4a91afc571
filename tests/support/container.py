"""A trial's container as a process of its own: Determined's launcher, its processes, and a `StubMaster` to talk to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path

from support.runs import DEADLINE, RECURRENT, ROOT, Kind, environment
from support.stub_master import ENVIRONMENT, StubMaster

INSIDE = Path(__file__).with_name("in_container.py")
LAUNCHER = ("-m", "determined.launch.torch_distributed")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def run_container(
    master: StubMaster, kind: Kind = RECURRENT, *, slots: int = 1, launch: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What an agent runs: the script, under Determined's launcher as in our entrypoints; its output in one stream.

    Args:
        slots: how many processes the launcher starts.
        launch: whether there is a launcher at all.
        variables: more of the environment.
    """
    with master.serving() as url, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "info.json")
        file.write_text(json.dumps({**master.parts_of_info(url, slots), "allocation": uuid.uuid4().hex}))
        start = [sys.executable, str(INSIDE), str(file), folder]
        script = [*start, *kind.script]
        command = [*start, *LAUNCHER, "--", *script] if launch else script
        ports = dict(
            zip(("C10D_PORT", *(f"INTER_TRAIN_PROCESS_COMM_PORT_{i}" for i in (1, 2))), free_ports(3), strict=True)
        )
        surroundings = {
            **environment(),
            **ENVIRONMENT,
            **{name: str(port) for name, port in ports.items()},
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            **variables,
        }
        return subprocess.run(
            command,
            cwd=ROOT,
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

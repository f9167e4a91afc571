"""python3 in_container.py INFO FOLDER SCRIPT ARGUMENTS...: a script that believes to be in a container; see `container.py`."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import determined as det
from determined import _info, constants


def inside(info_file: str, folder: str, *command: str) -> None:
    """Believe in the cluster of the file, then be `python3 command`."""
    parts: dict[str, Any] = json.loads(Path(info_file).read_text())
    code = Path(folder, "code")
    code.mkdir(exist_ok=True)
    _info._info = det.ClusterInfo(
        *(
            parts["url"],
            "stub-cluster",
            "stub-agent",
            parts["slots"],
            "1.1",
            parts["allocation"],
            "stub-token",
            "TRIAL",
        ),
        latest_checkpoint=parts["latest_checkpoint"],
        trial_info=det.TrialInfo(*parts["trial"], debug=False, inter_node_network_interface=None),
        rendezvous_info=det.RendezvousInfo(["127.0.0.1"], 0, [len(parts["slots"])]),
        resources_info=det.ResourcesInfo([]),
    )
    constants.MANAGED_TRAINING_MODEL_COPY = str(code)
    build = importlib.import_module("determined.tensorboard.build")
    build.get_base_path = lambda _: Path(folder, "tensorboard")
    if command[0] == "-m":
        sys.argv = list(command[1:])
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        sys.path[0] = str(Path(command[0]).parent)
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # as if this file were not between
    inside(*sys.argv[1:])

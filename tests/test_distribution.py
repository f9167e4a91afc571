"""What an installation brings, and what `det experiment create` uploads."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from determined.common import context
from support.runs import ROOT

NAMES = {"nas", "one_shot", "cnn_nas", "randomNAS_files", "model_def", "data"}
LIMIT = 2_500_000

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def uploaded() -> list[Any]:
    """Files and folders, as Determined's own command reads them."""
    with contextlib.redirect_stdout(io.StringIO()):
        return list(context.read_v1_context(ROOT, []))


def is_folder(item: Any) -> bool:
    return (not item.content and stat.S_ISDIR(item.mode)) or (ROOT / item.path).is_dir()


def test_an_installation_brings_these_names_and_no_others() -> None:
    try:
        names = metadata.distribution("nas-experiments").read_text("top_level.txt")
    except metadata.PackageNotFoundError:
        pytest.skip("runs from a clone that is not installed")
    assert {*(names or "").split()} == NAMES


def test_the_upload_is_small_and_holds_what_trials_need(uploaded: list[Any]) -> None:
    paths = {item.path for item in uploaded}
    yamls = {
        path.relative_to(ROOT).as_posix()
        for folder in (ROOT, ROOT / "cnn_nas", ROOT / "one_shot")
        for path in folder.glob("*.yaml")
    }
    assert {"model_def.py", "data.py", "startup-hook.sh", "cnn_nas/trial.py", "nas/trial/cluster.py", *yamls} <= paths
    left_out = ("tests", "docs", "benchmarks", ".venv", ".git", "nas/engine", "nas/cli", "nas/check", "nas/results")
    assert not [path for path in paths if path.startswith(tuple(f"{folder}/" for folder in left_out))]
    size = sum(len(item.content or "") for item in uploaded)
    assert size < LIMIT, f"{size:,} bytes of {len(uploaded)} files"


def test_trials_run_from_what_is_uploaded_alone(uploaded: list[Any], tmp_path: Path) -> None:
    for item in uploaded:
        target = tmp_path / item.path
        if is_folder(item):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(base64.b64decode(item.content or ""))
    without_this_clone = (
        "import sys; sys.meta_path[:] = [each for each in sys.meta_path if 'editable' not in repr(each)]"
    )
    code = f"{without_this_clone}; import model_def, cnn_nas.trial, nas; print(nas.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and Path(done.stdout.strip()) == tmp_path / "nas" / "__init__.py", done.stderr


def test_only_what_is_the_users_to_edit_lies_at_the_root() -> None:
    assert {path.name for path in ROOT.glob("*.py")} == {"model_def.py", "data.py"}

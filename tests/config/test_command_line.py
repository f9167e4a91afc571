"""What an entrypoint's command starts, and what of it would be lost: as a shell and Python themselves understand it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nas.config.command_line import Command, read_command
from nas.config.contract import reports_nothing, trial_class_in
from nas.config.entrypoint import resolve
from nas.core.errors import ConfigError
from nas.core.program import ROOT, command
from nas.engine.preflight import refusals

SEES = "import json, os, sys; print(json.dumps([sys.argv[1:], [*sys.flags][:9], sys.warnoptions, os.environ.get('A')]))"


@pytest.mark.parametrize(
    "text",
    [
        "python3 sees.py --fast -c 3",
        "python3 -m sees 'a b' \"c d\" e\\ f",
        "A=1 python3 -O sees.py '$A' 'x;y' \"it's\"",
        "env A='b c' python3 -OBWignore -W error -m sees",
        "exec env A= python3 -Xdev -u sees.py -- -O",
        "A=2 python3 -msees -x",
    ],
)
def test_a_program_sees_what_it_would_see_from_a_shell(text: str, tmp_path: Path) -> None:
    (tmp_path / "sees.py").write_text(SEES)
    (tmp_path / "python3").symlink_to(sys.executable)
    environment = {name: value for name, value in os.environ.items() if name not in ("A", "PYTHONUNBUFFERED")}

    def output(words: Any, more: dict[str, str], shell: bool) -> Any:
        done = subprocess.run(
            words, shell=shell, cwd=tmp_path, env=environment | more, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    wanted = output(text.replace("python3", sys.executable, 1), {}, shell=True)
    found = read_command(text)
    words = command(tmp_path, found.program, found.options)
    assert found.lost == () and output([*words, *found.arguments], dict(found.environment), shell=False) == wanted


@pytest.mark.parametrize(
    ("entrypoint", "lost"),
    [
        ("pip install x && python3 t.py", "&&"),
        ("python3 t.py > log", ">"),
        ("python3 t.py | tee log", "|"),
        ("python3 t.py; echo", ";"),
        ("cd a\npython3 t.py", "a new line"),
        ("python3 t.py --data $HOME", "$"),
        ('python3 t.py "$HOME"', "$"),
        ("python3 t.py `pwd`", "`"),
        ("python3 t.py ~/data", "~"),
        ("python3 t.py *.txt", "*"),
        ("python3 t.py # all of it", "#"),
        ("nohup python3 t.py", "nohup in front of python3"),
        (["env", "-i", "python3", "t.py"], "-i in front of python3"),
        ("python3 -i t.py", "-i waits for input"),
        ("python3 -ux t.py", "-x skips the first line"),
        (
            "python3 -m determined.launch.torch_distributed --max_restarts 3 -- python3 t.py",
            "--max_restarts 3 in front",
        ),
    ],
)
def test_what_cannot_be_kept_is_said(entrypoint: Any, lost: str) -> None:
    found = read_command(entrypoint)
    assert found.program == ("t.py",) and len(found.lost) == 1 and lost in found.lost[0]


def test_a_list_of_words_meets_no_shell() -> None:
    assert read_command(["python3", "t.py", "$HOME", "a;b", "~"]) == Command(("t.py",), (), ("$HOME", "a;b", "~"))


@pytest.mark.parametrize(
    "entrypoint", ["python3 -c 'print(1)'", "python3 -", "python3", "python3 -m", "./train.sh", ""]
)
def test_there_may_be_no_program(entrypoint: str) -> None:
    assert read_command(entrypoint).program == ()
    with pytest.raises(ConfigError, match="entrypoint must run a trial"):
        resolve(entrypoint)


def test_a_launcher_starts_the_program_with_the_variables_of_both() -> None:
    found = read_command("A=1 python3 -W error -m determined.launch.torch_distributed -- env B=2 python3 -O t.py --x")
    assert found == Command(
        ("t.py",), ("-O",), ("--x",), (("A", "1"), ("B", "2")), "determined.launch.torch_distributed"
    )


@pytest.mark.parametrize(
    ("entrypoint", "says"),
    [
        ("python3 model_def.py --fast", "passes --fast to model_def, which reads no arguments"),
        ("nice python3 model_def.py", "nice in front of python3"),
        ("python3 -m determined.launch.horovod python3 model_def.py", "started by determined.launch.horovod"),
    ],
)
def test_nas_run_refuses_what_it_cannot_keep(entrypoint: str, says: str) -> None:
    (said,) = refusals(resolve(entrypoint))
    assert says in said
    assert refusals(resolve("A=1 python3 -O -m model_def")) == []


NEIGHBOURS = {"quiet": "import torch\n", "speaks": "from nas.trial import main\n", "leads": "import importlib\n"}


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        ("import sys\nsys.exit(3)\n", True),
        ("import determined, torch, quiet\nfrom torch import nn\n", True),
        ("from pack import quiet\n", True),
        ("from pack import speaks\n", False),
        ("import pack.speaks as other\n", False),
        ("import speaks\n", False),
        ("import leads\n", False),
        ("import subprocess\n", False),
        ("exec(open('x').read())\n", False),
        ("import os\nos.system('x')\n", False),
        ("from nas.trial import main\nTRIAL = 'a:B'\nmain(TRIAL)\n", False),
        ("import (\n", False),
    ],
)
def test_the_text_tells_whether_a_program_reports_nothing(tmp_path: Path, text: str, nothing: bool) -> None:
    (tmp_path / "pack").mkdir()
    for name, content in NEIGHBOURS.items():
        (tmp_path / f"{name}.py").write_text(content)
        (tmp_path / "pack" / f"{name}.py").write_text(content)
    (tmp_path / "mine.py").write_text(text)
    assert reports_nothing(tmp_path / "mine.py", tmp_path) is nothing
    assert trial_class_in(tmp_path / "mine.py") is None
    refused = refusals(resolve("python3 mine.py", folder=tmp_path))
    assert ["mine cannot report its validations" in each for each in refused] == [True] * nothing


@pytest.mark.parametrize("file", ["model_def.py", "cnn_nas/trial.py", "one_shot/trial.py"])
def test_the_programs_of_this_project_report(file: str) -> None:
    assert not reports_nothing(ROOT / file, ROOT) and trial_class_in(ROOT / file) is not None

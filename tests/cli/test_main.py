"""How the command line ends when nothing can come of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.runs import ROOT

from nas.cli import main as nas
from nas.cli import run
from nas.core import host
from nas.trial import main as trial_main


def test_ctrl_c_before_a_search_has_begun_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupted)
    assert nas(["run", "x.yaml"]) == run.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("program", ["nas", "trial"])
def test_windows_is_refused_in_a_sentence(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "os", SimpleNamespace(name="nt"))
    words = {"nas": ["run", str(ROOT / "quickstart.yaml")], "trial": ["--score", "x"]}
    code = nas(words["nas"]) if program == "nas" else trial_main("model_def:RecurrentTrial", words["trial"])
    said = capsys.readouterr().err.splitlines()
    assert (
        code == 2 and len(said) == 1 and said[0].startswith("error: this runs on Linux and macOS; on Windows use WSL")
    )

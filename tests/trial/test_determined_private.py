"""Parts of Determined that are not there are told by name, before anything trains."""

from __future__ import annotations

import pytest
from determined import core, pytorch, util

from nas.trial.determined_private import missing_parts


def test_this_release_has_all_parts() -> None:
    assert missing_parts() == []


def test_what_another_release_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(util, "write_user_code")
    monkeypatch.delattr(pytorch, "_PyTorchTrialController")
    monkeypatch.setattr(core.DummyPreemptContext, "__init__", lambda self: None)
    assert missing_parts() == [
        "determined.pytorch._PyTorchTrialController",
        "determined.util.write_user_code",
        "DummyPreemptContext._dist",
    ]

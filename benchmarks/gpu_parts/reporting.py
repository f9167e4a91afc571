"""A plugin of pytest: the outcome of each test as a line of JSON, at once, to the file descriptor that $GPU_TESTS_TO names.

Tests that were done before are left out; pytest's own `--deselect` would leave out those whose names begin alike too.
"""

from __future__ import annotations

import json
import os
from typing import Any

_LONGEST = 4000


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out the tests that $GPU_TESTS_DONE lists, whose outcome is known."""
    done = set(json.loads(os.environ["GPU_TESTS_DONE"]))
    if left_out := [item for item in items if item.nodeid in done]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.nodeid not in done]


def pytest_runtest_logstart(nodeid: str) -> None:
    """Before a test."""
    _say({"test": nodeid})


def pytest_runtest_logreport(report: Any) -> None:
    """Of a test's setup if that fails or skips it, else of the test itself, and of a teardown that fails."""
    if report.when == "call" or report.outcome != "passed":
        said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
        _say({"test": report.nodeid, "outcome": report.outcome, "seconds": report.duration, "text": said[-_LONGEST:]})


def _say(line: dict[str, Any]) -> None:
    os.write(int(os.environ["GPU_TESTS_TO"]), (json.dumps(line) + "\n").encode())

"""The log of a run, in its folder."""

from __future__ import annotations

import logging
from pathlib import Path

from nas.runs.writing import writing


class LogFile:
    """Copies the log to a file within a block."""

    def __init__(self, path: Path) -> None:
        with writing(path.parent):
            self._handler = logging.FileHandler(path, encoding="utf-8")
        # Of a disk that is full it would print a traceback for each line; the error that ends the run says enough.
        self._handler.handleError = lambda record: None  # type: ignore[method-assign]
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def __enter__(self) -> None:
        logging.getLogger().addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()

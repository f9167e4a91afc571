"""The folders of a search's trials: made, opened, mended, and what they say that no engine has heard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from nas.runs.mending import open_trial
from nas.runs.run_folder import RunFolder, as_text, begun_trials, new_run
from nas.runs.study_schema import BRACKET, HYPERPARAMETERS, OUTCOME, SEED

if TYPE_CHECKING:
    from nas.engine.console import ConsoleReporter


FIRST = 20
"""Trials that are asked for the data of all; those of a program that says nothing of them would be asked in vain each time."""


class TrialFolders:
    """Those below one folder.

    Args:
        trials: the folder that they are in.
        config: the experiment's.
        versions: what goes to each trial's run.json.
        reporter: is told what had to be mended.
    """

    def __init__(
        self,
        trials: Path,
        config: dict[str, Any],
        versions: Mapping[str, str | None],
        reporter: ConsoleReporter,
    ) -> None:
        self.trials, self._config, self._versions, self._reporter = trials, config, dict(versions), reporter
        self._config_text = as_text("config.yaml", config)
        self._data: dict[str, Any] | None = None

    def path(self, number: int) -> Path:
        """A trial's folder, whether it is there or not."""
        return self.trials / str(number)

    def there(self, trial: FrozenTrial) -> RunFolder | None:
        """A trial's folder, see `open`; None if there is none."""
        return self.open(trial) if self.path(trial.number).is_dir() else None

    def open(self, trial: FrozenTrial) -> RunFolder:
        """A trial's folder, what is missing or damaged of it made anew. Raises UnwritableFolderError."""
        path = self.path(trial.number)
        folder, told = open_trial(path, self._config, self._config_text, lambda: self._new_run(trial))
        if told:
            self._reporter.say(f"trial {trial.number}: {told}")
        return folder

    def written_outcome(self, trial: FrozenTrial) -> str | None:
        """How a trial ended that no engine listened to: a trial writes it to its folder before it reports it."""
        status = folder.run.get("status") if (folder := self.there(trial)) is not None else None
        return status if status in ("completed", "diverged") else None

    def _new_run(self, trial: FrozenTrial) -> dict[str, Any]:
        known = trial.user_attrs
        about = new_run(known[HYPERPARAMETERS], known[SEED], self._versions)
        run = about | {BRACKET: known[BRACKET]} | self._expected()
        return run | ({"status": known[OUTCOME]} if trial.state.is_finished() else {})

    def _expected(self) -> dict[str, Any]:
        """What a new trial must find: the data of the trials before it, of which it says so if it is not the same."""
        if not self._data:
            begun = begun_trials(self.trials, FIRST)
            self._data = next((each["data"] for each in begun if each.get("data")), None)
        return {"identity": {"data": self._data}} if self._data else {}

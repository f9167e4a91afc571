"""What a search has come to so far: the architecture, what it costs, why to stop, and the files that a user goes on with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nas.core.relaxation import Paths
from one_shot.against_random import against_random_config, contenders
from one_shot.collapse import grown_too_quickly, too_many_skips
from one_shot.figure import weights_figure
from one_shot.record import SearchRecord
from one_shot.retrain import retraining_config, retraining_template, spelt_out
from one_shot.settings import Settings
from one_shot.strategy import Choice, Strategy
from one_shot.task import Task
from one_shot.within import network_of


class Outcome:
    """All of it that is to be saved is in its `record`.

    Args:
        show: shows a picture of that name, see `nas.trial.Trial.show`.
    """

    def __init__(
        self,
        settings: Settings,
        task: Task,
        strategy: Strategy,
        seed: int,
        show: Callable[[str, Callable[[], Any]], None],
    ) -> None:
        self.settings, self.space = settings, settings.space
        self._strategy, self._seed, self._show = strategy, seed, show
        self.record = SearchRecord()
        name = settings.search.retrain
        self._template = None if name is None else retraining_template(name, settings.task)
        self.network = network_of(settings).settings_with(task.size_read()) if self.space.sized else None
        """The size of the network that an architecture is to be retrained as; None where sizes do not differ."""

    def choose(self, paths: Paths, scores: Mapping[str, float], batches: int, epochs: float) -> None:
        """Take an architecture for the result so far, and write it down."""
        size, weights = self.settings.size_of(paths), self._strategy.probabilities()
        place = {"epochs": epochs, "batches": batches}
        costs = {"parameters": size.parameters, "macs": size.macs, **self._retrained(paths)}
        entry = self.record.choose(self.space, paths, scores, weights, **place, **costs)
        if weights:
            title, tables = f"epoch {epochs:g}, {size.parameters:,} parameters", entry["weights"]
            self._show("architecture", lambda: weights_figure(self.space.relaxation, tables, paths, title))

    def _retrained(self, paths: Paths) -> dict[str, Any]:
        """What the network that it is to be retrained as costs, with its settings; nothing where all cost the same."""
        if self.network is None:
            return {}
        size = self.space.size(self.space.genotype_of(paths), **self.network)
        return {"retrained": {**self.network, "parameters": size.parameters, "macs": size.macs}}

    def finish(self, choice: Choice) -> None:
        """Keep what else was scored for the last choice."""
        self.record.finish(self.space, choice)

    def should_stop(self, batches: int, epochs: float) -> str:
        """Why the search should stop before its end; "" if it should not. May go back to an earlier architecture."""
        search = self.settings.search
        if reason := too_many_skips(self._strategy, search.stop_skip_connections):
            return reason
        window, ratio = search.stop_eigenvalue_window, search.stop_eigenvalue_ratio
        if ratio is None or not grown_too_quickly(self.record.eigenvalues, window, ratio):
            return ""
        before = self.record.back(window * search.eigenvalue_epochs)
        self.choose(self.space.paths_of(self.space.from_json(before["genotype"])), before["scores"], batches, epochs)
        return f"the eigenvalue grows too quickly (stop_eigenvalue_ratio); back to epoch {before['epochs']:g}"

    @property
    def genotype(self) -> Any:
        """The architecture chosen so far; None before the first validation."""
        paths = self.record.paths
        return None if paths is None else self.space.genotype_of(paths)

    @property
    def beside(self) -> dict[str, Any]:
        """What was chosen beside the genotype."""
        return self.space.beside(self.record.paths or {})

    def costs(self) -> dict[str, int]:
        """Of the architecture chosen so far, not of the supernet."""
        last = self.record.trace[-1] if self.record.trace else {}
        return {name: last[name] for name in ("parameters", "macs") if name in last}

    def files(self, config: Mapping[str, Any], hparams: Mapping[str, Any], complete: bool) -> dict[str, Any]:
        """The chosen architecture, all that were chosen after each epoch, and how to retrain it; by file name.

        Args:
            config: of the experiment.
            hparams: of this trial.
            complete: whether the search has ended.
        """
        found = self.record.files(self.space)
        if not found or self._template is None:
            return found
        search, data = str(config.get("name", "search")), config.get("data") or {}
        own = self.settings.task.retraining(self.beside)
        template = {**self._template, "hyperparameters": {**self._template["hyperparameters"], **own}}
        found["retrain.yaml"] = retraining_config(template, spelt_out(self.genotype), data, search)
        if self.settings.search.against_random and complete:
            whole = {**config, "hyperparameters": hparams}
            cells = contenders(self.settings, self._strategy, whole, self._seed)
            found["against_random.yaml"] = against_random_config(self._template, cells, data)
        return found

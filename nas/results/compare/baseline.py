"""No search is worth more than what it gains over a random one: what a comparison without one asks for."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from nas.config.search_space import search_space
from nas.results.compare.groups import Group
from nas.results.retraining import once_more


def missing_baseline(groups: Sequence[Group]) -> tuple[str | None, dict[str, Any] | None]:
    """What to say if no group is a random search, and the config of one if it can be made; None otherwise."""
    if any(group.is_random for group in groups):
        return None, None
    config = next((made for group in groups if (made := random_search(group)) is not None), None)
    how = "train architectures that are drawn at random (arch_seed) with the same settings, as a group random=..."
    if config is not None:
        how = "random.yaml, beside these tables, is one of the same settings and about the same cost"
    what = "there is no random search among them, and no search is worth more than what it gains over one"
    return f"{what}: {how}", config


def random_search(group: Group) -> dict[str, Any] | None:
    """A random search of the group's space with its settings, of about the same cost in training time.

    None for a group whose trials a searcher has not drawn: there is nothing that could be drawn at random instead.
    """
    experiment = group.experiments[0]
    config, length = experiment.config, experiment.length
    if not experiment.trials or length < 1 or not search_space(config["hyperparameters"]):
        return None
    trained = fmean(
        sum(trial.validations[-1][0] for trial in each.trials if trial.validations) for each in group.experiments
    )
    section = config["searcher"]
    searcher = {
        "name": "random",
        **{name: section[name] for name in ("metric", "smaller_is_better") if name in section},
        "max_trials": max(1, round(trained / length)),
    }
    epochs = once_more(experiment, experiment.trials[0])["hyperparameters"]["train_epochs"]
    hparams = {**config["hyperparameters"], "train_epochs": epochs}
    return {
        **config,
        "name": f"{config.get('name', 'search')}-random",
        "searcher": searcher,
        "hyperparameters": hparams,
    }

"""What the architecture of a search must keep: a budget and constraints, counted for the network that is trained in the end.

    hyperparameters:
      budget: {parameters: 3.3e6}                 # at most; or {macs: [4e8, 5e8]}, or both
      constraints: {normal: {skip_connect: [0, 2]}}   # as in cnn_nas/constraints.py

Every strategy derives within them (`Strategy.decoder`). A supernet is smaller than the network that its result is retrained
as, so the counts are those of the YAML that `retrain` names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.core.budget import MEASURES, OPEN, Budget, Decoder
from nas.core.errors import ConfigError
from nas.core.space import Space
from one_shot.retrain import data_sets, retraining_config, retraining_template

NAMES = ("budget", "constraints")
"""The hyperparameters that are read here."""


@dataclass(frozen=True)
class Within:
    """What must be kept, and by which network.

    Attributes:
        rules: constraints as they are written; None: none.
        network: see `network_of`.
    """

    budget: Budget
    rules: Mapping[str, Any] | None
    network: Network

    def decoder(self, space: Space[Any], **read: Any) -> Decoder:
        """What finds architectures that keep it. Raises ConfigError if none does.

        Args:
            read: see `Network.settings_with`.
        """
        return space.decoder(self.budget, self.rules, self.network.of, **self.network.settings_with(read))


@dataclass(frozen=True)
class Network:
    """The network that the result of a search is trained as.

    Attributes:
        settings: for `Space.size`.
        of: whose they are, in words.
        same_data: whether it is trained on the data of the search.
    """

    settings: Mapping[str, Any]
    of: str
    same_data: bool

    def settings_with(self, read: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with what reading the data of the search has told."""
        return {**self.settings, **(read if self.same_data else {})}


def network_of(settings: Any) -> Network:
    """The network of the YAML that `retrain` names, or one as large as the supernet without it.

    Raises:
        ConfigError: if sizes do not differ within the space.
    """
    name, space = settings.search.retrain, settings.space
    hparams = {
        field.name: getattr(group, field.name)
        for group in settings.groups.values()
        for field in dataclasses.fields(group)
    }
    data = dataclasses.asdict(settings.data)
    if name is None:
        return Network(
            space.size_settings({"hyperparameters": hparams, "data": data}), "a network as large as the supernet", True
        )
    config = retraining_config(retraining_template(name, settings.task), {}, data, "search")
    trained, searched = data_sets(config, data)
    same = trained == searched
    try:
        return Network(space.size_settings(config), f"the network that {name} trains", same)
    except ConfigError as error:
        raise ConfigError([f"{name}: {problem}" for problem in error.problems]) from error


def read_within(given: Mapping[str, Any], settings: Any) -> Within | None:
    """The limits that the hyperparameters of `NAMES` mean, None without any.

    Raises:
        ConfigError: for what is wrong with them, and if no architecture keeps all of them.
    """
    if not given:
        return None
    if not settings.space.sized:
        rule = f"in the {settings.search.space} space, whose cells all cost the same and have no such rules"
        raise ConfigError([f"hyperparameters.{name} must be left out {rule}, got {given[name]!r}" for name in given])
    problems = _of_the_rest(next(iter(given)), settings)
    budget = Budget.from_mapping(given["budget"]) if "budget" in given else Budget()
    found = Within(budget, given.get("constraints"), network_of(settings))
    found.decoder(settings.space)
    if problems:
        raise ConfigError(problems)
    return found


def reach(settings: Any) -> list[str]:
    """How large the networks are among which a search chooses by size, and where among them its budget lies, in words.

    No lines for a search without a budget that is not for all of them.
    """
    budget = settings.within.budget if settings.within else Budget()
    if budget == Budget() and not settings.entry.counts:
        return []
    network = network_of(settings)
    counted = settings.task.counted(network.settings)
    spans, shares = [], []
    for measure in MEASURES:
        ends, allowed = counted.expected(measure), getattr(budget, measure)
        word = "MACs" if measure == "macs" else measure
        spans.append(f"{ends.low:,} to {ends.high:,} {word}")
        if allowed != OPEN:
            low, high = (
                min(max((end - ends.low) / (ends.high - ends.low), 0.0), 1.0)
                for end in (allowed.low or ends.low, ends.high if allowed.high is None else allowed.high)
            )
            shares.append(
                f"budget: {allowed} {word}, from {low:.1%} to {high:.1%} of the way from the smallest to the largest"
            )
    return [f"{network.of}: {', '.join(spans)}", *shares]


def _of_the_rest(name: str, settings: Any) -> list[str]:
    """What does not go with limits."""
    found = []
    if settings.search.select != "argmax":
        found.append(f"hyperparameters.select must be argmax with {name}, got {settings.search.select}")
    if getattr(settings.strategy, "sample_none", False):
        found.append(f"hyperparameters.sample_none must be false with {name}, as nothing within it has none, got true")
    return found

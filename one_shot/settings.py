"""Everything a search reads from its config, and the rules over several fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from nas.core.errors import ConfigError, ErrorCollector, unknown
from nas.core.fields import field, read
from nas.core.identity import MismatchError
from nas.core.relaxation import Paths
from nas.core.run_config import RunConfig
from nas.core.space import Size, Space
from one_shot.captured import graph_problems
from one_shot.images import ImageTask
from one_shot.retrain import retraining_template
from one_shot.samplers import ONE_PATH
from one_shot.strategies import STRATEGIES, Entry
from one_shot.strategy import Strategy
from one_shot.task import Task
from one_shot.text import TextTask
from one_shot.within import NAMES as LIMITS
from one_shot.within import Within, network_of, read_within

if TYPE_CHECKING:
    import torch

TASKS: dict[str, type[Task]] = {"convolutional": ImageTask, "recurrent": TextTask}
"""By the hyperparameter `space`."""

ARCH_DATA = ("validation", "part")


@dataclass(frozen=True)
class SearchConfig:
    """Hyperparameters that every search has."""

    space: str = field(choices=tuple(TASKS))
    strategy: str = field(choices=tuple(STRATEGIES))
    arch_data: str = field(
        "validation", choices=ARCH_DATA
    )  # what trains the architecture: as in DARTS, or a part of train
    arch_fraction: float = field(0.5, gt=0, lt=1)  # of the training data, where arch_data is `part`
    retrain: str | None = None  # a YAML of this repository whose settings the winner is to be retrained with
    against_random: int = field(
        0, ge=0, most=5000
    )  # cells of the final controller, and as many uniform ones, that against_random.yaml retrains alike; 0: none
    select: str = field("argmax", choices=("argmax", "perturbation"))  # how the last architecture is chosen (DARTS-PT)
    select_batches: int | None = field(
        None, ge=1
    )  # validation batches that decide where select is perturbation; null: all
    stop_skip_connections: int | None = field(None, ge=1)  # DARTS+: stop when a normal cell derives so many
    eigenvalue_epochs: int = field(0, ge=0)  # compute the Hessian's largest eigenvalue every so many epochs; 0: never
    stop_eigenvalue_ratio: float | None = field(None, gt=0, lt=1)  # RobustDARTS: stop when it grows quicker; 0.75 there
    stop_eigenvalue_window: int = field(5, ge=1)  # eigenvalues in each of the two means that are compared

    def problems(self) -> list[str]:
        """Rules over several fields."""
        if self.stop_eigenvalue_ratio is not None and not self.eigenvalue_epochs:
            return ["eigenvalue_epochs must be at least 1 for stop_eigenvalue_ratio to see anything, got 0"]
        return []


DEFAULTS = {each.name: each.default for each in fields(SearchConfig)}
OF_MIXTURES = ("select", "stop_skip_connections", "stop_eigenvalue_ratio", "eigenvalue_epochs")
"""Fields that ask for the weights of a mixture."""


@dataclass(frozen=True)
class Everything:
    """In place of a genotype: all of them.

    Attributes:
        space: package of the search space.
        supernet: what fixes the weights and their meaning, as sorted pairs.
        offers: what can be chosen, in words.
    """

    space: str
    supernet: tuple[tuple[str, Any], ...]
    offers: str

    def __str__(self) -> str:
        return f"all of the supernet: {self.offers}"

    def to_json(self) -> dict[str, Any]:
        """Ready for `json.dump`."""
        return {"supernet": self.space, **dict(self.supernet)}


@dataclass(frozen=True)
class Settings:
    """Everything a search reads from its config.

    Attributes:
        groups: the task's groups of hyperparameters, by class.
        strategy: the strategy's own.
        data: the config's section `data`.
        within: limits that the architecture must keep; None: none.
    """

    run: RunConfig
    search: SearchConfig
    groups: Mapping[type, Any]
    strategy: Any
    data: Any
    within: Within | None = None

    @property
    def task(self) -> type[Task]:
        """What is searched on."""
        return TASKS[self.search.space]

    @property
    def space(self) -> Space[Any]:
        """The search space."""
        return self.task.space(self)

    @property
    def entry(self) -> Entry:
        """What is known of the strategy."""
        return STRATEGIES[self.search.strategy]

    @property
    def learns(self) -> bool:
        """Whether the architecture is trained on data of its own."""
        return self.entry.learns

    @property
    def method(self) -> dict[str, Any]:
        """What fixes the meaning of the strategy's parameters."""
        own = {name: getattr(self.strategy, name) for name in self.entry.meaning}
        return {"strategy": self.search.strategy, **own}

    def check_method(self, then: Mapping[str, Any]) -> None:
        """Raises MismatchError if a checkpoint is of another method."""
        names = [name for name in {**then, **self.method} if then.get(name) != self.method.get(name)]
        if names:
            changed = "; ".join(f"{name}: {then.get(name)} then, {self.method.get(name)} now" for name in names)
            what = f"the checkpoint is of another strategy: {changed}"
            raise MismatchError([f"{what}; put it back, or start a new run, --warm-start keeps weights"])

    def size_of(self, paths: Paths) -> Size:
        """Of the network of one architecture."""
        space = self.space
        return space.size(space.genotype_of(paths), **{**self.task.size_settings(self), **space.beside(paths)})

    @property
    def order(self) -> str | None:
        """Of the architecture's gradient, see `one_shot.bilevel`; None if it has none."""
        return getattr(self.strategy, "bilevel", None)

    @property
    def mixes(self) -> bool:
        """Whether weights are trained with a mixture, and not with one path at a time."""
        sampler = getattr(self.strategy, "sampler", None)
        return sampler is not None and sampler not in ONE_PATH

    @property
    def fast(self) -> bool:
        """Whether to compute in the fast form where nothing else is said and it has the derivatives that are wanted."""
        return self.run.fast is not False and (self.order != "exact" or self.task.fast_is_twice_differentiable)

    def fast_on(self, device: torch.device) -> bool:
        """The same on a device."""
        return self.fast and self.run.fast_on(device)

    @property
    def genotype(self) -> Everything:
        """What is trained."""
        supernet = tuple(sorted(self.task.supernet_json(self).items()))
        return Everything(self.task.package, supernet, self.space.scope)


def build_strategy(settings: Settings, generator: torch.Generator, read: Mapping[str, Any] | None = None) -> Strategy:
    """The strategy that the settings mean.

    Args:
        generator: on the CPU, draws what starts at random.
        read: see `Task.size_read`.
    """
    entry, costs = settings.entry, settings.task.costs(settings)
    counted = settings.task.counted(network_of(settings).settings_with(read or {})) if entry.counts else None
    strategy = entry.build(settings.space.relaxation, settings.strategy, generator, costs, counted)
    strategy.parameters_of = lambda paths: settings.size_of(paths).parameters
    if settings.within is not None:
        strategy.decoder = settings.within.decoder(settings.space, **(read or {}))
    return strategy


def read_settings(hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
    """The settings that a config means. Reads no data; raises ConfigError with every problem."""
    if not isinstance(hparams, Mapping):
        read(hparams, RunConfig)  # which says what it should be
    problems = ErrorCollector()
    task = problems.catch(_choose, TASKS, hparams, "space")
    kind = problems.catch(_choose, STRATEGIES, hparams, "strategy")
    problems.raise_any()
    limits = {name: hparams[name] for name in LIMITS if hparams.get(name) is not None}
    rest = {name: value for name, value in hparams.items() if name not in LIMITS}
    groups = problems.catch(read, rest, RunConfig, SearchConfig, kind.config, *task.groups, elsewhere=LIMITS)
    source = problems.catch(read, data, task.data_group, section="data")
    if not groups or not source:
        problems.raise_any()
    run, search, strategy, *own = groups
    settings = Settings(run, search, dict(zip(task.groups, own, strict=True)), strategy, source[0])
    problems.found += run.fits_processes(processes) + graph_problems(settings)
    problems.found += _problems(settings) + _strategy_problems(settings)
    problems.found += task.problems(settings, processes)
    within = None if problems.found else problems.catch(read_within, limits, settings)
    problems.raise_any()
    return replace(settings, within=within)


def _choose(options: Mapping[str, Any], hparams: Mapping[str, Any], name: str) -> Any:
    given = hparams.get(name)
    if given is None:
        raise ConfigError([f"hyperparameters.{name} is missing; it must be one of {', '.join(options)}"])
    if not isinstance(given, str) or given not in options:
        says = f"is not one of {', '.join(options)}"
        raise ConfigError([unknown(f"hyperparameters.{name} {given!r}", str(given), options, says)])
    return options[given]


def _strategy_problems(settings: Settings) -> list[str]:
    """What of the strategy does not go with the rest."""
    found, search, strategy = [], settings.search, settings.strategy
    if why := settings.entry.not_in.get(search.space):
        others = ", ".join(name for name, each in STRATEGIES.items() if search.space not in each.not_in)
        rule = f"must not be {search.strategy} in the {search.space} space, {why}; take one of {others}"
        found.append(f"hyperparameters.strategy {rule}")
    elif settings.entry.counts and search.retrain is None:
        why = f"with strategy {search.strategy}, as the network that it trains is the one whose size counts"
        found.append(f"hyperparameters.retrain must be given {why}, such as cnn_nas/digits.yaml, got null")
    if getattr(strategy, "lookahead", None) == "momentum" and not _momentum(settings):
        rule = f"must be gradient or last_gradient, as the {search.space} space trains weights without momentum"
        found.append(f"hyperparameters.lookahead {rule}, got momentum")
    warmup, epochs = getattr(strategy, "arch_warmup_epochs", 0), settings.run.train_epochs
    if epochs is not None and warmup >= epochs:
        rule = f"must be below train_epochs {epochs}, or the architecture is never trained"
        found.append(f"hyperparameters.arch_warmup_epochs {rule}, got {warmup}")
    if settings.run.fast and not settings.fast:
        rule = "must not be true with bilevel exact, as the fast form of this space has no second derivatives"
        found.append(f"hyperparameters.fast {rule}; leave it out")
    if getattr(strategy, "cost_weight", 0) and settings.task.costs(settings) is None:
        rule = f"must be 0 in the {search.space} space, all of whose operations cost the same"
        found.append(f"hyperparameters.cost_weight {rule}, got {strategy.cost_weight:g}")
    return found + _skip_problems(settings)


def _skip_problems(settings: Settings) -> list[str]:
    """Of the skip connections that DARTS- adds: the supernet has them, and the strategy weighs them."""
    skips = any(getattr(group, "auxiliary_skip", False) for group in settings.groups.values())
    weight = getattr(settings.strategy, "auxiliary_weight", None)
    if weight is None:
        return ["hyperparameters.auxiliary_skip is for strategy gradient, leave it out"] if skips else []
    if (weight > 0) == skips:
        return []
    both = "auxiliary_weight above 0 and auxiliary_skip true go together, in the convolutional space"
    return [f"hyperparameters: {both}; got {weight:g} and {str(skips).lower()}"]


def _momentum(settings: Settings) -> float:
    """Of the optimiser of the weights."""
    return max((getattr(group, "momentum", 0.0) for group in settings.groups.values()), default=0.0)


def _problems(settings: Settings) -> list[str]:
    found, search, run = [], settings.search, settings.run
    if run.evaluate_test:
        found.append(
            "hyperparameters.evaluate_test must be false, got true: a search never sees a test set; "
            "retrain its winner, which is tested once"
        )
    if search.retrain is not None:
        problems = ErrorCollector()
        problems.catch(retraining_template, search.retrain, settings.task)
        found += problems.found
    if search.against_random and search.retrain is None:
        rule = "must be 0 without retrain, which says how cells are retrained"
        found.append(f"hyperparameters.against_random {rule}, got {search.against_random}")
    if search.against_random and search.space != "recurrent":
        rule = f"must be 0 in the {search.space} space, as only the recurrent trial reads such cells"
        found.append(f"hyperparameters.against_random {rule}, got {search.against_random}")
    for names, users, has in (
        (("against_random",), f"strategies that draw whole cells, {_those('draws_cells')}", settings.entry.draws_cells),
        (("arch_data",), "strategies that learn", settings.learns),
        (OF_MIXTURES, f"strategy {_those('one_mixture')}", settings.entry.one_mixture),
    ):
        given = [] if has else [name for name in names if getattr(search, name) != DEFAULTS[name]]
        found += [
            f"hyperparameters.{name} is for {users}, got {getattr(search, name)!r} with {search.strategy}; leave it out"
            for name in given
        ]
    return found


def _those(fact: str) -> str:
    """The strategies of which a fact holds."""
    return " and ".join(name for name, entry in STRATEGIES.items() if getattr(entry, fact))

"""What everything outside a search space may ask of it: the contract `Space`.

A space is a package with a module `space` that holds a constant `SPACE`. Results name a space by its package, and
`load_space` finds it by that name, so nothing outside has to know which spaces there are.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from nas.core.constants import Constants, constants
from nas.core.errors import ConfigError, closest, unknown
from nas.core.genotype_source import hparams_in, path_in, text_of_file
from nas.core.genotype_text import is_written
from nas.core.program import ROOT
from nas.core.relaxation import Paths, Relaxation
from nas.core.variants import Variant

if TYPE_CHECKING:
    from nas.core.budget import Budget, Decoder


class Genotype(Protocol):
    """One architecture as data: frozen, hashable, validated on construction; `str()` describes it in one line."""

    def to_json(self) -> dict[str, Any]:
        """Plain lists and dicts, ready for `json.dump`."""

    def to_text(self) -> str:
        """The `Genotype(...)` line that is also valid code for the space's `genotypes.py`."""

    def to_hparams(self) -> dict[str, Any]:
        """The hyperparameters that spell it out. Raises ConfigError if they cannot."""


G = TypeVar("G", bound=Genotype)


@dataclass(frozen=True)
class Size:
    """What a network costs: trainable parameters, and multiply-accumulates for one input (an image, a word)."""

    parameters: int = 0
    macs: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.parameters + other.parameters, self.macs + other.macs)


class Space(ABC, Generic[G]):
    """A search space. Everything but `network` works without importing torch.

    The `settings` of `size` and `network` are keyword arguments, the same for both; each space documents its own.
    """

    package: str
    """Name of the package, such as `cnn_nas`: what results call the space."""

    title: str
    """What it holds, in words, such as `convolutional cells`."""

    sized = False
    """Whether networks of one width and depth differ in size by their architecture, so that there is a `decoder`."""

    @property
    @abstractmethod
    def genotypes(self) -> Mapping[str, G]:
        """The architectures known by name, in the order of the space's `genotypes.py`."""

    @abstractmethod
    def sample(self, seed: int, *labels: str | int) -> G:
        """Draw an architecture; the same seed and labels give the same one with every version of every library."""

    @abstractmethod
    def from_json(self, data: Mapping[str, Any]) -> G:
        """The inverse of `Genotype.to_json`. Raises ConfigError if the data describes no architecture."""

    @abstractmethod
    def from_text(self, text: str) -> G:
        """Read a text that `spells` one, without evaluating it. Raises ConfigError if it is none of this space."""

    def spells(self, text: str) -> bool:
        """Whether a text spells an architecture out, and does not only name one; a space may have forms of its own."""
        return is_written(text)

    @abstractmethod
    def from_hparams(self, hparams: Mapping[str, Any]) -> G:
        """The inverse of `Genotype.to_hparams`; other hyperparameters are ignored. Raises ConfigError."""

    @abstractmethod
    def canonical(self, genotype: G) -> G:
        """One form for all genotypes that differ only in order, numbering and nodes without effect.

        Networks of both, with weights matched, compute the same function. Applying it twice changes nothing more.
        """

    @abstractmethod
    def draw(self, genotype: G) -> list[str]:
        """The architecture as lines of plain text, at most 100 characters each."""

    @abstractmethod
    def outline(self, genotype: G) -> dict[str, Any]:
        """The architecture as nested maps, with one short text a node; for viewers that fold maps and cut long lines.

        They sort keys by name, so that the keys must sort in the order in which one reads; see `numbered`.
        """

    @abstractmethod
    def to_dot(self, genotype: G) -> str:
        """The architecture as a graph in the DOT language, which Graphviz renders as SVG or PNG."""

    @abstractmethod
    def size(self, genotype: G, **settings: Any) -> Size:
        """Parameters and multiply-accumulates of the network at these settings, counted without building it."""

    @abstractmethod
    def network(self, genotype: G, seed: int, **settings: Any) -> Any:
        """The plain network (`torch.nn.Module`) at these settings, with weights drawn from the seed. Imports torch."""

    @property
    def relaxation(self) -> Relaxation:
        """What can be chosen, edge by edge. Raises ConfigError if the space has no supernet, as some do not."""
        raise ConfigError([f"{self.package} has no supernet, so weights cannot be shared in it"])

    @property
    def scope(self) -> str:
        """What can be chosen, in words."""
        cells = self.relaxation.items()
        return "; ".join(f"{name} {len(cell.edges)} edges x {len(cell.operations)} operations" for name, cell in cells)

    def beside(self, paths: Paths) -> dict[str, Any]:
        """What a path says that its genotype does not, as settings of `size`; {} where a genotype says all."""
        return {}

    def paths_of(self, genotype: G) -> Paths:
        """The path of a genotype through the supernet. Raises ConfigError if it does not lie in it."""
        raise NotImplementedError

    def genotype_of(self, paths: Paths) -> G:
        """The inverse of `paths_of`, up to the order of a node's edges. Raises ConfigError if it is no genotype's path."""
        raise NotImplementedError

    def size_settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of `size` that an experiment's config means, of a search or of a single architecture's training.

        Raises ConfigError if it means none, or sizes do not differ within the space. May import torch.
        """
        raise ConfigError([self._no_budget])

    def decoder(self, budget: Budget, rules: Mapping[str, Any] | None, of: str, **settings: Any) -> Decoder:
        """What finds architectures within a budget.

        Args:
            budget: the limits.
            rules: constraints of the space as a config has them; None: no more.
            of: whose size the settings are, in words, for messages.
            settings: those of `size`.

        Raises:
            ConfigError: if no architecture keeps all of it, or sizes do not differ within the space.
        """
        raise ConfigError([self._no_budget])

    @property
    def _no_budget(self) -> str:
        return f"all networks of {self.title} ({self.package}) cost the same, so that a budget decides nothing"

    def variants(self, genotype: G) -> Sequence[Variant]:
        """All architectures with one thing changed, kind after kind. Raises ConfigError if the space names no such changes."""
        raise ConfigError(
            [f"changes one at a time are there for recurrent cells, not for {self.title} ({self.package})"]
        )

    def by_name(self, name: str) -> G:
        """A named architecture. Raises ConfigError, with the nearest names, if there is none."""
        known = self.genotypes
        if name in known:
            return known[name]
        if wrong := getattr(known, "wrong", {}).get(name):
            raise ConfigError([wrong])
        if name.lower() in ("none", "null"):
            said = (
                f"architecture {name!r} is a text that names none; for random ones write, in the place of arch_to_use,"
            )
            raise ConfigError([f"{said} arch_seed: {{type: int, minval: 0, maxval: 2147483647}}"])
        says = f"is not in {self.package}/genotypes.py"
        others = (
            []
            if closest(name, known)
            else [other for other in self._others() if name in other.genotypes or other.spells(name)]
        )
        if others:
            raise ConfigError([f"architecture {name!r} {says}, but of {others[0].title} ({others[0].package})"])
        raise ConfigError([unknown(f"architecture {name!r}", name, known, says)])

    def read(self, source: str | Mapping[str, Any]) -> G:
        """An architecture in any form that people have.

        Args:
            source: a name, a `Genotype(...)` in a text (see `nas.core.genotype_text`), JSON as text or as a mapping,
                hyperparameters, or the path of a file that holds one of these, or of a run's folder with a `genotype.json`.

        Raises:
            ConfigError: if it is none of these, or describes no architecture of this space.
        """
        if isinstance(source, str):
            text = source.strip()
            path = None if text in self.genotypes else path_in(text)
            return self._of_file(path) if path else self._of_text(text)
        nested = any(isinstance(value, list | tuple) for value in source.values())
        return self.from_json(source) if nested else self.from_hparams(source)

    def _of_text(self, text: str) -> G:
        if not self.spells(text):
            return self.by_name(text)
        try:
            return self.from_text(text)
        except ConfigError as error:
            strange = "is no field of a genotype" in error.problems[0]
            if strange and (plain := hparams_in(text)):
                return self._of_hparams(plain)
            for other in self._others() if strange else ():
                if _reads(other, text):
                    what = f"the genotype is one of {other.title} ({other.package})"
                    raise ConfigError([f"{what}, not of {self.title} ({self.package})"]) from None
            raise

    def _of_hparams(self, hparams: Mapping[str, Any]) -> G:
        """The same in one sentence if they spell out no architecture."""
        try:
            return self.from_hparams(hparams)
        except ConfigError as error:
            more = len(error.problems) - 1
            raise ConfigError([error.problems[0] + (f"; and {more} more mistakes" if more else "")]) from error

    def _of_file(self, path: str) -> G:
        text = text_of_file(path)
        try:
            return self._of_text(text)
        except ConfigError as error:
            raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from error

    def _others(self) -> list[Space[Any]]:
        return [load_space(package) for package in known_spaces() if package != self.package]


def numbered(word: str, first: int, texts: Sequence[str]) -> dict[str, str]:
    """The texts by `word 1`, `word 2` and so on, or `word 01` where there are ten or more, so that they sort by name."""
    width = len(str(first + len(texts) - 1))
    return {f"{word} {i:0{width}}": text for i, text in enumerate(texts, start=first)}


def named_genotypes(package: str, kind: type[G]) -> Constants[G]:
    """The constants of a space's `genotypes.py`: those of the given type whose names are in capitals."""
    return constants(f"{package}.genotypes", kind)


def load_space(package: str) -> Space[Any]:
    """The space of a package.

    Raises:
        ConfigError: if there is no such package, or it holds no search space.
    """
    try:
        space = importlib.import_module(f"{package}.space").SPACE
    except (ImportError, AttributeError, ValueError, TypeError) as error:  # the last two of names like .a and ""
        if isinstance(error, ConfigError):
            raise
        what = f"search space {package!r} cannot be loaded: {error}"
        raise ConfigError([f"{what}; it must be a package with a module space that holds SPACE"]) from error
    if not isinstance(space, Space):
        raise ConfigError([f"{package}.space.SPACE must be a nas.core.space.Space, got {space!r}"])
    return space


def known_spaces() -> list[str]:
    """The packages beside this one that hold a search space, by name."""
    return sorted(path.parent.name for path in ROOT.glob("*/space.py"))


def _reads(space: Space[Any], text: str) -> bool:
    try:
        space.from_text(text)
    except ConfigError:
        return False
    return True

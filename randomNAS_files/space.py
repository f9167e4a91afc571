"""The recurrent search space as others may ask for it: `SPACE`, of 8 nodes, or of as many as a supernet has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.core.constants import Constants
from nas.core.errors import ConfigError
from nas.core.relaxation import Paths, Relaxation
from nas.core.space import Size, Space, named_genotypes
from nas.core.variants import Variant
from randomNAS_files import architecture, drawing, hadamard, official, relaxation
from randomNAS_files import canonical as forms
from randomNAS_files import variants as changes
from randomNAS_files.architecture import NODES, Genotype
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.hadamard_space import HADAMARD
from randomNAS_files.outputs import with_output
from randomNAS_files.plain_models import model_size, plain_network

Cell = Genotype | HadamardGenotype


@dataclass(frozen=True)
class RecurrentSpace(Space[Any]):
    """Recurrent cells for language models.

    It samples and relaxes cells of gates. Hadamard cells are read, drawn and counted too, by their own space.

    The settings of `size` and `network`:

        hidden: hidden size H, which is that of the embedding too.
        vocabulary: number of words V.
        depth: stacked cells; 1 if left out.
        init_op: activation of the initial state; tanh if left out.

    Attributes:
        nodes: that a sampled cell has, and a supernet.
        output: of `outputs.RULES`: of which of them they take the mean.
        least, one_activation, topology: restrict what is sampled, see `architecture.sample`.
        sizes: hidden sizes to choose from, which a path has and a genotype has not; the largest if nothing else is said.
    """

    package = "randomNAS_files"
    title = "recurrent cells"

    nodes: int = NODES
    output: str = "all"
    least: int | None = None
    one_activation: bool = False
    topology: str | None = None
    sizes: tuple[int, ...] = ()

    @property
    def genotypes(self) -> Mapping[str, Cell]:
        cells, others = named_genotypes(self.package, Genotype), HADAMARD.genotypes
        wrong = {name: what for name, what in cells.wrong.items() if name not in others}
        return Constants[Cell]({**cells, **others}, wrong)

    def sample(self, seed: int, *labels: str | int) -> Genotype:
        """Uniform over all activations but `none` and all earlier states of each node; see `architecture.sample`."""
        restrictions = {"least": self.least, "one_activation": self.one_activation, "topology": self.topology}
        cell = architecture.sample(seed, *labels, nodes=self.nodes, **restrictions)  # type: ignore[arg-type]
        return with_output(cell, self.output)

    def from_json(self, data: Mapping[str, Any]) -> Cell:
        own = isinstance(data, Mapping) and hadamard.OWN_FIELD in data
        return hadamard.from_json(data) if own else architecture.from_json(data)

    def spells(self, text: str) -> bool:
        return super().spells(text) or official.is_string(text)

    def from_text(self, text: str) -> Cell:
        """A `Genotype(...)`, a `HadamardGenotype(...)`, or a string of ENAS's programs, such as `enas_lm 0 2 1 0`; see
        `official`.
        """
        if hadamard.is_hadamard(text):
            return hadamard.from_text(text)
        return official.read(text) if official.is_string(text) else architecture.from_text(text)

    def from_hparams(self, hparams: Mapping[str, Any]) -> Genotype:
        return architecture.from_hparams(hparams)

    def canonical(self, genotype: Cell) -> Cell:
        """See `canonical.canonical`, which also says how the weights of the two networks match."""
        return HADAMARD.canonical(genotype) if isinstance(genotype, HadamardGenotype) else forms.canonical(genotype)

    def draw(self, genotype: Cell) -> list[str]:
        return HADAMARD.draw(genotype) if isinstance(genotype, HadamardGenotype) else drawing.draw(genotype)

    def outline(self, genotype: Cell) -> dict[str, Any]:
        return HADAMARD.outline(genotype) if isinstance(genotype, HadamardGenotype) else drawing.outline(genotype)

    def to_dot(self, genotype: Cell) -> str:
        return HADAMARD.to_dot(genotype) if isinstance(genotype, HadamardGenotype) else drawing.dot(genotype)

    @property
    def relaxation(self) -> Relaxation:
        cell = relaxation.restricted_shape(self.nodes, self.least, self.one_activation, self.topology)
        sizes = {relaxation.HIDDEN: relaxation.sizes_shape(self.sizes)} if self.sizes else {}
        return {relaxation.CELL: cell, **sizes}

    @property
    def scope(self) -> str:
        given = [
            "" if self.least is None else f"{self.least} to {self.nodes} nodes",
            "one activation a cell" if self.one_activation else "",
            "" if self.topology is None else f"a {self.topology}",
        ]
        cell = self.relaxation[relaxation.CELL]
        offered = f"{relaxation.CELL} {len(cell.edges)} edges x {len(cell.operations)} operations"
        said = ", ".join(filter(None, given))
        drawn = f"; drawn: {said}, {cell.count():,} cells" if said else ""
        sizes = f"; hidden size {', '.join(map(str, self.sizes))}" if self.sizes else ""
        return offered + drawn + sizes

    def beside(self, paths: Paths) -> dict[str, Any]:
        if not self.sizes or relaxation.HIDDEN not in paths:
            return {}
        ((chosen,),) = paths[relaxation.HIDDEN]
        return {"hidden": self.sizes[chosen]}

    def paths_of(self, genotype: Cell) -> Paths:
        """Of any cell that a supernet of so many nodes can run, also of one that is never sampled."""
        if isinstance(genotype, HadamardGenotype):
            raise ConfigError(["a Hadamard cell does not lie in a supernet of gates; one with hadamard true holds it"])
        sizes = {relaxation.HIDDEN: ((len(self.sizes) - 1,),)} if self.sizes else {}
        return {**relaxation.paths_of(genotype, self.output, self.nodes, self.least), **sizes}

    def genotype_of(self, paths: Paths) -> Genotype:
        return relaxation.genotype_of(paths, self.output, self.least)

    def variants(self, genotype: Cell) -> Sequence[Variant]:
        """See `variants.variants`."""
        return HADAMARD.variants(genotype) if isinstance(genotype, HadamardGenotype) else changes.variants(genotype)

    def size(self, genotype: Cell, **settings: Any) -> Size:
        """All parameters, those of unused nodes too; of the multiply-accumulates, those of the matrix products for a word."""
        if isinstance(genotype, HadamardGenotype):
            return HADAMARD.size(genotype, **settings)
        nodes = len(genotype.recurrent)
        return model_size(nodes, nodes - len(genotype.unused_nodes()), **settings)

    def network(self, genotype: Cell, seed: int, **settings: Any) -> Any:
        """A `LanguageModel` without dropout, with the initial weights of a trial of that seed."""
        if isinstance(genotype, HadamardGenotype):
            return HADAMARD.network(genotype, seed, **settings)
        from randomNAS_files.model import LanguageModel  # here, so that the rest does not wait for torch

        return plain_network(LanguageModel, genotype, seed, **settings)


SPACE = RecurrentSpace()

"""The space of Hadamard cells as others may ask for it; `space.SPACE` hands cells of this kind on to `HADAMARD`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from nas.core.errors import ConfigError
from nas.core.relaxation import Paths, Relaxation
from nas.core.seeds import numpy_generator
from nas.core.space import Size, Space, named_genotypes
from nas.core.variants import Variant
from randomNAS_files import hadamard, hadamard_drawing, hadamard_relaxation
from randomNAS_files.architecture import NODES
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.hadamard_canonical import canonical
from randomNAS_files.plain_models import model_size, plain_network


@dataclass(frozen=True)
class HadamardSpace(Space[HadamardGenotype]):
    """Recurrent cells with products and sums of states, for language models; settings are those of `RecurrentSpace`.

    Attributes:
        nodes: that a sampled cell has, and a supernet.
        output: `all` or `loose_ends`: of which of them they take the mean.
    """

    package = "randomNAS_files"
    title = "recurrent cells with products and sums"

    nodes: int = NODES
    output: str = "all"

    @property
    def genotypes(self) -> Mapping[str, HadamardGenotype]:
        return named_genotypes(self.package, HadamardGenotype)

    def sample(self, seed: int, *labels: str | int) -> HadamardGenotype:
        """Of each node all kinds are equally likely, and all nodes of a kind; and every node as the next c."""
        generator = numpy_generator(seed, "architecture", *labels)
        shapes = self.relaxation
        return self.genotype_of(
            {name: shape.drawn(generator.random_sample(shape.numbers).tolist()) for name, shape in shapes.items()}
        )

    def from_json(self, data: Mapping[str, Any]) -> HadamardGenotype:
        return hadamard.from_json(data)

    def from_text(self, text: str) -> HadamardGenotype:
        return hadamard.from_text(text)

    def from_hparams(self, hparams: Mapping[str, Any]) -> NoReturn:
        raise ConfigError(
            ["hyperparameters node by node describe cells of gates; write arch_to_use: HadamardGenotype(...)"]
        )

    def canonical(self, genotype: HadamardGenotype) -> HadamardGenotype:
        return canonical(genotype)

    def draw(self, genotype: HadamardGenotype) -> list[str]:
        return hadamard_drawing.draw(genotype)

    def outline(self, genotype: HadamardGenotype) -> dict[str, Any]:
        return hadamard_drawing.outline(genotype)

    def to_dot(self, genotype: HadamardGenotype) -> str:
        return hadamard_drawing.dot(genotype)

    @property
    def relaxation(self) -> Relaxation:
        return {
            hadamard_relaxation.CELL: hadamard_relaxation.shape_of(self.nodes),
            hadamard_relaxation.NEXT_C: hadamard_relaxation.next_c_shape(self.nodes),
        }

    @property
    def scope(self) -> str:
        cells = self.nodes * hadamard_relaxation.shape_of(self.nodes).count()
        return f"{self.nodes} nodes, each a gate, a product or a sum, and which is the next c: {cells:,} cells"

    def paths_of(self, genotype: HadamardGenotype) -> Paths:
        return hadamard_relaxation.paths_of(genotype, self.nodes, self.output)

    def genotype_of(self, paths: Paths) -> HadamardGenotype:
        return hadamard_relaxation.genotype_of(paths, self.nodes, self.output)

    def variants(self, genotype: HadamardGenotype) -> Sequence[Variant]:
        raise ConfigError(["changes one at a time are there for recurrent cells of gates, not for Hadamard cells"])

    def size(self, genotype: HadamardGenotype, **settings: Any) -> Size:
        """All parameters, those of unused nodes too; of the multiply-accumulates, those of the matrix products for a word.

        A gate and a product have one matrix (H, 2H), a sum has none.
        """
        unused = genotype.unused_nodes()
        with_matrix = [i for i, node in enumerate(genotype.nodes, start=1) if node.kind != "sum"]
        return model_size(len(with_matrix), sum(i not in unused for i in with_matrix), **settings)

    def network(self, genotype: HadamardGenotype, seed: int, **settings: Any) -> Any:
        """A `HadamardLanguageModel` without dropout, with the initial weights of a trial of that seed."""
        from randomNAS_files.hadamard_model import (
            HadamardLanguageModel,  # here, so that the rest does not wait for torch
        )

        return plain_network(HadamardLanguageModel, genotype, seed, **settings)


HADAMARD = HadamardSpace()

"""What others may ask of this space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nas.core.genotype_text import check_fields, read_written
from nas.core.seeds import derive, numpy_generator
from nas.core.space import Size, Space, named_genotypes, numbered
from toy_space.architecture import ACTIVATIONS, Genotype


class ToySpace(Space[Genotype]):
    package = "toy_space"
    title = "small perceptrons"

    @property
    def genotypes(self) -> Mapping[str, Genotype]:
        return named_genotypes(self.package, Genotype)

    def sample(self, seed: int, *labels: str | int) -> Genotype:
        generator = numpy_generator(seed, "toy", *labels)
        count = generator.randint(4, 9)
        return Genotype(tuple(ACTIVATIONS[i] for i in generator.randint(len(ACTIVATIONS), size=count)))

    def from_json(self, data: Mapping[str, Any]) -> Genotype:
        check_fields(data, ["layers"], [])
        return Genotype(tuple(data["layers"]))

    def from_text(self, text: str) -> Genotype:
        return read_written(text, ["layers"]).build(self.from_json, lambda field, count: [])

    def from_hparams(self, hparams: Mapping[str, Any]) -> Genotype:
        names = [f"layer{i}" for i in range(1, 10)]
        return Genotype(tuple(hparams[name] for name in names if name in hparams))

    def canonical(self, genotype: Genotype) -> Genotype:
        """Identities between linear layers add nothing: leave them out, but for one."""
        return Genotype(tuple(name for name in genotype.layers if name != "identity") or ("identity",))

    def draw(self, genotype: Genotype) -> list[str]:
        return ["toy cell", f"x -> {genotype} -> y"]

    def outline(self, genotype: Genotype) -> dict[str, Any]:
        return numbered("layer", 1, genotype.layers)

    def to_dot(self, genotype: Genotype) -> str:
        nodes = " ".join(f'n{i} [label="{name}"];' for i, name in enumerate(genotype.layers))
        chain = " -> ".join(["x", *(f"n{i}" for i in range(len(genotype.layers))), "y"])
        return f"digraph {{ rankdir=LR; {nodes} {chain} }}"

    def size(self, genotype: Genotype, **settings: Any) -> Size:
        width, layers = settings["width"], len(genotype.layers)
        macs = width + (layers - 1) * width * width + width
        return Size(macs + layers * width + 1, macs)

    def network(self, genotype: Genotype, seed: int, **settings: Any) -> Any:
        import torch

        from toy_space.model import perceptron

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "weights") % 2**31)
            return perceptron(genotype, settings["width"])


SPACE = ToySpace()

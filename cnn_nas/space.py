"""The convolutional search space as others may ask for it: `SPACE`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnn_nas import architecture, darts_cc, drawing, relaxation
from cnn_nas.architecture import Genotype
from cnn_nas.canonical import canonical_cell
from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize, count
from cnn_nas.decoding import CellDecoder
from nas.core.budget import Budget, Decoder
from nas.core.constants import Constants, constants
from nas.core.errors import ConfigError
from nas.core.fields import read
from nas.core.relaxation import Paths, Relaxation
from nas.core.space import Size, Space, named_genotypes


class ConvolutionalSpace(Space[Genotype]):
    """Normal and reduction cells for images.

    The settings of `size` and `network`:

        init_channels: channels of the operations in the first cell.
        layers: cells.
        classes: outputs of the last layer; 1 for a regression.
        input_size: channels, height and width of an image.
    """

    package = "cnn_nas"
    title = "convolutional cells"
    sized = True

    @property
    def genotypes(self) -> Mapping[str, Genotype]:
        """Those of `genotypes.py`, then those of `published.py`; of one name the first counts."""
        own, others = named_genotypes(self.package, Genotype), constants(f"{self.package}.published", Genotype)
        return Constants({**own, **{name: each for name, each in others.items() if name not in own}}, own.wrong)

    def sample(self, seed: int, *labels: str | int) -> Genotype:
        """Uniform over all operations but `none`, each node reading two different states; see `architecture.sample`."""
        return architecture.sample(seed, *labels)

    def from_json(self, data: Mapping[str, Any]) -> Genotype:
        return architecture.from_json(data)

    def from_text(self, text: str) -> Genotype:
        """A `Genotype(...)` or its JSON, or the JSON of DARTS-CC."""
        return darts_cc.read(text) if darts_cc.is_written(text) else architecture.from_text(text)

    def from_hparams(self, hparams: Mapping[str, Any]) -> Genotype:
        return architecture.from_hparams(hparams)

    def canonical(self, genotype: Genotype) -> Genotype:
        """Both cells in the form of `canonical.canonical_cell`, each on its own.

        How the weights of the two networks match: each edge keeps its operation's weights under its new number. Where the
        nodes of the concat change their order, so do the channels of the cell's output, and with them the input channels
        of what reads it: the 1x1 convolutions at the start of the next two cells, and the heads. Where a node goes, so do
        its weights, which the output does not depend on.
        """
        normal, normal_concat = canonical_cell(genotype.normal, genotype.normal_concat)
        reduce, reduce_concat = canonical_cell(genotype.reduce, genotype.reduce_concat)
        return Genotype(normal=normal, normal_concat=normal_concat, reduce=reduce, reduce_concat=reduce_concat)

    def draw(self, genotype: Genotype) -> list[str]:
        return drawing.draw(genotype)

    def outline(self, genotype: Genotype) -> dict[str, Any]:
        return drawing.outline(genotype)

    def to_dot(self, genotype: Genotype) -> str:
        return drawing.dot(genotype)

    @property
    def relaxation(self) -> Relaxation:
        return relaxation.RELAXATION

    def paths_of(self, genotype: Genotype) -> Paths:
        return relaxation.paths_of(genotype)

    def genotype_of(self, paths: Paths) -> Genotype:
        return relaxation.genotype_of(paths)

    def size(self, genotype: Genotype, **settings: Any) -> Size:
        return count(genotype, **settings)

    def size_settings(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """As in the contract. Of a folder of images, the classes and the size are those of `images.data.expected`."""
        from cnn_nas.images.data import DataConfig, expected  # which imports torch

        hparams, problems = config.get("hyperparameters") or {}, []
        for name in ("init_channels", "layers"):
            value = hparams.get(name)
            if type(value) is not int or value < 1:
                problems.append(
                    f"hyperparameters.{name} must be a whole number of at least 1 to count by, got {value!r}"
                )
        if problems:
            raise ConfigError(problems)
        (data,) = read(config.get("data") or {}, DataConfig, section="data")
        classes, shape = expected(data)
        fixed = {"init_channels": hparams["init_channels"], "layers": hparams["layers"]}
        return {**fixed, "classes": classes, "input_size": shape}

    def decoder(self, budget: Budget, rules: Mapping[str, Any] | None, of: str, **settings: Any) -> Decoder:
        """See `decoding`; the rules are those of `constraints`."""
        channels, height, width = settings.pop("input_size")
        size = NetworkSize(**settings, input_size=(channels, height, width))
        return CellDecoder(budget, size, None if rules is None else Constraints.from_mapping(rules), of)

    def network(self, genotype: Genotype, seed: int, **settings: Any) -> Any:
        """Without the auxiliary head and drop path."""
        import torch  # here, so that the rest does not wait for it

        from cnn_nas.model import ModelConfig, Network

        wanted = {"init_channels", "layers", "classes", "input_size"}
        if settings.keys() != wanted:
            raise TypeError(f"the settings must be {', '.join(sorted(wanted))}, got {', '.join(sorted(settings))}")
        channels, height, width = settings["input_size"]
        config = ModelConfig(
            settings["init_channels"], settings["layers"], auxiliary=False, auxiliary_weight=0.0, drop_path_prob=0.0
        )
        generator = torch.Generator().manual_seed(seed)
        return Network(config, genotype, settings["classes"], channels, (height, width), generator)


SPACE = ConvolutionalSpace()

"""One perceptron as data: for each hidden layer an activation. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.core.errors import ConfigError, unknown

ACTIVATIONS = ("relu", "tanh", "identity")


@dataclass(frozen=True)
class Genotype:
    """Raises ConfigError for an activation that is not known."""

    layers: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        strange = [name for name in self.layers if name not in ACTIVATIONS]
        if strange or not self.layers:
            raise ConfigError(
                [unknown(f"activation {name!r}", str(name), ACTIVATIONS) for name in strange] or ["layers is empty"]
            )

    def __str__(self) -> str:
        return " -> ".join(self.layers)

    def to_json(self) -> dict[str, Any]:
        return {"layers": list(self.layers)}

    def to_text(self) -> str:
        return f"Genotype(layers={list(self.layers)!r})"

    def to_hparams(self) -> dict[str, Any]:
        return {f"layer{i}": name for i, name in enumerate(self.layers, start=1)}

"""The architectures known by name."""

from toy_space.architecture import Genotype

PLAIN = Genotype(("relu", "relu"))
MIXED = Genotype(("tanh", "identity", "relu"))

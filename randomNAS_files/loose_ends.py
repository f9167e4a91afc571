"""The recurrent space where every cell's output is the mean of its loose ends, as in ENAS: `LOOSE_ENDS`.

Pham et al. 2018, arXiv 1802.03268, section 2.1. The same paths mean other genotypes than in `space.SPACE`.
"""

from __future__ import annotations

from nas.core.relaxation import Paths
from randomNAS_files import relaxation
from randomNAS_files.architecture import Genotype
from randomNAS_files.space import RecurrentSpace


class LooseEndsSpace(RecurrentSpace):
    """What a supernet with `output: loose_ends` holds."""

    def paths_of(self, genotype: Genotype) -> Paths:
        return relaxation.paths_of(genotype, "loose_ends")

    def genotype_of(self, paths: Paths) -> Genotype:
        return relaxation.genotype_of(paths, "loose_ends")


LOOSE_ENDS = LooseEndsSpace()

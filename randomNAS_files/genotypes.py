"""The recurrent cells that configs know by name: `arch_to_use: DARTS_V2` trains the constant of that name.

Add your own by adding a constant; nothing else has to change. `Genotype.to_text()` and the `genotype.json` of every run
print one ready to paste.
"""

from __future__ import annotations

from randomNAS_files.architecture import Genotype
from randomNAS_files.hadamard import HadamardGenotype  # noqa: F401, for constants of that kind

# Pham et al. 2018 (arXiv 1802.03268), as listed with DARTS.
ENAS = Genotype(
    recurrent=(
        ("tanh", 0),
        ("tanh", 1),
        ("relu", 1),
        ("tanh", 3),
        ("tanh", 3),
        ("relu", 3),
        ("relu", 4),
        ("relu", 7),
        ("relu", 8),
        ("relu", 8),
        ("relu", 8),
    ),
    concat=(2, 5, 6, 9, 10, 11),
)

# The corrected ENAS of its authors, google-research/enas_lm, `--fixed_arc='0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2'`. Its README
# gives for 800 units a test perplexity on Penn Treebank of 57.3 +- 0.1 on GPUs and 56.1 +- 0.1 on TPUs, 10 runs each.
# train_enas_lm.yaml retrains it.
ENAS_LM = Genotype(
    (("sigmoid", 0), ("tanh", 1), ("relu", 2), ("sigmoid", 2), ("tanh", 4), ("tanh", 5), ("sigmoid", 3), ("sigmoid", 6))
)

# Liu et al. 2019 (arXiv 1806.09055), first and second order.
DARTS_V1 = Genotype(
    (("relu", 0), ("relu", 1), ("tanh", 2), ("relu", 3), ("relu", 4), ("identity", 1), ("relu", 5), ("relu", 1))
)
DARTS_V2 = Genotype(
    (("sigmoid", 0), ("relu", 1), ("relu", 1), ("identity", 1), ("tanh", 2), ("sigmoid", 5), ("tanh", 3), ("relu", 5))
)
DARTS = DARTS_V2

# Found with ASHA by Determined's NAS example of 2020.
ASHA = Genotype(
    (("relu", 0), ("relu", 0), ("sigmoid", 0), ("tanh", 0), ("relu", 1), ("tanh", 0), ("identity", 5), ("sigmoid", 0))
)

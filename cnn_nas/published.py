"""Cells that others found and published with their logs; `arch_to_use` knows them by name, as those of `genotypes.py`.

Each in short: what the two edges of each node compute, and of which state. Their scores are those of their sources, who
chose by the test split; `docs/search_to_test.md` says which of them cannot be right. Two more of the capstone's need a
max_pool_2x2, which this space lacks.
"""

from __future__ import annotations

from cnn_nas.architecture import Genotype

_operations = {
    **{"max": "max_pool_3x3", "avg": "avg_pool_3x3", "skip": "skip_connect"},
    **{"sep3": "sep_conv_3x3", "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5"},
}


def _cells(normal: str, reduce: str) -> Genotype:
    """From `sep3 0, skip 1 | ...`: the nodes between bars, the edges of a node between commas."""
    edges = (
        tuple(
            (_operations[operation], int(state))
            for operation, state in (edge.split() for edge in cell.replace("|", ",").split(","))
        )
        for cell in (normal, reduce)
    )
    return Genotype(normal=next(edges), reduce=next(edges))


# Found by second-order DARTS (but the random one) in the capstone project of Harvard's AC297r, 2019: github.com/
# capstone2019-neuralsearch/AC297r_2019_NAS, folders experiments and random_search.

# First search on CIFAR-10, 50 epochs, supernet's validation 89.20 %; search-CIFAR-10-20191001-163952.
CAPSTONE_CIFAR10_1 = _cells(
    "sep3 0, sep3 1 | skip 0, skip 1 | skip 0, sep3 1 | skip 0, sep3 2",
    "max 0, max 1 | max 0, skip 2 | skip 2, max 0 | skip 2, max 0",
)
# The same once more, same seed, 89.16 %; search-CIFAR-10-20191014-130544.
CAPSTONE_CIFAR10_2 = _cells(
    "sep3 0, sep3 1 | sep3 0, sep3 1 | skip 0, sep3 1 | skip 0, skip 1",
    "max 0, max 1 | max 0, skip 2 | max 0, skip 2 | max 0, skip 2",
)
# MNIST once more, with seed and settings of `genotypes.MNIST`, 99.07 %; search-MNIST-20191014-130733.
CAPSTONE_MNIST_2 = _cells(
    "max 0, skip 1 | sep3 1, sep5 2 | sep3 3, max 0 | sep5 4, dil3 3",
    "avg 0, sep3 1 | avg 0, skip 2 | avg 0, skip 2 | skip 2, avg 0",
)
# Called Fashion-MNIST, but most likely searched on MNIST's files (see `docs/search_to_test.md`), 99.07 %;
# search-FASHION-MNIST-20191014-131002.
CAPSTONE_FASHION_MNIST_2 = _cells(
    "skip 0, sep3 1 | sep3 2, skip 0 | skip 0, sep5 3 | sep5 4, skip 0",
    "avg 0, dil3 1 | avg 0, skip 2 | avg 0, sep5 3 | dil3 3, skip 1",
)
# Graphene once more, with seed and settings of `genotypes.GRAPHENE`, R2 0.890 (a mean over batches);
# search-GRAPHENE-20191014-131026.
CAPSTONE_GRAPHENE_2 = _cells(
    "skip 1, skip 0 | dil3 0, skip 2 | avg 3, avg 2 | avg 3, skip 4",
    "max 0, dil5 1 | avg 2, max 0 | avg 0, avg 3 | dil5 1, avg 0",
)
# Chest X-rays, epoch 15, validation cross entropy 0.1569; search-XRAY-20191203-171918.
CAPSTONE_CHEST_XRAY = _cells(
    "sep3 1, sep3 0 | sep3 0, max 1 | sep5 2, sep3 3 | skip 2, max 0",
    "max 0, max 1 | dil5 2, dil5 0 | max 3, dil5 2 | dil5 3, sep3 4",
)
# The same at epoch 4, CHEST_XRAY_V1 of their genotypes.py; 0.163 retrained.
CAPSTONE_CHEST_XRAY_V1 = _cells(
    "max 0, dil5 1 | max 0, sep3 1 | skip 0, sep5 2 | skip 2, max 0",
    "max 0, max 1 | dil5 2, dil5 0 | dil5 3, sep5 2 | sep5 2, dil5 3",
)
# Best of 48 random cells on graphene after 20 epochs, R2 0.9006 (a mean over batches), 1,159,021 parameters;
# random_eval-graphene-EXP-20191204-043050.
CAPSTONE_GRAPHENE_RANDOM_BEST = _cells(
    "dil5 0, avg 1 | max 1, dil5 2 | sep3 2, max 1 | skip 1, sep5 3",
    "max 1, dil5 0 | sep5 1, sep5 2 | skip 3, sep3 1 | sep5 4, skip 2",
)

# Found by second-order DARTS: README of github.com/khanrc/pt.darts.

# CIFAR-10, 97.17 % on the test split, which chose the epoch.
PT_DARTS_CIFAR10 = _cells(
    "sep3 0, dil5 1 | skip 0, dil3 2 | sep3 1, skip 0 | sep3 1, skip 0",
    "max 0, max 1 | max 0, skip 2 | skip 3, max 0 | skip 2, max 0",
)
# Fashion-MNIST, 99.20 % claimed; another user got 95.90 % with the genuine data (issue 36).
PT_DARTS_FASHION_MNIST = _cells(
    "max 0, dil5 1 | max 0, sep3 1 | sep5 1, sep3 3 | sep5 4, dil5 3",
    "sep3 1, avg 0 | avg 0, skip 2 | skip 3, avg 0 | sep3 2, skip 3",
)
# MNIST, 99.75 % on the test split, which chose the epoch.
PT_DARTS_MNIST = _cells(
    "sep3 0, dil5 1 | sep3 2, sep3 1 | dil5 3, sep3 1 | sep5 4, dil5 3",
    "dil3 0, sep3 1 | avg 0, skip 2 | dil5 3, avg 0 | dil3 1, max 0",
)

# Found on CIFAR-10 by DARTS-CC (Yakovlev, Grebenkova, Bakhteev and Strijov 2021), github.com/intsystems/DARTS-CC: seeds 0, 50
# and 100, each with the weight of the complexity low (log10 lambda -10), middle (-8) and high (-6).

# 3,722,374 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_0_LOW = _cells(
    "sep5 0, sep5 1 | skip 0, dil5 2 | dil3 2, sep5 3 | sep5 2, dil3 3",
    "dil3 0, max 1 | sep5 0, skip 2 | max 0, dil5 3 | max 1, dil5 3",
)
# 3,290,158 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_0_MID = _cells(
    "dil5 0, sep3 1 | skip 0, dil5 2 | skip 1, sep5 2 | max 0, sep5 2",
    "sep5 0, sep5 1 | dil3 0, dil3 1 | max 0, dil5 3 | sep5 2, sep3 3",
)
# 1,977,094 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_0_HIGH = _cells(
    "sep3 0, max 1 | max 0, avg 1 | avg 2, skip 3 | max 1, max 3",
    "sep3 0, sep5 1 | sep5 0, dil5 2 | max 2, skip 3 | skip 2, dil5 4",
)
# 4,506,454 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_50_LOW = _cells(
    "sep3 0, max 1 | sep5 0, sep3 1 | sep5 0, sep5 1 | sep5 0, sep3 1",
    "sep5 0, avg 1 | sep3 0, sep3 2 | sep5 1, sep5 3 | sep5 2, sep3 4",
)
# 3,371,374 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_50_MID = _cells(
    "sep5 0, sep5 1 | avg 0, avg 1 | skip 2, sep3 3 | dil3 1, sep5 4",
    "avg 0, sep3 1 | sep3 0, dil5 2 | dil3 1, dil5 3 | dil5 0, avg 4",
)
# 2,313,622 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_50_HIGH = _cells(
    "sep5 0, sep5 1 | max 1, avg 2 | avg 0, skip 1 | max 0, skip 1",
    "sep5 0, sep5 1 | max 0, max 1 | max 0, skip 2 | avg 0, avg 3",
)
# 5,025,286 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_100_LOW = _cells(
    "sep5 0, sep5 1 | sep5 0, sep5 2 | sep5 0, sep3 1 | sep5 0, sep5 1",
    "sep3 0, sep5 1 | sep5 0, sep5 1 | sep5 0, sep5 3 | sep5 1, skip 4",
)
# 3,961,702 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_100_MID = _cells(
    "sep5 0, sep3 1 | skip 1, sep5 2 | sep5 0, sep5 1 | sep5 1, max 2",
    "max 0, dil5 1 | max 0, dil5 1 | sep5 0, avg 1 | max 1, sep5 3",
)
# 2,314,918 parameters with 36 channels and 20 cells.
DARTS_CC_CIFAR_100_HIGH = _cells(
    "sep5 0, dil3 1 | skip 0, skip 1 | max 2, dil3 3 | skip 2, skip 3",
    "sep3 0, sep3 1 | max 1, dil5 2 | dil5 2, skip 3 | max 1, skip 4",
)

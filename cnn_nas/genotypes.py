"""The architectures that configs know by name: `arch_to_use: DARTS_V2` trains the constant of that name.

Add your own by adding a constant; nothing else has to change. `Genotype.to_text()` and the `genotype.json` of every run
print one ready to paste.
"""

from __future__ import annotations

from cnn_nas.architecture import Genotype

# Zoph et al. 2018 (arXiv 1707.07012), as listed with DARTS; five nodes.
NASNET = Genotype(
    normal=(
        ("sep_conv_5x5", 1),
        ("sep_conv_3x3", 0),
        ("sep_conv_5x5", 0),
        ("sep_conv_3x3", 0),
        ("avg_pool_3x3", 1),
        ("skip_connect", 0),
        ("avg_pool_3x3", 0),
        ("avg_pool_3x3", 0),
        ("sep_conv_3x3", 1),
        ("skip_connect", 1),
    ),
    reduce=(
        ("sep_conv_5x5", 1),
        ("sep_conv_7x7", 0),
        ("max_pool_3x3", 1),
        ("sep_conv_7x7", 0),
        ("avg_pool_3x3", 1),
        ("sep_conv_5x5", 0),
        ("skip_connect", 3),
        ("avg_pool_3x3", 2),
        ("sep_conv_3x3", 2),
        ("max_pool_3x3", 1),
    ),
    reduce_concat=(4, 5, 6),
)

# Real et al. 2019 (arXiv 1802.01548), as listed with DARTS; five nodes.
AMOEBANET = Genotype(
    normal=(
        ("avg_pool_3x3", 0),
        ("max_pool_3x3", 1),
        ("sep_conv_3x3", 0),
        ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0),
        ("avg_pool_3x3", 3),
        ("sep_conv_3x3", 1),
        ("skip_connect", 1),
        ("skip_connect", 0),
        ("avg_pool_3x3", 1),
    ),
    normal_concat=(4, 5, 6),
    reduce=(
        ("avg_pool_3x3", 0),
        ("sep_conv_3x3", 1),
        ("max_pool_3x3", 0),
        ("sep_conv_7x7", 2),
        ("sep_conv_7x7", 0),
        ("avg_pool_3x3", 1),
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 1),
        ("conv_7x1_1x7", 0),
        ("sep_conv_3x3", 5),
    ),
    reduce_concat=(3, 4, 6),
)

# Liu et al. 2019 (arXiv 1806.09055), first and second order.
DARTS_V1 = Genotype(
    normal=(
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0),
        ("skip_connect", 0),
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0),
        ("skip_connect", 2),
    ),
    reduce=(
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 1),
        ("skip_connect", 2),
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 0),
        ("skip_connect", 2),
        ("skip_connect", 2),
        ("avg_pool_3x3", 0),
    ),
)
DARTS_V2 = Genotype(
    normal=(
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("skip_connect", 0),
        ("dil_conv_3x3", 2),
    ),
    reduce=(
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 1),
        ("skip_connect", 2),
        ("max_pool_3x3", 1),
        ("max_pool_3x3", 0),
        ("skip_connect", 2),
        ("skip_connect", 2),
        ("max_pool_3x3", 1),
    ),
)
DARTS = DARTS_V2

# Xu et al. 2020 (arXiv 1907.05737), searched on CIFAR-10 and on ImageNet.
PC_DARTS_CIFAR = Genotype(
    normal=(
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("sep_conv_3x3", 0),
        ("dil_conv_3x3", 1),
        ("sep_conv_5x5", 0),
        ("sep_conv_3x3", 1),
        ("avg_pool_3x3", 0),
        ("dil_conv_3x3", 1),
    ),
    reduce=(
        ("sep_conv_5x5", 1),
        ("max_pool_3x3", 0),
        ("sep_conv_5x5", 1),
        ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 3),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 2),
    ),
)
PC_DARTS_IMAGENET = Genotype(
    normal=(
        ("skip_connect", 1),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 0),
        ("skip_connect", 1),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 3),
        ("sep_conv_3x3", 1),
        ("dil_conv_5x5", 4),
    ),
    reduce=(
        ("sep_conv_3x3", 0),
        ("skip_connect", 1),
        ("dil_conv_5x5", 2),
        ("max_pool_3x3", 1),
        ("sep_conv_3x3", 2),
        ("sep_conv_3x3", 1),
        ("sep_conv_5x5", 0),
        ("sep_conv_3x3", 3),
    ),
)
PC_DARTS = PC_DARTS_CIFAR

# Li et al. 2021 (arXiv 2004.07802), searched on CIFAR-10.
GAEA_PC_DARTS = Genotype(
    normal=(
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("sep_conv_3x3", 1),
        ("skip_connect", 2),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 2),
        ("sep_conv_3x3", 0),
        ("dil_conv_3x3", 4),
    ),
    reduce=(
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 1),
        ("sep_conv_5x5", 0),
        ("sep_conv_5x5", 2),
        ("dil_conv_3x3", 3),
        ("sep_conv_5x5", 2),
        ("sep_conv_5x5", 4),
        ("sep_conv_3x3", 1),
    ),
)

# Found by DARTS on MNIST, Fashion-MNIST and graphene kirigami: capstone project of Harvard's AC297r, 2019.
MNIST = Genotype(
    normal=(
        ("max_pool_3x3", 0),
        ("skip_connect", 1),
        ("max_pool_3x3", 0),
        ("sep_conv_3x3", 2),
        ("sep_conv_3x3", 3),
        ("sep_conv_3x3", 2),
        ("sep_conv_5x5", 4),
        ("sep_conv_3x3", 3),
    ),
    reduce=(
        ("avg_pool_3x3", 0),
        ("avg_pool_3x3", 1),
        ("avg_pool_3x3", 0),
        ("avg_pool_3x3", 1),
        ("avg_pool_3x3", 0),
        ("dil_conv_5x5", 3),
        ("avg_pool_3x3", 0),
        ("dil_conv_5x5", 4),
    ),
)
FASHION_MNIST = Genotype(
    normal=(
        ("skip_connect", 0),
        ("sep_conv_5x5", 1),
        ("dil_conv_5x5", 1),
        ("skip_connect", 0),
        ("sep_conv_5x5", 3),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 4),
        ("sep_conv_5x5", 1),
    ),
    reduce=(
        ("avg_pool_3x3", 0),
        ("dil_conv_3x3", 1),
        ("avg_pool_3x3", 0),
        ("skip_connect", 2),
        ("avg_pool_3x3", 0),
        ("dil_conv_5x5", 2),
        ("avg_pool_3x3", 0),
        ("skip_connect", 2),
    ),
)
GRAPHENE = Genotype(
    normal=(
        ("avg_pool_3x3", 1),
        ("skip_connect", 0),
        ("avg_pool_3x3", 2),
        ("skip_connect", 1),
        ("avg_pool_3x3", 3),
        ("avg_pool_3x3", 2),
        ("avg_pool_3x3", 3),
        ("skip_connect", 4),
    ),
    reduce=(
        ("skip_connect", 0),
        ("skip_connect", 1),
        ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0),
        ("avg_pool_3x3", 3),
        ("avg_pool_3x3", 2),
        ("sep_conv_5x5", 4),
        ("sep_conv_3x3", 2),
    ),
)

# Found with ASHA in the constrained space by Determined's NAS example of 2020; more than 97.4 % on CIFAR-10 after 600
# epochs.
CONSTRAINED_ASHA = Genotype(
    normal=(
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("dil_conv_3x3", 1),
        ("sep_conv_3x3", 0),
        ("dil_conv_3x3", 0),
        ("max_pool_3x3", 0),
        ("sep_conv_3x3", 0),
    ),
    reduce=(
        ("dil_conv_3x3", 1),
        ("max_pool_3x3", 1),
        ("skip_connect", 2),
        ("dil_conv_3x3", 0),
        ("sep_conv_3x3", 1),
        ("max_pool_3x3", 1),
        ("max_pool_3x3", 0),
        ("sep_conv_3x3", 4),
    ),
)

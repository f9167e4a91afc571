"""What everything else stands on, and what knows nothing above it; only `memory.py` and `optimizers.py` import torch.

- `fields.py`: typed, checked reading of hyperparameters, and the errors that name every problem.
- `space.py`: the contract of a search space; `survey.py`: what samples of one came to.
- `seeds.py`: random generators that depend on a seed and a purpose only.
- `downloads.py`: files fetched once, whole and verified; `genotype_text.py`: the text that DARTS logs print.
- `memory.py`: what a training step keeps in memory; `optimizers.py`: torch's optimisers without its compiler.
"""

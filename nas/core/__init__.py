"""What everything else stands on, and what knows nothing above it; only `memory.py` and `optimizers.py` import torch.

- `errors.py`: errors that name every problem, and the nearest known names; `fields.py`: typed, checked hyperparameters.
- `run_config.py`: the hyperparameters of every trial.
- `contenders.py`: cells of a controller and uniform ones, to be trained alike.
- `space.py`: the contract of a search space; `survey.py`: what samples of one came to.
- `seeds.py`: random generators that depend on a seed and a purpose only.
- `files.py`: files written whole or not at all; `downloads.py`: files fetched once, whole and verified.
- `genotype_text.py`: the text that DARTS logs print; `genotype_source.py`: the files where an architecture may be written.
- `memory.py`: what a training step keeps in memory; `optimizers.py`: torch's optimisers without its compiler.
- `program.py`: run a Python program on an import path on which no module of the current folder can replace one of ours.
"""

"""The recurrent search space: cells of the DARTS kind for word-level language models.

The folder has kept the name that users of the first release know (random-search NAS, Li & Talwalkar 2019). In it:

- `architecture.py`: one cell as data (`Genotype`), its codecs, and random sampling.
- `genotypes.py`: the cells known by name; add yours there.
- `space.py`: what others may ask of the space (`SPACE`); `canonical.py`: one form for cells that are the same graph.
- `hadamard*.py`: the same for cells whose nodes may be products and sums of states, with a second state, as in an LSTM.
- `outputs.py`: what a cell's output is the mean of, all nodes or the loose ends; `trees.py`: a cell's shape under renumbering.
- `edits.py`: a cell with a node less or more, another predecessor, other activations.
- `official.py`: the strings in which the programs of ENAS's authors take cells.
- `from_config.py`: which cell a config means; `settings.py`: all that a trial reads from its config.
- `corpora.py`: which texts there are, before one is read; `data.py` at the root reads them.
- `memory.py`: what a training step needs, for `nas check`.
- `drawing.py`: a cell as text and as a graph.
- `model.py`: the cell and the language model around it, readable from top to bottom.
- `dropout.py`: masks that do not depend on how many processes share a batch.
- `averaged_sgd.py`: SGD that can start to average its iterates.
- `scoring.py`: how well a model predicts a stream, for one cell or for many with the same weights.
- `random_cells.py`: random cells that are scored with the weights of a trained one.
- `fast/`: the model, its scoring and its optimiser, computed faster.
- `slices.py`: a text stream cut into columns and slices for truncated backpropagation; `streams.py`: those of a trial.
- `tokens.py`: the words of a text as numbers.

It knows torch and never Determined.
"""

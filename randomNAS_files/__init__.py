"""The recurrent search space: cells of the DARTS kind for word-level language models.

The folder has kept the name that users of the first release know (random-search NAS, Li & Talwalkar 2019). In it:

- `architecture.py`: one cell as data (`Genotype`), its codecs, and random sampling.
- `genotypes.py`: the cells known by name; add yours there.
- `choice.py`: which cell a config means.
- `drawing.py`: a cell as text.
- `model.py`: the cell and the language model around it, readable from top to bottom.
- `plan.py`, `fused.py`, `kept.py`, `tied.py`, `many.py`: the same, fast: a cell as a few matrix products, a sequence as one
  operation, no arithmetic for what dropout dropped, the decoder without all its logits, and many cells at once.
- `dropout.py`: masks that do not depend on how many processes share a batch.
- `slices.py`: a text stream cut into columns and slices for truncated backpropagation.
- `evaluate.py`: how well a model predicts a stream.
- `averaged_sgd.py`: SGD that can start to average its iterates.

It knows torch and never Determined.
"""

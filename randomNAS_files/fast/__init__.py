"""The recurrent language model computed faster, with the same result up to rounding: skip it on first reading.

- `model.py`: `FastLanguageModel` and `FastRecurrentCell`, which a trial takes instead of the plain ones.
- `plan.py`: a cell as a few matrix products; `sequence.py`: a cell over a whole sequence as one operation;
  `workspace.py`: its memory, used again by later passes; `inference.py`: a cell where no gradient is asked for.
- `kernels/`: what is computed between the products, by torch's operations or by kernels for a GPU.
- `column_sparse.py`: products without the features that dropout dropped.
- `decoder.py`: the loss without the logits of all words; `embedding.py`: the embedding, which shares its weights.
- `precision.py`: products with fewer digits; `rounded_decoder.py`, `rounded_mixture.py`: the loss and the mixture of such.
- `once.py`: what cannot be differentiated twice says so.
- `scoring.py`: many cells with one set of weights, at once.
- `averaged_sgd.py`: the optimiser with fewer passes over memory.
"""

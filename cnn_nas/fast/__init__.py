"""The network computed faster, with the same result: skip it on first reading.

- `model.py` and `cells.py`: the network in a faster order of operations.
- `depthwise.py`: depthwise convolutions with a faster backward pass.
- For a GPU: `preparing.py` makes what layers compute with of all weights at once, by `packing.py`, with channels widened as
  `widths.py` says; `compiling.py` compiles cells; `tensors.py` says which tensors are a layer's.
- `supernet.py`, `mixing.py` and `edges.py`: the supernet.
"""

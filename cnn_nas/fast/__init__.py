"""The network computed faster, with the same result: skip it on first reading.

- `model.py`: the network in a faster order of operations; `depthwise.py`: depthwise convolutions with a faster backward pass.
"""

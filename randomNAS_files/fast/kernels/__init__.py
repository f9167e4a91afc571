"""What a recurrent cell's fast form computes number by number, between two matrix products.

- `eager.py`: by torch's own operations, on any device; this is the definition.
- `triton_kernels.py`: the same as two kernels, one a direction; imported only where they are asked for.
- `fused.py`: starts these kernels on the views of a workspace.
- `choice.py`: the hyperparameter `kernels`, where it is refused, and what happens where a kernel does not compile.

Only where numbers are computed differs: both forms read and write the same memory, so that a forward pass of one may be
followed by a backward pass of the other.
"""

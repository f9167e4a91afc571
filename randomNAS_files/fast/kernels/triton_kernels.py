# mypy: ignore-errors
"""A group's gates and states as one kernel a direction, in Triton (Tillet et al. 2019); see `eager.py` for what it computes.

Tensors come as pointers to the first of `numbers` = H * B numbers, laid out as in a workspace; what differs between groups is
known when a kernel is compiled, as numbers of few bits, which every version of Triton takes:

- `nodes`: K; `first`: the slot of the group's first state.
- `codes`: two bits a node, its activation by `CODE_OF`.
- `readers`: eight bits a node, 0 or one more than the index of the group that reads its state.
- `averaged`: one bit a slot before the group's, whether its state counts in the output; `counted`: the same of each node.

Everything is computed in float32, whatever type the memory has. Annotations are no texts here, for Triton's interpreter.
"""

import triton
import triton.language as tl

CODE_OF = {"identity": 0, "tanh": 1, "sigmoid": 2, "relu": 3}


@triton.jit
def _read(places, inside):
    """The numbers there, whatever their type."""
    return tl.load(places, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _sigmoid(x):
    """1 / (1 + exp(-x)); an overflow gives 0."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    """The hyperbolic tangent within two units of the last place: not every version of Triton has one.

    Near 0 the odd polynomial whose largest relative error, 4.4e-9, is least; elsewhere 1 - exp(-2x) loses no digits.
    """
    size, square = tl.where(x < 0, -x, x), x * x
    series = -5.704986602e-03 * square + 2.063908690e-02
    series = (series * square - 5.373971498e-02) * square + 1.333144220e-01
    small = x + x * (square * (series * square - 3.333328194e-01))
    power = tl.exp(-2.0 * size)
    large = (1.0 - power) / (1.0 + power)
    return tl.where(size < 0.625, small, tl.where(x < 0, -large, large))


@triton.jit
def _activated(x, code: tl.constexpr):
    """An activation; NaN stays NaN."""
    if code == 1:
        x = _tanh(x)
    if code == 2:
        x = _sigmoid(x)
    if code == 3:
        x = tl.where(x <= 0, 0.0, x)
    return x


@triton.jit
def _differentiated(grad, y, code: tl.constexpr):
    """The gradient of an activation's input, from that of its output y."""
    if code == 1:
        grad = grad * (1.0 - y * y)
    if code == 2:
        grad = grad * (1.0 - y) * y
    if code == 3:
        grad = tl.where(y <= 0, 0.0, grad)
    return grad


@triton.jit
def gates_forward(
    gates,  # (2, K, H, B): products, which sigmoids and activations overwrite
    state,  # (H, B), what the nodes start from
    states,  # (S, H, B), all states of the time step
    sources,  # (H, B), what the first group read in this time step; group j did j * stride numbers later
    mask,  # (H, B)
    output,  # (H, B)
    stride,
    share,
    numbers,
    nodes: tl.constexpr,
    first: tl.constexpr,
    codes: tl.constexpr,
    readers: tl.constexpr,
    averaged: tl.constexpr,
    counted: tl.constexpr,
    masked: tl.constexpr,
    completes: tl.constexpr,  # the output: the last group, which adds up what is averaged
    goes_on: tl.constexpr,  # whether another time step reads the output
    block: tl.constexpr,
):
    """From a group's products to its states, and to what the groups that read them multiply by their weights."""
    at = tl.program_id(0) * block + tl.arange(0, block)
    inside = at < numbers
    source = _read(state + at, inside)
    kept = tl.full([block], 1.0, tl.float32)
    if masked:
        kept = _read(mask + at, inside)
    total = tl.full([block], 0.0, tl.float32)
    if completes:
        for slot in tl.static_range(first):
            if (averaged >> slot) & 1:
                total += _read(states + slot * numbers + at, inside)
    for k in tl.static_range(nodes):
        c = _sigmoid(_read(gates + k * numbers + at, inside))
        g = _read(gates + (nodes + k) * numbers + at, inside)
        g = _activated(g, (codes >> (k * 2)) & 3)
        apart = g - source
        new = tl.where(c < 0.5, source + c * apart, g - apart * (1.0 - c))
        tl.store(gates + k * numbers + at, c, mask=inside)
        if (codes >> (k * 2)) & 3:
            tl.store(gates + (nodes + k) * numbers + at, g, mask=inside)
        tl.store(states + (first + k) * numbers + at, new, mask=inside)
        if masked and (readers >> (k * 8)) & 255:
            tl.store(sources + (((readers >> (k * 8)) & 255) - 1) * stride + at, new * kept, mask=inside)
        if completes and (counted >> k) & 1:
            total += new
    if completes:
        total = total * share
        tl.store(output + at, total, mask=inside)
        if masked and goes_on:
            tl.store(sources + numbers + at, total * kept, mask=inside)


@triton.jit
def gates_backward(
    gates,  # (2, K, H, B): what `gates_forward` left, which gradients of the products overwrite
    state,  # (H, B), what the nodes started from
    grad,  # (H, B), of the output
    given,  # (H, B), the same and what the next time step adds: written by the group that comes first, the last one
    carried,  # (G, H, B) for each group: the gradient of the state that it read, past the products
    passed,  # (G, H, B) for each group: the gradient of what it multiplied by its weights
    mask,  # (H, B)
    share,
    numbers,
    group: tl.constexpr,  # its index
    nodes: tl.constexpr,
    codes: tl.constexpr,
    readers: tl.constexpr,
    counted: tl.constexpr,
    masked: tl.constexpr,
    completes: tl.constexpr,
    block: tl.constexpr,
):
    """From the gradients of a group's states to those of its products, and to the part `carried` of that of its source."""
    at = tl.program_id(0) * block + tl.arange(0, block)
    inside = at < numbers
    source = _read(state + at, inside)
    kept = tl.full([block], 1.0, tl.float32)
    if masked:
        kept = _read(mask + at, inside)
    whole = tl.full([block], 0.0, tl.float32)
    if completes:
        whole = _read(passed + at, inside) * kept
        whole = _read(carried + at, inside) + whole
        whole = _read(grad + at, inside) + whole
        if group:
            tl.store(given + at, whole, mask=inside)
    elif counted:
        whole = _read(given + at, inside)
    total = tl.full([block], 0.0, tl.float32)
    for k in tl.static_range(nodes):
        own = tl.full([block], 0.0, tl.float32)
        if (counted >> k) & 1:
            own = whole * share
        if (readers >> (k * 8)) & 255:
            reader = (((readers >> (k * 8)) & 255) - 1) * numbers + at
            own += _read(carried + reader, inside)
            own += _read(passed + reader, inside) * kept
        c = _read(gates + k * numbers + at, inside)
        g = _read(gates + (nodes + k) * numbers + at, inside)
        gated = own * c
        total += own - gated
        tl.store(gates + k * numbers + at, (g - source) * own * (1.0 - c) * c, mask=inside)
        gated = _differentiated(gated, g, (codes >> (k * 2)) & 3)
        tl.store(gates + (nodes + k) * numbers + at, gated, mask=inside)
    tl.store(carried + group * numbers + at, total, mask=inside)

"""A mixture of recurrent cells over a whole sequence as one operation: the fast form of `SuperCell`, where it mixes.

What makes it faster: all states that enter a node share one product; what an edge adds is, of all its activations f at once,

    sum_f q_f (s + c (f(g) - s)) = P s + c (sum_f q_f f(g) - P s),    P = sum_f q_f,

with q the weight of an operation times that of its edge; and the backward pass is written by hand. It needs of every edge c,
the bracket, and the slope sum_f q_f f'(g), over which the gradients of c and g are written. The weights' gradients are a
third of the work; they are computed where they are asked for, which the gradient of an architecture does not.

T is time, B the batch's columns, H the hidden size, S the states (9), R the edges on which something runs, K the activations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from randomNAS_files.architecture import ACTIVATIONS
from randomNAS_files.fast.blocks import Block
from randomNAS_files.fast.once import ONCE
from randomNAS_files.fast.sequence import activate, differentiate
from randomNAS_files.relaxation import CELL, RELAXATION
from randomNAS_files.supernet import NORM_EPS

_ATEN = torch.ops.aten
_RISING = ("tanh", "identity")  # with a slope of 1 at 0, which is a constant of the sum


class Mixture:
    """One pass of a mixture over a sequence, and the memory of it.

    Args:
        nodes: what runs, from `blocks_of`.
        weights: `(H, 2H)` of h and of each node.
        mask: of the states that nodes read, `(B, H)`, or None.
        init_op: activation of the initial state.
        state_norm: whether every state is normalised over the batch.
        keep: whether a backward pass follows.
        of_operations: whether it gives gradients of the operations' weights.
    """

    def __init__(
        self,
        nodes: tuple[tuple[Block, ...], ...],
        weights: Sequence[torch.Tensor],
        mask: torch.Tensor | None,
        init_op: str,
        state_norm: bool,
        keep: bool,
        of_operations: bool,
    ) -> None:
        self.nodes, self.weights, self.mask = nodes, [weight.detach() for weight in weights], mask
        self.blocks = [block for blocks in nodes for block in blocks]
        self.init_op, self.state_norm, self.keep, self.of_operations = init_op, state_norm, keep, of_operations
        self.done = False
        self._moments: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def run(self, inputs: torch.Tensor, h: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        """The outputs `(T, B, H)`.

        Args:
            inputs: the inputs' part of the first gates, `(T, B, 2H)`.
            h: the state before, `(B, H)`.
            coefficients: what each activation of each edge counts, 0 where it does not run, `(edges, K)`.
        """
        self._allocate(len(inputs), h)
        self._read_coefficients(coefficients.to(h.dtype))
        self.outputs[0] = h
        for t, gates in enumerate(inputs.unbind(0)):
            place = t if self.keep else 0
            self._first_state(t, place, gates)
            for blocks in self.nodes:
                for block in blocks:
                    self._add_block(place, block)
                self._normalise(place, blocks[0].node + 1)
            torch.mean(self.states[place, 1:], 0, out=self.outputs[t + 1])
        return self.outputs[1:].clone()

    def _allocate(self, steps: int, like: torch.Tensor) -> None:
        each, kept = like.shape, steps if self.keep else 1
        states, rows = RELAXATION[CELL].nodes + 1, sum(map(len, self.blocks))
        self.outputs = like.new_empty(steps + 1, *each)  # h before each time step, and after the last one
        self.first = like.new_empty(kept, each[0], 2 * each[1])
        self.states = like.new_zeros(kept, states, *each)  # of a node that nothing enters 0
        self.read = self.states if self.mask is None else like.new_zeros(kept, states, *each)
        self.totals = like.new_empty(kept, states, *each) if self.state_norm else self.states
        self.c, self.mixed = like.new_empty(2, kept, rows, *each).unbind(0)
        self.slope = like.new_empty(kept if self.keep else 0, rows, *each)
        names = ("g", "tanh", "sigmoid") if self.keep and self.of_operations else ()
        self.values = {name: like.new_empty(kept, rows, *each) for name in names}  # of all activations
        widest = max(map(len, self.blocks), default=0)
        self._scratch = [like.new_empty(widest, *each) for _ in range(3)]

    def memory(self) -> list[torch.Tensor]:
        """All that is kept for the backward pass."""
        masked = [] if self.mask is None else [self.read]
        normalised = [self.totals] if self.state_norm else []
        every_edge = [self.c, self.mixed, self.slope, *self.values.values()]
        return [self.outputs, self.first, self.states, *masked, *normalised, *every_edge]

    def _read_coefficients(self, coefficients: torch.Tensor) -> None:
        """Bring what an edge's activations count into the shape in which whole states are multiplied by it."""
        rising = coefficients[:, [ACTIVATIONS.index(name) for name in _RISING]].sum(1)
        self._constants: list[tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for block in self.blocks:
            edges = slice(block.edge, block.edge + len(block))
            each = {name: coefficients[edges, k].view(-1, 1, 1) for k, name in enumerate(ACTIVATIONS)}
            total = coefficients[edges].sum(1).view(-1, 1, 1)
            self._constants.append((each, total, -total, rising[edges].view(-1, 1, 1)))

    def _normalise(self, place: int, state: int) -> None:
        total, own = self.totals[place, state], self.states[place, state]
        if self.state_norm:
            normal, mean, inverse = torch.native_batch_norm(total, None, None, None, None, True, 0.0, NORM_EPS)
            own.copy_(normal)
            if self.keep:
                self._moments[place, state] = mean, inverse
        if self.mask is not None:
            torch.mul(own, self.mask, out=self.read[place, state])

    def _first_state(self, t: int, place: int, gates: torch.Tensor) -> None:
        before, first = self.outputs[t], self.first[place]
        read = before if self.mask is None else torch.mul(before, self.mask, out=self.read[place, 0])
        first.copy_(gates).addmm_(read, self.weights[0])
        c, g = first.chunk(2, dim=1)
        c.sigmoid_()
        activate(self.init_op, g)
        torch.lerp(before, g, c, out=self.totals[place, 0])
        self._normalise(place, 0)

    def _add_block(self, place: int, block: Block) -> None:
        """Add to a node's state what the edges of a block add."""
        each, total, minus_total, rising = self._constants[block.number]
        rows = slice(block.row, block.row + len(block))
        state, read = self.states[place, block.first : block.last], self.read[place, block.first : block.last]
        c, mixed = self.c[place, rows], self.mixed[place, rows]
        g = self.values["g"][place, rows] if self.values else self._scratch[0][: len(block)]
        size = state.size(-1)
        weight = self.weights[block.node + 1]
        torch.mm(read.flatten(0, 1), weight[:, :size], out=c.view(-1, size))
        torch.mm(read.flatten(0, 1), weight[:, size:], out=g.view(-1, size))
        c.sigmoid_()
        torch.mul(state, minus_total, out=mixed)
        slope = self.slope[place, rows] if self.keep else None
        if slope is not None:
            slope.copy_(rising.expand_as(slope))
        for name, a, b in block.runs:
            value = self._value(name, g[a:b], place, block.row + a)
            mixed[a:b].addcmul_(value, each[name][a:b])
            if slope is not None:
                self._add_slope(name, value, each[name][a:b], slope[a:b])
        added = torch.mul(c, mixed, out=self._scratch[1][: len(block)]).addcmul_(state, total)
        own = self.totals[place, block.node + 1]
        if block.opens:
            torch.sum(added, 0, out=own)
        else:
            own.add_(added.sum(0))

    def _value(self, name: str, g: torch.Tensor, place: int, row: int) -> torch.Tensor:
        """An activation of g, `(edges, B, H)`, which starts at that row."""
        if name == "identity":
            return g
        own = self.values.get(name)
        out = self._scratch[1][: len(g)] if own is None else own[place, row : row + len(g)]
        if name == "relu":
            return torch.clamp_min(g, 0, out=out)
        return torch.tanh(g, out=out) if name == "tanh" else torch.sigmoid(g, out=out)

    def _add_slope(self, name: str, value: torch.Tensor, weight: torch.Tensor, slope: torch.Tensor) -> None:
        """Add q f'(g), of f(g); what is constant of it is there already."""
        out = self._scratch[2][: len(value)]
        if name == "tanh":
            slope.addcmul_(torch.mul(value, value, out=out), weight, value=-1)
        elif name == "sigmoid":
            slope.addcmul_(torch.addcmul(value, value, value, value=-1, out=out), weight)
        elif name == "relu":
            slope.addcmul_(torch.sign(value, out=out), weight)

    def backward(self, grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """From the gradients of the outputs `(T, B, H)` to those of inputs, h and coefficients."""
        if self.done:
            raise RuntimeError(ONCE)
        self.done = True
        self._of_coefficients = grads.new_zeros(len(RELAXATION[CELL].edges), len(ACTIVATIONS))
        self._of_states = torch.empty_like(self.states[0])
        before, nodes = torch.zeros_like(grads[0]), len(self._of_states) - 1
        for t in reversed(range(len(grads))):
            self._of_states[0] = 0
            self._of_states[1:] = (grads[t] + before) / nodes
            for blocks in reversed(self.nodes):
                total = self._of_total(t, blocks[0].node + 1)
                for block in blocks:
                    self._block_backward(t, block, total)
            before = self._first_backward(t, self._of_total(t, 0))
        return self.first, before, self._of_coefficients

    def _of_total(self, t: int, state: int) -> torch.Tensor:
        """The gradient of a state before it was normalised, of that after it."""
        grad = self._of_states[state]
        if not self.state_norm:
            return grad
        mean, inverse = self._moments[t, state]
        found: torch.Tensor = _ATEN.native_batch_norm_backward(
            grad, self.totals[t, state], None, None, None, mean, inverse, True, NORM_EPS, [True, False, False]
        )[0]
        return found

    def _block_backward(self, t: int, block: Block, grad: torch.Tensor) -> None:
        """From the gradient of a node's state to that of the states that enter it; those of c and g take their places."""
        rows = slice(block.row, block.row + len(block))
        c, mixed, slope = self.c[t, rows], self.mixed[t, rows], self.slope[t, rows]
        own = self._of_states[block.first : block.last]
        through, past, product = (each[: len(block)] for each in self._scratch)
        torch.mul(c, grad, out=through)
        torch.sub(grad, through, out=past)
        if self.of_operations:
            self._operations_backward(t, block, through, past)
        mixed.mul_(grad)
        _ATEN.sigmoid_backward.grad_input(mixed, c, grad_input=mixed)
        slope.mul_(through)
        own.addcmul_(past, self._constants[block.number][1])
        size, weight = own.size(-1), self.weights[block.node + 1]
        torch.mm(mixed.view(-1, size), weight[:, :size].t(), out=product.view(-1, size))
        product.view(-1, size).addmm_(slope.view(-1, size), weight[:, size:].t())
        if self.mask is None:
            own.add_(product)
        else:
            own.addcmul_(product, self.mask)

    def _operations_backward(self, t: int, block: Block, through: torch.Tensor, past: torch.Tensor) -> None:
        """Add the gradients of what the activations of a block count."""
        product, g = self._scratch[2], self.values["g"][t, block.row : block.row + len(block)]
        of_state = torch.mul(past, self.states[t, block.first : block.last], out=product[: len(block)]).sum((1, 2))
        for name, a, b in block.runs:
            if name in self.values:
                value = self.values[name][t, block.row + a : block.row + b]
            else:
                value = g[a:b] if name == "identity" else torch.clamp_min(g[a:b], 0, out=product[: b - a])
            found = torch.mul(through[a:b], value, out=product[: b - a]).sum((1, 2)).add_(of_state[a:b])
            self._of_coefficients[block.edge + a : block.edge + b, ACTIVATIONS.index(name)] += found

    def _first_backward(self, t: int, grad: torch.Tensor) -> torch.Tensor:
        """From the gradient of the initial state to that of h; those of its gates take their place."""
        c, g = self.first[t].chunk(2, dim=1)
        through = c * grad
        of_c = (g - self.outputs[t]).mul_(grad)
        past = grad - through
        _ATEN.sigmoid_backward.grad_input(of_c, c, grad_input=c)
        differentiate(self.init_op, through, g)
        product = self.first[t] @ self.weights[0].t()
        return past.add_(product) if self.mask is None else past.addcmul_(product, self.mask)

    def weight_gradients(self) -> list[torch.Tensor | None]:
        """After `backward`: of the weights of h and of each node; None of a node that nothing enters."""
        before = self.outputs[:-1] if self.mask is None else self.outputs[:-1] * self.mask
        found: list[torch.Tensor | None] = [None] * len(self.weights)
        found[0] = before.flatten(0, 1).t() @ self.first.flatten(0, 1)
        for block in self.blocks:
            grad = found[block.node + 1]
            if grad is None:
                grad = found[block.node + 1] = torch.zeros_like(self.weights[block.node + 1])
            size, rows = len(self.weights[block.node + 1]), slice(block.row, block.row + len(block))
            for read, of_c, of_g in zip(self.read, self.mixed, self.slope, strict=True):
                turned = read[block.first : block.last].flatten(0, 1).t()
                grad[:, :size].addmm_(turned, of_c[rows].view(-1, size))
                grad[:, size:].addmm_(turned, of_g[rows].view(-1, size))
        return found

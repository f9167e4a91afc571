"""A mixture of recurrent cells over a whole sequence as one operation: the fast form of `SuperCell`, where it mixes.

What makes it faster: all states that enter a node share one product; what an edge adds is, of all its activations f at once,

    sum_f q_f (s + c (f(g) - s)) = P s + c (sum_f q_f f(g) - P s),    P = sum_f q_f,

with q the weight of an operation times that of its edge; and the backward pass is written by hand. It needs of every edge c,
the bracket, and the slope sum_f q_f f'(g), over which the gradients of c and g are written. The weights' gradients are a
third of the work; they are computed where they are asked for, which the gradient of an architecture does not.

T is time, B the batch's columns, H the hidden size, K the activations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from randomNAS_files.architecture import ACTIVATIONS
from randomNAS_files.fast.blocks import Block, Constants, Part, constants_of, some
from randomNAS_files.fast.kernels.eager import activate, differentiate
from randomNAS_files.supernet import NORM_EPS

_ATEN = torch.ops.aten
Nodes = tuple[tuple[Block, ...], ...]  # from `blocks_of`


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
        nodes: Nodes,
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
        self._moments: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def run(self, inputs: torch.Tensor, h: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        """The outputs `(T, B, H)`.

        Args:
            inputs: the inputs' part of the first gates, `(T, B, 2H)`.
            h: the state before, `(B, H)`.
            coefficients: what each activation of each edge counts, 0 where it does not run, `(edges, K)`.
        """
        self._allocate(len(inputs), h)
        self._edges, coefficients = len(coefficients), coefficients.detach().to(h.dtype)
        self._constants = [
            constants_of(block, coefficients, self.weights[block.node + 1], self._scratch) for block in self.blocks
        ]
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
        states, rows = len(self.weights), sum(map(len, self.blocks))
        self.outputs = like.new_empty(steps + 1, *each)  # h before each time step, and after the last one
        self.first = like.new_empty(kept, each[0], 2 * each[1])
        self.states = like.new_zeros(kept, states, *each)  # of a node that nothing enters 0
        self.read = self._new_read(kept, states, like)
        self.totals = like.new_empty(kept, states, *each) if self.state_norm else self.states
        self.c, self.mixed = like.new_empty(2, kept, rows, *each).unbind(0)
        self.slope = like.new_empty(kept if self.keep else 0, rows, *each)
        names = ("g", "tanh", "sigmoid") if self.keep and self.of_operations else ()
        self.values = {name: like.new_empty(kept, rows, *each) for name in names}  # of all activations
        self._scratch = like.new_empty(3, max(map(len, self.blocks)), *each).unbind(0)
        self._parts = [self._parts_of(place) for place in range(kept)]

    def _new_read(self, kept: int, states: int, like: torch.Tensor) -> torch.Tensor:
        return self.states if self.mask is None else like.new_zeros(kept, states, *like.shape)

    def _parts_of(self, place: int) -> list[Part]:
        """The views of each block in one time step."""
        sizes = [len(block) for block in self.blocks]
        every_edge = [self.c, self.mixed, *([self.slope] if self.keep else []), *self.values.values()]
        split = zip(*(buffer[place].split(sizes) for buffer in every_edge), strict=True)
        parts, state, read = [], self.states[place], self.read[place]
        for block, (c, mixed, *rest) in zip(self.blocks, split, strict=True):
            slope = rest.pop(0) if self.keep else None
            entering = slice(block.first, block.last)
            values = dict(zip(self.values, rest, strict=True))
            parts.append(Part(state[entering], read[entering].flatten(0, 1), c, mixed, slope, values))
        return parts

    def memory(self) -> list[torch.Tensor]:
        """All that is kept for the backward pass."""
        masked = [] if self.mask is None else [self.read]
        normalised = [self.totals] if self.state_norm else []
        every_edge = [self.c, self.mixed, self.slope, *self.values.values()]
        return [self.outputs, self.first, self.states, *masked, *normalised, *every_edge]

    def _normalise(self, place: int, state: int) -> None:
        total, own = self.totals[place, state], self.states[place, state]
        if self.state_norm:
            normal, mean, inverse = torch.native_batch_norm(total, None, None, None, None, True, 0.0, NORM_EPS)
            own.copy_(normal)
            if self.keep:
                self._moments[place, state] = mean, inverse
        self._keep_read(own, place, state)

    def _keep_read(self, own: torch.Tensor, place: int, state: int) -> None:
        """Keep what nodes read of a state."""
        if self.mask is not None:
            torch.mul(own, self.mask, out=self.read[place, state])

    def _first_state(self, t: int, place: int, gates: torch.Tensor) -> None:
        before, first = self.outputs[t], self.first[place]
        self._add_product_of_h(first.copy_(gates), before, place)
        c, g = first.chunk(2, dim=1)
        c.sigmoid_()
        activate(self.init_op, g)
        torch.lerp(before, g, c, out=self.totals[place, 0])
        self._normalise(place, 0)

    def _add_product_of_h(self, first: torch.Tensor, h: torch.Tensor, place: int) -> None:
        read = h if self.mask is None else torch.mul(h, self.mask, out=self.read[place, 0])
        first.addmm_(read, self.weights[0])

    def _add_block(self, place: int, block: Block) -> None:
        """Add to a node's state what the edges of a block add."""
        part, same = self._parts[place][block.number], self._constants[block.number]
        slope, g = part.slope, part.values.get("g", same.scratch[0])
        self._gate_products(block, part.read, part.c.flatten(0, 1), g.flatten(0, 1))
        part.c.sigmoid_()
        torch.mul(part.state, same.minus_total, out=part.mixed)
        if slope is not None:
            slope.copy_(same.rising.expand_as(slope))
        for name, weight, edges in same.runs:
            out = part.values.get(name, same.scratch[1])
            value = _activate(name, some(g, edges), some(out, edges))
            some(part.mixed, edges).addcmul_(value, weight)
            if slope is not None:
                _add_slope(name, value, weight, some(slope, edges), some(same.scratch[2], edges))
        added = torch.mul(part.c, part.mixed, out=same.scratch[1]).addcmul_(part.state, same.total)
        own = self.totals[place, block.node + 1]
        if block.opens:
            torch.sum(added, 0, out=own)
        else:
            own.add_(added.sum(0))

    def _gate_products(self, block: Block, read: torch.Tensor, c: torch.Tensor, g: torch.Tensor) -> None:
        same = self._constants[block.number]
        torch.mm(read, same.c_weight, out=c)
        torch.mm(read, same.g_weight, out=g)

    def backward(self, grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """From the gradients of the outputs `(T, B, H)` to those of inputs, h and coefficients; once."""
        self._of_coefficients = grads.new_zeros(self._edges, len(ACTIVATIONS))
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
        part, same = self._parts[t][block.number], self._constants[block.number]
        own, mixed, slope = self._of_states[block.first : block.last], part.mixed, part.slope
        assert slope is not None
        through, past, product = same.scratch
        torch.mul(part.c, grad, out=through)
        torch.sub(grad, through, out=past)
        if self.of_operations:
            self._operations_backward(block, part, same)
        mixed.mul_(grad)
        _ATEN.sigmoid_backward.grad_input(mixed, part.c, grad_input=mixed)
        slope.mul_(through)
        own.addcmul_(past, same.total)
        of_read = self._of_read(block, mixed, slope, product)
        if self.mask is None:
            own.add_(of_read)
        else:
            own.addcmul_(of_read, self.mask)

    def _of_read(self, block: Block, c: torch.Tensor, g: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """From the gradients of c and g to that of what a block read, `(n, B, H)` all; `memory` may serve."""
        same, rows = self._constants[block.number], memory.flatten(0, 1)
        torch.mm(c.flatten(0, 1), same.c_weight.t(), out=rows).addmm_(g.flatten(0, 1), same.g_weight.t())
        return memory

    def _operations_backward(self, block: Block, part: Part, same: Constants) -> None:
        """Add the gradients of what the activations of a block count."""
        through, past, product = same.scratch
        of_state = torch.mul(past, part.state, out=product).sum((1, 2))
        for name, _, edges in same.runs:
            out, value = some(product, edges), some(part.values.get(name, part.values["g"]), edges)
            value = torch.clamp_min(value, 0, out=out) if name == "relu" else value
            found = torch.mul(some(through, edges), value, out=out).sum((1, 2)).add_(some(of_state, edges))
            of_block = self._of_coefficients[block.edge : block.edge + len(block), ACTIVATIONS.index(name)]
            some(of_block, edges).add_(found)

    def _first_backward(self, t: int, grad: torch.Tensor) -> torch.Tensor:
        """From the gradient of the initial state to that of h; those of its gates take their place."""
        c, g = self.first[t].chunk(2, dim=1)
        through = c * grad
        of_c = (g - self.outputs[t]).mul_(grad)
        past = grad - through
        _ATEN.sigmoid_backward.grad_input(of_c, c, grad_input=c)
        differentiate(self.init_op, through, g)
        product = self._of_h(self.first[t])
        return past.add_(product) if self.mask is None else past.addcmul_(product, self.mask)

    def _of_h(self, first: torch.Tensor) -> torch.Tensor:
        return first @ self.weights[0].t()

    def for_weights(self) -> list[torch.Tensor]:
        """After `backward`: what `weight_gradients` needs of it."""
        return [self.outputs, self.read, self.first, self.mixed, self.slope]


def shapes_for_weights(nodes: Nodes, weights: int, steps: int, like: torch.Tensor) -> list[tuple[int, ...]]:
    """Of what `Mixture.for_weights` returns, for so many weights and h like that."""
    (columns, size), rows = like.shape, sum(len(block) for blocks in nodes for block in blocks)
    of_edges, states = (steps, rows, columns, size), (steps, weights, columns, size)
    return [(steps + 1, columns, size), states, (steps, columns, 2 * size), of_edges, of_edges]


def weight_gradients(
    nodes: Nodes, mask: torch.Tensor | None, found: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """Of the weights of h and of each node, of what `Mixture.for_weights` returned; None of a node that nothing enters."""
    outputs, read, first, of_c, of_g = found
    before = outputs[:-1] if mask is None else outputs[:-1] * mask
    size, weights = outputs.size(-1), read.size(1)
    grads: list[torch.Tensor | None] = [before.flatten(0, 1).t() @ first.flatten(0, 1), *[None] * (weights - 1)]
    for blocks in nodes:
        grad = grads[blocks[0].node + 1] = outputs.new_zeros(size, 2 * size)
        c_grad, g_grad = grad.chunk(2, dim=1)
        for block in blocks:
            rows = slice(block.row, block.row + len(block))
            for entering, c, g in zip(read[:, block.first : block.last], of_c[:, rows], of_g[:, rows], strict=True):
                turned = entering.flatten(0, 1).t()
                c_grad.addmm_(turned, c.flatten(0, 1))
                g_grad.addmm_(turned, g.flatten(0, 1))
    return grads


def _activate(name: str, g: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """An activation of g; `out` is memory for it."""
    if name == "identity":
        return g
    if name == "relu":
        return torch.clamp_min(g, 0, out=out)
    return torch.tanh(g, out=out) if name == "tanh" else torch.sigmoid(g, out=out)


def _add_slope(
    name: str, value: torch.Tensor, weight: torch.Tensor, slope: torch.Tensor, scratch: torch.Tensor
) -> None:
    """Add q f'(g), of f(g), to what is constant of it: q of those that rise by 1 at 0."""
    if name == "tanh":
        slope.addcmul_(torch.mul(value, value, out=scratch), weight, value=-1)
    elif name == "sigmoid":
        slope.addcmul_(torch.addcmul(value, value, value, value=-1, out=scratch), weight)
    elif name == "relu":
        slope.addcmul_(torch.sign(value, out=scratch), weight)

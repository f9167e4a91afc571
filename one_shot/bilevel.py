"""The gradient of the validation loss by the architecture, after a step of the supernet's weights.

The architecture W is to be good for weights that are trained with it: minimise L_val(w*(W), W), where w*(W) minimises
L_train(w, W). Liu et al. 2019, arXiv 1806.09055, equations 5 to 8, put one training step w'(W) in the place of w*(W):

    d L_val(w'(W), W) / dW  =  dL_val/dW  -  learning_rate * d/dW <dL_train(w, W)/dw, u>,    dL_val at w'

where u is v = dL_val/dw', passed backwards through the clipping of the training gradient. The second part, the implicit
term, is a product of a vector with second derivatives. `unrolled` takes it from two gradients by W a small way off w along
u, `exact` from differentiating the training gradient, and `first` leaves out the step, so that w' is w.

The two agree on smooth networks. Where a network is piecewise linear (ReLU, max-pooling) they are different quantities, as
a difference averages over the kinks that it steps across and a derivative ignores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from nas.core.arch_weights import ArchWeights
from one_shot.strategy import Problem, WeightStep
from one_shot.weight_step import NORM_EPS, Tensors, dense, descent, moved, norm_of, restored, subtract_, train_gradient

ORDERS = ("first", "unrolled", "exact")


def gradient(problem: Problem, weights: ArchWeights, order: str, r: float = 0.01) -> tuple[Tensors, torch.Tensor]:
    """Differentiate the validation loss by each of `weights.tensors()`.

    The supernet's weights are moved in place while it runs, and are bit for bit what they were when it returns or raises.
    Nothing is left in any `.grad`.

    Args:
        problem: the losses, the weights and how they are trained.
        weights: of the architecture; only their values count, not what they were computed from.
        order: one of ORDERS. "exact" needs networks that can be differentiated twice.
        r: how far, by the Euclidean norm, "unrolled" moves the weights to either side for its difference.

    Returns:
        The gradients, averaged over the processes, and the validation loss of this one; with "unrolled" and "exact" the
        loss is that after the step.

    Raises:
        ValueError: for an order that is not known, and if the weights are a path without numbers to differentiate by.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    tensors = [tensor.detach().requires_grad_() for tensor in weights.tensors()]
    if not tensors:
        raise ValueError("a path without weights of operations or edges has no gradient; give it weights")
    if problem.captured is not None:
        return problem.captured(weights)
    leaves = weights.with_tensors(tensors)
    if order == "first":
        with _frozen(problem.parameters):
            loss = problem.valid_loss(leaves)
        found = _filled(torch.autograd.grad(loss, tensors, allow_unused=True), tensors)
    else:
        found, loss = _after_a_step(problem, leaves, order, r)
    problem.average(found)
    return found, loss.detach()


def _after_a_step(problem: Problem, leaves: ArchWeights, order: str, r: float) -> tuple[Tensors, torch.Tensor]:
    """The gradient of this process and the validation loss, both after one step of the weights."""
    tensors, step = leaves.tensors(), problem.weight_step
    live, gradients, momenta = train_gradient(problem, leaves)
    if not live:  # nothing is trained in this step
        loss = problem.valid_loss(leaves)
        return _filled(torch.autograd.grad(loss, tensors, allow_unused=True), tensors), loss
    problem.average(gradients)
    norm = norm_of(gradients)
    direction = dict(zip(live, descent(step, live, gradients, momenta, norm), strict=True))
    with moved(direction, step.learning_rate):
        loss = problem.valid_loss(leaves)
        both = torch.autograd.grad(loss, [*tensors, *live], allow_unused=True)
    found, v = _filled(both[: len(tensors)], tensors), _filled(both[len(tensors) :], live)
    problem.average(v)
    u = _back_through_clipping(step, gradients, norm, v)
    del both, v, gradients, direction
    product = _exact_product(problem, leaves, live, u) if order == "exact" else _difference(problem, leaves, live, u, r)
    total = [each.clone() for each in found]
    subtract_(total, product, step.learning_rate)
    return total, loss


@torch.no_grad()
def _back_through_clipping(step: WeightStep, gradients: Tensors, norm: torch.Tensor, v: Tensors) -> Tensors:
    """The derivative by the gradient g, of v, the derivative by the clipped gradient c g.

    With n = |g| and c = max_norm / (n + eps) < 1 it is c (v - g <g, v> / (n (n + eps))); where nothing is clipped it is v.
    """
    limit = step.max_norm / (norm + NORM_EPS)
    along = torch.stack([(g * each).sum() for g, each in zip(gradients, v, strict=True)]).sum()
    share = torch.where(limit < 1, along / (norm * (norm + NORM_EPS)), 0.0)  # chosen: a gradient of 0 makes 0 / 0 of it
    c = limit.clamp(max=1.0)
    u = torch._foreach_mul(v, c)
    torch._foreach_sub_(u, torch._foreach_mul(gradients, c * share))
    return list(u)


def _difference(problem: Problem, leaves: ArchWeights, live: Tensors, u: Tensors, r: float) -> Tensors:
    """d/dW of <dL_train/dw, u> by the central difference of dL_train/dW between w + h u and w - h u, h = r / |u|.

    Divided by 2 h, not halved and multiplied by it: that factor would make the term vanish. In fp32 whatever the precision of
    training: the sides differ by little, and h u moves most weights by less than a bfloat16 can tell.
    """
    tensors = leaves.tensors()
    h = r / norm_of(u).clamp(min=1e-12)
    way = torch._foreach_mul(u, h)
    sides = []
    with restored(live) as original, torch.no_grad():
        for sign in (1.0, -1.0):
            torch._foreach_copy_(live, original)
            torch._foreach_add_(live, way, alpha=sign)
            with torch.enable_grad(), _frozen(live), problem.all_digits():
                loss = problem.train_loss(leaves)
                sides.append(_filled(torch.autograd.grad(loss, tensors, allow_unused=True), tensors))
            del loss
    return list(torch._foreach_mul(torch._foreach_sub(*sides), 1 / (2 * h)))


def _exact_product(problem: Problem, leaves: ArchWeights, live: Tensors, u: Tensors) -> Tensors:
    """d/dW of <dL_train/dw, u> by differentiating the gradient."""
    tensors = leaves.tensors()
    gradients = torch.autograd.grad(problem.train_loss(leaves), live, create_graph=True, allow_unused=True)
    pairs = [(g, each) for g, each in zip(gradients, u, strict=True) if g is not None and g.requires_grad]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in tensors]
    outputs, along = zip(*pairs, strict=True)
    return _filled(torch.autograd.grad(outputs, tensors, along, allow_unused=True), tensors)


@contextmanager
def _frozen(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """Without gradients of the weights: nothing is kept for them, and no operation computes one that nobody asks for."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _filled(gradients: Sequence[torch.Tensor | None], like: Sequence[torch.Tensor]) -> Tensors:
    """Zeros where something has no influence."""
    return [torch.zeros_like(x) if g is None else dense(g) for g, x in zip(gradients, like, strict=True)]

"""What the layers of a network compute with in a step, made of their weights at its beginning: cast once, and widened.

The parameters, their gradients and the buffers stay what they are: the copies are made of them, and lead back to them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from cnn_nas.fast.packing import Pack, Place
from cnn_nas.fast.tensors import Given, Linear, Norm, layers_of, own
from cnn_nas.fast.widths import MULTIPLE, Widths
from cnn_nas.model import Network


class Preparation:
    """Of one network, on the device and in the memory format that it has now.

    Args:
        padded: widen channels to multiples of `MULTIPLE`.
        everything: make copies of all weights that autocast would cast; otherwise of those that are widened.
    """

    def __init__(self, net: Network, padded: bool, everything: bool) -> None:
        places = Widths(net, MULTIPLE if padded else 1).places
        self.linears: list[tuple[nn.Module, list[torch.Tensor]]] = []
        self.norms: list[nn.BatchNorm2d] = []
        weights: list[Place] = []
        norms: list[Place] = []
        for layer, place in ((layer, places[layer]) for layer in layers_of(net) if layer in places):
            if isinstance(layer, nn.BatchNorm2d):
                if place.height > layer.num_features:
                    self.norms.append(layer)
                    norms.append(place)
                continue
            weight, bias = own(layer)[:2]
            assert weight is not None
            if everything or place.shape(weight) != tuple(weight.shape):
                self.linears.append((layer, [weight] if bias is None else [weight, bias]))
                weights += [place] if bias is None else [place, Place(place.rows, place.height)]
        self.weights = Pack(self._weights(), weights) if weights else None
        self.affine = Pack(self._affine(), norms * 2) if norms else None
        self.moving = Pack(self._moving(), norms * 2) if norms else None
        self.moved: list[torch.Tensor] = []

    def _weights(self) -> list[torch.Tensor]:
        return [tensor for _, tensors in self.linears for tensor in tensors]

    def _affine(self) -> list[torch.Tensor]:
        return [*(norm.weight for norm in self.norms), *(norm.bias for norm in self.norms)]

    def _moving(self) -> list[torch.Tensor]:
        found = [norm.running_mean for norm in self.norms] + [norm.running_var for norm in self.norms]
        return [tensor for tensor in found if tensor is not None]

    def tensors(self, dtype: torch.dtype | None) -> Given:
        """What the layers compute with now; weights of that type, or of their own."""
        return Given([*self._linear_tensors(dtype), *self._norm_tensors()])

    def _linear_tensors(self, dtype: torch.dtype | None) -> Iterator[tuple[nn.Module, Linear]]:
        if self.weights is None:
            return
        sources = self._weights()
        copies = iter(self.weights.copies(sources, dtype or sources[0].dtype))
        for layer, tensors in self.linears:
            weight, *bias = (next(copies) for _ in tensors)
            yield layer, Linear(weight, bias[0] if bias else None)

    def _norm_tensors(self) -> Iterator[tuple[nn.Module, Norm]]:
        if self.affine is None or self.moving is None:
            return
        affine, moving = self._affine(), self._moving()
        made = self.affine.copies(affine, affine[0].dtype)
        # A batch norm writes to its own while autograd keeps the others, so that each needs a version of its own.
        self.moved = [copy.data for copy in self.moving.copies(moving, moving[0].dtype)]
        count = len(self.norms)
        for i, norm in enumerate(self.norms):
            yield norm, Norm(self.moved[i], self.moved[count + i], made[i], made[count + i])

    @torch.no_grad()
    def keep_moving(self) -> None:
        """Put the moving means and variances of widened batch norms where the network keeps them."""
        if self.norms:
            kept = self._moving()
            torch._foreach_copy_(kept, [moved[: len(own)] for moved, own in zip(self.moved, kept, strict=True)])
            self.moved = []

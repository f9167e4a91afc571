"""The steps of a convolutional search with our supernet, as `supernet_step` measures them against the plain ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.plain_supernet import Batch
from cnn_nas.architecture import CELLS
from nas.core.arch_weights import ArchWeights
from nas.core.optimizers import fused_sgd
from nas.trial.capture import CapturedStep, captures
from one_shot.bilevel import gradient
from one_shot.strategy import Problem, WeightStep

LR, MOMENTUM, DECAY, CLIP = 0.025, 0.9, 3e-4, 5.0
Work = Callable[..., tuple[torch.Tensor, ...]]


class OurSearch:
    """The steps of a search with our supernet.

    Args:
        alphas: logits of the architecture of normal and reduction cells; none for a fixed one.
        predict: logits of images; None: the supernet's with the softmax of `alphas`.
        mixed: compute in bfloat16 by autocast, as searches do on a GPU.
        graphs: replay steps from CUDA graphs, as with `cuda_graphs`; batches are copied in.
    """

    def __init__(
        self,
        net: nn.Module,
        alphas: list[torch.Tensor],
        predict: Callable[[torch.Tensor], torch.Tensor] | None = None,
        mixed: bool = False,
        graphs: bool = False,
    ) -> None:
        self.net, self.predict = net.to(memory_format=torch.channels_last), predict  # type: ignore[call-overload]
        self.alphas = [alpha.detach().clone().requires_grad_() for alpha in alphas]
        self.parameters = list(net.parameters())
        self.sgd = fused_sgd(self.parameters, LR, MOMENTUM, weight_decay=DECAY)
        self.mixed, self.graphs, self.device = mixed, graphs, self.parameters[0].device
        named = {"capturable": True} if graphs and captures(self.device) else {}
        self.adam = (
            torch.optim.Adam(self.alphas, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3, **named) if alphas else None
        )
        self._captured: dict[str, CapturedStep] = {}

    def mixture(self) -> ArchWeights:
        """The softmax of the logits."""
        return ArchWeights(dict(zip(CELLS, (F.softmax(alpha, -1) for alpha in self.alphas), strict=True)))

    def loss(self, data: Batch, weights: ArchWeights) -> torch.Tensor:
        """The mean cross-entropy."""
        images = data[0].contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            found = self.net(images, weights).logits if self.predict is None else self.predict(images)
        return F.cross_entropy(found.float() if self.mixed else found, data[1])

    @contextmanager
    def _all_digits(self) -> Iterator[None]:
        """See `one_shot.images.ImageTask.all_digits`."""
        before, self.mixed = self.mixed, False
        try:
            yield
        finally:
            self.mixed = before

    def weights(self, train: Batch) -> torch.Tensor:
        """Train the weights; returns the loss, which stays on the device."""
        return self._run("weights", self._train, self.sgd, *train)[0]

    def architecture(self, train: Batch, valid: Batch, order: str) -> None:
        """Train the logits."""
        assert self.adam is not None
        self._run(order, partial(self._learn, order), self.adam, *train, *valid)

    def _run(
        self, name: str, work: Work, optimizer: torch.optim.Optimizer, *inputs: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        if not self.graphs:
            return work(*inputs)
        if name not in self._captured:
            self._captured[name] = CapturedStep(work, self.net, optimizer, self.device)
        return self._captured[name](*inputs)

    def _train(self, *train: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss = self.loss((train[0], train[1]), self.mixture().detach() if self.alphas else ArchWeights())
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.sgd.step()
        self.sgd.zero_grad()
        return (loss.detach(),)

    def _learn(self, order: str, *batches: torch.Tensor) -> tuple[torch.Tensor, ...]:
        train, valid = (batches[0], batches[1]), (batches[2], batches[3])
        momenta = [self.sgd.state.get(parameter, {}).get("momentum_buffer") for parameter in self.parameters]
        problem = Problem(
            lambda weights: self.loss(train, weights),
            lambda weights: self.loss(valid, weights),
            self.parameters,
            WeightStep(LR, MOMENTUM, DECAY, float("inf"), momenta),
            average=lambda tensors: None,
            all_digits=self._all_digits,
        )
        mixture = self.mixture()
        gradients, _ = gradient(problem, mixture, order)
        for alpha, found in zip(
            self.alphas, torch.autograd.grad(mixture.tensors(), self.alphas, gradients), strict=True
        ):
            alpha.grad = found
        assert self.adam is not None
        self.adam.step()
        return ()

"""What is measured of a network's outputs: sums over a batch that make exact means, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F


class Classification:
    """Cross entropy in nats, and the share of images whose class is the most likely one, or among the five most likely."""

    names = ("loss", "top1", "top5")

    def objective(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy of outputs `(B, K)` and classes `(B,)`."""
        return F.cross_entropy(outputs.float(), targets)

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sums over the batch of what `names` says."""
        outputs = outputs.float()
        likely = outputs.topk(min(5, outputs.size(1)), dim=1).indices == targets[:, None]  # (B, 5), best first
        loss = F.cross_entropy(outputs, targets, reduction="sum")
        return {"loss": loss, "top1": likely[:, 0].sum(), "top5": likely.sum()}

    def training_report(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics of training."""
        return {"loss": means["loss"], "top1_accuracy": means["top1"]}

    def report(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics of validation and test; accuracies are shares of 1."""
        return {**self.training_report(means), "top5_accuracy": means["top5"]}


class Regression:
    """Mean squared error in the targets' own units, and R2. The network predicts standardised targets.

    Args:
        mean, std: of the targets that are trained on.
    """

    names = ("loss", "target", "square")

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std or 1.0

    def objective(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean squared error of standardised numbers, outputs `(B, 1)` and targets `(B,)`."""
        return F.mse_loss(outputs[:, 0].float(), (targets - self.mean) / self.std)

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Sums over the batch of what `names` says."""
        targets = targets.float() if targets.device.type == "mps" else targets.double()  # MPS has no more than float32
        error = outputs[:, 0].to(targets.dtype) * self.std + self.mean - targets
        centred = targets - self.mean  # keeps the difference of squares below exact
        return {"loss": error.square().sum(), "target": centred.sum(), "square": centred.square().sum()}

    def training_report(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics of training."""
        return {"loss": means["loss"]}

    def report(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics of validation and test: R2 is 1 - error / variance; 0 where the targets do not vary."""
        variance = means["square"] - means["target"] ** 2
        varies = variance > 1e-12 * means["square"]  # less is rounding
        return {"loss": means["loss"], "r2": 1 - means["loss"] / variance if varies else 0.0}


def measured(targets: torch.Tensor, classes: Sequence[str] | None) -> Classification | Regression:
    """What is measured of images with these targets to train on; None for classes: of a regression."""
    if classes is not None:
        return Classification()
    numbers = targets.float()
    return Regression(numbers.mean().item(), numbers.std(correction=0).item())

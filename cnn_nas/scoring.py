"""How well a network predicts images, exactly: every image counts the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cnn_nas.feature_maps import FeatureMaps
from cnn_nas.images.arrays import Images
from cnn_nas.images.augmentation import Augmentation
from cnn_nas.images.batches import in_order
from cnn_nas.images.kirigami import PUBLISHED_BATCH
from cnn_nas.images.metrics import Classification, Regression
from cnn_nas.model import Network


@dataclass(frozen=True)
class Scorer:
    """Scores images with a network.

    Args:
        augmentation: of which only the normalisation is taken.
        metrics: what is measured.
        batch: images at a time.
    """

    net: Network
    augmentation: Augmentation
    maps: FeatureMaps
    metrics: Classification | Regression
    batch: int

    def sums(self, images: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """What `metrics` sums over a batch, of pixels `(B, C, H, W)` and targets `(B,)`."""
        inputs = self.maps.arranged(self.augmentation.normalise(images))
        with self.maps.autocast():
            outputs = self.net(inputs).logits
        return self.metrics.sums(outputs, targets)

    @torch.no_grad()
    def score(self, images: Images) -> dict[str, float]:
        """The metrics of all images, in evaluation mode."""
        device, names = self.maps.device, self.metrics.names
        kind = torch.float32 if device.type == "mps" else torch.float64  # MPS has no more
        totals = torch.zeros(len(names), dtype=kind, device=device)
        self.net.eval()
        for indices in in_order(0, len(images), self.batch):
            sums = self.sums(*images.batch(indices, device))
            totals += torch.stack([sums[name].to(kind) for name in names])
        means = {name: total / len(images) for name, total in zip(names, totals.tolist(), strict=True)}
        return self.metrics.report(means)

    def mean_r2(self, images: Images) -> float:
        """The R2 of each batch, averaged by its size, as published: not the R2 of all, which is the better measure."""
        batches = [images.subset(indices.numpy()) for indices in in_order(0, len(images), PUBLISHED_BATCH)]
        return sum(len(batch) * self.score(batch)["r2"] for batch in batches) / len(images)

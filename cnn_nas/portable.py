"""A trained convolutional network for use elsewhere: pixels in, logits or numbers out."""

from __future__ import annotations

import torch
from torch import nn

from cnn_nas.images.augmentation import Augmentation
from cnn_nas.images.data import ImageData
from cnn_nas.images.metrics import Classification, Regression
from cnn_nas.model import Network
from cnn_nas.space import SPACE
from nas.core.portable import Portable

IMAGES = 4
"""To compare the exported network on."""


class Pixels(nn.Module):
    """A network behind the normalisation that it was trained with.

    Args:
        network: takes normalised images.
        mean, std: of each channel, for pixels of 0..1.
        scale, shift: of the numbers that a regression predicts, from standardised ones to their own units.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift
        means, stds = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
        self.factor: torch.Tensor
        self.offset: torch.Tensor
        self.register_buffer("factor", (1 / (255 * stds)).float())
        self.register_buffer("offset", (-means / stds).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits `(B, classes)`, or numbers `(B, 1)`, for images `(B, C, H, W)` with pixels of 0..255."""
        outputs: torch.Tensor = self.network(images.float() * self.factor + self.offset).logits
        return outputs * self.scale + self.shift if (self.scale, self.shift) != (1.0, 0.0) else outputs


@torch.no_grad()
def portable(trained: Network, data: ImageData, scores: Classification | Regression) -> Portable:
    """A trained network without its auxiliary head, behind its normalisation.

    Args:
        trained: as it is evaluated, on any device.
        data: that it was trained on.
        scores: by which it was.
    """
    settings, shape = trained.config, data.train.shape
    sizes = {
        "init_channels": settings.init_channels,
        "layers": settings.layers,
        "classes": data.outputs,
        "input_size": list(shape),
    }
    network = SPACE.network(trained.genotype, 0, **sizes).eval()
    weights = {name: value.cpu() for name, value in trained.state_dict().items()}
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    scale, shift = (scores.std, scores.mean) if isinstance(scores, Regression) else (1.0, 0.0)
    images, _ = (data.valid if data.valid is not None else data.train).batch(torch.arange(IMAGES))
    device = next(trained.parameters()).device
    trained.eval()
    outputs = trained(Augmentation(data.mean, data.std, 0, False, 0).normalise(images.to(device))).logits
    classes = data.classes is not None
    what = "logits, (B, classes), before the softmax" if classes else "numbers, (B, 1), in their own units"
    size = ", ".join(map(str, shape))
    return Portable(
        network,
        sizes,
        Pixels(network, data.mean, data.std, scale, shift).eval(),
        (images,),
        (outputs.float().cpu() * scale + shift,),
        (("images",), ("logits" if classes else "numbers",)),
        (0,),
        {"mean": list(data.mean), "std": list(data.std), "scale": scale, "shift": shift},
        (f"in: images, uint8 (B, {size}), pixels of 0..255; network.pt2 normalises them itself", f"out: {what}"),
    )

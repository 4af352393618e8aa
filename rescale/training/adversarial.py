"""The perceptual half of IRN+: a discriminator that tells restored images from originals, and VGG's features.

Both pull a restored image towards looking real instead of towards the mean of all that it could be: PSNR falls,
LPIPS improves. Source: "Invertible Rescaling Network and Its Extensions" (IJCV 2022), released code.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescale.metrics.lpips import vgg19_features


class Discriminator(nn.Module):
    """A discriminator, (N, 3, side, side) -> (N, 1): how real a crop looks; 144 pixels a side as published.

    Ten convolutions, five of which halve the sides, then two linear layers; batch normalisation, LeakyReLU(0.2).
    Source: the VGG-style discriminator with which ESRGAN and IRN+ are trained.
    """

    def __init__(self, side: int, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in (channels * factor for factor in (1, 2, 4, 8, 8)):
            first = nn.Conv2d(before, width, 3, padding=1, bias=before == 3)
            layers += [first] if before == 3 else [first, nn.BatchNorm2d(width)]
            layers += [nn.LeakyReLU(0.2), nn.Conv2d(width, width, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
            before = width
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(nn.Linear(before * (side // 32) ** 2, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class AdversarialLoss:
    """A discriminator with its optimiser, and the features to compare restored images and originals by.

    Args:
        side: side of a crop.
        lr: learning rate of the discriminator's Adam.
        device: device to train on.
        features: (N, 3, H, W) in [0, 1] -> the features to compare; by default VGG-19's fifth block.
    Raises: MachineError where VGG's weights cannot be had.
    """

    def __init__(self, side: int, lr: float, device: str, features: Callable[[Tensor], Tensor] | None = None) -> None:
        self.critic = Discriminator(side).to(device)
        self.features = features or vgg19_features(device)
        self.optimiser = torch.optim.Adam(self.critic.parameters(), lr=lr, betas=(0.9, 0.99))

    def loss_terms(self, restored: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """Return features: Charbonnier, summed over a crop; adversary: how far from fooled the discriminator is."""
        self.critic.requires_grad_(False)
        verdict = self.critic(restored)
        self.critic.requires_grad_(True)
        apart = ((self.features(restored) - self.features(hr)) ** 2 + 1e-6).sqrt()
        return {"features": apart.sum() / len(hr), "adversary": _verdict(verdict, is_original=True)}

    def learn(self, restored: Tensor, hr: Tensor) -> float:
        """Take one step of the discriminator; return its loss."""
        loss = _verdict(self.critic(hr), is_original=True) + _verdict(self.critic(restored), is_original=False)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()


def _verdict(logits: Tensor, *, is_original: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_original)))

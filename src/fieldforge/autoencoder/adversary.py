"""A network that tells pictures from their reconstructions, and what the autoencoder learns from it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.nn.convolution import ChannelNorm
from fieldforge.ranges import Count, Positive, Whole

LARGEST = 2.0  # of the balance: where scores hardly depend on a picture, their gradient says nothing
BLOCK = 8  # pixels along a side of the blocks over whose means gradients are measured


class PatchDiscriminator(nn.Sequential):
    """Pictures (B, 3, H, W) → a score for each of many overlapping patches (B, 1, h, w): high for true ones.

    PatchGAN (Isola et al. 2017, arXiv 1611.07004, appendix 6.1.2). The norm is over channels instead of over the batch,
    so that a picture's scores do not depend on the others, nor on how a batch is spread over processes.

    Args:
        width: channels of the first level; each further one doubles them.
        levels: convolutions of stride 2. With 2 a patch has 34 pixels along a side, with 3 it has 70.
    """

    def __init__(self, width: Count = 32, levels: Count = 2):
        widths = [width * 2**level for level in range(levels + 1)]
        parts: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            stride = 2 if level < levels else 1
            parts += [nn.Conv2d(inputs, outputs, 4, stride, 1), ChannelNorm(outputs), nn.LeakyReLU(0.2)]
        super().__init__(*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Verdict:
    """loss (): to be added to the autoencoder's. terms: () each by name, detached."""

    loss: Tensor
    terms: dict[str, Tensor]


class Adversary(nn.Module):
    """A discriminator, its own loss and what the autoencoder gets of it, in one backward pass.

    The discriminator learns by the hinge loss from truth and detached reconstructions; the autoencoder gets the
    gradient of the scores at its reconstructions, in which the discriminator's weights are constants. That gradient is
    balanced with the reconstruction's (Esser et al. 2021, arXiv 2012.09841, eq. 7): here at the reconstruction instead
    of the last layer, and picture by picture, so that it does not depend on how a batch is spread over processes. At
    the last layer errors of either sign cancel out, so that a good reconstruction leaves the adversary little say; here
    they do in the means of blocks. Without that reconstructions are driven off within a hundred steps.

    Args:
        discriminator: its parameters are trained along with the autoencoder's.
        weight: of what the autoencoder gets, on top of the balance.
        start: steps in which the discriminator learns alone.
        ramp: steps after these over which `weight` grows from 0.
    """

    def __init__(
        self, discriminator: PatchDiscriminator, weight: Positive = 0.5, start: Whole = 1000, ramp: Count = 1000
    ):
        super().__init__()
        self.discriminator, self.weight, self.start, self.ramp = discriminator, weight, start, ramp

    def forward(self, truth: Tensor, rebuilt: Tensor, reconstruction: Tensor, step: int) -> Verdict:
        """truth, rebuilt (B, 3, H, W); reconstruction (): a loss of `rebuilt` that is a mean over pictures."""
        seen = rebuilt.detach().requires_grad_(torch.is_grad_enabled())
        real, fake = self.discriminator(truth).float(), self.discriminator(seen).float()  # (B, 1, h, w) each
        hinge = (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
        disbelief = -fake.mean((1, 2, 3))  # (B,)
        terms = {"adversary": hinge.detach(), "disbelief": disbelief.mean().detach()}
        if not torch.is_grad_enabled():
            return Verdict(hinge, terms)
        (towards,) = torch.autograd.grad(disbelief.sum(), seen, retain_graph=True)  # (B, 3, H, W)
        (against,) = torch.autograd.grad(reconstruction, rebuilt, retain_graph=True)  # (B, 3, H, W)
        balance = len(truth) * _norms(against) / (_norms(towards) + 1e-6)  # (B,)
        strength = self.strength(step) * balance.clamp(max=LARGEST)  # (B,)
        along = (rebuilt * towards).sum((1, 2, 3))  # (B,), whose gradient is `towards`
        pull = (strength * (disbelief.detach() + along - along.detach())).mean()
        return Verdict(hinge + pull, {**terms, "balance": balance.mean()})

    def strength(self, step: int) -> float:
        """0 up to `start`, growing to `weight`."""
        return self.weight * min(max((step - self.start) / self.ramp, 0.0), 1.0)


def _norms(gradients: Tensor) -> Tensor:
    """(B, 3, H, W) → the length of each picture's gradient (B,), by means of blocks."""
    return F.avg_pool2d(gradients.float(), BLOCK).flatten(1).norm(dim=1)

"""How different pictures look, by the features of a network that was trained to tell things apart."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.conditioning.efficientnet import efficientnet_lite0

LEAST = 32  # pixels along a side


class PerceptualDistance:
    """Squared difference of features of EfficientNet-Lite0 at four resolutions, each of length 1 at each place.

    Pictures of fewer pixels than the network's kernels need are enlarged, bilinearly.
    LPIPS without its learned weights of channels (Zhang et al. 2018, arXiv 1801.03924, eq. 1). It is no `nn.Module`:
    the network is frozen, is loaded at the first use and belongs to no checkpoint.

    Raises:
        UserError: the network's packages are not installed.
    """

    def __init__(self) -> None:
        self.encoder = efficientnet_lite0()
        self.encoder.identity()  # names missing weights now, not in the first step

    def __call__(self, these: Tensor, those: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in -1…1, twice; the second are constants → mean over pictures and places ()."""
        pyramid = cast(Any, self.encoder.network.to(these.device)).pyramid
        with torch.no_grad():
            truth = pyramid(self._normalised(those))
        seen = pyramid(self._normalised(these))
        levels = [_unit(a).sub(_unit(b)).square().sum(1).mean() for a, b in zip(seen, truth, strict=True)]
        return torch.stack(levels).mean()

    def _normalised(self, pictures: Tensor) -> Tensor:
        if min(pictures.shape[-2:]) < LEAST:
            pictures = F.interpolate(pictures, (LEAST, LEAST), mode="bilinear", align_corners=False)
        mean, std = (pictures.new_tensor(value).view(3, 1, 1) for value in (self.encoder.mean, self.encoder.std))
        return ((pictures + 1) / 2 - mean) / std


def _unit(features: Tensor) -> Tensor:
    """(B, F, h, w), each place at length 1."""
    return F.normalize(features.float(), dim=1, eps=1e-6)

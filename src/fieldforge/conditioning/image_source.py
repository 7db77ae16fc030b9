"""Pictures as a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.framing import frame
from fieldforge.conditioning.image_encoder import ImageEncoder
from fieldforge.conditioning.source import Source
from fieldforge.errors import UserError
from fieldforge.ranges import Count, NotNegative, Share, Whole


class ImageSource(Source):
    """Pictures through a frozen image encoder, framed alike in training and sampling.

    Args:
        encoder: gives the features.
        width: D.
        vector, tokens: which of the pooled vector and the grid of tokens to offer.
        margin, background: of the frame (see `framing.frame`).
        lights: number of random lights under which each view is embedded ahead of time (see `relight`); 0: views as
            rendered, without relighting.
        projection: see `Source`.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        width: Count,
        key: str = "image",
        vector: bool = True,
        tokens: bool = True,
        dropout: Share = 0.1,
        learned_null: bool = True,
        margin: NotNegative = 0.1,
        background: Share = 1.0,
        lights: Whole = 0,
        projection: bool = True,
    ) -> None:
        if lights < 0:
            raise UserError(f"lights={lights} of an image source: give 0 for views as rendered, or how many lights")
        vector_width = encoder.vector_width if vector else None
        token_width = encoder.token_width if tokens else None
        count = encoder.token_count if tokens else None
        super().__init__(key, width, vector_width, token_width, dropout, learned_null, count, projection=projection)
        self.encoder = encoder
        self.margin, self.background, self.lights = margin, background, lights

    @torch.no_grad()
    def embed(self, values: Sequence[np.ndarray] | Tensor, device: torch.device) -> Features:
        """Features of B pictures, uint8 (H, W, 3 or 4) each; (B, H, W, 4) in one tensor is fine too."""
        frames = [frame(np.asarray(pixels), self.encoder.size, self.margin, self.background) for pixels in values]
        stacked = torch.from_numpy(np.stack(frames)).to(device)  # (B, size, size, 3)
        return self.offered(self.encoder.encode(stacked.permute(0, 3, 1, 2).float() / 255))

    def fingerprint(self) -> Mapping[str, Any]:
        own = {"margin": self.margin, "background": self.background, "lights": self.lights}
        return {**self.encoder.fingerprint(), **own}


class SeveralImagesSource(ImageSource):
    """Several pictures of one sample at once, in any order, through the encoder of an `ImageSource`.

    The vector is the mean of theirs. Their tokens follow each other; those of a sample with fewer pictures than others
    of its batch are padded and masked.

    Args:
        as those of `ImageSource`.
    """

    of_latents = True

    def __init__(self, encoder: ImageEncoder, width: Count, key: str = "images", **options: Any) -> None:
        super().__init__(encoder, width, key, **options)

    def embed(  # type: ignore[override]
        self, values: Sequence[Sequence[np.ndarray]] | Tensor, device: torch.device
    ) -> Features:
        """Features of B samples, each with pictures uint8 (H, W, 3 or 4); wholly transparent ones are left out."""
        kept = [[np.asarray(one) for one in pictures if is_there(np.asarray(one))] for pictures in values]
        assert all(kept), "a sample has at least one picture"
        each = super().embed([one for pictures in kept for one in pictures], device)
        places = pairwise(np.cumsum([0, *map(len, kept)]))
        return Features.cat([joined(each.rows(slice(start, end))) for start, end in places])


def is_there(pixels: np.ndarray) -> bool:
    return pixels.shape[-1] == 3 or bool(pixels[..., 3].any())


def joined(pictures: Features) -> Features:
    """Features of V pictures as those of one sample: mean vector (1, F), tokens (1, V · L, F)."""
    vector = None if pictures.vector is None else pictures.vector.float().mean(0, keepdim=True).to(pictures.vector)
    if pictures.tokens is None or pictures.mask is None:
        return Features(vector)
    return Features(vector, pictures.tokens.flatten(0, 1)[None], pictures.mask.flatten()[None])

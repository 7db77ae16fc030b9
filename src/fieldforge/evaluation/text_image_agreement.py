"""Retrieval precision: is a sample's picture nearest to its own prompt, by an encoder of texts and pictures?

"CLIP R-precision" of Park et al. 2021, "Benchmark for compositional text-to-image synthesis". Axis letters: N samples,
Q prompts, F features, H/W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fieldforge.conditioning import ClipImageEncoder, ClipTextEncoder
from fieldforge.domains.domain import Outputs
from fieldforge.errors import UserError
from fieldforge.rendering.bitmaps import flatten

WHITE = (255, 255, 255)


@dataclass(frozen=True)
class TextImageJudge:
    """An encoder with two towers into one space.

    Args:
        texts, images: its towers.
    """

    texts: ClipTextEncoder
    images: ClipImageEncoder

    @staticmethod
    def of(model: str) -> TextImageJudge:
        """The towers of a checkpoint of CLIP or SigLIP, a folder or a hub name. UserError where it lacks one."""
        judge = TextImageJudge(ClipTextEncoder(model), ClipImageEncoder(model))
        blank = torch.ones(1, 3, judge.images.size, judge.images.size)
        if judge.images.encode(blank).vector is None:
            raise UserError(f"prompts.encoder={model} projects no pictures into the space of its texts: take another")
        return judge

    def retrieved(
        self, outputs: Sequence[Outputs], prompts: Sequence[str], target: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """(N,) 1 where a sample's own prompt is the nearest of all Q prompts, else 0; a tie counts as a miss.

        Args:
            outputs: N samples; an empty one counts as a miss.
            prompts: Q different texts.
            target: (N,) index of each sample's own prompt.
        """
        texts = self.texts.encode(prompts, torch.device("cpu")).vector
        assert texts is not None
        empty = np.array([output.is_empty for output in outputs])
        pictures = torch.cat([self.picture(output) for output in outputs])
        images = self.images.encode(pictures).vector
        assert images is not None
        cosines = (unit(images) @ unit(texts).T).numpy()  # (N, Q)
        own = cosines[np.arange(len(cosines)), target][:, None]
        hits: NDArray[np.float64] = (((cosines >= own).sum(axis=1) == 1) & ~empty).astype(np.float64)
        return hits

    def picture(self, output: Outputs) -> Tensor:
        """(1, 3, H, W) of one sample over white, sRGB 0…1."""
        pixels = np.asarray(flatten(output.picture(self.images.size), WHITE), dtype=np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.double(), dim=-1)

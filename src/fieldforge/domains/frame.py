"""The domain of single frames of clips: the pictures that a picture model of clips learns from."""

from __future__ import annotations

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.clip_transforms import FrameInput
from fieldforge.data.schema import Sample
from fieldforge.data.transforms import Transform
from fieldforge.domains.clip import example_clip
from fieldforge.domains.image import ImageDomain


class FrameDomain(ImageDomain):
    """Square pictures over white out of shards of clips: of each clip its first frame, in training any.

    Args: see `ImageDomain`.
    """

    noun = "frame"
    schema = CLIP

    def example(self) -> Sample:
        return example_clip(self.size, 1)

    def input_transforms(self) -> list[Transform]:
        return [FrameInput(self.size)]

"""The settings of a plan, which checks them itself; nothing heavy is imported for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fieldforge.ranges import Count, NotNegative, Positive, Range


@dataclass(frozen=True)
class PlanSettings:
    """Hardware and data that a plan assumes.

    Args:
        show: false: train; true or "text": print a table and start nothing; "json": the same for programs.
        peak_flops: floating-point operations a second of one device, in the precision that is trained in.
        utilisation: the share of that which matrix products reach.
        bandwidth: bytes a second between a device's memory and its arithmetic.
        launch_seconds: between the starts of two kernels.
        float32_flops: as `peak_flops`, in float32, in which latents are encoded.
        samples, shards: of the training split; None: those of the data where it is here.
        text_tokens: of a caption.
    """

    show: bool | Literal["json", "text"]
    peak_flops: Positive
    utilisation: Annotated[float, Range(0, 1, open_below=True)]
    bandwidth: Positive
    launch_seconds: NotNegative
    float32_flops: Positive
    samples: Count | None
    shards: Count | None
    text_tokens: Count

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
        float32_flops: as `peak_flops`, in float32, in which latents are encoded.
        utilisation, convolution_utilisation: the share of the peak that large matrix products reach, and that
            convolutions reach.
        float32_convolution_utilisation: the share of `float32_flops` that convolutions in float32 reach; above 1 where
            a faster library than that of products computes them.
        tile, multiprocessors: rows and columns of the part of a product that a multiprocessor computes at a time, and
            how many of these a device has; 1 and 1: products of any size reach the share.
        bandwidth: bytes a second between a device's memory and its arithmetic.
        launch_seconds: between the starts of two kernels.
        link_bandwidth, link_latency: of the link of a device to other nodes: bytes a second in one direction, and
            seconds of a message.
        node_bandwidth, node_latency: of its link to other devices of its node.
        store_bandwidth: bytes a second that all devices together read from the store of the data.
        checkpoint_bandwidth, tensor_seconds: bytes a second with which one process writes a checkpoint, and seconds of
            each tensor besides.
        picture_seconds: of a processor for a mesh and its drawing.
        price_an_hour: of one device; None: no price is printed.
        samples, heldout, shards: of the training split, and samples of the held-out one; None: those of the data where
            it is here.
        sample_bytes: of a stored sample; None: as the data has it, where it is here.
        rows: captions, or views, of a sample that are embedded ahead of time.
        text_tokens: of a caption.
    """

    show: bool | Literal["json", "text"]
    peak_flops: Positive
    float32_flops: Positive
    utilisation: Annotated[float, Range(0, 1, open_below=True)]
    convolution_utilisation: Annotated[float, Range(0, 1, open_below=True)]
    float32_convolution_utilisation: Positive
    tile: Count
    multiprocessors: Count
    bandwidth: Positive
    launch_seconds: NotNegative
    link_bandwidth: Positive
    link_latency: NotNegative
    node_bandwidth: Positive
    node_latency: NotNegative
    store_bandwidth: Positive
    checkpoint_bandwidth: Positive
    tensor_seconds: NotNegative
    picture_seconds: NotNegative
    price_an_hour: NotNegative | None
    samples: Count | None
    heldout: Count | None
    shards: Count | None
    sample_bytes: Count | None
    rows: Count
    text_tokens: Count

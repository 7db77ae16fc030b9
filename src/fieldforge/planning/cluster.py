"""The hardware of a training, and how long it takes for kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fieldforge.planning.collectives import Links

SECONDS_A_DAY = 86400
DEPTH = 4  # tiles: a sum of so many, at least, is worth a multiprocessor of its own


@dataclass(frozen=True)
class Cluster:
    """The hardware of a training.

    Args:
        links: its devices and what connects them.
        peak_flops: floating-point operations per second of one device, in the precision of the training.
        float32_flops: as `peak_flops`, in float32.
        utilisation, convolution_utilisation: the share of the peak that large matrix products reach, 0 … 1, and that
            convolutions reach.
        float32_convolution_utilisation: the share of `float32_flops` that convolutions in float32 reach; above 1 where
            a faster library than that of products computes them.
        tile, multiprocessors: see `useful`.
        bandwidth: memory bandwidth of a device in bytes per second.
        launch_seconds: minimal duration of a kernel, as the host launches kernels one after the other.
        store_bandwidth: bytes per second that all devices together read from, or write to, the store of the data.
        checkpoint_bandwidth, tensor_seconds: bytes per second with which one process writes a checkpoint, and seconds
            of each tensor besides.
        picture_seconds: that a processor takes for the mesh of a sample and its drawing, see docs/planning.md.
        precision: its name.
        kind: "GPU" or "CPU".
        strategy: "ddp" or "fsdp".
        price_an_hour: of one device; None: not known.
    """

    links: Links
    peak_flops: float
    float32_flops: float
    utilisation: float
    convolution_utilisation: float
    float32_convolution_utilisation: float
    tile: int
    multiprocessors: int
    bandwidth: float
    launch_seconds: float
    store_bandwidth: float
    checkpoint_bandwidth: float
    tensor_seconds: float
    picture_seconds: float
    precision: str
    kind: str
    strategy: str
    price_an_hour: float | None = None

    @property
    def world(self) -> int:
        return self.links.world

    def seconds(self, kernels: np.ndarray, float32: bool = False) -> float:
        """That a table of kernels takes (see `planning.kernels`).

        On a GPU each is held back by arithmetic or by memory (Williams et al. 2009, the roofline), and the host
        launches further kernels meanwhile. A CPU does one after the other: a core waits for memory, as transfers
        overlap little with its arithmetic (the ECM model: Treibig and Hager 2009, arXiv 0905.0792).
        """
        peak = self.float32_flops if float32 else self.peak_flops
        convolution = self.float32_convolution_utilisation if float32 else self.convolution_utilisation
        reached = np.where(kernels[:, 5] > 0, convolution, self.utilisation)
        arithmetic = kernels[:, 0] / (peak * reached * self.useful(kernels))
        transfers, launches = kernels[:, 1] / self.bandwidth, len(kernels) * self.launch_seconds
        if self.kind == "CPU":
            return float(arithmetic.sum() + transfers.sum() + launches)
        return float(max(np.maximum(arithmetic, transfers).sum(), launches))

    def useful(self, kernels: np.ndarray) -> np.ndarray:
        """(K,) the share of the multiprocessors' work on a matrix product that is used, 0 … 1; 1 for other kernels.

        A product is dealt in tiles of its result to the multiprocessors. Tiles at the edge are computed whole (tile
        quantisation), and the last wave of tiles takes as long as a full one (wave quantisation): NVIDIA, "Matrix
        Multiplication Background User's Guide". A result of fewer tiles than multiprocessors has its sums split among
        them (split-K), into parts of at least `DEPTH` tiles.
        """
        operations, _, products, rows, columns, _ = kernels.T
        height, width = np.minimum(rows, self.tile), np.minimum(columns, self.tile)
        has_product = products > 0
        height, width = np.where(has_product, height, 1), np.where(has_product, width, 1)
        tiles = products * np.ceil(rows / height) * np.ceil(columns / width)
        tiles, results = np.where(has_product, tiles, 1), np.where(has_product, products * rows * columns, 1)
        depth = operations / (2 * results)
        most = np.minimum(self.multiprocessors // tiles, depth // (DEPTH * self.tile))
        parts = np.maximum(most, 1)
        waves = np.ceil(tiles * parts / self.multiprocessors)
        share = results * parts / (waves * self.multiprocessors * height * width)
        return np.where(has_product, share, 1.0)

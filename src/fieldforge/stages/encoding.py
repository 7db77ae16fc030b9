"""What finished networks compute once, outside of the steps: features of conditions, means and deviations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.source import lacking
from fieldforge.conditioning.stored import EmbeddedShards
from fieldforge.conditioning.transforms import missing_features
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.domains.domain import Domain
from fieldforge.errors import memory_advice
from fieldforge.stages.directory import StageDirectory
from fieldforge.storage.lock import scope
from fieldforge.terminal import count, status
from fieldforge.training.processes import interruption, ranks

MEASURED, TOGETHER = 256, 32  # samples for a mean and a deviation, as many as eight steps encode
PARTS, LEAST = 256, 256  # parts whose latents a process measures at a time, and samples of a part


def stop_on_request() -> None:
    """Stops work outside of the training loop on request.

    Raises:
        Interrupted: a signal has asked some process to stop, or its time is up.
    """
    if ranks.stop_request():
        raise interruption.Interrupted(interruption.noted())


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """On a GPU: kernels without races, where there are such, and products in whole float32."""
    if device.type != "cuda":
        yield
        return
    races, rounded = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(races)
        torch.backends.cudnn.allow_tf32 = rounded


@contextmanager
def encoding_on(device: torch.device, batch_size: int) -> Iterator[None]:
    """`exact`, for an autoencoder that encodes `batch_size` samples at a time. UserError where they are too many."""
    what = f"encoding {batch_size} samples at a time"
    with exact(device), memory_advice(what, "lower training.latents.batch_size, which starts no other run"):
        yield


@scope()
def embed_once(transforms: Sequence[object], conditioner: Conditioner, device: torch.device) -> None:
    """Embed the missing features that transforms will read, each process its share on its device. A collective.

    Raises:
        UserError: stored features of another encoder, data without what a source reads.
        Interrupted: the run was asked to stop.
    """

    def report(name: str, number: int, total: int) -> None:
        stop_on_request()
        count(name, number, total)

    missing = json.loads(ranks.first_alone(lambda: json.dumps(missing_features(transforms, conditioner))))
    for root, name in missing:
        shards = EmbeddedShards(root, conditioner.to(device), name)
        ranks.first_alone(shards.begin)
        with exact(device):
            ranks.shared(lambda shards=shards: shards.write(ranks.rank(), ranks.world(), report))  # type: ignore[misc]
        ranks.first_alone(lambda shards=shards: shards.finish().fingerprint)  # type: ignore[misc]
        conditioner.source(name).unload()  # its features are read from now on
    missing_features(transforms, conditioner.to("cpu"))  # none: each process checks what made them


@torch.no_grad()
def measure_vectors(
    data: ShardDataModule, conditioner: Conditioner, directory: StageDirectory, device: torch.device
) -> None:
    """Sets mean and deviation of each source's vectors, from the first training samples, stored or encoded here.

    Each process measures its share on its device. A collective. A resumed training has them in its checkpoint.

    Raises:
        UserError: the data lack what a source reads.
        Interrupted: the run was asked to stop.
    """
    names = [name for name, source in conditioner.sources.items() if source.has_statistics]
    resumed = bool(directory.earlier or any(directory.checkpoints.glob("step_*.ckpt")))
    if not names or ranks.first_alone(lambda: "resumed" if resumed else ""):
        return
    parts = MEASURED // TOGETHER

    def measured() -> str:
        sums: dict[str, list[Any]] = {name: [] for name in names}
        own = range(ranks.rank(), parts, ranks.world())
        for number, batch in zip(own, data.stream(TOGETHER).every(ranks.world(), ranks.rank()), strict=False):
            stop_on_request()
            for name, features in conditioner.embed(batch, names).items():
                if features.vector is None:
                    raise lacking(name, "vector")
                sums[name].append(moments(features.vector).tolist())
            count("vectors of conditions measured", (number + 1) * TOGETHER, MEASURED)
        return json.dumps(sums)

    conditioner.to(device)
    with exact(device):
        shares = [json.loads(share) for share in ranks.shared(measured)]
    conditioner.to("cpu")
    for name in names:
        mean, std = mean_and_deviation(dealt([share[name] for share in shares], parts), MEASURED, correction=1)
        # A channel that never changes says nothing; its deviation only must not divide by zero.
        conditioner.source(name).set_statistics(mean.float(), std.float().clamp(min=1e-4))


def moments(values: Tensor) -> Tensor:
    """values (N, C) → their sums and the sums of their squares, (2, C) in float64 on the CPU."""
    wide = values.double()
    return torch.stack([wide.sum(0), wide.square().sum(0)]).cpu()


def dealt(shares: Sequence[Sequence[Any]], parts: int) -> Tensor:
    """The moments (P, 2, C) of P parts in their order, that were dealt to the processes one by one."""
    ordered = [shares[number % len(shares)][number // len(shares)] for number in range(parts)]
    return torch.tensor(ordered, dtype=torch.float64)


def mean_and_deviation(parts: Tensor, samples: int, correction: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of samples whose parts have these moments (P, 2, C)."""
    mean, squares = parts.sum(0) / samples
    variance = (squares - mean**2).clamp(min=0) * (samples / (samples - correction))
    return mean, variance.sqrt()


@torch.no_grad()
def measure_statistics(
    autoencoder: Autoencoder, data: ShardDataModule, domain: Domain, batch_size: int, device: torch.device
) -> None:
    """Set the autoencoder's latent mean and standard deviation (C,) from one pass over the training split.

    Each process measures its share on its device. A collective.

    Raises:
        Interrupted: the run was asked to stop.
    """
    split, samples = data.train_split, data.shards(data.train_split).samples
    size = max(LEAST, -(-samples // PARTS))
    spans = [(first, min(first + size, samples)) for first in range(0, samples, size)]
    autoencoder.to(device)

    def measured() -> str:
        own = spans[ranks.rank() :: ranks.world()]
        batches, sums = iter(data.spans_loader(split, own, domain.input_transforms(), batch_size)), []
        for first, last in own:
            sums.append(torch.zeros(2, autoencoder.latent_shape.channels, dtype=torch.float64))
            left = last - first
            while left:
                stop_on_request()
                latents = autoencoder.encode(move_data_to_device(next(batches), device))  # (B, T, C)
                sums[-1] += moments(latents.flatten(0, 1))  # of (B · T, C)
                left -= len(latents)
            status(f"mean and deviation of latents: {len(sums)}/{len(own)} parts measured")
        status("")
        return json.dumps([each.tolist() for each in sums])

    with encoding_on(device, batch_size):
        shares = [json.loads(share) for share in ranks.shared(measured)]
    rows = samples * autoencoder.latent_shape.tokens
    autoencoder.to("cpu").set_statistics(*mean_and_deviation(dealt(shares, len(spans)), rows))

"""What finished networks compute once, outside of the steps: features of conditions, means and deviations."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from lightning_fabric.utilities import move_data_to_device

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


def measure_vectors(
    data: ShardDataModule, conditioner: Conditioner, directory: StageDirectory, device: torch.device
) -> None:
    """Sets mean and deviation of each source's vectors, from the first training samples, stored or encoded here.

    A resumed training has them in its checkpoint.

    Raises:
        UserError: the data lack what a source reads.
        Interrupted: the run was asked to stop.
    """
    names = [name for name, source in conditioner.sources.items() if source.has_statistics]

    def measured() -> str:
        if directory.earlier or any(directory.checkpoints.glob("step_*.ckpt")):
            return "{}"  # what was measured comes back with the checkpoint
        seen = defaultdict(list)
        conditioner.to(device)
        for number, batch in enumerate(islice(data.stream(TOGETHER), MEASURED // TOGETHER), start=1):
            stop_on_request()
            for name, features in conditioner.embed(batch, names).items():
                if features.vector is None:
                    raise lacking(name, "vector")
                seen[name].append(features.vector.double().cpu())
            count("vectors of conditions measured", number * TOGETHER, MEASURED)
        conditioner.to("cpu")
        every = {name: torch.cat(vectors) for name, vectors in seen.items()}  # (MEASURED, F)
        return json.dumps({name: [v.mean(0).tolist(), v.std(0).tolist()] for name, v in every.items()})

    for name, (mean, std) in json.loads(ranks.first_alone(measured) if names else "{}").items():
        # A channel that never changes says nothing; its deviation only must not divide by zero.
        conditioner.source(name).set_statistics(torch.tensor(mean), torch.tensor(std).clamp(min=1e-4))


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
                latents = autoencoder.encode(move_data_to_device(next(batches), device)).double()  # (B, T, C)
                flat = latents.flatten(0, 1)  # (B · T, C)
                sums[-1] += torch.stack([flat.sum(0), flat.square().sum(0)]).cpu()
                left -= len(latents)
            status(f"mean and deviation of latents: {len(sums)}/{len(own)} parts measured")
        status("")
        return json.dumps([each.tolist() for each in sums])

    with encoding_on(device, batch_size):
        shares = [json.loads(share) for share in ranks.shared(measured)]
    parts = [shares[number % len(shares)][number // len(shares)] for number in range(len(spans))]
    mean, squares = torch.tensor(parts, dtype=torch.float64).sum(0) / (samples * autoencoder.latent_shape.tokens)
    autoencoder.to("cpu").set_statistics(mean, (squares - mean**2).clamp(min=0).sqrt())

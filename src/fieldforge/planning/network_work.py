"""Kernels and memory of what networks compute outside of steps, measured on tensors without values."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytorch_lightning as pl
import torch

from fieldforge.conditioning.reach import offline
from fieldforge.errors import UserError
from fieldforge.planning.bill import Sheet
from fieldforge.planning.encoding_plan import EncodingPlan
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.fused_attention import as_on_gpu
from fieldforge.planning.kernels import Kernels
from fieldforge.planning.live_memory import LiveMemory
from fieldforge.stages.work import Drawing, Embedding, Encoding, Step

POINTS = 2**16  # of a field that are asked for at a time
LATENTS_PART, FEATURES_PART = 256, 1000  # samples that a device takes at a time


def latents_plan(
    name: str, encoding: Encoding, batch_size: int, samples: int | None, read: float | None
) -> EncodingPlan:
    """The plan of encoding latents, `batch_size` samples at a time."""
    with without_values(), LiveMemory() as memory, torch.no_grad():
        autoencoder = encoding.autoencoder().eval().requires_grad_(False)
        size = batch_size if samples is None else min(batch_size, samples)
        batch = {key: torch.rand(size, *value.shape[1:]) for key, value in encoding.example().items()}
        with Kernels() as kernels:
            autoencoder.encode(batch)
    return EncodingPlan(name, kernels.rows, size, samples, LATENTS_PART, read, encoding.written, memory.peak)


def statistics_plan(step: Step, batch_size: int, samples: int | None) -> EncodingPlan | None:
    """The plan of measuring mean and deviation of all latents; None where they are not measured."""
    if step.statistics is None:
        return None
    with without_values():
        if not step.statistics.autoencoder().unit_variance:
            return None
    return latents_plan("statistics", step.statistics, batch_size, samples, step.sample_bytes)


def features_plan(embedding: Embedding, samples: int | None, read: float | None) -> EncodingPlan | None:
    """The plan of a source's features; None where its encoder is not on this machine."""
    try:
        with offline():
            embedding.load()
    except UserError:
        return None
    with without_values(real_weights=True), LiveMemory() as memory, Kernels() as kernels:
        embedding.encode()
    name = f"features of {embedding.source}"
    return EncodingPlan(name, kernels.rows, 1, samples, FEATURES_PART, read, embedding.written, memory.peak)


def sheet_of(drawing: Drawing, module: pl.LightningModule, gpu: bool) -> Sheet:
    """The kernels of a sheet of pictures of the module. Called where tensors have no values."""
    with Kernels() as kernels, as_on_gpu() if gpu else nullcontext(), torch.no_grad():
        field, params = drawing.decode(module.eval())
        decoded = len(kernels)
        params = {name: value[:1].float() for name, value in params.items()}  # of one picture
        chunk = min(POINTS, drawing.points)
        field.query(torch.rand(1, chunk, field.dimensions) * 2 - 1, params)
        queried = len(kernels)
        drawing.evaluate(module)
    rows = kernels.rows
    queries = np.tile(rows[decoded:queried], (drawing.pictures * -(-drawing.points // chunk), 1))
    evaluations = np.tile(rows[queried:], (drawing.evaluations, 1))
    return Sheet(np.concatenate([rows[:decoded], queries, evaluations]), drawing.pictures)

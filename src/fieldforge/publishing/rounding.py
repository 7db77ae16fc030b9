"""Rounding of weights to the half-precision type that changes a model's outputs least."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.stored_config import load_run
from fieldforge.generation import Generator
from fieldforge.stages.diffusion_stage import DiffusionStage, load_diffusion

KINDS = {"float16": torch.float16, "bfloat16": torch.bfloat16}
SEEDS = (0, 1)
POINTS = 4096  # of a field
STEPS = 4  # of the sampler: enough for rounding to add up over some


@dataclass(frozen=True)
class Rounded:
    """A diffusion model with the weights of all its parts rounded.

    Args:
        label: of the run, with the autoencoder's weights rounded too.
        weights: of denoiser and conditioner.
        precision: a key of KINDS.
        errors: for each of KINDS, the relative change of the model's outputs.
        parameters: number of learned parameters.
        reads: keys of its sources.
    """

    label: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    precision: str
    errors: Mapping[str, float]
    parameters: int
    reads: Set[str]


def round_model(path: Path) -> Rounded:
    """The finished diffusion model in a file, rounded. UserError for one that cannot be loaded."""
    generator, autoencoder, label = load_diffusion(path)
    weights, _ = load_run(path, DiffusionStage)
    inner = label["autoencoder_state_dict"]
    denoiser = nn.ModuleDict({"model": generator.model, "conditioner": generator.conditioner})
    exact = outcome(generator, autoencoder)
    candidates, errors = {}, {}
    for name, kind in KINDS.items():
        candidates[name] = rounded(denoiser, weights, kind), rounded(autoencoder, inner, kind)
        for module, values in zip((denoiser, autoencoder), candidates[name], strict=True):
            module.load_state_dict(values)  # widens them
        errors[name] = relative_error(exact, outcome(generator, autoencoder, exact[0]))
    best = min(errors, key=lambda name: errors[name])
    parameters = sum(one.numel() for module in (denoiser, autoencoder) for one in module.parameters())
    own, within = candidates[best]
    return Rounded({**label, "autoencoder_state_dict": within}, own, best, errors, parameters, generator.read)


def rounded(model: nn.Module, weights: Mapping[str, Tensor], kind: torch.dtype) -> dict[str, Tensor]:
    """The weights with learned parameters rounded; buffers (statistics and tables) stay as they are."""
    learned = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {name: value.to(kind) if name in learned else value for name, value in weights.items()}


@torch.no_grad()
def outcome(generator: Generator, autoencoder: Autoencoder, latents: Tensor | None = None) -> list[Tensor]:
    """Unconditional latents (B, T, C), then values of the fields of `latents` at some points; None: of the former."""
    few = generator.with_steps(min(STEPS, generator.sampler.steps))
    samples = few({}, SEEDS, 0.0)
    params = autoencoder.decode(samples if latents is None else latents)
    shape = (len(samples), POINTS, autoencoder.field.dimensions)
    points = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 1
    values = autoencoder.field.query(points, params)
    return [samples, *(value for _, value in sorted(values.items()))]


def relative_error(exact: list[Tensor], other: list[Tensor]) -> float:
    """The largest relative root mean square error over the tensors; infinite for values that are not finite."""
    errors = [float(((a - b).square().mean() / a.square().mean()).sqrt()) for a, b in zip(exact, other, strict=True)]
    return max(error if math.isfinite(error) else math.inf for error in errors)

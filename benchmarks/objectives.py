"""The same small model trained with each prediction, process and weighting, for the same number of steps.

    python benchmarks/objectives.py --latents outputs/furniture_autoencoder/<id>/latents/<id>

Writes the table in docs/samplers.md. About 10 minutes on two idle cores; says how much is left. Without --latents the
newest ones below outputs/ are taken (python train.py experiment=shape_latent stages=[autoencoder,latents] makes some of
the embedded furniture).

The model is unconditional, its first weights, batches and noises are the same for all. Two measures:

- the error of x̂₀ on held-out latents, as a share of their variance, averaged over noise levels σ/α from 0.3 to 100 in
  even steps of their logarithm: the same question to all;
- the Fréchet distance of samples (Heun, 31 evaluations) to the training latents, see sampler_quality.py.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from latent_quality import ROOT, LatentFrechet, markdown_table, read_latents, write_section
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.diffusion.loss import denoising_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import (
    Parameterization,
    Preconditioned,
    PredictData,
    PredictNoise,
    PredictV,
    PredictVelocity,
)
from fieldforge.diffusion.samplers.heun import Heun
from fieldforge.diffusion.sampling import Sampling
from fieldforge.diffusion.spacing import Karras
from fieldforge.diffusion.weighting import (
    EDM,
    MinSNR,
    Sigmoid,
    UniformData,
    UniformNoise,
    UniformV,
    UniformVelocity,
    Weighting,
)
from fieldforge.nn.ema import EMA, PowerDecay
from fieldforge.noise.densities import Density, LogitNormal, LogNormalSigma, Shifted, UniformTime, stratified_uniform
from fieldforge.noise.process import Process
from fieldforge.noise.processes import Cosine, Exponential, Linear, LinearInterpolation, VarianceExploding
from fieldforge.training.optimization import build_optimizer
from fieldforge.training.trainer import best_precision

BATCH, PEAK, SAMPLES, COMPONENTS, GROUP = 32, 1e-3, 192, 16, 128
LEVELS = torch.logspace(math.log10(0.3), 2, 10, dtype=torch.float64)  # (10,) σ/α
NOTHING = Condition()


@dataclass(frozen=True)
class Objective:
    """One way to train; `choices` is what the configs call its parts, `known` who does so."""

    parameterization: Parameterization
    process: Process
    weighting: Weighting
    density: Density
    choices: str
    known: str = ""


UNIFORM, EARLY = UniformTime(), LogNormalSigma(-0.5, 1.2)
LATE = LogNormalSigma(2.0, 1.2)  # these latents are decided at σ/α between 2 and 40
SHIFTED = Shifted(LogitNormal(), tokens=4096, base_tokens=64)
X0, EPSILON, V, FLOW, PRECONDITIONED = PredictData(), PredictNoise(), PredictV(), PredictVelocity(), Preconditioned(1.0)
SHAP_E, STRAIGHT, EXPLODING = Exponential(), LinearInterpolation(), VarianceExploding(160.0)
OBJECTIVES = [
    Objective(X0, SHAP_E, UniformData(), LATE, "data exponential data log_normal"),
    Objective(X0, SHAP_E, UniformV(), LATE, "data exponential v log_normal"),
    Objective(X0, SHAP_E, UniformData(), UNIFORM, "data exponential data uniform", "Shap-E"),
    Objective(X0, SHAP_E, MinSNR(), LATE, "data exponential min_snr log_normal"),
    Objective(EPSILON, Linear(), UniformNoise(), UNIFORM, "noise linear noise uniform", "DDPM"),
    Objective(EPSILON, Cosine(), UniformNoise(), UNIFORM, "noise cosine noise uniform", "Improved DDPM"),
    Objective(V, Cosine(), UniformV(), UNIFORM, "v cosine v uniform", "Salimans & Ho"),
    Objective(V, Cosine(), MinSNR(), UNIFORM, "v cosine min_snr uniform", "min-SNR"),
    Objective(V, Cosine(), Sigmoid(), UNIFORM, "v cosine sigmoid uniform", "VDM++"),
    Objective(V, SHAP_E, UniformV(), LATE, "v exponential v log_normal", "the default"),
    Objective(PRECONDITIONED, EXPLODING, EDM(1.0), EARLY, "edm exploding edm log_normal(-0.5)", "EDM"),
    Objective(PRECONDITIONED, EXPLODING, EDM(1.0), LATE, "edm exploding edm log_normal"),
    Objective(FLOW, STRAIGHT, UniformVelocity(), UNIFORM, "velocity interpolation velocity uniform", "rectified flow"),
    Objective(FLOW, STRAIGHT, UniformVelocity(), LogitNormal(), "velocity interpolation velocity logit_normal", "SD3"),
    Objective(FLOW, STRAIGHT, UniformVelocity(), SHIFTED, "velocity interpolation velocity shifted(8)", "SD3, shifted"),
    Objective(FLOW, STRAIGHT, UniformVelocity(), LATE, "velocity interpolation velocity log_normal"),
]


def trained(objective: Objective, latents: Tensor, steps: int, width: int, layers: int) -> DiffusionModel:
    """The averaged model after `steps` steps on latents (N, T, C)."""
    torch.manual_seed(0)
    _, tokens, channels = latents.shape
    backbone = DiT(tokens, channels, width, layers, max(1, width // 64), condition_width=1, group=GROUP)
    model = DiffusionModel(backbone, objective.process, objective.parameterization)
    optimizer = build_optimizer(lambda groups: torch.optim.AdamW(groups, PEAK, (0.9, 0.99), weight_decay=0.01), model)
    average = EMA(model, PowerDecay(0.05))
    generator = torch.Generator().manual_seed(0)
    autocast = best_precision() == "bf16-mixed"
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group_of_parameters in optimizer.param_groups:
            group_of_parameters["lr"] = PEAK * rate
        chosen = torch.randint(len(latents), (BATCH,), generator=generator)
        uniform = stratified_uniform(BATCH, generator)  # (B,)
        noise = torch.randn(BATCH, tokens, channels, generator=generator)
        t = objective.density.times(uniform, objective.process)  # (B,)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = denoising_loss(model, latents[chosen], noise, t, NOTHING, objective.weighting).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, step + 1)
    averaged = copy.deepcopy(model)
    average.copy_to(averaged)
    return averaged.eval()


@torch.no_grad()
def heldout_error(model: DiffusionModel, latents: Tensor) -> float:
    """Mean squared error of x̂₀ over latents (N, T, C) and noise levels, as a share of the latents' variance."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    errors = []
    for level in LEVELS:
        t = model.process.time_of_log_snr(-2 * level.log()).expand(len(latents))  # (N,)
        x_t = model.process.add_noise(latents, noise, t)
        errors.append(float((model(x_t, t, NOTHING) - latents).square().mean()))
    return sum(errors) / len(errors) / float(latents.var())


def drawn(model: DiffusionModel, shape: tuple[int, ...]) -> Tensor:
    """Samples (G, T, C)."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    sampling = Sampling(Heun(), Karras(0.05, 160.0, 5.0), 16)
    parts = [
        sampling(lambda x, t: model(x, t, NOTHING), part, model.process, torch.Generator()) for part in noise.split(64)
    ]
    return torch.cat(parts)


def newest_latents() -> Path:
    found = sorted((ROOT / "outputs").glob("*/*/latents/*/manifest.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        print("error: there are no latents below outputs/: make some with train.py, or give --latents", file=sys.stderr)
        sys.exit(2)
    return found[-1].parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=Path, help="folder of latent shards; the newest below outputs/")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/ as they are")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("medium")
    folder = arguments.latents or newest_latents()
    latents, heldout = (read_latents(folder, split)["latent"] for split in ("train", "heldout"))
    frechet = LatentFrechet(latents, min(COMPONENTS, len(latents) - 1))
    count = min(SAMPLES, len(latents))
    rows, started = [], time.monotonic()
    for number, objective in enumerate(OBJECTIVES, 1):
        model = trained(objective, latents, arguments.steps, arguments.width, arguments.layers)
        error = heldout_error(model, heldout)
        distance = frechet(frechet.project(drawn(model, (count, *latents.shape[1:]))))
        rows.append((error, distance, objective))
        left = (time.monotonic() - started) / number * (len(OBJECTIVES) - number) / 60
        told = f"{error:.4f}  {distance:.4f}  {objective.choices}"
        print(f"{number}/{len(OBJECTIVES)}  {left:4.1f} min left  {told}", flush=True)
    real = torch.randperm(len(latents), generator=torch.Generator().manual_seed(3))[:count]
    floor = frechet(frechet.project(latents[real]))
    head = ["prediction", "process", "weighting", "density", "held-out error of x̂₀", "Fréchet distance", ""]
    table = [
        [*(f"`{choice}`" for choice in objective.choices.split()), f"{error:.4f}", f"{distance:.3f}", objective.known]
        for error, distance, objective in sorted(rows, key=lambda row: row[1])
    ]
    facts = (
        f"{arguments.layers} layers of width {arguments.width}, {arguments.steps} steps of {BATCH} out of "
        f"{len(latents)} latents, {len(heldout)} held out; {count} samples, real latents among themselves {floor:.3f}. "
        "`log_normal` has mean 2 and deviation 1.2 unless it says so; `shifted(8)` is logit_normal with σ/α raised 8 "
        "times. Best first."
    )
    print(f"real latents among themselves {floor:.4f}")
    if not arguments.dry:
        write_section(ROOT / "docs" / "samplers.md", "objectives", f"{facts}\n\n{markdown_table(head, table)}")


if __name__ == "__main__":
    main()

"""The same small model trained with each prediction × process × weighting, for the same number of steps.

    python benchmarks/objectives.py --latents outputs/planes_autoencoder/<id>/latents/<id> --jobs 2

Writes docs/images/objectives.png and the tables in docs/samplers.md. About 80 minutes on two idle cores; says how much
is left, keeps what is measured below outputs/objectives/, and goes on from there. Needs matplotlib. Without --latents
the newest ones below outputs/ are taken (python train.py experiment=shape_latent stages=[autoencoder,latents] makes
some of the embedded furniture).

Four predictions × six weightings, each with times drawn evenly from each of the five processes, and from a density of
the noise level itself, under which the process does not matter. EDM's preconditioning and weighting are those of v here
(sigma_data = 1: latents have unit variance), but for the sign of the output. To these come published recipes and
variants of the default, from three seeds each. The model is unconditional, its first weights, batches and noises are
the same for all. Two measures:

- the error of x̂₀ on held-out latents, as a share of their variance, averaged over noise levels σ/α from 0.3 to 100 in
  even steps of their logarithm: the same question to all;
- the Fréchet distance of samples (Heun, 31 evaluations) to the training latents, see sampler_quality.py.
"""

from __future__ import annotations

import argparse
import copy
import functools
import hashlib
import json
import math
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from latent_quality import ROOT, LatentFrechet, read_latents, write_section
from objectives_compared import choices
from objectives_compared.choices import (
    DENSITIES,
    GRID,
    PREDICTIONS,
    PROCESSES,
    REPEATED,
    SHIFTED_TOKENS,
    WEIGHTINGS,
    Objective,
)
from objectives_compared.report import draw, tables
from sides import products_of_trainings
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.diffusion.loss import denoising_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.sampler import Sampler
from fieldforge.diffusion.solvers.heun import Heun
from fieldforge.diffusion.spacing import Karras
from fieldforge.nn.ema import EMA, PowerDecay
from fieldforge.noise.randomness import StepRandomness
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.processes.precision import best_precision

BATCH, PEAK, SAMPLES, COMPONENTS, GROUP = 32, 1e-3, 192, 16, 128
LEVELS = torch.logspace(math.log10(0.3), 2, 10, dtype=torch.float64)  # (10,) σ/α
NOTHING = Condition()


def trained(objective: Objective, latents: Tensor, steps: int, width: int, layers: int) -> DiffusionModel:
    """The averaged model after `steps` steps on latents (N, T, C)."""
    torch.manual_seed(objective.seed)
    process, density = PROCESSES[objective.process], DENSITIES[objective.density]
    _, tokens, channels = latents.shape
    backbone = DiT(tokens, channels, width, layers, max(1, width // 64), condition_width=1, group=GROUP)
    model = DiffusionModel(backbone, process, PREDICTIONS[objective.prediction])
    optimizer = build_optimizer(lambda groups: torch.optim.AdamW(groups, PEAK, (0.9, 0.99), weight_decay=0.01), model)
    average = EMA(model, PowerDecay(0.05))
    generator = torch.Generator().manual_seed(objective.seed)
    autocast = best_precision(gpu=False) == "bf16-mixed"
    for step in range(steps):
        rate = min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group_of_parameters in optimizer.param_groups:
            group_of_parameters["lr"] = PEAK * rate
        chosen = torch.randint(len(latents), (BATCH,), generator=generator)
        uniform = StepRandomness(objective.seed, step, range(BATCH), BATCH).stratified()  # (B,)
        noise = torch.randn(BATCH, tokens, channels, generator=generator)
        t = density.times(uniform, process, SHIFTED_TOKENS)  # (B,)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = denoising_loss(model, latents[chosen], noise, t, NOTHING, WEIGHTINGS[objective.weighting]).mean()
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
    sampling = Sampler(Heun(), Karras(0.05, 160.0, 5.0), 16)
    parts = [
        sampling(lambda x, t: model(x, t, NOTHING), part, model.process, torch.Generator()) for part in noise.split(64)
    ]
    return torch.cat(parts)


@functools.cache
def data(folder: Path) -> tuple[Tensor, Tensor, LatentFrechet]:
    """Latents (N, T, C) for training and held out, and the distance to the first."""
    latents, heldout = (read_latents(folder, split)["latent"] for split in ("train", "heldout"))
    return latents, heldout, LatentFrechet(latents, min(COMPONENTS, len(latents) - 1))


def measured(objective: Objective, folder: Path, steps: int, width: int, layers: int) -> tuple[float, float]:
    """Held-out error and Fréchet distance; not finite where training has diverged."""
    products_of_trainings()
    latents, heldout, frechet = data(folder)
    model = trained(objective, latents, steps, width, layers)
    samples = drawn(model, (min(SAMPLES, len(latents)), *latents.shape[1:]))
    distance = frechet(frechet.project(samples)) if samples.isfinite().all() else math.inf
    return heldout_error(model, heldout), distance


def measure_all(wanted: list[Objective], arguments: argparse.Namespace, kept: Path) -> dict[str, tuple]:
    """(error, distance) by an objective's key, those in `kept` (a line of JSON each) being taken from there."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    lines = kept.read_text().split("\n")[:-1] if kept.is_file() else []  # the last one may have been cut
    kept.write_text("".join(f"{line}\n" for line in lines))
    known = dict(map(json.loads, lines))
    missing = [objective for objective in wanted if objective.key not in known]
    started = time.monotonic()
    settings = (arguments.latents, arguments.steps, arguments.width, arguments.layers)
    spawn = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // arguments.jobs)
    with ProcessPoolExecutor(arguments.jobs, spawn, torch.set_num_threads, (threads,)) as pool:
        running = {pool.submit(measured, objective, *settings): objective for objective in missing}
        for number, future in enumerate(as_completed(running), 1):
            objective = running[future]
            known[objective.key] = error, distance = future.result()
            with kept.open("a") as file:
                file.write(json.dumps([objective.key, [error, distance]]) + "\n")
            left = (time.monotonic() - started) / number * (len(missing) - number) / 60
            result = f"{error:.4f}  {distance:.4f}  {objective.key}"
            print(f"{number}/{len(missing)}  {left:4.1f} min left  {result}", flush=True)
    return {objective.key: tuple(known[objective.key]) for objective in wanted}


def newest_latents() -> Path:
    manifests = sorted((ROOT / "outputs").glob("*/*/latents/*/manifest.json"), key=lambda path: path.stat().st_mtime)
    if not manifests:
        print("error: there are no latents below outputs/: make some with train.py, or give --latents", file=sys.stderr)
        sys.exit(2)
    return manifests[-1].parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=Path, help="folder of latent shards; the newest below outputs/")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the threads")
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/ as they are")
    arguments = parser.parse_args()
    arguments.latents = arguments.latents or newest_latents()
    latents, heldout, frechet = data(arguments.latents)
    count = min(SAMPLES, len(latents))
    read = [arguments.latents / "manifest.json", Path(__file__), Path(choices.__file__)]
    of = [*(path.read_text() for path in read), arguments.steps, arguments.width, arguments.layers]
    kept = ROOT / "outputs" / "objectives" / f"{hashlib.sha256(repr(of).encode()).hexdigest()[:12]}.jsonl"
    results = measure_all(list({o.key: o for o in (*REPEATED, *GRID)}.values()), arguments, kept)
    real = torch.randperm(len(latents), generator=torch.Generator().manual_seed(3))[:count]
    facts = (
        f"{arguments.layers} layers of width {arguments.width}, {arguments.steps} steps of {BATCH} out of "
        f"{len(latents)} latents, {len(heldout)} held out; {count} samples, real latents among themselves "
        f"{frechet(frechet.project(latents[real])):.3f}. `shifted(8)` is logit_normal with σ/α raised 8 times."
    )
    text = f"{facts}\n\n{tables(results)}"
    print(text)
    if not arguments.dry:
        draw(results, ROOT / "docs" / "images" / "objectives.png")
        write_section(ROOT / "docs" / "samplers.md", "objectives", text)


if __name__ == "__main__":
    main()

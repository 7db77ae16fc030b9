r"""Trainings on this machine's GPU beside their plans: samples a second, share of the peak, memory.

    python benchmarks/gpu.py [--steps 60] [--peak 312e12] [--only planes,quadrics,diffusion] [key=value of train.py …]
    python benchmarks/gpu.py --accelerator cpu --steps 10 --only diffusion training.diffusion.batch_size=2 \
        training.autoencoder.batch_size=1

Each stage takes its steps on the embedded data, one process a device, in the precision that `trainer=auto` chooses.
The second command tries the first without a GPU, in minutes; the memory is that of the GPU's allocator and stays empty.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fieldforge.planning.estimate import StagePlan
from fieldforge.planning.plan import make_plan
from fieldforge.planning.step_cost import memory_ddp
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import run_training
from fieldforge.training.callbacks.metrics_table import read_table

TRAININGS = {
    "planes": ["experiment=shape_autoencoder"],
    "quadrics": ["experiment=quadric_autoencoder", "data=furniture_cc0"],
    "vector_set": ["experiment=shape_autoencoder", "autoencoder=vector_set"],
    "shap_e": ["experiment=shape_autoencoder", "autoencoder=shap_e_small"],
    "diffusion": ["experiment=shape_latent", "conditioner=class"],
}
GIB = 2**30


def configuration(words: Sequence[str], folder: str, arguments: argparse.Namespace) -> DictConfig:
    common = [f"output_dir={folder}", f"trainer.accelerator={arguments.accelerator}", "callbacks.pictures=null"]
    common += ["monitor.log_every=10", "monitor.validation_batches=0", f"plan.peak_flops={arguments.peak:g}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [*words, *common, *arguments.overrides])
    for stage in config.training.values():
        if "budget" in stage:
            stage.budget.update(max_steps=arguments.steps, max_minutes=None, min_steps=0, warmup_steps=5)
    return config


def row(plan: StagePlan, run: Path, peak: int | None, arguments: argparse.Namespace) -> str:
    """A line of the table; the last ten steps count."""
    table = read_table(run / "metrics.csv")
    speeds = [values["speed/samples_per_second"] for values in table.values() if "speed/samples_per_second" in values]
    reached = plan.operations * speeds[-1] / plan.batch_size / arguments.peak
    planned = sum(memory_ddp(plan.cost, 1).values()) / GIB
    measured = "" if peak is None else f"{peak / GIB:.2f}"
    return f"{plan.batch_size} | {speeds[-1]:.1f} | {reached:.1%} | {planned:.2f} | {measured} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", default="gpu")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--peak", type=float, default=312e12, help="operations a second of the device; an A100's")
    parser.add_argument("--only", default=",".join(TRAININGS))
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    on_gpu = arguments.accelerator == "gpu"
    print(f"device: {torch.cuda.get_device_name() if on_gpu else 'CPU'}, torch {torch.__version__}")
    print(
        "| training | stage | batch | samples/s | of peak | GiB planned | GiB measured |\n|---|---|---|---|---|---|---|"
    )
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            config = configuration(TRAININGS[name], folder, arguments)
            stages = list(config.stages)
            plans = {plan.name: plan for plan in make_plan(config).stages if isinstance(plan, StagePlan)}
            for stage, plan in plans.items():
                if on_gpu:
                    torch.cuda.reset_peak_memory_stats()
                config.stages = stages[: stages.index(stage) + 1]  # those before it are finished, and reused
                run = run_training(config)[stage].path
                peak = torch.cuda.max_memory_allocated() if on_gpu else None
                print(f"| {name} | {stage} | {row(plan, run, peak, arguments)}", flush=True)


if __name__ == "__main__":
    main()

"""Body of evaluate.py: held-out reconstructions of an autoencoder, prompt agreement of a diffusion model."""

from __future__ import annotations

from omegaconf import DictConfig

from fieldforge.runs.evaluate_autoencoder import evaluate_autoencoder
from fieldforge.runs.evaluate_diffusion import evaluate_diffusion
from fieldforge.runs.locate import find_model


def run_evaluation(config: DictConfig) -> None:
    """Evaluate the run that `config.run` means by what it is."""
    model, stage = find_model(config.run, config.output_dir, "autoencoder", "diffusion")
    (evaluate_autoencoder if stage == "autoencoder" else evaluate_diffusion)(model, config)

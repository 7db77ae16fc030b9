"""Body of evaluate.py: reconstructions of an autoencoder, shapes of a diffusion model, embeddings of a prior."""

from __future__ import annotations

from omegaconf import DictConfig

from fieldforge.runs.ema_length import of_length
from fieldforge.runs.evaluate_autoencoder import evaluate_autoencoder
from fieldforge.runs.evaluate_diffusion import evaluate_diffusion
from fieldforge.runs.evaluate_prior import evaluate_prior
from fieldforge.runs.locate import find_model

BY_STAGE = {"autoencoder": evaluate_autoencoder, "diffusion": evaluate_diffusion, "prior": evaluate_prior}


def run_evaluation(config: DictConfig) -> None:
    """Evaluate the run that `config.run` means by what it is."""
    model, stage = find_model(config.run, config.output_dir, *BY_STAGE)
    BY_STAGE[stage](of_length(model, config.ema_length), config)

"""Body of evaluate.py: measures reconstructions of autoencoders, samples of diffusion models, embeddings of priors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from omegaconf import DictConfig

from fieldforge.configuration.settings import read_settings
from fieldforge.configuration.stored_config import naming_data_root
from fieldforge.evaluation.prior_embeddings import evaluate_prior
from fieldforge.evaluation.prompt_following import evaluate_diffusion
from fieldforge.evaluation.reconstructions import evaluate_autoencoder
from fieldforge.evaluation.settings import EvaluationSettings
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.stages.ema_length import model_of_length
from fieldforge.stages.locate import find_model, folder_of, label_of
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.training.callbacks.wandb_run import Wandb, finish

BY_STAGE: Mapping[str, Callable[[Path, EvaluationSettings], Path]] = {
    "autoencoder": evaluate_autoencoder,
    "diffusion": evaluate_diffusion,
    "prior": evaluate_prior,
}


def run_evaluation(config: DictConfig) -> None:
    """Evaluate the run `config.run` by its stage, into its folder `evaluation` (see `folder_of`).

    Raises:
        UserError: an invalid setting, one without effect, or a missing run; then no file is written.
    """
    settings = read_settings(with_local_models(config), EvaluationSettings)
    model, stage = find_model(settings.run, settings.output_dir, *BY_STAGE)
    settings.check_stage(stage)
    with model_of_length(model, settings.ema_length) as averaged:
        folder = make_folder(folder_of(averaged, settings.output_dir) / "evaluation", "run")
        try:
            with writing(folder, MACHINE), naming_data_root(settings.data_root):
                report = BY_STAGE[stage](averaged, settings)
            if settings.wandb:
                send_report(report, averaged, stage)
        finally:
            with contextlib.suppress(OSError):  # a folder with files is not empty and stays
                folder.rmdir()


def send_report(report: Path, model: Path, stage: str) -> None:
    """Add a report to the run of Weights & Biases that has the id of the model's training."""
    label = label_of(model)
    logger = Wandb.of_training(label["config"]).goes_on(label["config"], stage, label["fingerprint"], report.parent)
    logger.log_report(report)
    logger.finalize("success")
    finish()

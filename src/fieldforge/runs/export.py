"""Body of export.py: a finished run → the files of another house."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from fieldforge.configuration.settings import read_settings
from fieldforge.exchange.settings import ExportSettings
from fieldforge.exchange.shap_e_pipeline import save_pipeline
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.locate import find_diffusion
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import result


def run_export(config: DictConfig) -> Path:
    """Write the files into `output`, and return its path.

    Raises:
        UserError: a missing run, or one of a design that the format does not have.
    """
    settings = read_settings(with_local_models(config), ExportSettings)
    generator, autoencoder, _ = load_diffusion(find_diffusion(settings.run, settings.output_dir))
    folder = make_folder(Path(settings.output), "output")
    with writing(folder, MACHINE):
        save_pipeline(generator, autoencoder, folder)
    result(str(folder))
    return folder

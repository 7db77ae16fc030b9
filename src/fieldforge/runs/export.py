"""Body of export.py: a finished run → a model for others, or the files of another house; mesh files → other ones."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from fieldforge.configuration.settings import read_settings
from fieldforge.domains.mesh_settings import MeshSettings
from fieldforge.errors import UserError
from fieldforge.exchange.mesh_conversion import convert_meshes, mesh_files_of
from fieldforge.exchange.settings import ExportSettings
from fieldforge.exchange.shap_e_pipeline import save_pipeline
from fieldforge.publishing.model_folder import write_model_folder
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.locate import find_diffusion
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import result


def run_export(config: DictConfig) -> Path:
    """Write the files into `output`, and return its path.

    Raises:
        UserError: a missing run, or one of a design that the format does not have; see `write_model_folder`; meshes
            that cannot be converted, or would be replaced.
    """
    settings = read_settings(with_local_models(config), ExportSettings)
    if settings.meshes is not None:
        return export_meshes(Path(settings.meshes), Path(settings.output), settings.mesh)
    if settings.format == "card":
        folder = write_model_folder(
            settings.run, settings.output, settings.output_dir, settings.data_root, settings.command
        )
        result(str(folder))
        return folder
    generator, autoencoder, _ = load_diffusion(find_diffusion(settings.run, settings.output_dir))
    folder = make_folder(Path(settings.output), "output")
    with writing(folder, MACHINE):
        save_pipeline(generator, autoencoder, folder)
    result(str(folder))
    return folder


def export_meshes(place: Path, folder: Path, settings: MeshSettings) -> Path:
    """Write the meshes of a file or folder into another folder, and return that."""
    mesh_files_of(place)  # before the folder is made
    if folder.resolve() == (place if place.is_dir() else place.parent).resolve():
        raise UserError(f"output={folder} is where the meshes lie, which would be replaced: give another folder")
    make_folder(folder, "output")
    with writing(folder, MACHINE):
        convert_meshes(place, folder, settings)
    result(str(folder))
    return folder

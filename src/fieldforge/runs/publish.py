"""Body of `python -m fieldforge.publish`: a finished diffusion run → weights, model card and list of assets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fieldforge.configuration.settings import read_settings
from fieldforge.configuration.stored_config import data_root, load_run
from fieldforge.errors import UserError
from fieldforge.publishing.assets import table, training_assets, unfree
from fieldforge.publishing.card import Training, card_text, persons_part
from fieldforge.publishing.public_label import public_label
from fieldforge.publishing.rounding import round_model
from fieldforge.publishing.settings import PublishSettings
from fieldforge.rendering.bitmaps import write_whole
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.stages.diffusion_stage import DiffusionStage
from fieldforge.stages.directory import PUBLISHED
from fieldforge.stages.locate import find_model
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import result
from fieldforge.training.processes.published import LARGEST, SUFFIX, write_published

log = logging.getLogger(__name__)


def run_publishing(config: DictConfig) -> Path:
    """Write `model.safetensors`, `README.md` and `assets.csv` into `output`, and return the path of the first.

    If the weights are too large for one file, `autoencoder.safetensors` takes those of the autoencoder.

    Raises:
        UserError: a missing or already published run, one whose label names paths of this machine, or missing shards.
    """
    settings = read_settings(with_local_models(config), PublishSettings)
    run, _ = find_model(settings.run, settings.output_dir, DiffusionStage.kind)
    if run.suffix == SUFFIX:
        raise UserError(f"run={run.parent} is published already: give the run that it was made of")
    _, label = load_run(run, DiffusionStage)
    warn_if_untrained(label, run.parent)
    public_label(label, "")  # raises UserError before the long work
    assets = training_assets(data_root(settings.data_root, label["config"], run))
    model = round_model(run)
    folder = make_folder(Path(settings.output), "output")
    path, card = folder / PUBLISHED, folder / "README.md"
    content = {"fieldforge": public_label(model.label, model.precision), "state_dict": model.weights}
    trainings = [Training(label, run.parent), Training(label["autoencoder"], autoencoder_folder(label, settings))]
    with writing(folder, MACHINE):
        sizes = {place.name: place.stat().st_size for place in write_published(content, path)}
        write_whole(table(assets), folder / "assets.csv")
        text = card_text(folder.resolve().name, model, sizes, trainings, assets, settings.command)
        write_whole((text + persons_part(card)).encode(), card)
    if doubtful := unfree(assets):
        log.warning("warning: of these licences publishing asks more than a name: %s; read them", ", ".join(doubtful))
    for name, size in sizes.items():
        if size > LARGEST:
            log.warning("warning: %s has %.0f MB, more than a repository takes easily", folder / name, size / 1e6)
    result(str(path))
    return path


def autoencoder_folder(label: dict[str, Any], settings: PublishSettings) -> Path | None:
    """Run directory of a model's autoencoder, by the label of the model; None if it is not on this machine."""
    config = label["config"]
    own = Path(settings.output_dir) / str(config.get("autoencoder_name")) / label["autoencoder"]["fingerprint"]
    other = config.get("autoencoder_run")
    places = [own, *([Path(other)] if other else [])]
    return next((place for place in places if place.is_dir()), None)

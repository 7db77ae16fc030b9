"""The folder of a model for others: weights, configuration, card, pictures, list of assets; as hubs want it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldforge.configuration.stored_config import data_root, load_run
from fieldforge.errors import UserError
from fieldforge.publishing.assets import Asset, table, training_assets, unfree
from fieldforge.publishing.card import Training, card_text, persons_part
from fieldforge.publishing.card_header import card_header, library_file
from fieldforge.publishing.card_pictures import card_pictures
from fieldforge.publishing.public_label import public_label
from fieldforge.publishing.rounding import round_model
from fieldforge.rendering.bitmaps import write_whole
from fieldforge.stages.diffusion_stage import DiffusionStage, load_domain
from fieldforge.stages.directory import PUBLISHED
from fieldforge.stages.locate import find_model
from fieldforge.stages.model_hub import CONFIG
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.training.processes.published import LARGEST, SUFFIX, write_published

log = logging.getLogger(__name__)


def write_model_folder(
    run: str | None, output: str, output_dir: str, root: str | Sequence[str] | None, command: str | None
) -> Path:
    """Write `model.safetensors`, `config.json`, `README.md`, `assets.csv` and pictures, and return the folder.

    If the weights are too large for one file, `autoencoder.safetensors` takes those of the autoencoder.

    Args:
        run: directory of a finished diffusion run; None: the newest below `output_dir`.
        output: the folder.
        output_dir: where runs lie.
        root: shards whose assets the card lists; None: the run's training data.
        command: of the training, for the card.

    Raises:
        UserError: a missing or already published run, one whose label names paths of this machine, or missing shards.
    """
    path, _ = find_model(run, output_dir, DiffusionStage.kind)
    if path.suffix == SUFFIX:
        raise UserError(f"run={path.parent} is published already: give the run that it was made of")
    _, label = load_run(path, DiffusionStage)
    warn_if_untrained(label, path.parent)
    public_label(label, "")  # raises UserError before the long work
    assets = training_assets(data_root(root, label["config"], path))
    folder = make_folder(Path(output), "output")
    trainings = [Training(label, path.parent), Training(label["autoencoder"], autoencoder_folder(label, output_dir))]
    with writing(folder, MACHINE):
        _write(folder, path, trainings, assets, command)
    return folder


def _write(
    folder: Path, run: Path, trainings: Sequence[Training], assets: Sequence[Asset], command: str | None
) -> None:
    """The files of the run in the file `run`."""
    model = round_model(run)
    card, public = folder / "README.md", public_label(model.label, model.precision)
    content = {"fieldforge": public, "state_dict": model.weights}
    sizes = {place.name: place.stat().st_size for place in write_published(content, folder / PUBLISHED)}
    write_whole(table(assets), folder / "assets.csv")
    write_whole(json.dumps(library_file(public), indent=1, sort_keys=True).encode(), folder / CONFIG)
    pictures = card_pictures([training.folder for training in trainings if training.folder is not None])
    for file, pixels in pictures.items():
        write_whole(pixels, folder / file)
    header = card_header(load_domain(dict(model.label), run).medium, model.reads, assets)
    text = card_text(folder.resolve().name, model, sizes, trainings, assets, command, list(pictures))
    write_whole((header + text + persons_part(card)).encode(), card)
    warn(folder, sizes, unfree(assets))


def warn(folder: Path, sizes: Mapping[str, int], doubtful: Sequence[str]) -> None:
    """Warnings of licences that ask more than a name, and of files too large for a repository."""
    if doubtful:
        log.warning("warning: of these licences publishing asks more than a name: %s; read them", ", ".join(doubtful))
    for name, size in sizes.items():
        if size > LARGEST:
            log.warning("warning: %s has %.0f MB, more than a repository takes easily", folder / name, size / 1e6)


def autoencoder_folder(label: Mapping[str, Any], output_dir: str) -> Path | None:
    """Run directory of a model's autoencoder, by the label of the model; None if it is not on this machine."""
    config = label["config"]
    own = Path(output_dir) / str(config.get("autoencoder_name")) / label["autoencoder"]["fingerprint"]
    other = config.get("autoencoder_run")
    places = [own, *([Path(other)] if other else [])]
    return next((place for place in places if place.is_dir()), None)

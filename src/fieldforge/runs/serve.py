"""Body of app.py: a page in the browser, on which a model makes samples."""

from __future__ import annotations

import importlib.util
import logging
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig

from fieldforge.app.settings import read_app
from fieldforge.app.start import start_of
from fieldforge.asking.sampling_model import load_model
from fieldforge.errors import UserError, install_command
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.stages.ema_length import model_of_length
from fieldforge.stages.locate import find_diffusion, folder_of
from fieldforge.terminal import result

log = logging.getLogger(__name__)


def run_app(config: DictConfig) -> None:
    """Serve the page until Ctrl-C; samples and galleries lie below the run, or in `output`.

    Raises:
        UserError: an invalid setting, a missing package, a model that enlarges, an address that is taken.
    """
    sampling, settings = read_app(with_local_models(config))
    if importlib.util.find_spec("viser") is None:
        raise UserError(f"app.py needs the package viser, which is not installed: {install_command('app')}.")
    from fieldforge.app.app import App  # viser is an extra
    from fieldforge.app.archive import Archive
    from fieldforge.app.maker import Maker

    with model_of_length(find_diffusion(sampling.run, sampling.output_dir), sampling.ema_length) as path:
        model = load_model(path, sampling)
    start = start_of(model, sampling, settings)
    own = folder_of(model.path, sampling.output_dir) / "samples"
    folder = own if sampling.output is None else Path(sampling.output)
    about = {"run": str(model.path.parent), "fingerprint": model.label["fingerprint"]}
    archive = Archive(folder, about, start.title, model.path, settings.history)
    if not settings.is_local:
        log.warning("warning: host=%s: everyone who reaches this address can use the page", settings.host)
    with closing(App(Maker(model, sampling, settings.preview), archive, start, settings)) as app:
        log.info("%s: samples and galleries go to %s; Ctrl-C ends", model.path.parent, folder)
        result(app.url)
        app.turn()

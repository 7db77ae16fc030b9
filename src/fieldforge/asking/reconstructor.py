"""A reconstructor asked by sample.py: a user's pictures → meshes, one pass each."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fieldforge.asking.jobs import Job
from fieldforge.asking.requests import Request
from fieldforge.asking.sample_files import SampleFiles, Watch
from fieldforge.asking.settings import SamplingSettings
from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.diffusion_stage import load_domain
from fieldforge.stages.locate import folder_of
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.storage.file_names import slug
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import quantity, result, status
from fieldforge.training.processes.hardware import best_device

log = logging.getLogger(__name__)
PICTURES = "given_rgba"
"""The field of a batch by which an autoencoder that reads pictures is told."""


@dataclass(frozen=True)
class Reconstructor:
    """A finished autoencoder that reads pictures with cameras.

    path: of its file. label: in this file.
    """

    path: Path
    label: Mapping[str, Any]
    autoencoder: Autoencoder
    domain: Domain

    def batches(self, settings: SamplingSettings) -> dict[str, dict[str, Tensor]]:
        """File or folder → batch of one sample: all of `views`, or each of `image`. UserError for unusable ones."""
        cut_out = settings.remove_background
        if settings.views is not None:
            return {settings.views: self.domain.read_views(Path(settings.views), cut_out)}
        return {
            str(image): self.domain.read_view(Path(str(image)), settings.azimuth, settings.elevation, cut_out)
            for image in settings.images
        }


def load_reconstructor(path: Path, settings: SamplingSettings) -> Reconstructor:
    """The reconstructor in a file. UserError for an autoencoder that reads no pictures, or settings of other files."""
    autoencoder, label = load_autoencoder(path, best_device(settings.device))
    if PICTURES not in autoencoder.reads:
        raise UserError(
            f"run={path.parent}: its autoencoder reads {', '.join(autoencoder.reads)}, not pictures with cameras: give "
            f"a run of experiment=image_to_mesh, or one of a diffusion model"
        )
    warn_if_untrained(label, path.parent)
    return Reconstructor(path, label, autoencoder, load_domain(label, path).with_files(settings.mesh))


def reconstruct(path: Path, settings: SamplingSettings, watch: Watch | None = None) -> Path:
    """Write files and thumbnail of a mesh for each request, and return the path of `index.html`; `watch` gets each.

    Raises:
        UserError: a setting without effect, unusable pictures or cameras; then no folder is made.
    """
    settings.check_reconstruction()
    model = load_reconstructor(path, settings)
    batches = model.batches(settings)
    first = Path(next(iter(batches)))
    name = slug((first.parent if first.is_file() and settings.views else first).stem)
    more = f"-and-{len(batches) - 1}-more" if len(batches) > 1 else ""
    own = folder_of(path, settings.output_dir) / "samples" / f"{name}{more}"
    folder = own if settings.output is None else Path(settings.output)
    make_folder(folder, "output")
    about = {"run": str(path.parent), "fingerprint": model.label["fingerprint"]}
    subtitle = f"{model.label['config'].get('name', '')} · {quantity(len(batches), 'mesh')}"
    files = SampleFiles(folder, about, subtitle, watch)
    with writing(folder, MACHINE):
        write_all(model, batches, settings, files)
    result(str(files.page))
    return files.page


def write_all(
    model: Reconstructor, batches: Mapping[str, dict[str, Tensor]], settings: SamplingSettings, files: SampleFiles
) -> None:
    """The files of every batch; page and `samples.json` are updated after each."""
    kind = "image" if settings.views is None else "views"
    for number, (source, batch) in enumerate(batches.items(), start=1):
        status(f"{number} of {len(batches)}: {source}")
        started = time.perf_counter()
        with torch.no_grad():
            output = model.domain.reconstruct(model.autoencoder, batch, settings.resolution)
        seconds = time.perf_counter() - started
        request = Request({}, {kind: source})
        facts = {"pictures": batch[PICTURES].shape[1], "pass_seconds": round(seconds, 3)}
        with files.batch():
            files.add(output, Job(request, settings.seed, request, settings.seed, 0.0), facts, model.path)
    status("")

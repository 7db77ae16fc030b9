"""Body of sample.py: prompts, classes, pictures or a file → sample files and a gallery."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from fieldforge.asking.drawing import Drawing
from fieldforge.asking.facts import facts_of, folder_name
from fieldforge.asking.guidance import scale_text
from fieldforge.asking.jobs import Job, batches, jobs_of
from fieldforge.asking.reconstructor import reconstruct
from fieldforge.asking.requests import Request, requests_of, ways
from fieldforge.asking.sample_files import SampleFiles, Watch
from fieldforge.asking.sampling_model import SamplingModel, load_model
from fieldforge.asking.settings import SamplingSettings
from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.stages.ema_length import model_of_length
from fieldforge.stages.locate import find_diffusion, find_model, folder_of
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import quantity, result, status

log = logging.getLogger(__name__)


def run_sampling(config: DictConfig, watch: Watch | None = None) -> Path:
    """Write files and thumbnail of every sample, `samples.json` and `index.html`, and return the path of `index.html`.

    An interpolation also writes `strip.png`: a row for each seed, a column for each frame. A run of a reconstructor
    makes meshes of pictures (`asking.reconstructor`). `watch` gets every sample as soon as its files are written.

    Raises:
        UserError: an invalid setting, or one without effect; then no folder is made.
    """
    settings = read_settings(with_local_models(config), SamplingSettings)
    settings.check_files()
    run, stage = asked_model(settings)
    with model_of_length(run, settings.ema_length) as path:
        if stage == "autoencoder":
            return reconstruct(path, settings, watch)
        check_sampled(settings)
        model = load_model(path, settings)
        points = None if settings.points is None else model.domain.read_points(Path(settings.points), "points")
        requests = requests_of(settings, model.guided.generator, model.understood, points)
        model.check(settings, requests)
        jobs = jobs_of(settings, requests)
        drawing = model.drawing(settings)
        files = sample_files(settings, model, requests, watch)
    log.info("%s: %s at guidance %s", model.path.parent, quantity(len(jobs), "sample"), scale_text(model.guided.scale))
    if model.understood and settings.from_ is None and not any(request.values for request in requests):
        log.info("nothing is asked for: give %s to lead it", ways(model.understood))
    with writing(files.folder, MACHINE):
        draw_all(jobs, drawing, model, settings, files)
    result(str(files.page))
    return files.page


def asked_model(settings: SamplingSettings) -> tuple[Path, str]:
    """File and stage of the model that is asked: a diffusion model, or a reconstructor, which is an autoencoder."""
    if settings.views is not None:
        try:
            return find_model(settings.run, settings.output_dir, "autoencoder")
        except UserError as error:
            raise UserError(f"views= is for a reconstructor (docs/from_one_picture.md): {error}") from error
    if settings.run is not None and settings.image is not None:
        return find_model(settings.run, settings.output_dir, "diffusion", "autoencoder")
    return find_diffusion(settings.run, settings.output_dir), "diffusion"


def check_sampled(settings: SamplingSettings) -> None:
    """UserError for options that have no effect on a diffusion model."""
    if settings.azimuth is not None:
        raise UserError(
            f"azimuth={settings.azimuth:g} is for a reconstructor, and this run is a diffusion model, which is not "
            f"told from where a picture was taken: leave it out"
        )


def sample_files(
    settings: SamplingSettings, model: SamplingModel, requests: Sequence[Request], watch: Watch | None = None
) -> SampleFiles:
    """The sample files, in a new or existing folder. UserError if the folder cannot be made."""
    run = model.path.parent
    own = folder_of(model.path, settings.output_dir) / "samples" / folder_name(requests, settings, model.guided)
    folder = own if settings.output is None else Path(settings.output)
    make_folder(folder, "output")
    subtitle = f"{model.label['config'].get('name', '')} · guidance {scale_text(model.guided.scale)}"
    return SampleFiles(folder, {"run": str(run), "fingerprint": model.label["fingerprint"]}, subtitle, watch)


def draw_all(
    jobs: Sequence[Job], drawing: Drawing, model: SamplingModel, settings: SamplingSettings, files: SampleFiles
) -> None:
    """Sample the jobs batch by batch; page and `samples.json` are updated after each batch."""
    facts = facts_of(settings, model.guided)
    parts = batches(jobs, settings.batch_size)
    for number, part in enumerate(parts, start=1):
        progress = Denoising(f"batch {number} of {len(parts)}", drawing.evaluations)
        latents = drawing(part, progress)  # (B, T, C)
        outputs = model.outputs(latents, settings)  # B of them
        with files.batch():
            for index, job in enumerate(part):
                status(f"sample {len(files.entries) + 1} of {len(jobs)}: drawn and written, {job.title[:50]}")
                frame = {"frame": round(job.weight, 3)} if settings.is_way else {}
                files.add(outputs[index], job, {"seed": job.seed, **frame, **facts}, model.path)
    status(f"{len(files.entries)} of {quantity(len(jobs), 'sample')}")
    status("")
    if settings.is_way:
        files.write_strip(jobs)


@dataclass(frozen=True)
class Denoising:
    """Progress callback of a batch: shows the number of denoiser evaluations so far, of `evaluations`."""

    batch: str
    evaluations: int

    def __call__(self, evaluation: int, _: Tensor) -> None:
        status(f"{self.batch}: denoised {evaluation} of {quantity(self.evaluations, 'time')}")

"""The files of samples and their gallery page; finished samples are kept after any later failure."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from fieldforge.asking.jobs import Job
from fieldforge.domains.domain import Outputs
from fieldforge.rendering.bitmaps import flatten, write_picture, write_whole
from fieldforge.rendering.gallery import Exhibit, Media, write_gallery
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.storage.file_names import slug
from fieldforge.training.processes.side_files import side_file

log = logging.getLogger(__name__)
POSTER = 320  # pixels
Watch = Callable[[Outputs, Mapping[str, Any], Path], None]
"""Called with each sample whose files are written: the output, its entry of `samples.json`, the folder."""


@dataclass
class SampleFiles:
    """Files and thumbnail of every output in `folder`, `samples.json` and `index.html`.

    `about` holds the report's facts about the run, `subtitle` is the page's line about it, `watch` gets every sample.
    """

    folder: Path
    about: Mapping[str, Any]
    subtitle: str
    watch: Watch | None = None
    exhibits: list[Exhibit] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def page(self) -> Path:
        return self.folder / "index.html"

    @contextmanager
    def batch(self) -> Iterator[None]:
        """At the end of this context, also after an exception, page and report are written with the added samples."""
        before = len(self.entries)
        try:
            yield
        finally:
            if len(self.entries) > before:
                report = {**self.about, "samples": self.entries}
                write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), self.folder / "samples.json")
                write_gallery(self.exhibits, self.page, "Samples", self.subtitle)

    def add(self, output: Outputs, job: Job, facts: Mapping[str, Any], checkpoint: Path) -> dict[str, str | None]:
        """Write the files of one output; a file that cannot be made is a warning, and the page omits it.

        Returns:
            Kind → name of a file, None for one that was not written.
        """
        name = f"{len(self.entries):03d}_{slug(job.title)}_{job.seed}"
        files: dict[str, str | None] = {}
        picture, media = Image.new("RGBA", (POSTER, POSTER)), None
        with side_file(self.folder / name):
            if output.is_empty:
                log.warning("%s (seed %d) came out empty: there is only its thumbnail", job.title, job.seed)
            files = output.write(self.folder, name)
            media = output.media()
        with side_file(self.folder / f"{name}.png"):
            picture = output.picture(POSTER)
            write_picture(flatten(picture), self.folder / f"{name}.png")
        rendering = self.rendering(files.get("radiance"))
        self.exhibits.append(Exhibit(job.title, picture, Media(*media) if media else None, facts, rendering))
        self.entries.append(
            {**job.request.labels, **facts, **files, "thumbnail": f"{name}.png", "checkpoint": str(checkpoint)}
        )
        if self.watch is not None:
            self.watch(output, self.entries[-1], self.folder)
        return files

    def rendering(self, name: str | None) -> Media | None:
        """The turntable of the radiance in the file of this name, for the page; None without one."""
        return None if name is None else Media("image/gif", (self.folder / name).read_bytes())

    def write_strip(self, jobs: Sequence[Job]) -> None:
        """`strip.png`: the frames of each interpolation beside each other."""
        frames = len({job.weight for job in jobs})
        pictures = [exhibit.poster for exhibit in self.exhibits]
        rows = [pictures[start : start + frames] for start in range(0, len(pictures), frames)]
        with side_file(self.folder / "strip.png"):
            sheet = picture_sheet(
                rows, [ends_of(job) for job in jobs[::frames]], [f"{job.weight:.2f}" for job in jobs[:frames]]
            )
            write_picture(sheet, self.folder / "strip.png")


def ends_of(job: Job) -> str:
    start, end = (
        f"{request.title}, seed {seed}" for request, seed in ((job.request, job.seed), (job.end, job.end_seed))
    )
    return f"{start}\nto {end}"

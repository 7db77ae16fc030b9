"""The files of drawn shapes, and the page that shows them; what is drawn is kept, whatever fails after it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from fieldforge.asking.requests import Job
from fieldforge.generation import Shapes
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.mesh_files import glb_bytes, write_mesh
from fieldforge.rendering.gallery import Exhibit, write_gallery
from fieldforge.rendering.pictures import flatten, write_picture, write_whole
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.rendering.turntable import write_turntable
from fieldforge.training.processes.side_files import side_file

log = logging.getLogger(__name__)
MANY_FACES = 100_000  # a turntable's small frames do not show them, but draw them all


@dataclass
class SampleFiles:
    """GLB, PLY, turntable and thumbnail of every shape in `folder`, `samples.json` and `index.html`.

    `about` is what the report says of the run, `subtitle` what the page does, `resolution` the cells of a mesh's grid.
    """

    folder: Path
    about: Mapping[str, Any]
    subtitle: str
    resolution: int
    exhibits: list[Exhibit] = field(default_factory=list)
    listed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def page(self) -> Path:
        return self.folder / "index.html"

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Page and report show what was added inside, also where that ends by an exception."""
        before = len(self.listed)
        try:
            yield
        finally:
            if len(self.listed) > before:
                report = {**self.about, "samples": self.listed}
                write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), self.folder / "samples.json")
                write_gallery(self.exhibits, self.page, "Samples", self.subtitle)

    def add(self, shapes: Shapes, index: int, job: Job, facts: Mapping[str, Any], checkpoint: Path) -> None:
        """Write the files of one of the shapes; one that cannot be had is a warning, and the page goes without it."""
        name = f"{len(self.listed):03d}_{slug(job.title)}_{job.seed}"
        mesh = ColoredMesh.empty()
        with side_file(self.folder / f"{name}.glb"):
            mesh = shapes.mesh(index, self.resolution)
            if mesh.is_empty:
                log.warning("%s (seed %d) came out empty: there is only its thumbnail", job.title, job.seed)
        files, glb = write_shape(mesh, shapes[index], self.resolution, self.folder, name)
        picture = Image.new("RGBA", (320, 320))
        with side_file(self.folder / f"{name}.png"):
            picture = portrait(mesh, 320)
        with side_file(self.folder / f"{name}.png"):
            write_picture(flatten(picture), self.folder / f"{name}.png")
        self.exhibits.append(Exhibit(job.title, picture, glb, facts))
        self.listed.append(
            {**job.request.said, **facts, **files, "thumbnail": f"{name}.png", "checkpoint": str(checkpoint)}
        )

    def write_strip(self, work: Sequence[Job]) -> None:
        """`strip.png`: the frames of each interpolation beside each other."""
        frames = len({job.weight for job in work})
        pictures = [exhibit.poster for exhibit in self.exhibits]
        rows = [pictures[start : start + frames] for start in range(0, len(pictures), frames)]
        with side_file(self.folder / "strip.png"):
            sheet = picture_sheet(
                rows, [ends_of(job) for job in work[::frames]], [f"{job.weight:.2f}" for job in work[:frames]]
            )
            write_picture(sheet, self.folder / "strip.png")


def write_shape(
    mesh: ColoredMesh, shape: Shapes, resolution: int, folder: Path, name: str
) -> tuple[dict[str, str | None], bytes | None]:
    """GLB, PLY and turntable of one shape: their names, None for each that is not there, and the content of the GLB."""
    files: dict[str, str | None] = {"glb": None, "ply": None, "turntable": None}
    if mesh.is_empty:
        return files, None
    glb = None
    with side_file(folder / f"{name}.glb"):
        write_mesh(mesh, folder / f"{name}.glb")
        files["glb"], glb = f"{name}.glb", glb_bytes(mesh)
    with side_file(folder / f"{name}.ply"):
        write_mesh(mesh, folder / f"{name}.ply")
        files["ply"] = f"{name}.ply"
    with side_file(folder / f"{name}.gif"):
        small = mesh if len(mesh.faces) < MANY_FACES else shape.mesh(0, resolution // 2)
        write_turntable(small, folder / f"{name}.gif")
        files["turntable"] = f"{name}.gif"
    return files, glb


def ends_of(job: Job) -> str:
    start, end = (f"{asked.title}, seed {seed}" for asked, seed in ((job.request, job.seed), (job.end, job.end_seed)))
    return f"{start}\nto {end}"


def slug(text: str) -> str:
    """Letters and digits of the text, for a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "sample"

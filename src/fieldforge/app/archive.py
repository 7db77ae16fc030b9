"""The samples of the app: their files, their gallery, and the newest of them for the pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from fieldforge.app.maker import Made
from fieldforge.asking.sample_files import SampleFiles
from fieldforge.rendering.gallery import Exhibit
from fieldforge.storage.files import MACHINE, make_folder, writing

MOST = 100  # samples of a gallery, which is written anew after each


@dataclass(frozen=True)
class Kept:
    """A finished sample: its name, how a gallery shows it, and its first file; None: it has none."""

    name: str
    exhibit: Exhibit
    file: Path | None

    def download(self) -> tuple[str, bytes] | None:
        """Name and content of what a visitor downloads: a shape's GLB, else the first file; None without one."""
        media = self.exhibit.media
        if media is not None and media.turns:
            return f"{self.name}.glb", media.content
        return None if self.file is None else (self.file.name, self.file.read_bytes())


class Archive:
    """Folders `app-000`, `app-001`, … below `folder`, each with files and gallery of up to 100 samples.

    Args:
        folder: made where it is missing.
        about: facts about the run for the report.
        subtitle: of the galleries.
        checkpoint: file of the model.
        most: samples that `recent` keeps.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], subtitle: str, checkpoint: Path, most: int):
        self._folder = make_folder(folder, "output")
        self._about = about
        self._subtitle = subtitle
        self._checkpoint = checkpoint
        self._files: SampleFiles | None = None
        self.recent: deque[Kept] = deque(maxlen=most)

    def add(self, made: Made) -> Kept:
        """Write the files of a sample and the gallery. UserError where the disk is full or failed."""
        if self._files is None or len(self._files.entries) >= MOST:
            self._files = SampleFiles(self._new_folder(), self._about, self._subtitle)
        files = self._files
        with writing(files.folder, MACHINE), files.batch():
            names = [name for name in files.add(made.output, made.job, made.facts, self._checkpoint).values() if name]
        name = Path(files.entries[-1]["thumbnail"]).stem
        kept = Kept(name, files.exhibits[-1], files.folder / names[0] if names else None)
        self.recent.append(kept)
        return kept

    def _new_folder(self) -> Path:
        with writing(self._folder):
            for number in count():
                folder = self._folder / f"app-{number:03d}"
                if not folder.exists():
                    folder.mkdir()
                    return folder
        raise AssertionError("count() has no end")

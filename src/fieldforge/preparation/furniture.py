"""Asset source: the furniture libraries of a Debian package, fetched through apt or read from a folder."""

import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from fieldforge.errors import UserError
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.sh3f import read_library

INSIDE_PACKAGE = "usr/share/sweethome3d/furniture"


class FurnitureLibraries:
    """An asset source over `.sh3f` libraries: in `folder`, else in a package that it fetches into `cache`."""

    def __init__(
        self,
        package: str,
        cache: str,
        folder: str | None,
        libraries: Sequence[str],
        dropped_tags: Sequence[str],
        exclude: Mapping[str, str],
        licences: Mapping[str, str],
        classes: Mapping[str, Sequence[str]],
    ) -> None:
        self.package = package
        self.cache = Path(cache)
        self.folder = None if folder is None else Path(folder)
        self.libraries = list(libraries)
        self.dropped_tags, self.exclude, self.licences, self.classes = dropped_tags, exclude, licences, classes

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All models of all libraries, in catalogue order. UserError if a library cannot be had or read."""
        return [
            record
            for path in self._paths()
            for record in read_library(
                path, max_file_bytes, self.classes, self.dropped_tags, self.exclude, self.licences
            )
        ]

    def fingerprint(self) -> dict[str, str]:
        """Library → sha256 of its file."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self._paths()}

    def _paths(self) -> list[Path]:
        folder = self.folder if self.folder is not None else self._fetched()
        paths = [folder / f"{library}.sh3f" for library in self.libraries]
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path}: the library is not there; set source.folder to the folder that holds it.")
        return paths

    def _fetched(self) -> Path:
        folder = self.cache / self.package
        if not all((folder / f"{library}.sh3f").is_file() for library in self.libraries):
            fetch_package(self.package, folder)
        return folder


def fetch_package(package: str, folder: Path) -> None:
    """Downloads a Debian package with apt and moves the files of INSIDE_PACKAGE into `folder`.

    Nothing is installed: `dpkg-deb -x` unpacks the data, scripts are not run. UserError if a tool is missing or fails.
    """
    by_hand = (
        f"on Debian or Ubuntu run 'apt-get download {package} && dpkg-deb -x {package}_*.deb furniture', "
        f"copy furniture/{INSIDE_PACKAGE} here and set source.folder to it."
    )
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UserError(f"the package {package} cannot be fetched because apt-get and dpkg-deb are not here: {by_hand}")
    work = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        _run(["apt-get", "download", package], work, by_hand)
        archives = sorted(work.glob("*.deb"))
        if len(archives) != 1:
            raise UserError(f"apt-get download {package} left {len(archives)} files instead of one: {by_hand}")
        _run(["dpkg-deb", "-x", archives[0].name, "unpacked"], work, by_hand)
        libraries = sorted((work / "unpacked" / INSIDE_PACKAGE).glob("*.sh3f"))
        folder.mkdir(parents=True, exist_ok=True)
        for library in libraries:
            library.replace(folder / library.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(command: list[str], folder: Path, by_hand: str) -> None:
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if process.returncode:
        lines = (process.stderr or process.stdout).strip().splitlines()
        reason = lines[-1] if lines else f"exit code {process.returncode}"
        raise UserError(f"'{' '.join(command)}' failed ({reason}); {by_hand}")

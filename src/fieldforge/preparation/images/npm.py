"""Packages of the npm registry: fetched with npm, checked against their checksum, read without unpacking."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from fieldforge.errors import UserError


@dataclass(frozen=True)
class NpmPackage:
    """A version of a package; `integrity` is what npm says of it: "sha512-" and the checksum in base64."""

    name: str
    version: str
    integrity: str

    @property
    def file(self) -> str:
        """File name of the package as `npm pack` writes it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def path(self, cache: Path, folder: Path | None) -> Path:
        """The package's file: in `folder`, or else fetched into `cache`. UserError if it cannot be had."""
        path = (folder or cache) / self.file
        if not path.is_file() and folder is None:
            self._fetch(path)
        if not path.is_file():
            raise UserError(f"source.folder={folder}: holds no {self.file}; {self._by_hand}.")
        digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != self.integrity:
            raise UserError(f"{path}: its checksum is not that of {self.name} {self.version}; remove it and try again.")
        return path

    def _fetch(self, path: Path) -> None:
        if shutil.which("npm") is None:
            raise UserError(f"{self.name} cannot be fetched because npm is not here: {self._by_hand}.")
        work = path.with_name(f".{path.name}.part")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            command = ["npm", "pack", f"{self.name}@{self.version}", "--silent", "--ignore-scripts"]
            process = subprocess.run(command, cwd=work, capture_output=True, text=True)
            if process.returncode or not (work / self.file).is_file():
                lines = (process.stderr or process.stdout).strip().splitlines() or [f"exit code {process.returncode}"]
                raise UserError(f"'{' '.join(command)}' failed ({lines[-1]}); {self._by_hand}.")
            (work / self.file).replace(path)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @property
    def _by_hand(self) -> str:
        return f"where npm is, run 'npm pack {self.name}@{self.version}', and set source.folder to where its file lies"


def member(package: Path, name: str) -> bytes:
    """A file of a package. UserError if it is not in it."""
    try:
        with tarfile.open(package) as archive:
            file = archive.extractfile(f"package/{name}")
            assert file is not None
            return file.read()
    except (KeyError, tarfile.TarError, AssertionError) as error:
        raise UserError(f"{package}: holds no readable {name}; get the package again.") from error

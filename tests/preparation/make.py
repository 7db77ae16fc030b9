"""Small assets for tests: shapes whose distances are known, files in every format, a furniture library."""

import io
import json
import os
import signal
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from fieldforge.engines.engine import LocalEngine
from fieldforge.geometry.mesh import Material, Mesh
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.folder import FolderSource
from fieldforge.preparation.preparation_job import job_of
from fieldforge.preparation.recipe import PreparedAsset, Recipe
from fieldforge.preparation.settings import DistanceSettings, SurfaceSettings, ViewSettings
from fieldforge.preparation.shape_recipe import ShapeRecipe
from fieldforge.preparation.stage_assets import stage_all
from fieldforge.preparation.staging import Staging
from fieldforge.readers.limits import Limits

LIMITS = Limits(max_triangles=100_000, max_file_mb=16, min_thickness=0.005)

CUBE_OBJ = """\
v -1 -1 -1
v 1 -1 -1
v 1 1 -1
v -1 1 -1
v -1 -1 1
v 1 -1 1
v 1 1 1
v -1 1 1
f 1 4 3 2
f 5 6 7 8
f 1 2 6 5
f 4 8 7 3
f 1 5 8 4
f 2 3 7 6
"""


def tiny_settings(**changes: object) -> ShapeRecipe:
    """Few points, two small views."""
    values: dict[str, object] = {
        "surface": SurfaceSettings(64),
        "distance": DistanceSettings(64, (0.01, 0.05), 64, 0.006),
        "views": ViewSettings(2, 16, 40, 0.0),
        "limits": LIMITS,
        "heldout_share": 0.1,
        "samples_per_shard": 2,
    }
    return ShapeRecipe(**{**values, **changes})  # type: ignore[arg-type]


def from_trimesh(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(np.asarray(shape.vertices, np.float64), np.asarray(shape.faces, np.int64))


def sphere(radius: float = 0.9, subdivisions: int = 5) -> Mesh:
    return from_trimesh(trimesh.creation.icosphere(subdivisions, radius))


def box(side: float = 1.8) -> Mesh:
    return from_trimesh(trimesh.creation.box((side, side, side)))


def sheet(side: float = 1.0, z: float = 0.0, material: Material | None = None, uv: bool = False) -> Mesh:
    """A square in the plane z, facing +z; with `uv` the unit square of texture coordinates."""
    corners = np.array([[-side, -side, z], [side, -side, z], [side, side, z], [-side, side, z]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    coordinates = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)[faces] if uv else None
    return Mesh(corners, faces, (material or Material(),), None, coordinates)


def box_distance(points: np.ndarray, half: float) -> np.ndarray:
    """Signed distance (N,) of points (N, 3) to an axis-parallel cube."""
    beyond = np.abs(points) - half
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)
    return path


def record(file: str, archive: Path, **changes: object) -> AssetRecord:
    values: dict[str, object] = {"id": file, "name": "thing", "archive": str(archive), "file": file, "source": "test"}
    return AssetRecord(**{**values, **changes})  # type: ignore[arg-type]


def write_library(path: Path) -> Path:
    """A furniture library of three models: a box 100 x 50 x 25 cm, a decal, and a whole scene."""
    catalogue = (
        "# a catalogue\n"
        "id=Test\nname=Test library\nlicense=Creative Commons Attribution 3.0 license \\\n   by someone\n"
        "id#1=Test#box\nname#1=Glass door cabinet\ntags#1=Blend Swap, Storage\ncategory#1=Office\n"
        "width#1=100\nheight#1=50\ndepth#1=25\nmodel#1=/test/box/box.obj\ncreator#1=J\\u00fcrgen\n"
        "id#2=Test#decal\nname#2=Parking slot 45\xb0\nwidth#2=100\nheight#2=0.01\ndepth#2=100\n"
        "model#2=/test/box/box.obj\n"
        "id#3=Test#scene\nname#3=Living room\nwidth#3=1\nheight#3=1\ndepth#3=1\nmodel#3=/test/box/box.obj\n"
    )
    german = "name#1=Schrank mit Glast\\u00fcr\nname#2=Parkplatz\n"
    return write_zip(
        path,
        {
            "PluginFurnitureCatalog.properties": catalogue.encode("latin-1"),
            "PluginFurnitureCatalog_de.properties": german.encode("latin-1"),
            "test/box/box.obj": b"mtllib box.mtl\nusemtl red\n" + CUBE_OBJ.encode(),
            "test/box/box.mtl": b"newmtl red\nKd 1 0 0\n",
        },
    )


def read_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_cubes(folder: Path, count: int) -> FolderSource:
    """A source of boxes `thing-a.obj`, `thing-b.obj`, … of different heights."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        lines = [line.split() for line in CUBE_OBJ.splitlines()]
        text = "\n".join(f"v {x[1]} {float(x[2]) * (index + 1)} {x[3]}" for x in lines if x[0] == "v")
        faces = "\n".join(" ".join(line) for line in lines if line[0] == "f")
        (folder / f"thing-{'abcdefghij'[index]}.obj").write_text(f"{text}\n{faces}\n")
    return FolderSource(str(folder), None, "cubes", "CC0-1.0", "me", {})


def stage(
    staging: Staging, records: list[AssetRecord], recipe: Recipe, workers: int = 1, seed: int = 0
) -> tuple[list[str], dict[str, str | None]]:
    """Ids of the assets as they finish, and the reasons of rejections."""
    done: list[str] = []
    with job_of(recipe, seed, staging) as job:
        reasons = stage_all(records, job, LocalEngine(workers), lambda record, _: done.append(record.id))
    return done, reasons


@dataclass(frozen=True)
class DeadlyStaging(Staging):
    """Kills the process that wants to put the asset whose id holds "-b"."""

    def put(self, record: AssetRecord, prepared: PreparedAsset) -> None:
        if "-b" in record.id:
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(record, prepared)

"""The domain of shapes: signed distance, density and colour in the box, learned from meshes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fieldforge.data.schema import Sample
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.shape_transforms import Surface, Views
from fieldforge.data.shards import ShardSet
from fieldforge.data.stream import collate
from fieldforge.data.transforms import Transform, apply_transforms
from fieldforge.domains.domain import Domain, Outputs, Truth
from fieldforge.domains.file_settings import FileSettings
from fieldforge.domains.mesh_output import MeshOutput
from fieldforge.domains.mesh_settings import MeshSettings
from fieldforge.domains.photographs import given_batch, lone_photograph, read_photographs
from fieldforge.domains.scans import places_anew, read_part, read_scan
from fieldforge.domains.shape_measures import compare_clouds, measure_reconstruction
from fieldforge.domains.shape_outputs import VIEW_SAMPLES, Shapes
from fieldforge.domains.shape_truth import ConditionView, SpreadViews, TrueGeometry, TrueViews
from fieldforge.domains.view_features import StoredViews
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.geometry.camera import fibonacci_poses, framing_distance
from fieldforge.geometry.isosurface import COARSEST
from fieldforge.metrics.agreement import nearest_shapes
from fieldforge.metrics.clouds import chamfer_matrix
from fieldforge.metrics.pieces import count_pieces
from fieldforge.metrics.reconstruction import BOX_DIAGONAL, surface_points
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.preparation.asset import members_of_file
from fieldforge.preparation.pipeline import check_libraries
from fieldforge.preparation.settings import ViewSettings
from fieldforge.preparation.sh3f import read_icons
from fieldforge.preparation.shape_recipe import ShapeRecipe
from fieldforge.ranges import Count, GridCells, Pixels, Points, Positive, Whole
from fieldforge.readers.file_store import AssetError
from fieldforge.readers.limits import Limits
from fieldforge.rendering.bitmaps import image_of, pixels_of
from fieldforge.rendering.mesh_views import Light
from fieldforge.rendering.shading import portrait

FOV_Y = 40  # degrees, of the views of a file
LIMITS = Limits(max_triangles=2_000_000, max_file_mb=512, min_thickness=0.005)


class ShapeDomain(Domain):
    """Coloured shapes.

    Args:
        points: N exposed surface points of the autoencoder's input, for latents and evaluations.
        spread_points: how many of the first points are spread by farthest-point sampling, for encoders with centres.
        encoded_views: V stored views that the autoencoder reads besides, for latents and evaluations.
        given_views: stored views that a reconstructor is given, for latents and evaluations, which compare the others.
        view_size: pixels along a side of the views of a mesh file that is encoded; those of the stored ones.
        view_light: the light of these views, as that of the stored ones; None: unlit colours.
        resolution: cells along an axis of the isosurface grid.
        views: stored views per shape that `measure` compares with volume renderings.
        surface_points: points on a reconstruction for surface measures; fewer than the stored ones lower the recall.
        f_score_threshold: distance threshold of the F-score in box units; shapes are 1.8 along their longest side.
        cloud_points: points of a signature. `nearest` uses the Chamfer distance of normalised clouds.
    """

    noun = "shape"
    medium = "3d"
    schema = SAMPLE
    dimensions = 3
    heads = frozenset({"sdf", "density", "rgb"})
    comparison_heads = ("truth", "volume", "mesh")
    shown_measures = ("iou", "f_score")
    quarters_by = ("thickness", "openness", "parts", "texture")
    files = MeshSettings()

    def __init__(
        self,
        points: Points = 4096,
        resolution: GridCells = 128,
        views: Count = 2,
        surface_points: Points = 100_000,
        f_score_threshold: Positive = 0.02,
        cloud_points: Points = 2048,
        spread_points: Whole = 0,
        encoded_views: Whole = 0,
        view_size: Pixels = 128,
        view_light: Light | None = None,
        given_views: Whole = 0,
    ):
        self.spread_points, self.encoded_views, self.given_views = spread_points, encoded_views, given_views
        self.view_size, self.view_light = view_size, view_light
        self.points, self.resolution, self.views = points, resolution, views
        self.surface_points, self.f_score_threshold = surface_points, f_score_threshold
        self.cloud_points = cloud_points

    def determining(self) -> dict[str, Any]:
        further = {"spread": self.spread_points, "views": self.encoded_views, "given": self.given_views}
        return {"points": self.points, **{name: value for name, value in further.items() if value}}  # (as before them)

    def example(self, points: int = 8, size: int = 16, fov_y: float = 0.7) -> Sample:
        """A sample with `points` points of each kind and views of size × size pixels; `fov_y` in radians."""
        count = max(8, self.encoded_views, self.given_views + 1)  # as many as a transform may pick for training
        vectors = np.zeros((points, 3), np.float16)
        names = ("id", "name", "class", "source", "licence", "creator", "split")
        numbers = {"center": [0.0, 0.0, 0.0], "scale": 1.0, "epsilon": 0.0, "fov_y": fov_y, "size_cm": None}
        texts = {"captions": ["a"], "captions_by_language": {}, "tags": []}
        return {
            "meta.json": {**dict.fromkeys(names, ""), **texts, **numbers},
            "surface_points.npy": vectors,
            "surface_normals.npy": np.full((points, 3), 73, np.int8),
            "surface_colors.npy": vectors.astype(np.uint8),
            "surface_exposed.npy": np.ones(points, np.uint8),
            "near_points.npy": vectors,
            "near_sdf.npy": vectors[:, 0],
            "volume_points.npy": vectors,
            "volume_sdf.npy": vectors[:, 0],
            "cameras.npy": fibonacci_poses(count, framing_distance(fov_y, 1.5)).numpy(),
            **{f"view_{view:03d}.png": np.zeros((size, size, 4), np.uint8) for view in range(count)},
            **{f"depth_{view:03d}.png": np.zeros((size, size), np.uint16) for view in range(count)},
        }

    def input_transforms(self) -> list[Transform]:
        transforms: list[Transform] = [Surface(self.points, self.spread_points)]
        if self.given_views:
            transforms.append(SpreadViews(self.given_views))
        return [*transforms, *([Views(self.encoded_views)] if self.encoded_views else [])]

    def truth_transforms(self) -> list[Transform]:
        return [TrueGeometry(), TrueViews(self.views)]

    def condition_transforms(self, keys: set[str]) -> list[Transform]:
        return [ConditionView()] if "image" in keys else []

    def outputs(self, field: Field, params: Params, resolution: int | None = None) -> Shapes:
        return Shapes(field, params, resolution or self.resolution, self.files)

    def with_files(self, settings: FileSettings) -> ShapeDomain:
        assert isinstance(settings, MeshSettings)
        other = copy.copy(self)
        other.files = settings
        return other

    def points_of_picture(self, resolution: int | None, size: int | None = None) -> int:
        cells = resolution or self.resolution
        fine = cells**3 // 10 if cells > COARSEST else 0  # those near the surface
        grid = (min(cells, COARSEST) + 1) ** 3 + fine
        return grid + (0 if size is None else 2 * VIEW_SAMPLES * size**2)

    def compare(self, outputs: Outputs, truth: Truth, size: int) -> list[list[Image.Image | None]]:
        """A row for each shape: stored view, volume rendering from the same camera, and mesh."""
        assert isinstance(outputs, Shapes)
        views_of_output = outputs.views(truth["cameras"][:, 0], float(truth["fov_y"][0]), size)  # (B, H, W, 4)
        return [
            [
                image_of(torch.as_tensor(truth["views"][index, 0])),
                image_of(views_of_output[index]),
                portrait(outputs.mesh(index), size),
            ]
            for index in range(len(outputs))
        ]

    def measure(self, output: Outputs, truth: Truth) -> dict[str, float]:
        """Volume IoU, surface measures of all and of exposed points (`compare_surfaces`), sharp edges, PSNR of views
        (dB), pieces.

        `view_psnr` is of volume renderings, `mesh_psnr` of unlit views of the mesh, both at the stored views' size.
        Distances are in box units. The difficulties (`quarters_by`) belong to the truth.
        """
        assert isinstance(output, Shapes)
        return measure_reconstruction(output, truth, self.surface_points, self.f_score_threshold)

    def describe(self, output: Outputs) -> dict[str, float]:
        """`pieces`: connected components of the mesh, see `count_pieces`."""
        assert isinstance(output, Shapes | MeshOutput)
        return {"pieces": float(count_pieces(output.surface.vertices, output.surface.faces))}

    def signatures(self, outputs: Outputs) -> list[np.ndarray]:
        """Points (N, 3) on each mesh, uniform by area, in box units; (0, 3) of an empty mesh."""
        assert isinstance(outputs, Shapes | MeshOutput)
        rng = np.random.default_rng(0)
        meshes = [outputs.surface] if len(outputs) == 1 else [outputs[index].surface for index in range(len(outputs))]
        return [surface_points(mesh, self.cloud_points, rng)[0] for mesh in meshes]

    def stored_signatures(self, batch: Truth) -> list[np.ndarray]:
        random = batch["input"][:, self.spread_points :]  # in random order already
        return list(random[:, : self.cloud_points, :3].numpy())

    def nearest(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> NDArray[np.int64]:
        return nearest_shapes(these, those)

    def compare_sets(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> dict[str, float]:
        return compare_clouds(these, those)

    def stored_views(self, shards: ShardSet, views: int) -> StoredViews:
        return StoredViews.of(shards, views)

    def distance(self, this: np.ndarray, that: np.ndarray) -> float:
        """chamfer_l1 of two clouds (N, 3) without normalisation, box units; the box's diagonal if `this` is empty."""
        return float(chamfer_matrix([this], [that], squared=False)[0, 0]) if len(this) else BOX_DIAGONAL

    def further_pictures(self, folder: Path) -> dict[str, np.ndarray]:
        """Catalogue icons, uint8 RGBA (H, W, 4), of the Sweet Home 3D libraries in a folder. UserError without any."""
        libraries = sorted(folder.glob("*.sh3f"))
        if not libraries:
            raise UserError(f"images.libraries={folder}: there are no .sh3f libraries, give the folder that holds them")
        return {asset: pixels_of(icon) for library in libraries for asset, icon in read_icons(library).items()}

    def read_output(self, path: Path) -> MeshOutput:
        return MeshOutput.read(path, LIMITS)

    @property
    def view_settings(self) -> ViewSettings | None:
        """How views of a mesh file are rendered; None where the autoencoder reads none."""
        if not self.encoded_views:
            return None
        return ViewSettings(self.encoded_views, self.view_size, FOV_Y, shading=0, light=self.view_light)

    def read_file(self, path: Path, seed: int) -> dict[str, Tensor]:
        """Batch of a mesh file, prepared in memory as by prepare.py.

        Raises:
            UserError: a missing file, an unusable mesh, or missing libraries of the preparation.
        """
        if not path.is_file():
            raise UserError(f"from={path}: there is no such file, give the path of a mesh")
        check_libraries(ShapeRecipe.libraries)
        try:
            points = 4 * self.points  # some of them lie inside
            sample = members_of_file(path, points, LIMITS, seed, self.view_settings)
        except AssetError as error:
            raise UserError(f"from={path}: {error}") from error
        return collate([apply_transforms(sample, self.input_transforms(), np.random.default_rng(seed))])

    def read_points(self, path: Path, key: str) -> np.ndarray:
        return read_scan(path, key, LIMITS)

    def read_part(self, path: Path, seed: int, shape: LatentShape) -> tuple[dict[str, Tensor], Tensor]:
        surface = torch.from_numpy(read_part(path, "from", self.points, LIMITS, np.random.default_rng(seed)))
        return {"input": surface[None]}, places_anew(surface[:, :3], shape)

    def read_views(self, path: Path, cut_out: bool) -> dict[str, Tensor]:
        return given_batch(read_photographs(path, cut_out), self.view_size)

    def read_view(self, path: Path, azimuth: float | None, elevation: float | None, cut_out: bool) -> dict[str, Tensor]:
        return given_batch([lone_photograph(path, azimuth, elevation, cut_out)], self.view_size)

"""Held-out shapes from their pictures: a reconstructor, the diffusion led by a picture, and the nearest training shape.

    OMP_NUM_THREADS=2 python benchmarks/one_picture.py --run outputs/image_to_mesh/<id> --data shards/furniture
        [--limit 77] [--diffusion pretrained] [--six-views outputs/six_views/<id>] [--orbits outputs/clip_latent/<id>]
        [--picture docs/images/one_picture.jpg]

The given view is the one nearest to the portrait's camera; six are spread around. The reconstructor knows scale and
pose by the cameras, the others make shapes in the pose and scale of the stored ones. Two views that are in no input
judge all: PSNR of the unlit mesh. The nearest training shape is the one whose portrait's features (EfficientNet-Lite0)
have the highest cosine with the picture's; what is stored of it stands for it: Chamfer and F-score by its points, IoU
by distances between the stored ones (which reads 0.87 of shapes against themselves), pictures by drawn points. Seconds
are those of one process on this machine, from the file of a picture to that of a GLB. Six generated views stand around
the given one, whose camera tells their pose and scale.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from picture_generators import PictureClips, orbit_frames, six_views, tiled
from PIL import Image
from scipy.spatial import cKDTree

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.efficientnet import efficientnet_lite0
from fieldforge.conditioning.framing import frame
from fieldforge.configuration.stored_config import of_run
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Key, Meta, Transform
from fieldforge.domains.domain import Domain, Truth
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.domains.shape_truth import ConditionView, TrueGeometry
from fieldforge.generation import Generator
from fieldforge.geometry.camera import Camera
from fieldforge.geometry.mesh_files import write_mesh
from fieldforge.metrics.reconstruction import compare_surfaces, peak_signal_to_noise, volume_iou
from fieldforge.rendering.bitmaps import flatten, image_of
from fieldforge.rendering.mesh_views import render_mesh
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import find_model

MEASURES = ("chamfer_l1", "f_score", "iou", "mesh_psnr")
RESOLUTION, GUIDANCE, ROWS, CELL = 64, 3.0, 12, 112
POINTS = 30_000  # on a surface that is measured
Answer = tuple[dict[str, float], torch.Tensor]
"""Measures, and the new views (V, H, W, 4) premultiplied."""
Way = Callable[[Truth], Answer]
Show = Callable[[Truth], Image.Image]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--diffusion", default="pretrained")
    parser.add_argument("--six-views", default=None)
    parser.add_argument("--orbits", default=None)
    parser.add_argument("--only", default="", help="parts of the names of some ways, with commas between them; seconds")
    parser.add_argument("--picture", type=Path, default=None)
    choice = parser.parse_args()
    path = find_model(choice.run, "outputs", "autoencoder")[0]
    autoencoder, label = load_autoencoder(path)
    domain = load_domain(label, path, {"given_views": 6, "views": 2, "surface_points": POINTS})
    reads: list[Transform] = [*domain.input_transforms(), *domain.truth_transforms(), ConditionView(), Meta(), Key()]
    samples = HeldOut(open_shards(choice.data, "heldout"), reads, seed=0, batch_size=1, limit=choice.limit)
    sheet = compared(samples, *chosen_ways(choice, autoencoder, domain))
    if choice.picture is not None:
        flatten(sheet).convert("RGB").save(choice.picture, quality=80)
    if any(part in "seconds" for part in choice.only.split(",")):
        seconds(path, next(iter(samples)))


def chosen_ways(
    choice: argparse.Namespace, autoencoder: Autoencoder, domain: Domain
) -> tuple[dict[str, Way], dict[str, Show]]:
    """Ways from pictures to a shape, and what models of clips show of the first picture, by their names."""
    ways: dict[str, Callable[[], Way]] = {
        "one true view": lambda: lambda batch: reconstructed(autoencoder, domain, batch, 1),
        "six true views": lambda: lambda batch: reconstructed(autoencoder, domain, batch, 6),
        f"diffusion, {choice.diffusion}": lambda: Diffusion(choice.diffusion),
        "nearest training shape": lambda: Copy(choice.data),
    }
    shows: dict[str, Show] = {}
    if choice.six_views is not None:
        views = SixGenerated(choice.six_views, autoencoder, domain)
        ways["six generated views"] = lambda: views
        shows["six views"] = lambda batch: tiled(views.last, 3)
    if choice.orbits is not None:
        orbits = PictureClips(choice.orbits)
        shows["orbit"] = lambda batch: orbit_frames(orbits, batch)
    wanted = choice.only.split(",")
    return {name: way() for name, way in ways.items() if any(part in name for part in wanted)}, shows


def compared(samples: HeldOut, ways: Mapping[str, Way], shows: Mapping[str, Show]) -> Image.Image:
    """Prints the table of all samples; returns a sheet of the first ones."""
    measures: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    rows, names = [], []
    for number, batch in enumerate(samples):
        answers = {name: way(batch) for name, way in ways.items()}
        for name, (figures, _) in answers.items():
            measures[name].append(figures)
        if number < ROWS:
            given = picture(batch["given_rgba"][0, 0], straight=True)
            side = int(batch["cameras"][0, :, 1, 3].abs().argmin())  # the view that is least from above or below
            meshes = [picture(views[side]) for _, views in answers.values()]
            rows.append([given, *(show(batch) for show in shows.values()), *meshes, picture(batch["views"][0, side])])
            names.append(batch["meta"][0]["name"])
        print(f"\r{number + 1} of {samples.samples}", end="", flush=True)
    print()
    report(measures)
    return picture_sheet(rows, names, ["given", *shows, *ways, "truth"], cell=CELL)


def report(measures: Mapping[str, list[dict[str, float]]]) -> None:
    """A row of a table for each way: means, and medians of the IoU."""
    print("| from | Chamfer L1 | F@0.02 | IoU mean / median | PSNR of new views |\n|---|---|---|---|---|")
    for name, figures in measures.items():
        mean = {key: fmean(one[key] for one in figures) for key in MEASURES}
        middle = median(one["iou"] for one in figures)
        print(
            f"| {name} | {mean['chamfer_l1']:.3f} | {mean['f_score']:.3f} | {mean['iou']:.3f} / {middle:.3f} "
            f"| {mean['mesh_psnr']:.1f} |"
        )


def picture(rgba: torch.Tensor, straight: bool = False) -> Image.Image:
    """A view (H, W, 4) for the sheet; `image_of` takes premultiplied ones."""
    rgba = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1) if straight else rgba
    return image_of(rgba.clamp(0, 1))


@torch.no_grad()
def reconstructed(autoencoder: Autoencoder, domain: Domain, batch: Truth, count: int) -> Answer:
    """The reconstructor's answer to the first `count` of the given views."""
    given = {name: batch[name][:, :count] for name in autoencoder.reads}
    output = domain.reconstruct(autoencoder, given, RESOLUTION)
    assert isinstance(output, Shapes)
    return domain.measure(output, batch), mesh_views(output, batch)


def mesh_views(output: Shapes, batch: Truth) -> torch.Tensor:
    """Unlit views of the mesh at the true cameras (V, H, W, 4)."""
    parts = (torch.as_tensor(part) for part in (output.surface.vertices, output.surface.faces, output.surface.colors))
    vertices, faces, colors = parts
    size = batch["views"].shape[2]
    seen = render_mesh(vertices, faces, Camera(batch["cameras"][0], float(batch["fov_y"][0]), size, size), colors)
    return torch.cat([seen.color, seen.mask[..., None]], -1)


class SixGenerated:
    """The reconstructor's answer to six views that a model makes of the first given one; `last` are these."""

    def __init__(self, run: str, autoencoder: Autoencoder, domain: Domain) -> None:
        self.clips, self.autoencoder, self.domain = PictureClips(run), autoencoder, domain
        self.last: list[Image.Image] = []

    def __call__(self, batch: Truth) -> Answer:
        given, self.last = six_views(self.clips, batch, batch["given_rgba"].shape[2])
        return reconstructed(self.autoencoder, self.domain, {**batch, **given}, 6)


class Diffusion:
    """A diffusion model led by the picture alone; its seed is the number of the shape."""

    def __init__(self, run: str) -> None:
        path = find_model(run, "outputs", "diffusion")[0]
        loaded = load_diffusion(path)
        self.generator: Generator = loaded[0]
        self.autoencoder, label = loaded[1], loaded[2]
        self.domain, self.seed = load_domain(label, path, {"surface_points": POINTS}), 0

    @torch.no_grad()
    def __call__(self, batch: Truth) -> Answer:
        latents = self.generator({"image": [np.asarray(batch["image"][0])]}, [self.seed], GUIDANCE)
        self.seed += 1
        output = self.domain.decode(self.autoencoder, latents, RESOLUTION)
        assert isinstance(output, Shapes)
        return self.domain.measure(output, batch), mesh_views(output, batch)


class Copy:
    """The training shape whose portrait looks most like the picture, by its stored points."""

    def __init__(self, data: str) -> None:
        self.encoder = efficientnet_lite0()
        self.points: list[np.ndarray] = []
        self.distances: list[np.ndarray] = []
        vectors = []
        transforms: list[Transform] = [ConditionView(), TrueGeometry(), Stored()]
        for batch in HeldOut(open_shards(data, "train"), transforms, seed=0, batch_size=1):
            vectors.append(self.vector(batch["image"][0]))
            parts = (batch[name][0].numpy() for name in ("true_points", "true_normals", "true_colors"))
            self.points.append(np.concatenate(list(parts), -1).astype(np.float16))
            self.distances.append(batch["stored_distances"][0].numpy().astype(np.float16))
            print(f"\rtraining shapes: {len(vectors)}", end="", flush=True)
        self.vectors = torch.stack(vectors)

    @torch.no_grad()
    def vector(self, pixels: Any) -> torch.Tensor:
        """Features of a picture, of length 1."""
        framed = torch.from_numpy(frame(np.asarray(pixels), self.encoder.size)).permute(2, 0, 1)[None] / 255
        features: Features = self.encoder.encode(framed)
        assert features.vector is not None
        return torch.nn.functional.normalize(features.vector[0].clone(), dim=0)

    def __call__(self, batch: Truth) -> Answer:
        best = int((self.vectors @ self.vector(batch["image"][0])).argmax())
        points, normals, colors = np.split(self.points[best].astype(np.float32), [3, 6], axis=-1)
        true_points, true_normals = batch["true_points"][0].numpy(), batch["true_normals"][0].numpy()
        surfaces = compare_surfaces(points, normals, true_points, true_normals)
        sdf = distances_at(batch["box_points"][0].numpy(), self.distances[best].astype(np.float32))
        views = drawn(points, colors, batch)
        return {
            "chamfer_l1": surfaces.chamfer_l1,
            "f_score": surfaces.f_score,
            "iou": volume_iou(sdf, batch["box_sdf"][0].numpy()),
            "mesh_psnr": peak_signal_to_noise(views[..., :3].numpy(), batch["views"][0, ..., :3].numpy()),
        }, views


class Stored:
    """`true_colors (N, 3)` of the surface points, 0…1; `stored_distances (M, 4)`: points and signed distances."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        parts = [sample[f"{kind}_{name}.npy"] for name in ("points", "sdf") for kind in ("near", "volume")]
        points, sdf = np.concatenate(parts[:2]), np.concatenate(parts[2:])
        distances = np.concatenate([points, sdf[:, None]], -1).astype(np.float32)
        return {"true_colors": sample["surface_colors.npy"].astype(np.float32) / 255, "stored_distances": distances}


def distances_at(points: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Signed distances (K,) at points (K, 3), from the four nearest of the stored ones (M, 4), by inverse squares."""
    apart, nearest = cKDTree(stored[:, :3]).query(points, k=4)
    weights = 1 / (np.square(apart) + 1e-8)
    return (weights * stored[nearest, 3]).sum(-1) / weights.sum(-1)


def drawn(points: np.ndarray, colors: np.ndarray, batch: Truth) -> torch.Tensor:
    """Pictures of points at the true cameras (V, H, W, 4): the nearest point of a pixel, holes of one pixel closed."""
    size, views = batch["views"].shape[2], []
    for pose in batch["cameras"][0]:
        place, distance = Camera(pose, float(batch["fov_y"][0]), size, size).project(torch.from_numpy(points))
        rows, columns = place.long().unbind(-1)
        order = distance.argsort(descending=True)  # the nearest is drawn last
        order = order[((place[order] >= 0) & (place[order] < size)).all(-1)]
        view = np.zeros((size, size, 4), np.float32)
        view[rows[order], columns[order]] = np.concatenate([colors, np.ones_like(colors[:, :1])], -1)[order]
        around = np.stack([np.roll(view, step, axis) for axis in (0, 1) for step in (1, -1)])  # (4, H, W, 4)
        hole = (view[..., 3] == 0) & (around[..., 3].sum(0) >= 3)
        filled = around.sum(0) / around[..., 3:].sum(0).clip(1)
        views.append(np.where(hole[..., None], filled, view))
    return torch.from_numpy(np.stack(views))


def seconds(path: Path, batch: Truth) -> None:
    """Prints how long the way from the file of a picture to the file of a GLB takes, with the model's loading apart."""
    with tempfile.TemporaryDirectory() as folder, of_run(path):
        picture_file, mesh_file = Path(folder) / "picture.png", Path(folder) / "mesh.glb"
        Image.fromarray(np.asarray(batch["image"][0]).astype(np.uint8)).save(picture_file)
        started = time.perf_counter()
        autoencoder, label = load_autoencoder(path)
        domain = load_domain(label, path)
        loaded = time.perf_counter()
        given = domain.read_view(picture_file, None, None, False)
        output = domain.reconstruct(autoencoder, given)
        assert isinstance(output, Shapes)
        passed = time.perf_counter()
        write_mesh(output.surface, mesh_file)
        done = time.perf_counter()
        print(
            f"{torch.get_num_threads()} threads: loading {loaded - started:.2f} s, picture to field "
            f"{passed - loaded:.2f} s, GLB of {output.resolution}³ cells, {len(output.surface.faces)} faces, "
            f"{done - passed:.2f} s: from the picture {done - loaded:.2f} s"
        )


if __name__ == "__main__":
    main()

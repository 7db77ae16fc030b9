"""From a ball to an animal by its outlines alone: what the gradients of extraction and rendering are good for.

    python benchmarks/silhouette_fit.py [--method dual_vertices] [--steps 150] [--seed 0] [--picture fit.jpg]

The truth is a union of ellipsoids: body, neck, head, ears, four legs, tail. Its masks from 16 cameras are counted by
rays that meet the ellipsoids, without this project's renderer. The fit starts with the signed distance of a ball on a
grid of 64³ cells, and changes distances and offsets (and weights) by the squared difference of masks. Printed: IoU with
the truth at the points of the grid; that of the visual hull, the most that outlines tell; the error of masks of
cameras that the fit did not see; processor time.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fieldforge.geometry.camera import Camera, fibonacci_poses, orbit_poses
from fieldforge.geometry.dual_vertices import WEIGHTS, dual_vertices
from fieldforge.geometry.marching_tetrahedra import marching_tetrahedra
from fieldforge.geometry.surface_extraction import DistanceGrid, ExtractedSurface
from fieldforge.metrics.reconstruction import volume_iou
from fieldforge.rendering.bitmaps import image_of
from fieldforge.rendering.mesh_views import Light, render_mesh
from fieldforge.rendering.sheet import picture_sheet

COW = torch.tensor(
    [  # center, half axes
        [0.0, 0.10, -0.05, 0.24, 0.24, 0.46],  # body
        [0.0, 0.28, 0.42, 0.11, 0.20, 0.15],  # neck
        [0.0, 0.42, 0.60, 0.13, 0.13, 0.21],  # head
        [0.0, 0.50, 0.50, 0.26, 0.045, 0.06],  # ears
        [-0.15, -0.35, 0.26, 0.075, 0.36, 0.075],  # legs
        [0.15, -0.35, 0.26, 0.075, 0.36, 0.075],
        [-0.15, -0.35, -0.36, 0.075, 0.36, 0.075],
        [0.15, -0.35, -0.36, 0.075, 0.36, 0.075],
        [0.0, 0.02, -0.54, 0.045, 0.28, 0.045],  # tail
    ]
)
FOV, DISTANCE = math.radians(40), 3.0
SIGN = {"dual_vertices": 0.002, "marching_tetrahedra": 0.0}  # there it makes voids: IoU 0.798 at 0.002
DEVIATION = 0.01
RAYS = 4  # along each side of a pixel of the true masks


def outside(points: Tensor) -> Tensor:
    """Negative inside of the cow, positive outside; not a distance. points (..., 3) → (...)."""
    scaled = (points.unsqueeze(-2) - COW[:, :3]) / COW[:, 3:]
    return (scaled.norm(dim=-1) - 1).amin(dim=-1)


def true_masks(camera: Camera) -> Tensor:
    """Coverage (V, H, W) of the cow, by RAYS² rays a pixel that meet an ellipsoid or do not."""
    masks = []
    for pose in camera.camera_to_world:
        rays = Camera(pose, camera.fov_y, RAYS * camera.height, RAYS * camera.width).rays()
        hit = torch.zeros(rays.origins.shape[:-1], dtype=torch.bool)
        for center, half in COW.view(-1, 2, 3):
            origin, direction = (rays.origins - center) / half, rays.directions / half
            b, c = (origin * direction).sum(-1), origin.square().sum(-1) - 1
            hit |= b.square() - direction.square().sum(-1) * c > 0
        masks.append(nn.functional.avg_pool2d(hit[None].float(), RAYS)[0])
    return torch.stack(masks)


class Shape(nn.Module):
    """Distances as a ball's plus corrections on finer and finer grids, so that a step moves more than crossed edges."""

    def __init__(self, cells: int, method: str) -> None:
        super().__init__()
        axis = torch.linspace(-1, 1, cells + 1)
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        self.ball = nn.Buffer(points.norm(dim=-1) - 0.6)
        sizes = [cells // 2**level + 1 for level in range(4)]
        self.levels = nn.ParameterList([torch.zeros(1, 1, size, size, size) for size in sizes])
        self.offsets = nn.Parameter(torch.zeros(*self.ball.shape, 3))
        self.weights = nn.Parameter(torch.zeros(cells, cells, cells, WEIGHTS)) if method == "dual_vertices" else None

    def distances(self) -> Tensor:
        size = tuple(self.ball.shape)
        return self.ball + sum(
            nn.functional.interpolate(level, size, mode="trilinear", align_corners=True)[0, 0] for level in self.levels
        )

    def surface(self) -> ExtractedSurface:
        if self.weights is None:
            return marching_tetrahedra(self.distances(), self.offsets)
        return dual_vertices(self.distances(), self.offsets, self.weights)

    def iou(self) -> float:
        """Agreement of insides at the points of the grid, where they have moved to."""
        with torch.no_grad():
            grid = DistanceGrid(self.distances(), self.offsets)
            truth = outside(grid.places(torch.arange(len(grid.distances))))
            return volume_iou(grid.distances.numpy(), truth.numpy())


@dataclass
class Fit:
    """A fitted shape: IoU before, IoU after, and the surfaces at some steps."""

    shape: Shape
    before: float
    after: float
    steps: list[tuple[int, ExtractedSurface]] = field(default_factory=list)


def fit_masks(
    camera: Camera,
    masks: Tensor,
    cells: int,
    steps: int,
    method: str = "dual_vertices",
    batch: int = 4,
    rate: float = 0.01,
    seed: int = 0,
    report: Callable[[int, float, float], None] = lambda step, loss, iou: None,
) -> Fit:
    """Fits a shape to masks (V, H, W) of the cameras, `batch` views a step; reports (step, loss, IoU) now and then."""
    shape, generator = Shape(cells, method), torch.Generator().manual_seed(seed)
    shown = {round(steps * share) for share in (0, 0.05, 0.15, 0.4, 1)}
    result = Fit(shape, shape.iou(), 0.0)
    optimizer = torch.optim.Adam(
        [
            {"params": shape.levels.parameters(), "lr": rate},
            {"params": [shape.offsets, *([] if shape.weights is None else [shape.weights])], "lr": 3 * rate},
        ],
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 ** (step / steps))
    for step in range(steps + 1):
        surface = shape.surface()
        if step in shown:
            result.steps.append((step, surface))
        if step == steps:
            break
        views = torch.randperm(len(masks), generator=generator)[:batch]
        part = Camera(camera.camera_to_world[views], camera.fov_y, camera.height, camera.width)
        seen = render_mesh(surface.vertices, surface.faces, part)
        loss = (seen.mask - masks[views]).square().mean()
        extra = SIGN[method] * surface.loss_terms["sign"] + DEVIATION * surface.loss_terms.get("deviation", 0)
        optimizer.zero_grad()
        (loss + extra).backward()
        optimizer.step()
        schedule.step()
        if step % max(steps // 10, 1) == 0:
            report(step, loss.item(), shape.iou())
    result.after = shape.iou()
    return result


def hull_iou(camera: Camera, masks: Tensor, cells: int) -> float:
    """IoU of the truth with the points that no mask excludes."""
    axis = torch.linspace(-1, 1, cells + 1)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    places, _ = camera.project(points)  # (V, P, 2)
    inside = torch.ones(len(points), dtype=torch.bool)
    for place, mask in zip(places, masks, strict=True):
        row, column = place.floor().long().unbind(-1)
        inside &= mask[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)] > 0.5
    return volume_iou((~inside).float().numpy() - 0.5, outside(points).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=["dual_vertices", "marching_tetrahedra"], default="dual_vertices")
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help="a sheet of steps of the fit is written there")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    camera = Camera(fibonacci_poses(16, DISTANCE), FOV, chosen.pixels, chosen.pixels)
    unseen = Camera(fibonacci_poses(7, DISTANCE, azimuth=0.5), FOV, chosen.pixels, chosen.pixels)
    masks, unseen_masks = true_masks(camera), true_masks(unseen)
    print(f"visual hull: IoU {hull_iou(camera, masks, 96):.3f}")
    start = time.process_time()
    fit = fit_masks(
        camera, masks, chosen.cells, chosen.steps, chosen.method, seed=chosen.seed,
        report=lambda step, loss, iou: print(f"step {step:4d}  loss {loss:.5f}  IoU {iou:.3f}", flush=True),
    )  # fmt: skip
    seconds = time.process_time() - start
    last = fit.steps[-1][1]
    error = (render_mesh(last.vertices, last.faces, unseen).mask - unseen_masks).abs().mean().item()
    print(
        f"{chosen.method}: IoU {fit.before:.3f} → {fit.after:.3f}, error of unseen masks {error:.4f} "
        f"(of a mean of {unseen_masks.mean():.3f}), {len(last.faces)} faces, {seconds:.0f} s of one thread"
    )
    if chosen.picture:
        write_steps(fit, chosen.picture)


def write_steps(fit: Fit, path: Path) -> None:
    """A sheet of the fit's steps from two sides, and the truth."""
    axis = torch.linspace(-1, 1, 129)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    shown = [(f"step {step}", surface) for step, surface in fit.steps]
    shown.append(("truth", dual_vertices(0.2 * outside(points))))
    camera = Camera(orbit_poses(torch.tensor([0.9, 2.6]), torch.tensor([0.3, 0.1]), DISTANCE), FOV, 320, 320)
    rows: list[list] = [[], []]
    for _, surface in shown:
        colors = torch.full_like(surface.vertices, 0.95)
        with torch.no_grad():
            views = render_mesh(surface.vertices, surface.faces, camera, colors, Light())
        for row, color, mask in zip(rows, views.color, views.mask, strict=True):
            row.append(image_of(torch.cat([color, mask.unsqueeze(-1)], dim=-1)))
    picture_sheet(rows, column_labels=[name for name, _ in shown]).save(path, quality=88)


if __name__ == "__main__":
    main()

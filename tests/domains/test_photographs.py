"""Pictures with cameras from files: where points of the shape are in what the reconstructor is given."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.make import sphere_sample

from fieldforge.domains.photographs import given_batch, lone_photograph, read_photographs
from fieldforge.errors import UserError
from fieldforge.geometry.camera import Camera, orbit_poses

SIDE, VIEWS, RADIUS = 48, 3, 0.6


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return sphere_sample("a", RADIUS, points=300, pixels=SIDE, views=VIEWS)


def written(folder: Path, sample: dict[str, Any], **changes: Any) -> Path:
    """The sample's views as photographs: `changes` of the file, or of the first frame where they are `frame_…`."""
    frames = []
    for view, pose in enumerate(sample["cameras.npy"]):
        Image.fromarray(sample[f"view_{view:03d}.png"]).save(folder / f"{view}.png")
        frames.append({"file_path": f"{view}.png", "transform_matrix": pose.tolist()})
    content = {"camera_angle_x": sample["meta.json"]["fov_y"], "frames": frames}
    for key, value in changes.items():
        target = frames[0] if key.startswith("frame_") else content
        target[key.removeprefix("frame_")] = value
    content = {key: value for key, value in content.items() if value is not None}
    (folder / "cameras.json").write_text(json.dumps(content))
    return folder


def covered(batch: dict[str, torch.Tensor], points: np.ndarray) -> float:
    """Share of points (N, 3) of the shape at whose pixels the given views show it, and of ones outside where not."""
    shown = []
    for rgba, pose, fov in zip(*(batch[f"given_{name}"][0] for name in ("rgba", "cameras", "fov")), strict=True):
        side = len(rgba)
        for scale, there in ((0.93, 1.0), (1.12, 0.0)):
            eye = pose[:3, 3]
            rim = torch.from_numpy(points.astype(np.float32)) * scale
            rim = rim[(rim @ eye / rim.norm(dim=-1) / eye.norm()).abs() < 0.2]  # seen from the side
            place, _ = Camera(pose, float(fov), side, side).project(rim)
            rows, columns = place.long().clamp(0, side - 1).unbind(-1)
            shown.append(((rgba[rows, columns, 3] > 0.5).float() == there).float())
    return torch.cat(shown).mean().item()


@pytest.mark.parametrize("way", ["angle", "focal", "scaled"])
def test_cameras_of_a_file_see_the_shape_where_its_pictures_show_it(tmp_path, sample, way):
    focal = SIDE / 2 / math.tan(sample["meta.json"]["fov_y"] / 2)
    ways = {
        "angle": {},
        "focal": {"camera_angle_x": None, "fl_x": focal},
        "scaled": {"camera_angle_x": None, "fl_x": 10 * focal, "fl_y": 10 * focal, "w": 10 * SIDE, "h": 10 * SIDE},
    }
    batch = given_batch(read_photographs(written(tmp_path, sample, **ways[way]), False), 64)
    assert batch["given_rgba"].shape == (1, VIEWS, 64, 64, 4)
    assert covered(batch, sample["surface_points.npy"]) > 0.97


def test_a_crop_and_a_wide_picture_keep_their_cameras(tmp_path, sample):
    folder = written(tmp_path, sample)
    content = json.loads((folder / "cameras.json").read_text())
    focal = SIDE / 2 / math.tan(sample["meta.json"]["fov_y"] / 2)
    for frame, (left, right) in zip(content["frames"], ((9, 0), (0, 7), (-20, -20)), strict=True):
        pixels = np.asarray(Image.open(folder / frame["file_path"]))
        pixels = np.pad(pixels, ((0, 0), (max(0, -left), max(0, -right)), (0, 0)))
        pixels = pixels[:, max(0, left) : pixels.shape[1] - max(0, right)]
        Image.fromarray(pixels).save(folder / frame["file_path"])
        frame |= {"fl_x": focal, "cx": SIDE / 2 - left, "cy": SIDE / 2}
    (folder / "cameras.json").write_text(json.dumps(content))
    assert covered(given_batch(read_photographs(folder, False), 64), sample["surface_points.npy"]) > 0.97


def test_a_plain_background_is_taken_away(tmp_path, sample):
    folder = written(tmp_path, sample)
    for view in range(VIEWS):
        shape = Image.open(folder / f"{view}.png")
        Image.alpha_composite(Image.new("RGBA", shape.size, "white"), shape).convert("RGB").save(folder / f"{view}.png")
    assert covered(given_batch(read_photographs(folder, False), 64), sample["surface_points.npy"]) > 0.97


def test_a_lone_picture_is_framed_as_a_shape_of_the_usual_size(tmp_path, sample):
    Image.fromarray(np.pad(sample["view_000.png"], ((0, 30), (11, 0), (0, 0)))).save(tmp_path / "a.png")
    batch = given_batch([lone_photograph(tmp_path / "a.png", 90, 0, False)], 64)
    rows = (batch["given_rgba"][0, 0, ..., 3] > 0.5).any(1).nonzero()
    assert (rows.max() - rows.min() + 1).item() == pytest.approx(64 / 1.3, abs=2)
    pose = batch["given_cameras"][0, 0]
    torch.testing.assert_close(
        pose, orbit_poses(torch.tensor(math.pi / 2), torch.tensor(0.0), pose[:3, 3].norm().item())
    )


STRETCHED = np.diag([2.0, 1, 1, 1]).tolist()
INSIDE = np.eye(4).tolist()
AWAY = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -3], [0, 0, 0, 1]]
ASIDE = [[1, 0, 0, 50], [0, 1, 0, 0], [0, 0, 1, 3], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"frames": []}, "there are no frames"),
        ({"camera_angle_x": None}, "frame 0: its opening angle is missing"),
        ({"camera_angle_x": 4.0}, "camera_angle_x=4 is no opening angle in radians"),
        ({"camera_angle_x": "wide"}, "camera_angle_x='wide' is no number"),
        ({"fl_x": -5}, "its opening angle is missing"),
        ({"k1": 0.1}, "k1=0.1 bends the picture"),
        ({"fl_x": 50, "w": 0}, "w=0 is no size of a picture"),
        ({"frame_transform_matrix": None}, "frame 0: its transform_matrix is no 4 × 4 numbers"),
        ({"frame_transform_matrix": STRETCHED}, "is no rotation and translation .the rotation has determinant 2"),
        ({"frame_transform_matrix": INSIDE}, "its camera stands at .0, 0, 0., inside of the box"),
        ({"frame_transform_matrix": AWAY}, "its camera looks away from the origin"),
        ({"frame_transform_matrix": ASIDE}, "no point of the box from -1 to 1 lies inside of the object in all 3"),
        ({"frame_file_path": "none.png"}, "frame 0: .*none.png: there is no such file"),
        ({"frame_file_path": ""}, "it has no file_path"),
    ],
)
def test_bad_cameras_are_one_sentence(tmp_path, sample, changes, sentence):
    folder = written(tmp_path, sample, **changes)
    with pytest.raises(UserError, match=sentence) as mistake:
        read_photographs(folder, False)
    assert "\n" not in str(mistake.value)
    assert "cameras.json" in str(mistake.value)


def test_bad_pictures_and_missing_cameras_are_one_sentence(tmp_path, sample):
    with pytest.raises(UserError, match="there is no such folder, and a reconstructor needs to know"):
        read_photographs(tmp_path / "none", False)
    with pytest.raises(UserError, match=r"it holds no cameras.json and no transforms.json, and a reconstructor needs"):
        read_photographs(tmp_path, False)
    folder = written(tmp_path, sample)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "0.png")
    with pytest.raises(UserError, match=r"frame 0: 0\.png has neither transparency nor a plain background"):
        read_photographs(folder, False)
    Image.fromarray(sample["view_000.png"] * np.uint8([1, 1, 1, 0])).save(folder / "0.png")
    with pytest.raises(UserError, match=r"frame 0: .*fully transparent"):
        read_photographs(folder, False)
    (folder / "cameras.json").write_text("{")
    with pytest.raises(UserError, match="is no readable JSON"):
        read_photographs(folder, False)

"""Files as FiftyOne shows them: scenes of meshes and points, moving pictures, and what it wants to know of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from fieldforge.domains.clip_outputs import mp4_bytes
from fieldforge.errors import UserError
from fieldforge.rendering.bitmaps import write_whole
from fieldforge.viewing.library import fiftyone

SCENE, CLOUD = ".fo3d", ".pcd"
POINT_SIZE = 3.0  # pixels
DISTANCE = 2.2  # box units, of shapes beside each other; the box is 2 wide


def write_cloud(points: np.ndarray, colors: np.ndarray, path: Path) -> Path:
    """A PCD of points (N, 3) with colours (N, 3), uint8: of a PLY, FiftyOne shows heights in the place of colours."""
    rows = np.empty(len(points), [("xyz", "<f4", 3), ("rgb", "<u4")])
    rows["xyz"] = points
    rows["rgb"] = colors.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    head = f"""VERSION 0.7
FIELDS x y z rgb
SIZE 4 4 4 4
TYPE F F F U
COUNT 1 1 1 1
WIDTH {len(points)}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {len(points)}
DATA binary
"""
    write_whole(head.encode() + rows.tobytes(), path)
    return path


def write_scene(assets: Mapping[str, Path], path: Path) -> Path:
    """A scene of GLB meshes and PCD points beside each other along x, by their titles; y is up.

    FiftyOne allows one slice of scenes in a dataset, so that all that is compared stands in one. The files lie in the
    folder of `path`, which may be moved.
    """
    library = fiftyone()
    scene = library.Scene(camera=library.PerspectiveCamera(up="Y"))
    for place, (title, asset) in enumerate(assets.items()):
        where = {"position": library.Vector3(place * DISTANCE, 0, 0)}
        if asset.suffix == CLOUD:
            material = library.PointCloudMaterial(shading_mode="rgb", point_size=POINT_SIZE)
            scene.add(library.PointCloud(title, asset.name, material, **where))
        else:
            scene.add(library.GltfMesh(title, asset.name, **where))
    scene.write(str(path), resolve_relative_paths=False)
    return path


def moving(animation: Path) -> Path:
    """An MP4 beside the GIF; the GIF itself, of which FiftyOne shows the first frame, where the coder is missing."""
    with Image.open(animation) as picture:
        milliseconds = picture.info.get("duration") or 100
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(picture)]
    path = animation.with_suffix(".mp4")
    try:
        write_whole(mp4_bytes(frames, 1000 / milliseconds), path)
    except UserError:
        return animation
    return path


def metadata_of(path: Path) -> Any:
    """FiftyOne's metadata of a picture or an MP4, for which it would call ffprobe; None for a scene."""
    library, size = fiftyone(), path.stat().st_size
    if path.suffix == SCENE:
        return None
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            return library.VideoMetadata(
                size_bytes=size,
                mime_type="video/mp4",
                frame_width=stream.width,
                frame_height=stream.height,
                frame_rate=rate,
                total_frame_count=stream.frames,
                duration=stream.frames / rate if rate else None,
            )
    with Image.open(path) as picture:
        kind, channels = Image.MIME.get(str(picture.format)), len(picture.getbands())
        return library.ImageMetadata(
            size_bytes=size, mime_type=kind, width=picture.width, height=picture.height, num_channels=channels
        )

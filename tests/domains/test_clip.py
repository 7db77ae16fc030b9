"""Clips go the whole road: encoded, decoded, written, judged."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fieldforge.data.transforms import apply_transforms
from fieldforge.domains.clip import ClipDomain, example_clip
from fieldforge.domains.clip_outputs import Clips
from fieldforge.domains.frame import FrameDomain
from fieldforge.errors import UserError
from fieldforge.fields.clip_grid import ClipGrid
from fieldforge.rendering.bitmaps import gif_bytes


def clip(rgb: np.ndarray) -> Clips:
    """A clip of these pixels (V, H, W, 3), sRGB in 0…1."""
    pixels = torch.from_numpy(rgb * 2 - 1).float().reshape(1, -1, 3)
    return ClipDomain(rgb.shape[1], len(rgb)).outputs(ClipGrid(rgb.shape[1], len(rgb)), {"pixels": pixels})


def moving(frames: int = 6, size: int = 16) -> np.ndarray:
    """A light column that moves over dark grey, (V, H, W, 3)."""
    rgb = np.full((frames, size, size, 3), 0.2)
    for frame in range(frames):
        rgb[frame, :, 2 * frame : 2 * frame + 2] = 0.9
    return rgb


def test_a_clip_is_written_as_video_animation_and_strip(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    rgb = moving()
    files = clip(rgb).write(tmp_path, "one")
    with av.open(str(tmp_path / str(files["mp4"]))) as video:
        assert video.streams.video[0].average_rate == 7
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 6
    assert np.abs(np.stack(frames) / 255 - rgb).mean() < 0.04
    with Image.open(tmp_path / str(files["gif"])) as animation:
        assert animation.n_frames == 6
    strip = np.asarray(Image.open(tmp_path / str(files["strip"])))
    np.testing.assert_allclose(strip[:, 5 * 16 :] / 255, rgb[5], atol=0.01)


def test_measures_of_known_clips() -> None:
    rgb = moving()
    truth = {"input": torch.from_numpy(rgb * 2 - 1).float().permute(0, 3, 1, 2)[None]}
    domain = ClipDomain(16, 6)
    same = domain.measure(clip(rgb), truth)
    assert same["psnr"] > 60
    assert same["perceptual"] == pytest.approx(0, abs=1e-4)
    assert same["motion"] == pytest.approx(same["true_motion"]) == pytest.approx(4 / 16 * 0.7)
    brighter = domain.measure(clip(rgb + 0.1), truth)
    assert brighter["psnr"] == pytest.approx(20, abs=0.01)
    assert brighter["motion"] == pytest.approx(same["motion"])
    assert domain.measure(clip(np.repeat(rgb[:1], 6, 0)), truth)["motion"] == 0


def test_an_animation_is_read_and_a_short_one_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray((frame * 255).astype(np.uint8)) for frame in moving()]
    (tmp_path / "a.gif").write_bytes(gif_bytes(frames, 1.0))
    read = ClipDomain(16, 5).read_file(tmp_path / "a.gif", 0)["input"]
    assert read.shape == (1, 5, 3, 16, 16)
    assert np.abs((read[0].permute(0, 2, 3, 1).numpy() + 1) / 2 - moving()[:5]).mean() < 0.02
    (tmp_path / "text.gif").write_text("no clip")
    for size, name, sentence in ((9, "a.gif", "it has 6 frames"), (2, "text.gif", "from="), (2, "no.gif", "no such")):
        with pytest.raises(UserError, match=sentence):
            ClipDomain(16, size).read_file(tmp_path / name, 0)


def test_frames_are_pictures_and_short_clips_are_refused() -> None:
    sample = example_clip(8, 4)
    for frame in range(4):
        sample[f"frame_{frame:03d}.png"] = np.full((8, 8, 3), 60 * frame, np.uint8)
    generator = np.random.default_rng(0)
    picture = apply_transforms(sample, FrameDomain(8).input_transforms(), generator)["input"]
    assert picture.shape == (3, 8, 8)
    assert (picture == -1).all()
    read = apply_transforms(sample, ClipDomain(8, 3).input_transforms(), generator)["input"]
    np.testing.assert_allclose(read[:, 0, 0, 0], np.arange(3) * 120 / 255 - 1, atol=1e-6)
    with pytest.raises(UserError, match="6 frames of each clip are read, and a clip has 4"):
        apply_transforms(sample, ClipDomain(8, 6).input_transforms(), generator)


def test_the_media_of_a_clip_are_an_animation() -> None:
    kind, content = clip(moving()).media() or ("", b"")
    assert kind == "image/gif"
    assert Image.open(io.BytesIO(content)).n_frames == 6  # type: ignore[attr-defined]

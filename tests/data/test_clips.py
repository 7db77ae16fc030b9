"""Stored clips: what their schema holds, and what their transform gives."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.clip_transforms import ClipFrames, ClipLatent, FrameInput, SomeFrames
from fieldforge.data.codec import encode_member
from fieldforge.data.manifest import write_manifest
from fieldforge.data.reader import LazySample, ShardReader
from fieldforge.data.schemas import SCHEMAS
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import apply_transforms
from fieldforge.data.writer import ShardWriter
from fieldforge.errors import UserError
from fieldforge.geometry.camera import turntable_poses
from fieldforge.storage.store import BadSampleError

FRAMES = 6


def clip(channels: int = 3, cameras: bool = True, size: tuple[int, int] = (8, 8), **changes: Any) -> dict[str, Any]:
    """Frame k is grey of 40 k."""
    meta = {
        "id": "a", "name": "a", "class": "other", "captions": ["a"], "captions_by_language": {}, "tags": [],
        "source": "test", "licence": "CC0-1.0", "creator": "me", "split": "train",
        "fps": 8, "fov_y": 0.7 if cameras else None,
        "azimuth": [0.5 * frame for frame in range(FRAMES)], "elevation": [0.25] * FRAMES,
    }  # fmt: skip
    sample: dict[str, Any] = {"meta.json": meta | changes}
    if cameras:
        sample["cameras.npy"] = turntable_poses(FRAMES, 3.0).numpy()
    for frame in range(FRAMES):
        sample[f"frame_{frame:03d}.png"] = np.full((*size, channels), 40 * frame, np.uint8)
    return sample


def read(transform: ClipFrames, sample: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    return apply_transforms(sample, [transform], np.random.default_rng(seed))


def lazy(sample: dict[str, Any]) -> LazySample:
    members = {name: encode_member(name, value) for name, value in sample.items()}
    return LazySample("a", members, "shard x", CLIP)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("cameras", [True, False])
def test_a_clip_comes_back(channels: int, cameras: bool):
    sample = clip(channels, cameras)
    result = CLIP.decode(CLIP.encode("a", sample))
    assert result.keys() == sample.keys()
    assert result["meta.json"] == sample["meta.json"]
    np.testing.assert_array_equal(result["frame_005.png"], sample["frame_005.png"])
    assert SCHEMAS["clip"] is CLIP


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"azimuth": [0.0] * 5}, "5 entries of azimuth and 6 of elevation"),
        ({"azimuth": [], "elevation": []}, "needs one a frame"),
        ({"azimuth": ["front"] * 6}, "angle 'front', which is neither radians nor null"),
        ({"elevation": [math.inf] * 6}, "angle inf"),
        ({"fps": 0}, "fps=0"),
        ({"fps": "8"}, "fps='8', which is of the wrong type"),
        ({"fov_y": 4.0}, "fov_y=4.0"),
        ({"azimuth": [None] * 7, "elevation": [None] * 7}, r"cameras\.npy has shape \(6, 4, 4\)"),
    ],
)
def test_metadata_that_fit_no_clip_are_named(changes: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        CLIP.check("a", clip(**changes))


def test_frames_that_are_missing_or_differ_are_named():
    sample = clip(cameras=False)
    del sample["frame_004.png"]
    with pytest.raises(UserError, match=r"6 entries of azimuth in meta\.json, but frame_004\.png is missing"):
        CLIP.check("a", sample)
    with pytest.raises(BadSampleError, match=r"frame_004\.png is missing"):
        lazy(sample)["meta.json"]
    with pytest.raises(UserError, match=r"frame_005\.png has shape \(9, 8, 3\)"):
        CLIP.check("a", clip() | {"frame_005.png": np.zeros((9, 8, 3), np.uint8)})
    with pytest.raises(UserError, match="has 2 channels, but must have 3 or 4"):
        CLIP.check("a", clip(channels=2))
    with pytest.raises(UserError, match=r"no member frame_006\.png"):
        CLIP.check("a", clip() | {"frame_006.png": np.zeros((8, 8, 3), np.uint8)})
    short = lazy(clip() | {"cameras.npy": turntable_poses(5, 3.0).numpy()})
    assert len(short["cameras.npy"]) == 5
    with pytest.raises(BadSampleError, match=r"6 entries of azimuth, and the sample 5 cameras"):
        short["meta.json"]


def test_all_frames_with_their_directions():
    fields = read(ClipFrames(8, cameras=True), clip())
    assert (fields["frames"].shape, fields["frames"].dtype) == ((FRAMES, 3, 8, 8), np.float32)
    np.testing.assert_allclose(fields["frames"][:, 0, 0, 0], np.arange(FRAMES) * 40 / 255, rtol=1e-6)
    np.testing.assert_allclose(fields["azimuth"], np.arange(FRAMES) / 2)
    np.testing.assert_array_equal(fields["elevation"], np.full(FRAMES, 0.25))
    np.testing.assert_array_equal(fields["frame_cameras"], clip()["cameras.npy"])
    assert (float(fields["fps"]), float(fields["fov_y"])) == (8.0, np.float32(0.7))


def test_consecutive_frames_begin_everywhere_and_no_others_are_decoded():
    starts = set()
    for seed in range(60):
        sample = lazy(clip())
        fields = read(ClipFrames(8, count=4, cameras=True), sample, seed)  # type: ignore[arg-type]
        start = round(float(fields["frames"][0, 0, 0, 0]) * 255 / 40)
        starts.add(start)
        np.testing.assert_allclose(fields["azimuth"], (start + np.arange(4)) / 2)
        np.testing.assert_array_equal(fields["frame_cameras"], clip()["cameras.npy"][start : start + 4])
        decoded = [name for name in sample._decoded if name.startswith("frame_")]
        assert decoded == [f"frame_{start + frame:03d}.png" for frame in range(4)]
    assert starts == {0, 1, 2}
    with pytest.raises(UserError, match="7 frames of each clip are read, and a clip has 6"):
        read(ClipFrames(8, count=7), clip())


def test_what_is_unknown_is_nan_and_missing_cameras_are_named():
    sample = clip(cameras=False, fps=None, azimuth=[None] * FRAMES, elevation=[None, *[0.5] * 5])
    fields = read(ClipFrames(8), sample)
    assert np.isnan(fields["azimuth"]).all()
    assert np.isnan(fields["fps"])
    np.testing.assert_array_equal(np.isnan(fields["elevation"]), [True, *[False] * 5])
    assert fields.keys() == {"frames", "azimuth", "elevation", "fps"}
    with pytest.raises(BadSampleError, match="has no cameras, which the training reads"):
        read(ClipFrames(8, cameras=True), sample)


def test_frames_are_the_middle_over_white_at_the_size_asked_for():
    sample = clip(channels=4, size=(8, 16))
    for frame in range(FRAMES):
        sample[f"frame_{frame:03d}.png"][...] = (255, 0, 0, 255)
        sample[f"frame_{frame:03d}.png"][:, :4] = (0, 0, 255, 255)  # beside the middle
        sample[f"frame_{frame:03d}.png"][4:, 4:] = 0
    frames = read(ClipFrames(4), sample)["frames"]
    assert frames.shape == (FRAMES, 3, 4, 4)
    np.testing.assert_allclose(frames[0, :, 0, 0], [1, 0, 0], atol=0.06)  # (Lanczos rings)
    np.testing.assert_allclose(frames[0, :, 3, 3], [1, 1, 1], atol=0.06)


def test_stored_clips_are_read_from_shards(tmp_path):
    with ShardWriter(tmp_path, CLIP, {}, samples_per_shard=2, split="train") as writer:
        for key in ("a", "b", "c"):
            writer.write(key, clip(4))
    write_manifest(tmp_path, CLIP, {}, writer.entries)
    shards = open_shards(tmp_path, "train")
    assert (shards.schema, shards.samples) == (CLIP, 3)
    fields = read(ClipFrames(8, count=2), ShardReader(shards).read_number(2))  # type: ignore[arg-type]
    assert torch.from_numpy(fields["frames"]).shape == (2, 3, 8, 8)


def test_a_frame_is_the_first_or_any_and_may_be_mirrored():
    sample = clip()
    sample["frame_000.png"][:, :4] = 255
    first = read(FrameInput(8), sample)["input"]
    np.testing.assert_array_equal(first[0, 0], [1] * 4 + [-1] * 4)
    assert np.array_equal(read(FrameInput(8), sample, seed=1)["input"], first)
    values = {float(read(FrameInput(8, anywhere=True), sample, seed)["input"][0, 0, -1]) for seed in range(60)}
    assert len(values) == FRAMES
    mirrored = [read(FrameInput(8, flip=True), sample, seed)["input"][0, 0, 0] for seed in range(20)]
    assert set(mirrored) == {1.0, -1.0}


def stored_latent(**changes: Any) -> dict[str, Any]:
    """Two places of a channel a frame, which hold the number of the frame."""
    numbers = np.repeat(np.arange(FRAMES), 2)[:, None].astype(np.float32)
    return {"meta.json": clip()["meta.json"] | changes, "latent.npy": numbers}


def test_a_latent_comes_with_its_first_frame_and_the_angles_from_there():
    fields = read(ClipLatent(FRAMES), stored_latent())
    np.testing.assert_array_equal(fields["first_frame"], [[0], [0]])
    np.testing.assert_allclose(fields["angles"][2], [math.cos(1.0), math.sin(1.0), 0.25], atol=1e-6)
    assert fields["view"] == 0
    assert "motion" not in fields


def test_a_closed_orbit_begins_anywhere():
    seen = set()
    for seed in range(40):
        fields = read(ClipLatent(FRAMES, turns=True), stored_latent(), seed)
        first = int(fields["view"])
        seen.add(first)
        np.testing.assert_array_equal(fields["latent"][::2, 0], (np.arange(FRAMES) + first) % FRAMES)
        np.testing.assert_array_equal(fields["first_frame"], fields["latent"][:2])
        np.testing.assert_allclose(fields["angles"][0], [1, 0, 0.25])
    assert seen == set(range(FRAMES))


def test_motion_is_the_rate_and_what_changes():
    fields = read(ClipLatent(FRAMES, angles=False, motion=True), stored_latent(fps=15, azimuth=[None] * FRAMES))
    np.testing.assert_allclose(fields["motion"], [0.5, 1.0])
    assert "angles" not in fields


@pytest.mark.parametrize(
    ("transform", "changes", "sentence"),
    [
        (ClipLatent(FRAMES), {"azimuth": [None] * FRAMES}, "no azimuth of its cameras"),
        (ClipLatent(FRAMES), {"elevation": [None] * FRAMES}, "no elevation of its cameras"),
        (ClipLatent(FRAMES, angles=False, motion=True), {"fps": None}, "no frame rate"),
    ],
)
def test_what_a_clip_does_not_know_is_named(transform, changes, sentence):
    with pytest.raises(BadSampleError, match=sentence):
        read(transform, stored_latent(**changes))


def test_some_frames_keep_their_angles_and_their_order():
    sample = {**stored_latent(), **read(ClipLatent(FRAMES), stored_latent())}
    fields = read(SomeFrames(3), sample)
    numbers = fields["latent"][::2, 0].astype(int)
    assert (np.diff(numbers) > 0).all()
    np.testing.assert_array_equal(fields["angles"], sample["angles"][numbers])
    del sample["angles"]
    assert read(SomeFrames(3), sample).keys() == {"latent"}

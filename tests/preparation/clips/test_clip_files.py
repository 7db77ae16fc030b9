"""Videos and animations become clips, by the command's own configuration."""

import io
import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from tests.preparation.make import record
from tests.preparation.test_pipeline import checksums

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.manifest import read_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.preparation.clips.clip_recipe import ClipLimits, ClipRecipe
from fieldforge.readers.file_store import AssetError, FolderStore
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.prepare import run_preparation

av = pytest.importorskip("av")
LIMITS = ClipLimits(max_file_mb=16)


def ramps(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frame k: red rises to the right, green downwards, blue with k."""
    red, green = np.linspace(0, 255, width), np.linspace(0, 255, height)
    frames = []
    for number in range(count):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0], pixels[..., 1], pixels[..., 2] = red, green[:, None], 255 * number // count
        frames.append(pixels)
    return frames


def video(frames: list[np.ndarray], rate: int = 10, kind: str = "mp4", codec: str = "libx264") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "10", "b": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def animation(frames: list[np.ndarray], kind: str = "GIF", milliseconds: int = 100, **options: Any) -> bytes:
    buffer = io.BytesIO()
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(buffer, kind, save_all=True, append_images=others, duration=milliseconds, **options)
    return buffer.getvalue()


def read(tmp_path: Path, payload: bytes, name: str = "a.mp4", limits: ClipLimits = LIMITS, **settings: Any):
    """The decoded sample of a file, and its notes."""
    (tmp_path / name).write_bytes(payload)
    values: dict[str, Any] = {"frames": 4, "fps": None, "size": 48} | settings
    recipe = ClipRecipe(limits=limits, heldout_share=0.1, samples_per_shard=8, **values)
    prepared = recipe.prepare(record(name, tmp_path), FolderStore(tmp_path, limits.max_file_bytes), 0)
    sample = CLIP.decode(prepared.members)
    frames = [sample[f"frame_{number:03d}.png"] for number in range(recipe.frames)]
    return sample["meta.json"], np.stack(frames), prepared.notes


@pytest.mark.parametrize(
    ("name", "payload", "error"),
    [
        ("a.mp4", lambda frames: video(frames), 4),
        ("a.MOV", lambda frames: video(frames, kind="mov"), 4),
        ("a.webm", lambda frames: video(frames, kind="webm", codec="libvpx-vp9"), 4),
        ("a.gif", lambda frames: animation(frames), 8),
        ("a.webp", lambda frames: animation(frames, "WEBP", lossless=True), 0),
    ],
)
def test_frames_come_back(tmp_path: Path, name: str, payload: Any, error: float):
    frames = ramps(6)
    meta, pixels, notes = read(tmp_path, payload(frames), name)
    assert pixels.shape == (4, 48, 48, 3)
    truth = np.stack(frames[:4])[:, :, 8:56]  # the middle
    assert np.abs(pixels.astype(int) - truth).mean() <= error
    assert meta["fps"] == pytest.approx(10)
    assert (meta["azimuth"], meta["elevation"], meta["fov_y"], notes) == ([None] * 4, [None] * 4, None, [])


def blues(pixels: np.ndarray) -> list[int]:
    """Which of 20 `ramps` each frame is."""
    return np.round(pixels[..., 2].mean((1, 2)) / 255 * 20).astype(int).tolist()


@pytest.mark.parametrize("name", ["a.mp4", "a.webp"])
def test_frames_are_those_that_a_player_shows_at_the_rate_asked_for(tmp_path: Path, name: str):
    payload = video(ramps(20)) if name == "a.mp4" else animation(ramps(20), "WEBP", lossless=True)
    meta, pixels, notes = read(tmp_path, payload, name, fps=5)
    assert (blues(pixels), meta["fps"], notes) == ([0, 2, 4, 6], 5, [])
    assert blues(read(tmp_path, payload, name, fps=4, frames=6)[1]) == [0, 2, 5, 7, 10, 12]  # at 0, 0.25, 0.5, … s
    _, pixels, notes = read(tmp_path, payload, name, fps=20)
    assert blues(pixels) == [0, 0, 1, 1]
    assert notes == ["it has fewer frames a second than preparation.fps=20: some frames repeat"]
    assert blues(read(tmp_path, payload, name, fps=10, frames=20)[1]) == list(range(20))  # to the last one's end


def test_frames_of_an_animation_last_as_long_as_each_says(tmp_path: Path):
    payload = animation(ramps(20)[::5], "GIF", [300, 100, 0, 200])  # type: ignore[arg-type]
    meta, pixels, _ = read(tmp_path, payload, "a.gif", fps=10, frames=7)
    assert blues(pixels) == [0, 0, 0, 5, 10, 15, 15]  # no time counts as 0.1 s, as in browsers
    assert meta["fps"] == 10


def test_opacity_of_animations_is_kept(tmp_path: Path):
    frames = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in ramps(4)]
    frames[2][:10, :, 3] = 0
    pixels = read(tmp_path, animation(frames, "WEBP", lossless=True), "a.webp")[1]
    np.testing.assert_array_equal(pixels[..., 3], np.stack(frames)[:, :, 8:56, 3])
    assert read(tmp_path, animation(frames[:2] * 2, "WEBP", lossless=True), "b.webp")[1].shape[3] == 3


def test_clips_are_scaled_down_and_smaller_ones_stay(tmp_path: Path):
    payload = video(ramps(4, 96, 160))
    assert read(tmp_path, payload)[1].shape == (4, 48, 48, 3)
    _, pixels, notes = read(tmp_path, payload, size=128)
    assert pixels.shape == (4, 96, 96, 3)
    assert notes == ["its shorter side has 96 pixels, fewer than preparation.size=128: it stays so"]


def test_a_clip_of_a_turned_camera_stands_upright(tmp_path: Path):
    """Telephones store how they were held in the matrix of the track."""
    payload = bytearray(video(ramps(4)))
    matrix = payload.find(b"tkhd") + 44
    payload[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)  # 90° clockwise
    upright = np.stack([np.rot90(frame, -1) for frame in ramps(4)])[:, 8:56]
    assert np.abs(read(tmp_path, bytes(payload))[1].astype(int) - upright).mean() <= 4


def two_sizes() -> bytes:
    """A WebM in which a second video of another size follows the first: each of its frames says its size."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        streams = [av.CodecContext.create("libvpx", "w") for _ in range(2)]
        out = container.add_stream("libvpx", rate=10)
        out.width, out.height, out.pix_fmt = 64, 48, "yuv420p"
        for second, context in enumerate(streams):
            context.width, context.height = (64, 48) if second == 0 else (96, 64)
            context.pix_fmt, context.framerate, context.time_base = "yuv420p", 10, Fraction(1, 10)
            number = 0
            for pixels in [*ramps(3, context.height, context.width), None]:
                frame = None if pixels is None else av.VideoFrame.from_ndarray(pixels, format="rgb24")
                for packet in context.encode(frame):
                    packet.stream, packet.pts, packet.dts = out, 3 * second + number, 3 * second + number
                    number += 1
                    container.mux(packet)
    return buffer.getvalue()


def damaged() -> bytes:
    payload = bytearray(video(ramps(8)))
    start = payload.find(b"mdat") + 900
    payload[start : start + 200] = bytes(200)
    return bytes(payload)


@pytest.mark.parametrize(
    ("payload", "settings", "message"),
    [
        (lambda: b"", {}, "the file is empty"),
        (lambda: b"<html>", {}, "of a kind that is not read (web page)"),
        (lambda: b"#EXTM3U\n/etc/passwd\n", {}, "no video or animation of a known kind"),
        (lambda: video(ramps(1)), {}, "it holds a single frame: that is a picture"),
        (lambda: animation(ramps(1)), {}, "it holds a single frame: that is a picture"),
        (lambda: video(ramps(3)), {}, "it has 3 frames, fewer than preparation.frames=4"),
        (
            lambda: video(ramps(8)),
            {"fps": 3},
            "it lasts 0.80 s, and preparation.frames=4 at preparation.fps=3 take 1.00 s",
        ),
        (sound, {}, "it holds no video stream"),
        (two_sizes, {"frames": 6}, "its frames change from 64 x 48 to 96 x 64 pixels"),
        (damaged, {"frames": 8}, "the clip cannot be read"),
        (lambda: video(ramps(8))[:-300], {}, "the clip cannot be read (End of file)"),
        (lambda: video(ramps(8))[:-100], {}, "its video holds no frames"),
        (lambda: video(ramps(8))[:700], {}, "the clip cannot be read"),
        (lambda: animation(ramps(6))[:900], {"frames": 6}, "the clip cannot be read"),
        (lambda: video(ramps(4, 16, 128)), {}, "128 x 16 pixels; preparation.limits.max_aspect is 4"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path: Path, payload: Any, settings: dict, message: str):
    with pytest.raises(AssetError) as caught:
        read(tmp_path, payload(), "a.mp4", **settings)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 0


def test_no_more_is_decoded_than_may_be(tmp_path: Path):
    payload = video(ramps(20))
    for frame_limit, name in ((0.002, "max_megapixels=0.002"), (40, "max_frame_megapixels=0.03")):
        for bytes_, file in ((payload, "a.mp4"), (animation(ramps(20)), "a.gif")):
            limits = ClipLimits(max_file_mb=16, max_megapixels=frame_limit, max_frame_megapixels=0.03)
            with pytest.raises(AssetError, match=name):
                read(tmp_path, bytes_, file, limits, frames=12)
    assert read(tmp_path, payload, limits=limits, frames=8)[1].shape[0] == 8  # 9 frames of 3,072 pixels at most


def test_videos_say_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    payload = video(ramps(4))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"reading 'a\.mp4' needs the package av: pip install '\.\[clip\]'") as caught:
        read(tmp_path, payload)
    assert not isinstance(caught.value, AssetError)  # nothing is rejected for it


def prepare_folder(folder: Path, output: str, workers: int) -> Path:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("prepare", [
            "source=clips", f"source.path={folder}", f"source.labels={folder.parent}/table.jsonl",
            f"output={folder.parent / output}", f"workers={workers}",
            "preparation.size=32", "preparation.frames=5", "preparation.fps=5",
        ])  # fmt: skip
    run_preparation(config)
    return folder.parent / output


def test_a_folder_of_clips_with_a_table(tmp_path: Path):
    folder = tmp_path / "clips"
    files = {
        "cats/jump.mp4": video(ramps(10)),
        "cats/sleep.gif": animation(ramps(10)),
        "run.webm": video(ramps(10), kind="webm", codec="libvpx-vp9"),
        "short.mp4": video(ramps(2)),
        "text.mp4": b"hello",
        "photo.jpg": b"not asked for",
    }
    for name, payload in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(payload)
    (tmp_path / "table.jsonl").write_text(json.dumps({"file": "run.webm", "caption": "a dog runs", "split": "heldout"}))
    output = prepare_folder(folder, "one", 1)
    samples = {}
    for split in read_manifest(output).shards.splits:
        shards = open_shards(output, split)
        for number in range(shards.samples):
            sample = ShardReader(shards).read_number(number)
            samples[sample["meta.json"]["id"]] = sample["meta.json"]
            assert sample["frame_004.png"].shape == (32, 32, 3)
    assert {key: (meta["class"], meta["captions"], meta["fps"]) for key, meta in samples.items()} == {
        "cats/jump.mp4": ("cats", ["jump"], 5),
        "cats/sleep.gif": ("cats", ["sleep"], 5),
        "run.webm": ("other", ["a dog runs"], 5),
    }
    assert samples["run.webm"]["split"] == "heldout"
    rejected = [json.loads(line) for line in (output / "rejected.jsonl").read_text().splitlines()]
    assert {line["id"] for line in rejected} == {"short.mp4", "text.mp4"}
    assert Image.open(output / "contact_sheet.png").size == (3 * 128, 142)
    assert checksums(prepare_folder(folder, "two", 2)) == checksums(output)

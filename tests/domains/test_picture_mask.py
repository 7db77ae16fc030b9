"""Pictures completed by a mask: which cells are drawn, what stays, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from tests.domains.test_image import SMALL, picture

from fieldforge.asking.drawing import Drawing
from fieldforge.asking.guidance import Guided
from fieldforge.asking.jobs import jobs
from fieldforge.asking.requests import Request
from fieldforge.domains.image import ImageDomain
from fieldforge.domains.picture_mask import anew_tokens, read_mask
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages.diffusion_stage import load_diffusion

SHAPE = LatentShape(16, 4, (4, 4))


def drawn_mask(path: Path, width: int, height: int, *white: tuple[int, int]) -> Path:
    """A black mask with white pixels at (x, y)."""
    mask = Image.new("L", (width, height))
    for place in white:
        mask.putpixel(place, 255)
    mask.save(path)
    return path


def photo(path: Path, width: int = 16, height: int = 16) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_a_cell_stays_only_if_all_its_pixels_do(tmp_path: Path) -> None:
    mask = drawn_mask(tmp_path / "mask.png", 16, 16, (5, 2), (15, 15))
    anew = ImageDomain(16).read_mask(mask, photo(tmp_path / "photo.png"), SHAPE).reshape(4, 4)
    assert anew.nonzero().tolist() == [[0, 1], [3, 3]]


def test_a_mask_goes_the_way_of_its_picture(tmp_path: Path) -> None:
    """Of 40 × 20 pixels the square in the middle is seen, at half its size: one white pixel of four is enough."""
    own = photo(tmp_path / "photo.png", 40, 20)
    anew = read_mask(drawn_mask(tmp_path / "mask.png", 40, 20, (0, 0), (10, 0), (29, 19)), own, 10)
    assert np.argwhere(anew).tolist() == [[0, 0], [9, 9]]
    Image.new("RGBA", (40, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_mask(tmp_path / "clear.png", own, 10).all()


def test_what_is_kept_is_pasted(tmp_path: Path) -> None:
    own = photo(tmp_path / "photo.png")
    mask = drawn_mask(tmp_path / "mask.png", 16, 16, (3, 1))
    drawn = picture(np.full((16, 16, 3), 0.5))
    image = np.asarray(ImageDomain(16).pasted(drawn, mask, own)[0].image)
    expected = np.asarray(Image.open(own)).copy()
    expected[1, 3] = 128
    assert (image == expected).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    words = ["experiment=image_latent", "conditioner=none", *SMALL, f"output_dir={folder}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return run_training(compose("train", words))["diffusion"].path


def command(run: Path, *words: str) -> None:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        run_sampling(compose("sample", [f"run={run}", "n=2", *words]))


def test_a_picture_is_completed(run: Path, tmp_path: Path) -> None:
    own, out = photo(tmp_path / "photo.png"), tmp_path / "out"
    mask = drawn_mask(tmp_path / "mask.png", 16, 16, *((x, y) for x in range(8) for y in range(8)))
    command(run, f"from={own}", f"mask={mask}", "paste=true", f"output={out}")
    entries = json.loads((out / "samples.json").read_text())["samples"]
    pixels = [np.asarray(Image.open(out / entry["picture"])) for entry in entries]
    expected = np.asarray(Image.open(own))
    for one, entry in zip(pixels, entries, strict=True):
        assert (entry["mask"], entry["strength"], entry["paste"]) == (str(mask), 1.0, True)
        assert (one[8:] == expected[8:]).all()
        assert (one[:8, 8:] == expected[:8, 8:]).all()
    assert (pixels[0][:8, :8] != pixels[1][:8, :8]).any()


@pytest.mark.parametrize(
    ("width", "white", "sentence"),
    [
        (16, [], "black all over"),
        (16, [(x, y) for x in range(0, 16, 4) for y in range(0, 16, 4)], "keeps no cell of 4 × 4 pixels"),
        (12, [(0, 0)], "has 12 × 16 pixels and from=.* 16 × 16"),
    ],
)
def test_masks_that_will_not_do(
    run: Path, tmp_path: Path, width: int, white: list[tuple[int, int]], sentence: str
) -> None:
    own = photo(tmp_path / "photo.png")
    mask = drawn_mask(tmp_path / "mask.png", width, 16, *white)
    with pytest.raises(UserError, match=sentence):
        command(run, f"from={own}", f"mask={mask}", f"output={tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_a_mask_that_is_not_there_and_latents_without_places(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mask=.*none.png: there is no such file"):
        ImageDomain(16).read_mask(tmp_path / "none.png", photo(tmp_path / "photo.png"), SHAPE)
    with pytest.raises(UserError, match="no places in the picture"):
        anew_tokens(np.eye(16, dtype=bool), None, tmp_path)


def test_kept_tokens_come_out_as_they_were(run: Path, tmp_path: Path) -> None:
    """What the autoencoder has of the picture, without pasting: latents of kept cells are the picture's own."""
    generator, autoencoder, _ = load_diffusion(run / "model.ckpt")
    start = autoencoder.encode(ImageDomain(16).read_file(photo(tmp_path / "photo.png"), 0)).detach()
    anew = torch.arange(16) < 4
    nothing = [Request({}, {})]
    latents = Drawing(Guided(generator, 1.0, {}), start=start, anew=anew)(jobs(nothing, nothing, 0, 0, 2, 1))
    torch.testing.assert_close(latents[:, ~anew], start[:, ~anew].expand(2, -1, -1))
    assert not torch.allclose(latents[0, anew], latents[1, anew])

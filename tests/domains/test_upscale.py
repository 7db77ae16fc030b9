"""Small pictures are enlarged: trained, sampled, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from tests.domains.test_image import ROOT, SMALL

from fieldforge.asking.coarse import CoarseFile
from fieldforge.conditioning.aligned import AlignedSource
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.data.image_transforms import Coarse
from fieldforge.domains.image import ImageDomain
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training

SHAPE = LatentShape(16, 4, (4, 4))


def small_file(path: Path, side: int = 4) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return path


def test_a_place_has_the_colour_of_its_part_of_the_picture() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    quarters = np.zeros((16, 16, 3), np.uint8)
    quarters[:8, 8:] = 255
    generator = np.random.default_rng(0)
    cells = Coarse(16, 8)({"image.png": quarters}, generator)["coarse"]
    assert (cells.mean(1) > 0).tolist() == [False, True, False, False]
    coarse = Coarse(4, 1)({"image.png": blocks}, generator)["coarse"]
    assert np.allclose(coarse, blocks.reshape(16, 3) / np.float32(127.5) - 1)
    with pytest.raises(UserError, match="factor=3 must divide size=16"):
        Coarse(16, 3)


def test_a_file_of_the_small_size_is_read_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = small_file(tmp_path / "small.png")
    pixels = np.asarray(Image.open(path))
    assert np.allclose(ImageDomain(16).read_coarse(path, SHAPE), pixels.reshape(16, 3) / np.float32(127.5) - 1)
    assert not caplog.messages
    assert ImageDomain(16).read_coarse(small_file(tmp_path / "large.png", 40), SHAPE).shape == (16, 3)
    assert "40 × 40 pixels, 4 × 4 are made" in caplog.text


def test_noise_of_a_file_is_its_seed_s() -> None:
    conditioner = Conditioner({"small": AlignedSource(8, 3)})
    file = CoarseFile(np.ones((16, 3), np.float32), 0.5)
    both = file.features(conditioner, [5, 6])["small"]
    assert both.vector is not None
    assert both.aligned is not None
    assert both.vector.tolist() == [[0.5], [0.5]]
    assert not torch.equal(both.aligned[0], both.aligned[1])
    assert torch.equal(file.features(conditioner, [6])["small"].aligned, both.aligned[1:])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("upscale")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        # Small pictures are found by a sample's key, which is looked for in one folder.
        words = [*SMALL, f"data.root={ROOT}/data/emoji_64", f"output_dir={folder}"]
        done = run_training(compose("train", ["experiment=image_upscale", *words]))
    assert list(done["diffusion"].pictures.glob("*.png"))
    return done["diffusion"].path


def command(run: Path, *words: str) -> None:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        run_sampling(compose("sample", [f"run={run}", "n=2", *words]))


def test_a_small_picture_is_enlarged(run: Path, tmp_path: Path) -> None:
    small, out = small_file(tmp_path / "small.png"), tmp_path / "out"
    command(run, f"from={small}", f"output={out}")
    command(run, f"from={small}", "strength=0.3", f"output={tmp_path}/noised")
    for folder, strength in ((out, 0.0), (tmp_path / "noised", 0.3)):
        for entry in json.loads((folder / "samples.json").read_text())["samples"]:
            assert (entry["from"], entry["strength"], entry["guidance"]) == (str(small), strength, 1.0)
            assert entry["picture"].split("_")[1] == "small-png"
            assert Image.open(folder / entry["picture"]).size == (16, 16)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "enlarges a small picture: give from="),
        (["from=SMALL", "mask=SMALL"], "mask= has no effect on this model"),
        (["from=none.png"], "from=none.png: there is no such file"),
        (["from=SMALL", "prompt=a cat"], "prompt= is given, .* it understands from="),
    ],
)
def test_what_it_cannot_enlarge(run: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    small = small_file(tmp_path / "small.png")
    with pytest.raises(UserError, match=sentence):
        command(run, *(word.replace("SMALL", str(small)) for word in words), f"output={tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_evaluation_sets_it_beside_interpolation(run: Path) -> None:
    words = ["enlarging.count=3", "enlarging.pictures=2", "enlarging.batch_size=2", "enlarging.picture_size=32"]
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        run_evaluation(compose("evaluate", [f"run={run}", "device=cpu", *words]))
    report = json.loads((run / "evaluation" / "enlargements.json").read_text())
    assert report["samples"] == 3
    means = report["mean"]
    assert means.keys() == {"enlarged by the model", "interpolated", "the autoencoder's own"}
    assert means["interpolated"]["psnr"] > means["enlarged by the model"]["psnr"]  # which was trained for two steps
    assert (run / "evaluation" / "enlargements.png").is_file()


def test_without_a_model_a_small_picture_is_enlarged_as_by_pillow() -> None:
    small = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    coarse = torch.from_numpy(small.reshape(1, 16, 3) / np.float32(127.5) - 1)
    large = Image.fromarray(small).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(ImageDomain(16).interpolated(coarse).image), np.asarray(large))

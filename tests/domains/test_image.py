"""Pictures go the whole road: prepared, encoded, generated, written, judged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from fieldforge.domains.image import ImageDomain
from fieldforge.domains.picture_outputs import Pictures
from fieldforge.errors import UserError
from fieldforge.fields.picture import PictureGrid
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages.autoencoder_stage import load_autoencoder

ROOT = Path(__file__).parents[2]
SMALL = [
    f"data.root=[{','.join(f'{ROOT}/data/emoji_64/{name}.tar' for name in ('train-000001', 'heldout-000000'))}]",
    "domain.size=16",
    "data.transforms.pixels.size=16",
    "data.augment.size=16",
    "autoencoder.encoder.width=8",
    "autoencoder.decoder.width=8",
    "backbone.width=16",
    "backbone.layers=1",
    "backbone.heads=2",
    "sampler.steps=2",
    "training.autoencoder.budget={max_steps:2,max_minutes:null}",
    "training.diffusion.budget={max_steps:2,max_minutes:null}",
    "trainer.accelerator=cpu",
    "data.num_workers=0",
    "latent_data.num_workers=0",
    "monitor.validation_batches=1",
    "monitor.pictures.count=2",
]
LATENT = ("backbone", "latent_data", "sampler", "training.diffusion")
"""Of these, what an autoencoder alone does not read."""


def picture(rgb: np.ndarray) -> Pictures:
    """A picture of these pixels (H, W, 3), sRGB in 0…1."""
    pixels = torch.from_numpy(rgb * 2 - 1).float().reshape(1, -1, 3)
    return Pictures(PictureGrid(len(rgb)), {"pixels": pixels}, len(rgb))


def test_a_picture_is_written_as_it_is(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    files = picture(rgb / 255).write(tmp_path, "one")
    assert (np.asarray(Image.open(tmp_path / files["picture"])) == rgb).all()


def test_measures_of_known_pictures() -> None:
    rgb = np.random.default_rng(0).uniform(0.2, 0.8, (16, 16, 3))
    truth = {"input": torch.from_numpy(rgb * 2 - 1).float().permute(2, 0, 1)[None]}
    same = ImageDomain(16).measure(picture(rgb), truth)
    assert same["psnr"] > 60
    assert same["ssim"] == pytest.approx(1, abs=1e-4)
    assert same["perceptual"] == pytest.approx(0, abs=1e-4)
    brighter = ImageDomain(16).measure(picture(rgb + 0.1), truth)
    assert brighter["psnr"] == pytest.approx(20, abs=0.01)
    assert ImageDomain(16).measure(picture(1 - rgb), truth)["perceptual"] > brighter["perceptual"] > 1e-3


def test_a_file_of_a_picture_is_read_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 10), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    pixels = ImageDomain(8).read_file(tmp_path / "clear.png", 0)["input"]
    assert pixels.shape == (1, 3, 8, 8)
    assert (pixels == 1).all()
    (tmp_path / "text.png").write_text("no picture")
    for name, sentence in (("text.png", "from=.*text.png"), ("none.png", "there is no such file")):
        with pytest.raises(UserError, match=sentence):
            ImageDomain(8).read_file(tmp_path / name, 0)


def test_text_to_picture_from_shards_to_files(tmp_path: Path) -> None:
    """Trains three stages on the pictures of a shard at 16 pixels, two steps each."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        done = run_training(compose("train", ["experiment=image_latent", *SMALL, f"output_dir={tmp_path}"]))
    assert list(done["diffusion"].pictures.glob("*.png"))
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        words = [f"output_dir={tmp_path}", "prompt=a red apple", "n=1", f"output={tmp_path}/out"]
        run_sampling(compose("sample", words))
        run_evaluation(compose("evaluate", [f"run={done['autoencoder'].path}", "limit=3"]))
    (entry,) = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert Image.open(tmp_path / "out" / entry["picture"]).size == (16, 16)
    report = json.loads((done["autoencoder"].path / "evaluation" / "heldout.json").read_text())
    assert report["mean"].keys() == {"psnr", "ssim", "perceptual"}


@pytest.mark.parametrize("design", [["autoencoder=vq"], ["autoencoder=field", "autoencoder.field.cells=8"]])
def test_other_autoencoders_give_pictures_of_any_resolution(tmp_path: Path, design: list[str]) -> None:
    words = ["experiment=image_autoencoder", *design, *SMALL, f"output_dir={tmp_path}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [word for word in words if not word.startswith(LATENT)])
    path = run_training(config)["autoencoder"].path
    autoencoder, _ = load_autoencoder(path / "model.ckpt")
    pictures = ImageDomain(16).reconstruct(autoencoder, {"input": torch.zeros(1, 3, 16, 16)}, 40)
    assert pictures[0].image.size == (40, 40)

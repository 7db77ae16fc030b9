"""OpenAI's files of a small size become a run that encodes, samples, and is trained on."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from tests.runs.conftest import balls  # noqa: F401 (a fixture)

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import NoisyBottleneck
from fieldforge.autoencoder.shap_e_encoder import ShapEEncoder
from fieldforge.autoencoder.weight_rows import WeightRows
from fieldforge.diffusion.backbones.shap_e import ShapEBackbone
from fieldforge.errors import UserError
from fieldforge.exchange.encoder_names import to_openai as encoder_to_openai
from fieldforge.exchange.prior_names import to_openai as prior_to_openai
from fieldforge.exchange.renderer_files import renderer_weights
from fieldforge.exchange.renderer_names import OPENAI, to_layout
from fieldforge.exchange.shap_e_files import find_files
from fieldforge.exchange.shap_e_sizes import size_settings
from fieldforge.fields.shap_e_field import ShapEField
from fieldforge.noise.processes import PowerLaw
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.foreign_models import local_run
from fieldforge.runs.train import run_training
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.diffusion_stage import load_diffusion

HIDDEN, CHANNELS, WIDTH, CLIP = 4, 6, 16, 24
TOKENS = 4 * HIDDEN
SMALL = {
    "data.num_workers": 0,
    "data.heldout_batch_size": 1,
    "data.transforms.surface.points": 1024,
    "data.transforms.views.count": 2,
    "domain.points": 1024,
    "domain.encoded_views": 2,
    "domain.view_size": 16,
    "training.diffusion.batch_size": 2,
    "training.diffusion.budget.max_steps": 2,
    "training.diffusion.budget.warmup_steps": 1,
    "monitor.validation_batches": 0,
    "callbacks.pictures": "null",
    "trainer.accelerator": "cpu",
}


@pytest.fixture(scope="module")
def encoder() -> ShapEEncoder:
    torch.manual_seed(0)
    return ShapEEncoder(TOKENS, width=WIDTH, layers=2, channels=CHANNELS).eval()


@pytest.fixture
def folder(encoder: ShapEEncoder, clip_folder: Path, tmp_path: Path, monkeypatch) -> Path:  # noqa: F811
    """text_cond.pt and transmitter.pt; CLIP under the hub's name in the working directory."""
    backbone = ShapEBackbone(tokens=TOKENS, channels=CHANNELS, width=32, layers=2, heads=16, condition_width=CLIP,
                             output_channels=2 * CHANNELS)  # fmt: skip
    whole = Autoencoder(encoder, NoisyBottleneck(PowerLaw(5.0)), ShapEField(hidden=HIDDEN), WeightRows,
                        unit_variance=False)  # fmt: skip
    decoder = to_layout(renderer_weights(whole), OPENAI)
    for value in [*backbone.state_dict().values(), *decoder.values()]:
        torch.nn.init.normal_(value, std=0.2)
    torch.save(prior_to_openai(backbone.state_dict(), 16), tmp_path / "text_cond.pt")
    names = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    torch.save(decoder | encoder_to_openai(names, 8), tmp_path / "transmitter.pt")
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "clip-vit-large-patch14").symlink_to(clip_folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def training(folder: Path, data: Path, *words: str) -> DictConfig:
    sizes = {**size_settings(find_files(f"openai:{folder}")), **SMALL, "data.root": data, "output_dir": folder / "out"}
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", ["experiment=shap_e_text", *(f"{k}={v}" for k, v in sizes.items()), *words])


def test_the_run_encodes_as_the_encoder_does(folder: Path, encoder: ShapEEncoder) -> None:
    run = local_run(f"openai:{folder}", str(folder / "out"))
    autoencoder, _ = load_autoencoder(run / "model.ckpt")
    generator = torch.Generator().manual_seed(2)
    cameras = torch.eye(4).repeat(1, 2, 1, 1)
    cameras[..., 2, 3] = 3.0
    batch = {"input": torch.rand(1, 1024, 9, generator=generator) - 0.5, "view_cameras": cameras}
    batch |= {"view_rgba": torch.rand(1, 2, 16, 16, 4, generator=generator)}
    batch |= {"view_depth": 2 + torch.rand(1, 2, 16, 16, generator=generator), "fov_y": torch.tensor([0.7])}
    theirs = encoder(*(batch[name] for name in encoder.reads)).tanh()
    torch.testing.assert_close(autoencoder.encode(batch), theirs, atol=1e-6, rtol=0)


def test_they_are_trained_on_with_latents_of_their_encoder(folder: Path, balls: Path) -> None:  # noqa: F811
    still = "training.diffusion.optimizer.lr=1e-12"
    run = run_training(training(folder, balls, f"init_from=openai:{folder}", still))["diffusion"]
    start = load_diffusion(local_run(f"openai:{folder}", str(folder / "out")) / "model.ckpt")
    generator, autoencoder, label = load_diffusion(run.model)
    assert label["autoencoder"]["fingerprint"] == start[2]["fingerprint"]
    for trained, theirs in ((generator.model, start[0].model), (autoencoder, start[1])):
        torch.testing.assert_close(dict(trained.state_dict()), dict(theirs.state_dict()), atol=1e-6, rtol=0)


def test_an_encoder_of_another_make_is_one_sentence(folder: Path) -> None:
    content = torch.load(folder / "transmitter.pt", weights_only=True)
    torch.save({**content, "encoder.patch_emb.bias": torch.zeros(3)}, folder / "transmitter.pt")
    with pytest.raises(UserError, match=r"transmitter.pt: the tensor encoder.patch_emb.bias is \(3,\), and \(16,\)"):
        local_run(f"openai:{folder}", str(folder / "out"))
    del content["encoder.patch_emb.weight"]
    torch.save(content, folder / "transmitter.pt")
    with pytest.raises(UserError, match=r"transmitter.pt holds no encoder of Shap-E, 'encoder.patch_emb.weight'"):
        local_run(f"openai:{folder}", str(folder / "out"))

"""From a prompt to an image embedding by diffusion, and on into the condition of an image-conditioned model."""

import numpy as np
import pytest
import torch

from fieldforge.conditioning import ClassSource, ClipImageEncoder, Conditioner, ImageSource
from fieldforge.conditioning.prior import EmbeddingSpace, VectorLatent
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.latent_schema import EMBEDDING
from fieldforge.data.manifest import write_manifest
from fieldforge.data.transforms import Labels
from fieldforge.data.writer import ShardWriter
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.loss import denoising_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import PredictData
from fieldforge.diffusion.weighting import UniformData
from fieldforge.errors import UserError
from fieldforge.noise.processes import Exponential

CENTRES = {"Bed": [3.0, -1.0, 0.5, 7.0], "Sofa": [-3.0, 2.0, 0.5, 7.0]}
META = {
    "id": "a", "name": "a", "captions": ["a"], "captions_by_language": {}, "tags": [], "source": "", "licence": "",
    "creator": "", "split": "train", "center": [0, 0, 0], "scale": 1.0, "epsilon": 0.0, "fov_y": 0.7, "size_cm": None,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Stored vectors of two classes, each around its own centre; the last two channels never change."""
    random = np.random.default_rng(0)
    with ShardWriter(tmp_path, EMBEDDING, {}, 16, "train") as writer:
        for number in range(32):
            name = list(CENTRES)[number % 2]
            rows = np.tile(np.array(CENTRES[name]), (3, 1))
            rows[:, :2] += random.normal(0, 0.2, (3, 2))
            meta = {**META, "class": name, "rows": [0, 1, 2]}
            writer.write(f"s{number}", {"meta.json": meta, "vector.npy": rows.astype(np.float16)})
    write_manifest(tmp_path, EMBEDDING, {}, writer.entries)
    return tmp_path


def test_the_space_is_measured_over_all_rows_and_goes_both_ways(folder):
    space = EmbeddingSpace.measured(folder)
    data = ShardDataModule(folder, {"latent": VectorLatent(space), "labels": Labels()}, 32)
    stream = iter(data.train_dataloader())
    latents = torch.cat([next(stream)["latent"] for _ in range(20)])
    assert latents.shape[1:] == space.latent_shape[:2] == (1, 4)
    assert latents[..., :2].mean((0, 1)).abs().max() < 0.15
    assert (latents[..., :2].std(0) - 1).abs().max() < 0.1
    assert latents[..., 2:].abs().max() < 1e-3
    vectors = torch.randn(5, 4)
    torch.testing.assert_close(space.decode(space.encode(vectors)).vector.float(), vectors, atol=1e-2, rtol=1e-2)
    assert set(space.state_dict()) == {"mean", "std"}


def test_the_prior_generates_the_embedding_that_belongs_to_the_prompt(folder, clip_folder):
    torch.manual_seed(0)
    space = EmbeddingSpace.measured(folder)
    conditioner = Conditioner({"class": ClassSource(list(CENTRES), 16)})
    model = DiffusionModel(DiT(1, 4, 32, 2, 2, 16), Exponential(12.0), PredictData())
    optimizer = torch.optim.Adam([*model.parameters(), *conditioner.parameters()], 3e-3)
    data = ShardDataModule(folder, {"latent": VectorLatent(space), "labels": Labels()}, 32)
    generator, stream = torch.Generator().manual_seed(0), iter(data.train_dataloader())
    for _ in range(120):
        batch = next(stream)
        x0 = batch["latent"]
        condition = conditioner(conditioner.embed(batch), conditioner.draw_drop(len(x0), generator))
        noise, t = torch.randn(x0.shape, generator=generator), torch.rand(len(x0), generator=generator)
        loss = denoising_loss(model, x0, noise, t, condition, UniformData()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    wanted = conditioner(conditioner.embed({"class": ["Bed"] * 8 + ["Sofa"] * 8}))
    with torch.no_grad():
        denoise = model.guided(ClassifierFree(1.0), wanted, conditioner.null(16))
        x = torch.randn(16, 1, 4, generator=generator)
        latents = denoise(x, torch.ones(16))  # at t = 1 the estimate is the mean of what the condition allows
    vectors = space.decode(latents).vector.float()
    centres = torch.tensor(list(CENTRES.values()))
    assert torch.cdist(vectors, centres).argmin(1).tolist() == [0] * 8 + [1] * 8

    # The chain goes on: the embedding stands for a picture where a model is conditioned on pictures.
    other = EmbeddingSpace(torch.zeros(24), torch.ones(24))
    image = Conditioner({"image": ImageSource(ClipImageEncoder(str(clip_folder)), 8, tokens=False)})
    assert image({"image": other.decode(torch.randn(3, 1, 24))}).vector.shape == (3, 8)


def test_a_source_without_vectors_is_refused(tmp_path):
    meta = {**META, "class": "Bed", "rows": [0]}
    tokens = np.zeros((1, 2, 3), np.float16)
    with ShardWriter(tmp_path, EMBEDDING, {}, 16, "train") as writer:
        writer.write("a", {"meta.json": meta, "tokens.npy": tokens, "mask.npy": np.ones((1, 2), np.uint8)})
    write_manifest(tmp_path, EMBEDDING, {}, writer.entries)
    with pytest.raises(UserError, match="holds no vectors"):
        EmbeddingSpace.measured(tmp_path)

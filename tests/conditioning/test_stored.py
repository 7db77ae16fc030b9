"""Features ahead of time: the same condition as encoding live, and nobody else's."""

import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pytorch_lightning.utilities import move_data_to_device
from tests.stages.test_encoding import as_processes

from fieldforge.conditioning import ClipImageEncoder, ClipTextEncoder, Conditioner, ImageSource, TextSource
from fieldforge.conditioning.condition import Condition
from fieldforge.conditioning.stored import KeyedShards, captions_of, embed_shards, embedding_folder
from fieldforge.conditioning.transforms import StoredFeatures, View
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import read_manifest, write_manifest
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.transforms import Labels, Latent
from fieldforge.data.writer import ShardWriter
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.diffusion.loss import denoising_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import PredictV
from fieldforge.diffusion.weighting import UniformV
from fieldforge.errors import UserError
from fieldforge.noise.processes import Cosine
from fieldforge.runs.embed import run_embedding
from fieldforge.stages import encoding
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.encoding import embed_once, measure_vectors
from fieldforge.storage import lock
from fieldforge.training.processes import ranks

D, VIEWS, CPU = 8, 3, torch.device("cpu")
WORDS = ("armchair", "bathtub", "table", "sink", "chair")


def meta(key: str, word: str, split: str) -> dict:
    return {
        "id": key, "name": word, "class": "furniture", "captions": [f"a {word}", f"a small {word} with four legs"],
        "captions_by_language": {"de": f"klein {word}", "fr": [f"le {word}", f"a {word}"]}, "tags": [],
        "source": "test", "licence": "CC0-1.0", "creator": "me", "split": split,
        "center": [0.0, 0.0, 0.0], "scale": 1.0,
        "epsilon": 0.006, "fov_y": 0.7, "size_cm": None,
    }  # fmt: skip


def sample(key: str, word: str, split: str, random: np.random.Generator) -> dict:
    points = random.uniform(-0.5, 0.5, (4, 3)).astype(np.float16)
    members = {"meta.json": meta(key, word, split), "surface_points.npy": points, "near_points.npy": points}
    members |= {"volume_points.npy": points, "near_sdf.npy": points[:, 0], "volume_sdf.npy": points[:, 0]}
    members |= {"surface_normals.npy": np.full((4, 3), 73, np.int8), "surface_colors.npy": np.zeros((4, 3), np.uint8)}
    members |= {
        "surface_exposed.npy": np.ones(4, np.uint8),
        "cameras.npy": np.stack([np.eye(4, dtype=np.float32)] * VIEWS),
    }
    for view in range(VIEWS):
        picture = np.zeros((24, 24, 4), np.uint8)
        picture[4:20, 6:18] = random.integers(0, 256, (16, 12, 4))
        picture[4:20, 6:18, 3] = 255
        members |= {f"view_{view:03d}.png": picture, f"depth_{view:03d}.png": np.ones((24, 24), np.uint16)}
    return members


@pytest.fixture
def roots(tmp_path) -> tuple[Path, Path]:
    """Sample shards and the latent shards made of them: four to train on, one held out."""
    random = np.random.default_rng(0)
    places = tmp_path / "samples", tmp_path / "latents"
    for root, schema in zip(places, (SAMPLE, LATENT), strict=True):
        entries = []
        for split, words in (("train", WORDS[:4]), ("heldout", WORDS[4:])):
            with ShardWriter(root, schema, {"seed": 0}, 2, split) as writer:
                for word in words:
                    whole = sample(f"{word}_0", word, split, random)
                    latent = {
                        "meta.json": whole["meta.json"],
                        "latent.npy": random.normal(size=(2, 3)).astype(np.float32),
                    }
                    writer.write(f"{word}_0", whole if schema is SAMPLE else latent)
            entries += writer.entries
        write_manifest(root, schema, {"seed": 0}, entries)
    return places


@pytest.fixture
def conditioner(clip_folder) -> Conditioner:
    torch.manual_seed(0)
    text = TextSource(ClipTextEncoder(str(clip_folder)), D)
    image = ImageSource(ClipImageEncoder(str(clip_folder)), D)
    return Conditioner({"clip_text": text, "clip_image": image})


def batches(root: Path, *stages, count: int = 4, workers: int = 0) -> list[dict]:
    named = dict(enumerate([Latent(), Labels(), *stages]))
    data = ShardDataModule(root, named, 2, seed=3, num_workers=workers)
    stream = iter(data.train_dataloader())
    return [next(stream) for _ in range(count)]


@pytest.fixture
def model() -> DiffusionModel:
    """With weights far enough from their start that conditions matter."""
    torch.manual_seed(1)
    backbone = DiT(2, 3, width=16, layers=1, heads=2, condition_width=D, cross_attention=True)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return DiffusionModel(backbone, Cosine(), PredictV())


def loss(model: DiffusionModel, batch: dict, condition: Condition) -> torch.Tensor:
    """Of every sample, with the same noise and times for every batch."""
    noise = torch.randn(batch["latent"].shape, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([0.3, 0.7], dtype=torch.float64)
    return denoising_loss(model, batch["latent"], noise, t, condition, UniformV())


HOLDS = """
import sys, time
from pathlib import Path
from fieldforge.storage import lock
from fieldforge.training.processes import ranks
lock.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_one_command_at_a_time_writes_the_features_of_a_source(roots, conditioner):
    folder = Path(embedding_folder(roots[0], "clip_text"))
    other = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"another command writes {folder} .*process {other.pid} "):
            embed_shards(roots[0], conditioner, ["clip_text"])
        other.kill()
    embed_shards(roots[0], conditioner, ["clip_text"])
    assert not (folder / lock.NAME).exists()


def test_the_loss_is_that_of_encoding_live(roots, conditioner, model):
    samples, latents = roots
    embed_shards(samples, conditioner)
    stored = batches(latents, StoredFeatures(str(samples), ["clip_text", "clip_image"], views=[1]))
    live = batches(latents, View(str(samples), views=[1]))
    for ahead, now in zip(stored, live, strict=True):
        assert ahead["caption"] == now["caption"]
        text_ahead, text_now = (conditioner.embed(batch, ["clip_text"])["clip_text"] for batch in (ahead, now))
        assert torch.equal(text_ahead.tokens, text_now.tokens)
        assert torch.equal(text_ahead.vector, text_now.vector)
        assert torch.equal(text_ahead.mask, text_now.mask)
        assert torch.equal(ahead["latent"], now["latent"])
        condition, live_condition = (conditioner(conditioner.embed(batch)) for batch in (ahead, now))
        of_live = loss(model, now, live_condition)
        torch.testing.assert_close(loss(model, ahead, condition), of_live, rtol=1e-3, atol=0)
        mixed_up = (
            Condition(condition.vector.flip(0), condition.tokens, condition.mask),
            Condition(condition.vector, condition.tokens.flip(0), condition.mask.flip(0)),
        )
        for other in mixed_up:
            assert (loss(model, ahead, other) / of_live - 1).abs().max() > 0.03


def test_views_are_embedded_under_lights_that_are_always_the_same(roots, clip_folder, tmp_path):
    lit = Conditioner({"clip_image": ImageSource(ClipImageEncoder(str(clip_folder)), D, tokens=False, lights=2)})
    embed_shards(roots[0], lit)
    first = KeyedShards(embedding_folder(roots[0], "clip_image")).read("table_0")
    assert first["meta.json"]["rows"] == [view for view in range(VIEWS) for _ in range(2)]
    vectors = np.array(first["vector.npy"])
    unlit = lit.source("clip_image").embed([KeyedShards(roots[0]).read("table_0")["view_000.png"]], torch.device("cpu"))
    assert len(np.unique(np.concatenate([vectors, unlit.vector.numpy()]), axis=0)) == 2 * VIEWS + 1
    shutil.rmtree(embedding_folder(roots[0], "clip_image"))
    embed_shards(roots[0], lit)
    again = KeyedShards(embedding_folder(roots[0], "clip_image")).read("table_0")
    assert np.array_equal(vectors, again["vector.npy"])
    drawn = batches(roots[1], StoredFeatures(str(roots[0]), ["clip_image"], views=[1]), count=16)
    pairs = [pair for batch in drawn for pair in zip(batch["features"], batch["caption"], strict=True)]
    of_tables = np.array([row["clip_image"].arrays["vector"] for row, caption in pairs if "table" in caption])
    assert np.array_equal(np.unique(of_tables, axis=0), np.unique(vectors[2:4], axis=0))


def test_vectors_are_measured_over_the_training_split(roots, conditioner, tmp_path):
    samples, latents = roots
    embed_shards(samples, conditioner)
    image = conditioner.source("clip_image")
    stages = {"latent": Latent(), "view": StoredFeatures(str(samples), ["clip_image"], views=[1]), "labels": Labels()}
    directory = StageDirectory.of("diffusion", tmp_path, {})
    measure_vectors(ShardDataModule(latents, stages, 2), conditioner, directory, CPU)
    shards = KeyedShards(embedding_folder(samples, "clip_image"))
    keys = [f"{word}_0" for word in WORDS[:4]]  # the fifth is held out
    vectors = torch.stack([torch.from_numpy(np.array(shards.read(key)["vector.npy"][1])).float() for key in keys])
    torch.testing.assert_close(image.vector_mean, vectors.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(image.vector_std, vectors.std(0, correction=0).clamp_min(1e-4), atol=1e-4, rtol=5e-3)
    assert (conditioner.source("clip_text").vector_std < 1).any(), "of texts, which are encoded here"


def test_vectors_measured_by_several_processes_are_those_of_one(roots, conditioner, tmp_path, monkeypatch):
    directory, (_, latents) = StageDirectory.of("diffusion", tmp_path, {}), roots
    data = ShardDataModule(latents, {"latent": Latent(), "labels": Labels()}, 2)
    text = conditioner.source("clip_text")
    conditioner = Conditioner({"clip_text": text})  # which is encoded here
    monkeypatch.setattr(encoding, "MEASURED", 160)  # five parts
    measured, encoded = [], []
    plain = type(conditioner).embed
    monkeypatch.setattr(type(conditioner), "embed", lambda *args: encoded.append(ranks.rank()) or plain(*args))
    for world in (1, 2, 3, 8):
        as_processes(monkeypatch, world)
        text.set_statistics(torch.zeros_like(text.vector_mean), torch.ones_like(text.vector_std))
        measure_vectors(data, conditioner, directory, CPU)
        measured.append((text.vector_mean.clone(), text.vector_std.clone()))
    assert all(torch.equal(each, own) for pair in measured for each, own in zip(pair, measured[0], strict=True))
    assert encoded == [0] * 5 + [0, 0, 0, 1, 1] + [0, 0, 1, 1, 2] + [0, 1, 2, 3, 4]
    vectors = torch.cat([plain(conditioner, b)["clip_text"].vector.float() for b in islice(data.stream(32), 5)])
    torch.testing.assert_close(measured[0][0], vectors.mean(0))
    torch.testing.assert_close(measured[0][1], vectors.std(0).clamp(min=1e-4))


def test_features_without_the_vector_that_is_wanted_are_refused(roots, conditioner, clip_folder, tmp_path):
    samples, latents = roots
    stored_tokens = ImageSource(ClipImageEncoder(str(clip_folder)), D, vector=False)
    embed_shards(samples, Conditioner({"clip_image": stored_tokens}))
    stages = {"latent": Latent(), "labels": Labels(), "view": StoredFeatures(str(samples), ["clip_image"])}
    directory = StageDirectory.of("diffusion", tmp_path, {})
    with pytest.raises(UserError, match="vector"):
        measure_vectors(ShardDataModule(latents, stages, 2), conditioner, directory, CPU)


def test_training_on_stored_features_loads_no_encoder(roots, conditioner, model):
    samples, latents = roots
    embed_shards(samples, conditioner)
    for source in conditioner.sources.values():
        vars(source.encoder).pop("network")
    (batch,) = batches(latents, StoredFeatures(str(samples), ["clip_text", "clip_image"]), count=1)
    loss(model, batch, conditioner(conditioner.embed(batch))).mean().backward()
    assert not any("network" in vars(source.encoder) for source in conditioner.sources.values())


def test_every_caption_of_every_language_and_every_view_is_there(roots, conditioner):
    samples, _ = roots
    embed_shards(samples, conditioner)
    for word in WORDS:
        texts = KeyedShards(embedding_folder(samples, "clip_text")).read(f"{word}_0")
        views = KeyedShards(embedding_folder(samples, "clip_image")).read(f"{word}_0")
        wanted = [f"a {word}", f"a small {word} with four legs", f"klein {word}", f"le {word}"]
        assert texts["meta.json"]["rows"] == wanted == captions_of(texts["meta.json"])
        assert views["meta.json"]["rows"] == [0, 1, 2]
        assert (len(texts["vector.npy"]), len(views["tokens.npy"])) == (4, 3)


def test_only_what_a_source_offers_is_stored(roots, clip_folder):
    samples, _ = roots
    text = TextSource(ClipTextEncoder(str(clip_folder)), D, tokens=False)
    embed_shards(samples, Conditioner({"text": text}))
    assert set(KeyedShards(embedding_folder(samples, "text")).read("sink_0")) == {"meta.json", "vector.npy"}


def test_the_data_s_own_shards_stay_untouched(roots, conditioner):
    samples, _ = roots
    before = {path.name: path.read_bytes() for path in samples.iterdir()}
    embed_shards(samples, conditioner)
    assert {path.name: path.read_bytes() for path in samples.iterdir() if path.is_file()} == before


def test_embedding_again_changes_nothing_and_goes_on_where_it_stopped(roots, conditioner, monkeypatch):
    samples, _ = roots
    embed_shards(samples, conditioner, ["clip_text"], samples_per_shard=2)
    folder = Path(embedding_folder(samples, "clip_text"))
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "train-000001.tar").unlink()
    encoded = []
    text = conditioner.sources["clip_text"]
    embed = text.embed
    monkeypatch.setattr(text, "embed", lambda values, device: encoded.extend(values) or embed(values, device))
    embed_shards(samples, conditioner, ["clip_text"], samples_per_shard=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert not any("armchair" in caption or "bathtub" in caption for caption in encoded)


def test_features_of_another_encoder_are_refused(roots, conditioner, clip_folder, tmp_path):
    samples, latents = roots
    embed_shards(samples, conditioner, ["clip_text"])
    (batch,) = batches(latents, StoredFeatures(str(samples), ["clip_text"]), count=1)
    conditioner.embed(batch, ["clip_text"])
    penultimate = Conditioner({"clip_text": TextSource(ClipTextEncoder(str(clip_folder), "penultimate"), D)})
    with pytest.raises(UserError, match=r"another encoder than conditioner\.parts\.clip_text \(layer: last there"):
        penultimate.embed(batch)
    other = shutil.copytree(clip_folder, tmp_path / "other")
    config = other / "config.json"
    config.write_text(config.read_text() + "\n")
    altered = Conditioner({"clip_text": TextSource(ClipTextEncoder(str(other)), D)})
    with pytest.raises(UserError, match=r"weights: \w+ there, \w+ here"):
        altered.embed(batch)
    with pytest.raises(UserError, match=r"remove the embeddings/clip_text of the data to embed them again"):
        embed_shards(samples, penultimate, ["clip_text"])
    advice = f"`python prepare.py embed=clip_image shards={samples}`"
    with pytest.raises(UserError, match=f"there is no manifest; run {advice}"):
        batches(latents, StoredFeatures(str(samples), ["clip_image"]), count=1)


def test_what_is_missing_is_embedded_and_what_is_another_s_refused(roots, conditioner, clip_folder):
    samples, latents = roots
    stages = Latent(), StoredFeatures(str(samples), ["clip_text"])
    embed_once(stages, conditioner, CPU)
    folder = Path(embedding_folder(samples, "clip_text"))
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    embed_once(stages, conditioner, CPU)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    conditioner.embed(batches(latents, stages[1], count=1)[0], ["clip_text"])
    penultimate = Conditioner({"clip_text": TextSource(ClipTextEncoder(str(clip_folder), "penultimate"), D)})
    with pytest.raises(UserError, match="another encoder"):
        embed_once(stages, penultimate, CPU)


def test_features_of_data_that_were_made_anew_are_refused(roots, conditioner):
    samples, latents = roots
    embed_shards(samples, conditioner, ["clip_text"])
    manifest = read_manifest(samples)
    write_manifest(samples, SAMPLE, {"seed": 1}, manifest.shards)
    with pytest.raises(UserError, match="was made from other data"):
        embed_once([StoredFeatures(str(samples), ["clip_text"])], conditioner, CPU)
    with pytest.raises(UserError, match="was made from other data"):
        batches(latents, StoredFeatures(str(samples), ["clip_text"]), count=1)


def test_the_manifest_says_what_was_embedded_by_what(roots, conditioner):
    samples, _ = roots
    written = embed_shards(samples, conditioner, ["clip_image"])["clip_image"]
    read = read_manifest(embedding_folder(samples, "clip_image"))
    assert read == written
    assert read.extra["fingerprint"] == conditioner.fingerprint()["clip_image"]
    assert read.extra["data"] == read_manifest(samples).fingerprint


def test_views_need_sample_shards(roots, conditioner):
    with pytest.raises(UserError, match="latent shards without views"):
        embed_shards(roots[1], conditioner, ["clip_image"])


def test_a_caption_that_was_never_embedded_is_named(roots, conditioner):
    samples, _ = roots
    embed_shards(samples, conditioner, ["clip_text"])
    stage = StoredFeatures(str(samples), ["clip_text"])
    with pytest.raises(UserError, match="no features of the caption 'a spaceship'"):
        stage({"__key__": "sink_0", "caption": "a spaceship"}, np.random.default_rng(0))
    with pytest.raises(UserError, match="comes after a transform that draws the caption"):
        stage({"__key__": "sink_0"}, np.random.default_rng(0))
    with pytest.raises(UserError, match="has no sample 'chair_9'"):
        stage({"__key__": "chair_9"}, np.random.default_rng(0))


def test_all_views_and_captions_are_drawn_and_draws_repeat(roots, conditioner):
    samples, latents = roots
    embed_shards(samples, conditioner)
    stages = View(str(samples)), StoredFeatures(str(samples), ["clip_image"])
    drawn, again = (batches(latents, Labels(["en", "de"]), *stages, count=40) for _ in range(2))
    pictures = {picture.tobytes() for batch in drawn for picture in batch["image"].numpy()}
    assert len(pictures) == 4 * VIEWS
    captions = [caption for batch in drawn for caption in batch["caption"]]
    assert {caption.split()[0] for caption in captions} == {"a", "klein"}
    share = sum(caption.startswith("klein") for caption in captions) / len(captions)
    assert 0.3 < share < 0.7  # each language as likely as the other, though English has two captions
    assert captions == [caption for batch in again for caption in batch["caption"]]
    for first, second in zip(drawn, again, strict=True):
        assert torch.equal(first["image"], second["image"])


def test_worker_processes_read_the_same(roots, conditioner):
    samples, latents = roots
    embed_shards(samples, conditioner)
    stage = StoredFeatures(str(samples), ["clip_text", "clip_image"])
    here, there = (batches(latents, stage, count=3, workers=workers) for workers in (0, 1))
    for first, sent in zip(here, there, strict=True):
        second = move_data_to_device(sent, torch.device("cpu"))
        for one, two in zip(first["features"], second["features"], strict=True):
            for name in one:
                first_row, second_row = one[name].arrays, two[name].arrays
                assert all(np.array_equal(first_row[field], second_row[field]) for field in first_row)


def test_stored_texts_are_those_of_the_drawn_language(roots, conditioner):
    samples, latents = roots
    embed_shards(samples, conditioner, ["clip_text"])
    named = {"latent": Latent(), "labels": Labels(["de"]), "features": StoredFeatures(str(samples), ["clip_text"])}
    batch = next(iter(ShardDataModule(latents, named, 2).train_dataloader()))
    assert all(caption.startswith("klein") for caption in batch["caption"])
    ahead, now = (conditioner.embed(held, ["clip_text"]) for held in (batch, {"caption": batch["caption"]}))
    assert torch.equal(ahead["clip_text"].vector, now["clip_text"].vector)


def test_the_entry_embeds_what_it_is_told(roots, clip_folder):
    samples, _ = roots
    sources = ["+conditioner=all", f"conditioner.clip={clip_folder}", "+engine=local", "engine.workers=1"]
    with initialize_config_dir(str(Path(__file__).parents[2] / "configs"), version_base="1.3"):
        config = compose(overrides=[*sources, "+embed=[clip_text,clip_image]", f"+shards={samples}", "+device=cpu"])
    run_embedding(config)
    assert {path.name for path in (samples / "embeddings").iterdir()} == {"clip_text", "clip_image"}
    by_hand = Conditioner({"clip_image": ImageSource(ClipImageEncoder(str(clip_folder)), D, lights=1)})
    fingerprint = read_manifest(embedding_folder(samples, "clip_image")).extra["fingerprint"]
    assert fingerprint == by_hand.fingerprint()["clip_image"]
    for embed, shards, sentence in (
        ("class", "x", "need no encoder"),
        ("sound", "x", r"conditioner\.sources names sound"),
        ("clip_text", str(samples / "nowhere"), "there is no manifest"),
    ):
        with pytest.raises(UserError, match=sentence):
            run_embedding(OmegaConf.merge(config, {"embed": embed, "shards": shards}))

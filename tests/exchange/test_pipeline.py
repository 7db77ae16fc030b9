"""A whole pipeline of diffusers becomes a run that samples alike, and the run becomes that pipeline again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import HeunDiscreteScheduler, PriorTransformer, ShapEPipeline
from diffusers.pipelines.shap_e.renderer import ShapERenderer
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.conditioning.conftest import clip_folder  # noqa: F401 (a fixture)
from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModel

from fieldforge.errors import UserError
from fieldforge.exchange.cube_tables import cube_tables
from fieldforge.exchange.shap_e_files import find_files, is_foreign
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.export import run_export
from fieldforge.runs.foreign_models import local_run
from fieldforge.runs.sample import run_sampling
from fieldforge.stages.diffusion_stage import load_diffusion

HIDDEN, TOKENS, CHANNELS, WIDTH, CLIP = 4, 16, 6, 16, 24
SCHEDULE: dict[str, Any] = {"beta_schedule": "exp", "num_train_timesteps": 1024, "prediction_type": "sample"}
SCHEDULE |= {"use_karras_sigmas": True, "clip_sample": True, "clip_sample_range": 1.0}


@pytest.fixture(scope="module")
def pipeline(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    torch.manual_seed(0)
    prior = PriorTransformer(num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=CHANNELS,
                             num_embeddings=TOKENS, additional_embeddings=0, time_embed_act_fn="gelu",
                             norm_in_type="layer", encoder_hid_proj_type=None, added_emb_type=None,
                             time_embed_dim=4 * WIDTH, embedding_proj_dim=CLIP,
                             clip_embed_dim=2 * CHANNELS)  # fmt: skip
    shapes = ((HIDDEN, 93), *[(HIDDEN, HIDDEN)] * 3)
    renderer = ShapERenderer(param_shapes=shapes, d_latent=CHANNELS, d_hidden=HIDDEN, background=(0.0, 0.0, 0.0))
    for parameter in [*prior.parameters(), *renderer.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.zeros_(renderer.void.background)
    torch.nn.init.zeros_(prior.clip_mean)
    torch.nn.init.zeros_(prior.clip_std)
    renderer.mesh_decoder.cases, renderer.mesh_decoder.masks = cube_tables()
    folder = tmp_path_factory.mktemp("pipeline")
    pipe = ShapEPipeline(prior, CLIPTextModelWithProjection.from_pretrained(clip_folder),
                         AutoTokenizer.from_pretrained(clip_folder), HeunDiscreteScheduler(**SCHEDULE),
                         renderer)  # fmt: skip
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return local_run(f"diffusers:{pipeline}", str(tmp_path_factory.mktemp("outputs")))


def latents_of(pipe: ShapEPipeline, prompt: str, noise: torch.Tensor, steps: int, scale: float) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    return pipe(prompt, num_inference_steps=steps, guidance_scale=scale, latents=noise.flatten(1),
                output_type="latent").images  # fmt: skip


def test_a_run_samples_as_the_pipeline_does(pipeline, run):
    pipe = ShapEPipeline.from_pretrained(pipeline)
    noise = torch.randn(1, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(3))
    theirs = latents_of(pipe, "a red ball", noise, 6, 3.0)
    spacing = {"sigma_min": 0.10857, "sigma_max": 404.0}
    generator, autoencoder, _ = load_diffusion(
        run / "model.ckpt", OmegaConf.create({"sampler": {"steps": 6, "spacing": spacing}})
    )
    assert not autoencoder.latent_mean.any()
    ours = generator.draw(generator.steering({"caption": ["a red ball"]}, 1, 3.0), noise, [0])
    assert theirs.std() > 0.2
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_a_prompt_becomes_files_of_both_renderings(run, tmp_path):
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        config = compose("sample", [f"run={run}", "prompt=a red ball", "n=1", "steps=2", f"output={tmp_path / 'out'}",
                                    "resolution=16", "hydra.searchpath=[file://" + str(CONFIGS) + "]"])  # fmt: skip
    page = run_sampling(config)
    [entry] = json.loads((page.parent / "samples.json").read_text())["samples"]
    assert (page.parent / entry["radiance"]).stat().st_size > 0


def export(run, folder) -> None:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        places = [f"run={run}", f"output={folder / 'back'}", f"output_dir={folder}"]
        run_export(compose("export", ["format=diffusers", *places]))


def test_the_run_becomes_the_pipeline_again_bit_for_bit(pipeline, run, tmp_path):
    export(run, tmp_path)
    first, second = ShapEPipeline.from_pretrained(pipeline), ShapEPipeline.from_pretrained(tmp_path / "back")
    for part in ("prior", "text_encoder"):
        theirs, again = (getattr(pipe, part).state_dict() for pipe in (first, second))
        assert theirs.keys() == again.keys()
        assert all(torch.equal(again[name], value) for name, value in theirs.items()), part
    noise = torch.randn(1, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(3))
    theirs, again = (latents_of(pipe, "a blue ball", noise, 2, 15.0) for pipe in (first, second))
    assert torch.equal(theirs, again)
    theirs, again = (pipe.shap_e_renderer.state_dict() for pipe in (first, second))
    assert theirs.keys() == again.keys()
    overwritten = {f"mlp.mlp.{number}.weight" for number in range(4)}  # by every latent
    assert all(torch.equal(again[name], value) for name, value in theirs.items() if name not in overwritten)


def test_a_pipeline_from_pictures_becomes_a_run_and_comes_back(clip_folder, tmp_path):  # noqa: F811
    torch.manual_seed(1)
    prior = PriorTransformer(num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=CHANNELS,
                             num_embeddings=TOKENS, additional_embeddings=0, time_embed_act_fn="gelu",
                             norm_in_type="layer", embedding_proj_norm_type="layer", encoder_hid_proj_type=None,
                             added_emb_type=None, time_embed_dim=4 * WIDTH, embedding_proj_dim=32,
                             clip_embed_dim=2 * CHANNELS)  # fmt: skip
    shapes = ((HIDDEN, 93), *[(HIDDEN, HIDDEN)] * 3)
    prior.save_pretrained(tmp_path / "pipe" / "prior")
    ShapERenderer(param_shapes=shapes, d_latent=CHANNELS, d_hidden=HIDDEN).save_pretrained(
        tmp_path / "pipe" / "shap_e_renderer"
    )
    CLIPVisionModel.from_pretrained(clip_folder).save_pretrained(tmp_path / "pipe" / "image_encoder")
    (tmp_path / "pipe" / "image_processor").mkdir()
    shutil.copy(clip_folder / "preprocessor_config.json", tmp_path / "pipe" / "image_processor")
    run = local_run(f"diffusers:{tmp_path / 'pipe'}", str(tmp_path))
    assert run.parent.name == "shap_e_image"
    generator, _, _ = load_diffusion(run / "model.ckpt", OmegaConf.create({"sampler": {"steps": 2}}))
    picture = torch.randint(0, 255, (1, 32, 32, 4), dtype=torch.uint8)
    free, guided = (generator({"image": picture}, [5], scale=scale) for scale in (0.0, 3.0))
    assert guided.isfinite().all()
    assert not torch.equal(free, guided)
    export(run, tmp_path)
    again = PriorTransformer.from_pretrained(tmp_path / "back" / "prior").state_dict()
    zeros = ("clip_mean", "clip_std")  # random numbers that no pipeline reads
    assert all(torch.equal(again[name], value) for name, value in prior.state_dict().items() if name not in zeros)
    index = json.loads((tmp_path / "back" / "model_index.json").read_text())
    assert index["_class_name"] == "ShapEImg2ImgPipeline"
    assert index["image_encoder"] == ["transformers", "CLIPVisionModel"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("openai:{folder}", "must hold text_cond.pt or image_cond.pt and transmitter.pt or vector_decoder.pt"),
        ("diffusers:{folder}", "holds no folder prior"),
        ("diffusers:nobody/nothing", "cannot be downloaded"),
    ],
)
def test_what_is_missing_is_one_sentence(word, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=sentence) as refusal:
        find_files(word.format(folder=tmp_path))
    assert "\n" not in str(refusal.value)


def test_only_words_of_others_are_foreign(tmp_path, monkeypatch):
    assert all(is_foreign(word) for word in ("openai:x", "diffusers:x", "openai/shap-e", "openai/shap-e-img2img"))
    assert not any(is_foreign(word) for word in ("pretrained", "outputs/shap_e_text/1", "openai/whisper"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai" / "shap-e").mkdir(parents=True)
    assert not is_foreign("openai/shap-e"), "a folder of that name is meant first"

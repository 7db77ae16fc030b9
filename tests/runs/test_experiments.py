"""Every experiment composes, its blocks are sound, and it takes two steps on tiny data in each stage."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tests.conditioning.conftest import large_clip_folder  # noqa: F401 (a fixture)
from tests.data.clip_shards import write_small_clips

from fieldforge.configuration.build import check
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.planning import rehearsal
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.step import try_step
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import check_training, run_training
from fieldforge.stages.denoiser_parts import build_module
from fieldforge.stages.training_run import seeded

pytestmark = pytest.mark.rehearsal
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
STEPS = ("batch_size=2", "budget.max_steps=2", "budget.max_minutes=null")
SHORT = ["monitor.validation_batches=1", "trainer.accelerator=cpu"]
SEEN = ["data.num_workers=0", "data.heldout_batch_size=2", "monitor.pictures={count:1,size:8,resolution:4}"]
SHAPES = [
    "data.transforms.surface.points=128",
    "data.transforms.distances.near=64",
    "data.transforms.distances.volume=64",
    "data.transforms.rays.rays=16",
    "domain.points=128",
]
OF_ALL = ("data.transforms.surface.points=128", "domain.points=128")  # whatever a phase changes
PICTURED = ["autoencoder.encoder.pixels=32", "phases.mesh.autoencoder_loss.cells=16"]
PICTURES = ["domain.size=16", "data.transforms.pixels.size=16", "data.augment.size=16"]
EMOJI, SOME = CONFIGS.parent / "data" / "emoji_64", ("train-000001", "heldout-000000")
CLIPS = ["domain.size=16", "domain.frames=4", "data.transforms.clip.count=3", "phases.frames.domain.size=16"]
NARROW = [
    "backbone.width=32",
    "backbone.heads=2",
    "sampler.steps=2",
    "monitor.pictures.steps=2",
    "monitor.pictures.seeds=1",
]


def small(experiment: str, balls: Path) -> list[str]:
    """What an experiment takes two steps on: prepared balls, or the embedded pictures."""
    config = composed(experiment)
    stages, phases = config.stages, config.phases
    blocks = [f"phases.{stage}.training" if stage in phases else f"training.{stage}" for stage in stages]
    steps = [f"{block}.{setting}" for block in blocks if block != "training.latents" for setting in STEPS]
    flat = ["backbone.layers=1"] if config.get("backbone") else []
    waits = ["latent_data.num_workers=0"] if "latents" in stages or "prior" in stages else []
    words = [*SHORT, *steps, *flat, *waits]
    if experiment == "image_to_mesh":  # its rays come after the views that it is given
        seen = [word.replace("transforms.rays", "transforms.target_rays") for word in SHAPES]
        return [*words, *SEEN, *seen, *PICTURED, f"data.root={balls}"]
    if experiment.startswith("image_"):
        # Super-resolution finds its small pictures by a sample's key, which it looks for in one folder.
        some = EMOJI if experiment == "image_upscale" else f"[{','.join(f'{EMOJI}/{name}.tar' for name in SOME)}]"
        return [*words, *SEEN, *PICTURES, f"data.root={some}"]
    if "domain" in config and config.domain._target_.endswith(".ClipDomain"):
        clips = balls.parent / "clips"
        root = clips if clips.exists() else write_small_clips(clips)
        turn = ["domain.directions=orbit"] if experiment == "six_views" else []  # of the embedded clips
        return [*words, *SEEN, *CLIPS, *turn, *(NARROW if flat else []), f"data.root={root}"]
    shapes = [f"phases.sparse.{size}" if "sparse" in phases and size not in OF_ALL else size for size in SHAPES]
    return [*words, *([] if "prior" in stages else SEEN + shapes), f"data.root={balls}"]


def composed(experiment: str, *overrides: str) -> DictConfig:
    return deepcopy(kept(experiment)) if not overrides else kept.__wrapped__(experiment, *overrides)


@cache
def kept(experiment: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", [f"experiment={experiment}", *overrides])


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_composes_and_opens_with_its_command(experiment):
    config = composed(experiment)
    check(config)
    assert config.name == experiment
    text = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text()
    assert f"python train.py experiment={experiment}" in text.split("defaults:")[0]


FEW = ["autoencoder.encoder.tokens=64", "autoencoder.encoder.training_tokens=[32,64]"]
FLAT = ["autoencoder.encoder.layers=1", "backbone.layers=1"]  # all layers are alike
BRIEF = "stages=[autoencoder,latents,diffusion]"  # shap_e_scale has the phases
CLIP = ["conditioner.clip={clip}", BRIEF, *FLAT, "training.autoencoder.batch_size=4", "training.diffusion.batch_size=8"]
PLANNED = {  # too large for steps in a test
    "shap_e_scale": [*FLAT, "training.autoencoder.batch_size=2"],  # each sample's neighbourhoods are read apart
    "shap_e_text": CLIP,
    "shap_e_image": CLIP,
    "vector_set_scale": [*FEW, *FLAT, "autoencoder.decoder.layers=1"],  # tokens are found one by one
}
WATCHED = [
    "clip_latent",
    "clip_prior",
    "distill",
    "furniture_autoencoder",
    "image_latent",
    "image_to_mesh",
    "image_upscale",
    "latent_classifier",
    "shap_e_small",
    "shape_autoencoder",
    "shape_latent_image",
]
"""Each kind of stage, domain, condition and level once; test_reads.py trains them."""
# one wants a teacher, two are trained by test_default_designs.py and test_reconstructor.py, one starts from pretrained/
# two are parts of others
ELSEWHERE = ["distill", "furniture_latent", "image_to_mesh", "fine_tune", "clip_autoencoder", "sparse_latent"]
LARGER = {"planes_autoencoder": "shape_autoencoder", "planes_latent": "shape_latent"}
SIZES = {"shap_e_text": 315_692_032, "shap_e_image": 315_956_224}
LED = {"furniture_latent_class": "shape_latent_class", "furniture_latent_image": "shape_latent_image"}
LED_OTHERWISE = {"furniture_latent_all": "furniture_latent", "image_latent_class": "image_latent"}
TRAINED = [name for name in EXPERIMENTS if name not in (*ELSEWHERE, *PLANNED, *LARGER, *LED, *LED_OTHERWISE)]


@pytest.mark.parametrize("experiment", PLANNED)
def test_large_experiment_takes_its_steps_without_values(
    experiment,
    balls,
    tmp_path,
    large_clip_folder,  # noqa: F811
    monkeypatch,
):
    words = [word.format(clip=large_clip_folder) for word in PLANNED[experiment]]
    config = composed(experiment, *words, f"data.root={balls}", f"output_dir={tmp_path}/outputs")
    ended = []
    monkeypatch.setattr(rehearsal, "try_step", lambda *work: ended.append(try_step(*work)))
    check_training(config)
    assert len(ended) == len([stage for stage in config.stages if stage != "latents"])  # none was given up on the way
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(("experiment", "count"), SIZES.items())
def test_the_denoiser_has_the_size_of_the_published_weights(experiment, count, large_clip_folder):  # noqa: F811
    config = composed(experiment, f"conditioner.clip={large_clip_folder}")
    with without_values():
        conditioner = seeded(config, "conditioner")
        model = build_module(config, "diffusion", LatentShape(1024, 1024), conditioner).model
    assert sum(parameter.numel() for parameter in model.backbone.parameters()) == count
    assert not conditioner.state_dict()


def test_text_and_picture_differ_in_what_they_read_alone():
    text, image = blocks("shap_e_text"), blocks("shap_e_image")
    differing = {"backbone", "conditioner", "latent_data", "monitor"}
    assert {key for key in text if text[key] != image[key]} == differing
    assert {**text["backbone"], "heads": 8, "reads": "tokens"} == image["backbone"]


@pytest.mark.parametrize("experiment", [name for name in TRAINED if name not in WATCHED])
def test_experiment_takes_two_steps(experiment, balls, tmp_path):
    config = composed(experiment, *small(experiment, balls), f"output_dir={tmp_path}")
    done = run_training(config)
    assert set(done) == set(config.stages) - {"latents"}
    assert all(stage.finished for stage in done.values())


BOX = f"init_from={CONFIGS.parent}/pretrained/shapes"


def test_the_weights_in_the_box_are_those_that_fine_tune_starts_at():
    check_training(composed("fine_tune", BOX))


def test_the_autoencoder_in_the_box_is_trained_on_with_its_own_field(balls):
    own = ["furniture_autoencoder", BOX, "stages=[autoencoder]", f"data.root={balls}"]
    check_training(composed(*own))
    with pytest.raises(UserError, match="band differ: give a model of the same design"):
        check_training(composed(*own, "autoencoder.base.field._target_=fieldforge.fields.quadric_field.QuadricField"))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.precision=float99", "do not fit"),
        ("trainer.accelerator=abacus", "trainer.accelerator = 'abacus' is not one of auto, cpu, gpu, cuda, mps"),
        ("training.diffusion.budget.max_minutes=-3", "budget.max_minutes = -3"),
        ("seed=-1", "seed = -1"),
        ("data.root=/nowhere", "/nowhere"),
        ("stages=[diffusion]", "needs autoencoder and latents before it"),
        ("autoencoder.encoder.width=wide", "autoencoder.encoder.width = 'wide' is not a whole number"),
        ("+backbone.colour=1", "unknown config key backbone.colour"),
    ],
)
def test_impossible_settings_are_one_sentence_before_training(override, sentence, balls, tmp_path):
    with pytest.raises(UserError) as mistake:
        run_training(composed("shape_latent", *small("shape_latent", balls), f"output_dir={tmp_path}", override))
    assert sentence in str(mistake.value)
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(("large", "small"), LARGER.items())
def test_planes_on_all_furniture_differ_from_the_small_experiment_in_data_and_time_only(large, small):
    assert blocks(large) == blocks(small)


@pytest.mark.parametrize(("large", "small"), LED.items())
def test_what_leads_compact_latents_is_what_leads_the_small_experiment(large, small):
    led, plain, led_small, plain_small = map(blocks, (large, "furniture_latent", small, "shape_latent"))
    assert led["conditioner"] == led_small["conditioner"]
    assert {key for key in led if led[key] != plain[key]} == {"conditioner", "latent_data"} & {
        key for key in led_small if led_small[key] != plain_small[key]
    }


@pytest.mark.parametrize(("led", "plain"), LED_OTHERWISE.items())
def test_what_leads_alone_differs(led, plain):
    one, other = blocks(led), blocks(plain)
    differing = {key for key in one if one[key] != other[key]}
    assert "conditioner" in differing <= {"conditioner", "latent_data"}


def blocks(experiment: str) -> dict[str, Any]:
    """An experiment's configuration but for names, places and budgets."""
    parts = OmegaConf.to_container(composed(experiment))
    for stage in parts["training"].values():
        stage.pop("budget", None)  # (latents take no steps)
    del parts["name"], parts["autoencoder_name"], parts["data"]["root"]
    return parts

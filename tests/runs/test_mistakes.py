"""Mistakes in values, at all four commands: each is a sentence that names its key, before anything is made."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from tests.runs.conftest import ROOT, Place

from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.prepare import run_preparation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import check_training

pytestmark = pytest.mark.rehearsal
TRAINING = [
    ("seed=1e30", "seed"),
    ("seed=-1", "seed"),
    ("seed=100000000000000000000", "seed"),
    ("seed=1.5", "seed"),
    ("seed=true", "seed"),
    ("seed=null", "seed"),
    ("name=''", "name"),
    ("name=' '", "name"),
    ("name=../../escape", "name"),
    ("name=/tmp/escape", "name"),
    ("name=..", "name"),
    ("name=a//b", "name"),
    ("name=a/../b", "name"),
    ("autoencoder_name=../other", "autoencoder_name"),
    ("output_dir=''", "output_dir"),
    ("stages=[]", "stages"),
    ("stages=autoencoder", "stages"),
    ("autoencoder_run=/nowhere", "autoencoder_run"),
    ("training.autoencoder.optimizer.lr=-1", "training.autoencoder.optimizer.lr"),
    ("training.autoencoder.optimizer.lr=fast", "training.autoencoder.optimizer.lr"),
    ("training.autoencoder.optimizer.lr=nan", "training.autoencoder.optimizer.lr"),
    ("training.autoencoder.optimizer.lr=inf", "training.autoencoder.optimizer.lr"),
    ("training.autoencoder.optimizer.lr=null", "training.autoencoder.optimizer.lr"),
    ("training.autoencoder.optimizer.weight_decay=-1", "training.autoencoder.optimizer.weight_decay"),
    ("training.autoencoder.optimizer.betas=[0.9]", "training.autoencoder.optimizer.betas"),
    ("training.autoencoder.optimizer.betas=[0.9,1.5]", "training.autoencoder.optimizer.betas"),
    ("training.autoencoder.optimizer.betas=0.9", "training.autoencoder.optimizer.betas"),
    ("training.autoencoder.optimizer.betas=[a,b]", "training.autoencoder.optimizer.betas"),
    ("training.autoencoder.optimizer.fused=false", "training.autoencoder.optimizer"),
    ("training.diffusion.optimizer.lr=-1", "training.diffusion.optimizer.lr"),
    ("training.diffusion.optimizer.weight_decay=heavy", "training.diffusion.optimizer.weight_decay"),
    ("+training.diffusion.optimizer.eps=-1", "training.diffusion.optimizer.eps"),
    ("training.diffusion.batch_size=0", "training.diffusion.batch_size"),
    ("training.diffusion.batch_size=2.5", "training.diffusion.batch_size"),
    ("training.diffusion.batch_size=many", "training.diffusion.batch_size"),
    ("training.autoencoder.batch_size=-3", "training.autoencoder.batch_size"),
    ("training.diffusion.budget.max_steps=0", "training.diffusion.budget.max_steps"),
    ("training.diffusion.budget.max_minutes=nan", "training.diffusion.budget.max_minutes"),
    ("training.diffusion.budget.warmup_steps=-1", "training.diffusion.budget.warmup_steps"),
    ("training.diffusion.budget.final_rate=2", "training.diffusion.budget.final_rate"),
    ("training.diffusion.gradients.max_norm=-1", "training.diffusion.gradients.max_norm"),
    ("training.diffusion.ema.decay.std=3", "training.diffusion.ema.decay"),
    ("trainer.devices=0", "trainer.devices"),
    ("trainer.devices=-1", "trainer.devices"),
    ("trainer.devices=some", "trainer.devices"),
    ("trainer.num_nodes=0", "trainer.num_nodes"),
    ("trainer.accumulate=3", "training.autoencoder.batch_size"),
    ("trainer.accumulate=0", "trainer.accumulate"),
    ("trainer.precision=float99", "trainer"),
    ("trainer.accelerator=abacus", "trainer.accelerator"),
    ("trainer.accelerator=tpu", "trainer.accelerator"),
    ("trainer.matmul=sometimes", "trainer.matmul"),
    ("trainer.strategy=hope", "trainer.strategy"),
    ("trainer.max_hours=-1", "trainer.max_hours"),
    ("trainer.timeout_minutes=0", "trainer.timeout_minutes"),
    ("data.root=/nowhere", "/nowhere"),
    ("data.root=''", "data.root=: names no place"),
    ("data.num_workers=-1", "data.num_workers"),
    ("data.heldout_batch_size=0", "data.heldout_batch_size"),
    ("data.on_bad_shard=ignore", "data.on_bad_shard"),
    ("data.mixing.slots=0", "data.mixing.slots"),
    ("data.transforms.surface.points=0", "data.transforms.surface.points"),
    ("data.transforms.rays.object_share=2", "data.transforms.rays.object_share"),
    ("data.transforms.distances.near=-5", "data.transforms.distances.near"),
    ("data.transforms.rays=null", "data"),
    ("+data.prefetch_batches=0", "data.prefetch_batches"),
    ("latent_data.num_workers=-1", "latent_data.num_workers"),
    ("domain.points=0", "domain.points"),
    ("domain.points=all", "domain.points"),
    ("domain.points=1000001", "domain.points"),
    ("callbacks.checkpoints.every_steps=0", "callbacks.checkpoints.every_steps"),
    ("callbacks.checkpoints.every_minutes=-1", "callbacks.checkpoints.every_minutes"),
    ("callbacks.checkpoints.keep=0", "callbacks.checkpoints.keep"),
    ("callbacks.pictures.every_minutes=-1", "callbacks.pictures.every_minutes"),
    ("callbacks.recovery.window=0", "callbacks.recovery"),
    ("callbacks.recovery.spike=0.5", "callbacks.recovery.spike"),
    ("+callbacks.mine._target_=no.such.Callback", "callbacks.mine._target_"),
    ("monitor.log_every=0", "monitor.log_every"),
    ("monitor.validate_every=0", "monitor.validate_every"),
    ("monitor.validation_batches=-1", "monitor.validation_batches"),
    ("monitor.pictures.resolution=1", "monitor.pictures.resolution"),
    ("monitor.pictures.resolution=100000", "monitor.pictures.resolution"),
    ("monitor.pictures.size=0", "monitor.pictures.size"),
    ("monitor.pictures.count=0", "monitor.pictures.count"),
    ("autoencoder.encoder.tokens=0", "autoencoder.encoder.tokens"),
    ("autoencoder.encoder.tokens=1000000000000", "autoencoder.encoder.tokens"),
    ("autoencoder.encoder.width=1000000", "autoencoder"),
    ("autoencoder.encoder.heads=3", "autoencoder.encoder"),
    ("autoencoder.encoder.layers=-1", "autoencoder.encoder.layers"),
    ("autoencoder.field.generated=9", "autoencoder.field"),
    ("autoencoder.bottleneck.noised=1.5", "autoencoder.bottleneck.noised"),
    ("autoencoder_loss.coarse_samples=0", "autoencoder_loss.coarse_samples"),
    ("autoencoder_loss.clamp=0", "autoencoder_loss.clamp"),
    ("autoencoder_loss.color=-1", "autoencoder_loss.color"),
    ("backbone.group=3", "backbone"),
    ("backbone.heads=3", "backbone"),
    ("backbone.heads=0", "backbone.heads"),
    ("backbone.layers=-1", "backbone.layers"),
    ("backbone.width=0", "backbone.width"),
    ("conditioner.drop_all=2", "conditioner.drop_all"),
    ("conditioner.sources=[smell]", "conditioner.sources"),
    ("process.rate=-1", "process.rate"),
    ("sampler.steps=0", "sampler.steps"),
    ("sampler.steps=100001", "sampler.steps"),
]


SAMPLING = [
    *(("n=0", "n"), ("n=many", "n"), ("batch_size=0", "batch_size"), ("seed=-1", "seed"), ("seed=1e30", "seed")),
    *(
        ("to_seed=x", "to_seed"),
        ("resolution=100000", "resolution"),
        ("resolution=1", "resolution"),
    ),
    *(("steps=0", "steps"), ("steps=nan", "steps"), ("frames=1", "frames"), ("ema_length=long", "ema_length")),
    *(("strength=nan", "strength"), ("guidance.scale=nan", "guidance.scale"), ("guidance.text=much", "guidance.text")),
    *(("guidance.rescale=2", "guidance.rescale"), ("guidance.interval=3", "guidance.interval")),
    *(("guidance.scale=inf", "guidance.scale"), ("guidance.negative=''", "guidance.negative")),
    *(("prior_guidance=2", "prior_guidance"), ("remove_background=perhaps", "remove_background"), ("run=''", "run")),
    *(("strength=0.5", "strength"), ("run=/nowhere", "run=/nowhere")),
    *(("guidance.interval=[5,1]", "guidance.interval"), ("guidance.interval=[true,5]", "guidance.interval")),
    *(
        ("guidance.interval=[-1,5]", "guidance.interval"),
        ("ema_length=-1", "ema_length"),
        ("ema_length=0", "ema_length"),
    ),
    *(("class=[[a,b]]", "class"), ("image={a:1}", "image"), ("steps=100001", "steps"), ("n=1000001", "n")),
    *(("guidance=null", "guidance"), ("to_seed=0", "to_seed"), ("output=''", "output"), ("prompts=' '", "prompts")),
    *(("remove_background=true", "remove_background"), ("class=[]", "class"), ("+guidance.foo=1", "guidance.foo")),
]
EVALUATION = [
    *(("limit=0", "limit"), ("ema_length=nan", "ema_length"), ("prompts.seeds=[]", "prompts.seeds")),
    *(("prompts.seeds=[-1]", "prompts.seeds"), ("prompts.count=0", "prompts.count")),
    *(("prompts.guidance=[nan]", "prompts.guidance"), ("prompts.judged_guidance=9", "prompts.judged_guidance")),
    *(("prompts.resolution=100000", "prompts.resolution"), ("images.heldout=0", "images.heldout")),
    *(
        ("images.guidance=high", "images.guidance"),
        ("reconstruction.picture_size=1000000", "reconstruction.picture_size"),
    ),
    *(("reconstruction.picture_size=inf", "reconstruction.picture_size"), ("run=/nowhere", "run=/nowhere")),
    *(("data_root=[]", "data_root"), ("data_root=''", "data_root"), ("data_root=[[a]]", "data_root")),
    *(("ema_length=0", "ema_length"), ("prompts.steps=100001", "prompts.steps"), ("domain=3", "domain")),
]
PREPARATION = [
    *(("workers=0", "workers"), ("workers=1000000", "workers"), ("seed=1e30", "seed"), ("output=''", "output")),
    *(("preparation.surface.points=0", "surface.points"), ("preparation.views.size=100000", "views.size")),
    *(("preparation.distance.epsilon=nan", "distance.epsilon"), ("preparation.distance.near_std=[a]", "near_std")),
    *(("preparation.limits.max_file_mb=-1", "max_file_mb"), ("source.path=/nowhere", "source.path")),
    ("preparation.views=0", "preparation.views = 0 is not a block of keys"),
    ("preparation.heldout_share=1.5", "heldout_share"),
]


@pytest.fixture(scope="module")
def base(balls, tmp_path_factory):
    place = Place(balls, tmp_path_factory.mktemp("mistakes"))
    return place, place.compose()


def with_override(config, override: str):
    """As Hydra reads and merges it, without composing everything anew."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser

    changed = config.copy()
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides([override]), changed)
    return changed


@pytest.mark.parametrize(("override", "key"), TRAINING)
def test_training(base, override, key):
    place, config = base
    with pytest.raises(UserError) as mistake:
        check_training(with_override(config, override))
    assert key in str(mistake.value)
    assert "\n" not in str(mistake.value)
    assert not any(place.outputs.iterdir())


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        prepare = compose("prepare", ["source=folder", f"source.path={folder}", f"output={folder}/out"])
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        sample, evaluate = (compose(name, [f"output_dir={folder}"]) for name in ("sample", "evaluate"))
    bodies = {"sample": run_sampling, "evaluate": run_evaluation, "prepare": run_preparation}
    return {"sample": sample, "evaluate": evaluate, "prepare": prepare}, bodies


@pytest.mark.parametrize(
    ("command", "override", "key"),
    [
        (command, *mistake)
        for command, mistakes in (("sample", SAMPLING), ("evaluate", EVALUATION), ("prepare", PREPARATION))
        for mistake in mistakes
    ],
)
def test_the_other_commands(commands, command, override, key):
    configs, bodies = commands
    with pytest.raises(UserError) as mistake:
        bodies[command](with_override(configs[command], override))
    assert key in str(mistake.value)
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        ("train.py", ["experiment=shape_latent", "guidance=3"], "there is no guidance=3: choose one of"),
        ("sample.py", ["resolution=100000"], "resolution = 100000"),
    ],
)
def test_as_they_are_typed(program, arguments, words, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / program), *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sound_training(base):
    check_training(base[1])

"""Mistakes in values, at all four commands: each is a sentence that names its key, before anything is made."""

import pytest
from omegaconf import OmegaConf
from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs.train import check_training

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
    ("trainer.accelerator=abacus", "trainer"),
    ("trainer.matmul=sometimes", "trainer.matmul"),
    ("trainer.strategy=hope", "trainer.strategy"),
    ("trainer.max_hours=-1", "trainer.max_hours"),
    ("trainer.timeout_minutes=0", "trainer.timeout_minutes"),
    ("data.root=/nowhere", "/nowhere"),
    ("data.num_workers=-1", "data.num_workers"),
    ("data.heldout_batch_size=0", "data.heldout_batch_size"),
    ("data.on_bad_shard=ignore", "data.on_bad_shard"),
    ("data.mixing.slots=0", "data.mixing.slots"),
    ("data.stages.surface.points=0", "data.stages.surface.points"),
    ("data.stages.rays.object_share=2", "data.stages.rays.object_share"),
    ("data.stages.distances.near=-5", "data.stages.distances.near"),
    ("data.stages.rays=null", "data"),
    ("+data.prefetch_batches=0", "data.prefetch_batches"),
    ("latent_data.num_workers=-1", "latent_data.num_workers"),
    ("latents.points=0", "latents.points"),
    ("latents.points=all", "latents.points"),
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
    ("monitor.pictures.shapes=0", "monitor.pictures.shapes"),
    ("autoencoder.encoder.tokens=0", "autoencoder.encoder.tokens"),
    ("autoencoder.encoder.tokens=1000000000000", "autoencoder.encoder.tokens"),
    ("autoencoder.encoder.width=1000000", "autoencoder"),
    ("autoencoder.encoder.heads=3", "autoencoder.encoder"),
    ("autoencoder.encoder.layers=-1", "autoencoder.encoder.layers"),
    ("autoencoder.decoder.heads=3", "autoencoder.decoder.heads"),
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


def test_a_sound_training(base):
    check_training(base[1])
    assert OmegaConf.is_missing(base[1].latent_data, "root")

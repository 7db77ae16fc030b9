"""The stage of a latent diffusion model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.configuration.build import build
from fieldforge.configuration.stored_config import load_run, of_run, plain_config
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.diffusion.adapter_files import FOLDER, write_adapter
from fieldforge.diffusion.lora import LoRA
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError
from fieldforge.generation import Generator
from fieldforge.stages.autoencoder_stage import AutoencoderStage, finished_config, finished_file, load_autoencoder
from fieldforge.stages.conditioner_check import check_diffusion_conditioner, encoder_notes
from fieldforge.stages.denoiser_parts import build_generator, build_model, build_module, stand_in_classes, with_classes
from fieldforge.stages.directory import StageDirectory, load_weights
from fieldforge.stages.embedding_work import embeddings_of, with_features
from fieldforge.stages.encoding import embed_once, measure_vectors
from fieldforge.stages.fingerprint import differences
from fieldforge.stages.identity import conditions, without_places
from fieldforge.stages.latent_batches import feature_widths, latent_batches
from fieldforge.stages.measures_of_samples import MeasuresOfSamples
from fieldforge.stages.prompt_pictures import drawing_of_prompts, pictures_of_prompts
from fieldforge.stages.stage import NOISY_LATENTS, Results, Saved, TrainedStage
from fieldforge.stages.training_run import plain, seeded
from fieldforge.stages.work import Sizes, Step
from fieldforge.training.callbacks.context import Draw, Measure
from fieldforge.training.modules.diffusion_module import BACKBONE, CONDITIONER, DiffusionModule

log = logging.getLogger(__name__)
DENOISER = ("backbone", "conditioner", "process", "parameterization", "loss", "weighting", "density")
"""The blocks that a denoiser and its step are made of."""


class DiffusionStage(TrainedStage):
    """A denoiser of latents under a condition."""

    kind = "diffusion"
    noun = "a diffusion model"
    needs = ("autoencoder", "latents")
    blocks = (*DENOISER, *NOISY_LATENTS, "sampler", "guidance", "training.diffusion", "monitor.pictures.steps")
    label_types = {
        "autoencoder": dict,
        "autoencoder.config": dict,
        "autoencoder.fingerprint": str,
        "autoencoder_state_dict": dict,
        "encoders": dict,
    }
    data_module: ShardDataModule
    conditioner: Conditioner
    autoencoder_run: StageDirectory

    @cached_property
    def adapter(self) -> LoRA | None:
        """What is trained in the place of the denoiser's own weights."""
        return build(self.config, "adapter") if self.config.get("adapter") else None

    def check(self) -> None:
        if self.adapter is not None and self.start is None and not self.continues:
            raise UserError("adapter= corrects the weights of a finished model: name it by init_from=")
        check_diffusion_conditioner(self.config)

    def work(self, sizes: Sizes) -> Step:
        shape = sizes.latent_shape
        assert shape is not None
        config = stand_in_classes(self.config, sizes.classes)
        conditioner: Conditioner = seeded(config, "conditioner")

        def module() -> pl.LightningModule:
            return build_module(config, self.kind, shape, seeded(config, "conditioner"))

        batch = latent_batches(shape, feature_widths(conditioner, sizes.text_tokens), sizes.classes)
        embedded = embeddings_of(self.config, conditioner, sizes)
        return Step(
            module,
            batch,
            DENOISER,
            "latent_data",
            sizes.shards,
            encoder_notes(config, conditioner),
            with_features(sizes.sample_bytes, config, conditioner, sizes),
            drawing_of_prompts(config, batch, self.planned_autoencoder, self.sheet),
            embeddings=embedded,
        )

    def planned_autoencoder(self) -> Autoencoder:
        """The autoencoder of a plan, without its weights."""
        finished = finished_file(self.config)
        config = finished_config(finished) if finished else self.config
        autoencoder: Autoencoder = build(config, "autoencoder", trusted=not finished)
        return autoencoder

    def prepare(self, results: Results) -> None:
        latents = str(results["latents"].path)
        self.autoencoder_run = results["autoencoder"].run
        self.data_module = build(self.config, "latent_data", root=latents, batch_size=self.batch_size)
        self.config = with_classes(self.config, self.data_module.shards(self.data_module.train_split))
        self.conditioner = seeded(self.config, "conditioner")
        if self.start is not None:
            check_same_latents(self.start.path, self.start.label, self.autoencoder_run)

    def determining(self) -> dict[str, Any]:
        transforms = plain(self.config.latent_data.transforms)
        split = self.data_module.shards(self.data_module.train_split)
        blocks = {part: plain(self.config[part]) for part in DENOISER}
        return {
            "autoencoder": self.autoencoder_run.fingerprint,
            "latents": [manifest.fingerprint for manifest in split.manifests],
            "transforms": without_places({name: block for name, block in transforms.items() if block is not None}),
            **blocks,
            **conditions(blocks["conditioner"], self.conditioner),
            **({} if self.adapter is None else {"adapter": plain(self.config.adapter)}),
        }

    def begin(self, directory: StageDirectory) -> None:
        embed_once(self.data_module.transforms, self.conditioner, self.device)
        if not all(map(self.comes_with, self.conditioner.names)):
            measure_vectors(self.data_module, self.conditioner, directory, self.device)

    def comes_with(self, source: str) -> bool:
        """Whether a source of the condition comes with the initial weights, and so with its statistics."""
        return self.start is not None and self.start.has_part(f"{CONDITIONER}sources.{source}.")

    def data(self) -> ShardDataModule:
        return self.data_module

    def module(self) -> pl.LightningModule:
        autoencoder, _ = load_autoencoder(self.autoencoder_run.model)
        return build_module(self.config, self.kind, autoencoder.latent_shape, self.conditioner)

    def has_start(self, module: pl.LightningModule) -> bool:
        return (
            self.start is not None
        )  # it has all weights of a denoiser, or is refused; an adapter gives them other names

    def restrict(self, module: pl.LightningModule) -> None:
        """Also corrects the denoiser's layers by the configuration's adapter, where it has one."""
        super().restrict(module)
        assert isinstance(module, DiffusionModule)
        if self.adapter is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed)
                self.adapter.install(module.model.backbone, module.conditioner)

    def pictures(self) -> Draw:
        autoencoder, _ = load_autoencoder(self.autoencoder_run.model)
        return pictures_of_prompts(self.config, self.data_module, autoencoder, self.sheet)

    def measure(self) -> Measure:
        autoencoder, _ = load_autoencoder(self.autoencoder_run.model)
        return MeasuresOfSamples(self.config, self.data_module, autoencoder)

    def finish(self, trained: pl.LightningModule, directory: StageDirectory) -> Saved:
        """Writes one file with all that sampling needs, so that a run can be moved; an adapter also by itself."""
        autoencoder, label = load_autoencoder(self.autoencoder_run.model)
        further = {
            "autoencoder": label,
            "autoencoder_state_dict": dict(autoencoder.state_dict()),
            "encoders": self.conditioner.fingerprint(),
        }
        state = trained.state_dict()
        if self.adapter is not None and self.start is not None:
            facts = {"base": self.start.fingerprint, "run": directory.fingerprint}
            write_adapter(state, BACKBONE, self.adapter, directory.path / FOLDER, facts)
            log.info("%s: the adapter alone is in %s", self.name, directory.path / FOLDER)
            state = self.adapter.merged(state)
        return Saved(state, further)


def check_same_latents(path: Path, label: dict[str, Any], autoencoder_run: StageDirectory) -> None:
    """UserError unless a model of latents and this training share one autoencoder, or its latents."""
    theirs = label["autoencoder"]["fingerprint"]
    own = load_run(autoencoder_run.model, AutoencoderStage)[1]
    if theirs not in (autoencoder_run.fingerprint, own.get("latents_of")):
        raise UserError(
            f"init_from={path.parent} knows the latents of autoencoder {theirs}, and this training those of "
            f"{autoencoder_run.fingerprint}: leave autoencoder_run= out, or give another init_from="
        )


def load_diffusion(
    path: Path, overrides: DictConfig | None = None, device: torch.device | str = "cpu"
) -> tuple[Generator, Autoencoder, dict[str, Any]]:
    """Generator and autoencoder of a finished run from its `model.ckpt`, in evaluation mode, with its label.

    Args:
        path: of the checkpoint.
        overrides: blocks `sampler` and `guidance`: whole blocks replace the stored ones, others change single values.
        device: device to load to.

    Raises:
        UserError: missing, damaged, of another stage, its stored configuration names foreign code, or the condition's
            encoders are not those of the training.
    """
    weights, label = load_run(path, DiffusionStage, device)
    config = plain_config(label["config"])
    with of_run(path):
        stored = plain_config(label["autoencoder"]["config"])
        autoencoder: Autoencoder = build(stored, "autoencoder", trusted=False)
        conditioner: Conditioner = build(config, "conditioner", trusted=False)
        model = build_model(config, autoencoder.latent_shape, conditioner, trusted=False)
        changed = differences(conditioner.fingerprint(), label["encoders"])
    load_weights(autoencoder, label["autoencoder_state_dict"], path)
    load_weights(torch.nn.ModuleDict({"model": model, "conditioner": conditioner}), weights, path)
    if changed:
        raise UserError(
            f"{path} was trained with other condition encoders than are found here ({'; '.join(changed)}): install "
            "those, or train it again"
        )
    for part in (autoencoder, conditioner, model):
        part.to(device).eval()
    with of_run(path):
        for name, block in (overrides or {}).items():
            config[name] = block if "_target_" in block else OmegaConf.merge(config[name], block)
        generator = build_generator(config, model, conditioner, autoencoder.latent_shape, trusted=False)
    return generator, autoencoder, label


def load_domain(label: dict[str, Any], path: Path, changes: Mapping[str, Any] | None = None) -> Domain:
    """The domain of the run in the file `path`, from its label, with some settings changed.

    Raises:
        UserError: a damaged label, foreign code, or a setting that the domain does not have; names the key.
    """
    with of_run(path):
        stored = plain_config(label["config"])
        if changes:
            stored.domain = OmegaConf.merge(stored.domain, changes)
        domain: Domain = build(stored, "domain", trusted=False)
    return domain

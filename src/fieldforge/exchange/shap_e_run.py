"""A published Shap-E as a finished run of this project, in `model.ckpt` with the label of one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.configuration.build import build
from fieldforge.diffusion.backbones.shap_e import ShapEBackbone
from fieldforge.exchange.encoder_files import ABSENT, load_encoder
from fieldforge.exchange.prior_files import load_prior
from fieldforge.exchange.renderer_files import load_renderer
from fieldforge.exchange.shap_e_files import ShapEFiles
from fieldforge.stages.autoencoder_stage import AutoencoderStage
from fieldforge.stages.denoiser_parts import build_model
from fieldforge.stages.diffusion_stage import DiffusionStage
from fieldforge.stages.directory import MODEL
from fieldforge.stages.fingerprint import fingerprint
from fieldforge.training.processes.checkpoints import FORMAT, save_atomically


def run_folder(files: ShapEFiles, output_dir: str) -> Path:
    """The folder of the run that these files become: their names, sizes and dates decide."""
    places = [files.prior, files.decoder]
    parts = [path for place in places for path in (sorted(place.iterdir()) if place.is_dir() else [place])]
    facts = {str(path.resolve()): [path.stat().st_size, path.stat().st_mtime_ns] for path in parts}
    return Path(output_dir) / f"shap_e_{files.kind}" / fingerprint({"files": facts, "clip": str(files.clip)})


def write_run(files: ShapEFiles, config: DictConfig, folder: Path) -> Path:
    """Write `model.ckpt` into the folder, and return its path.

    Args:
        config: of the experiment shap_e_text or shap_e_image, with the sizes of the files.

    Raises:
        UserError: files of another size or model, a missing encoder of the condition, or a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = config.autoencoder.encoder
    has_encoder = encoder._target_ != ABSENT
    if not has_encoder:  # nothing but its sizes is left of the experiment's
        config.autoencoder.encoder = {"_target_": ABSENT, "tokens": encoder.tokens, "channels": encoder.channels}
    if not isinstance(files.clip, str):
        config.conditioner.clip = str(_clip_folder(files.clip, folder / "clip"))
    autoencoder: Autoencoder = build(config, "autoencoder")
    conditioner: Conditioner = build(config, "conditioner")
    model = build_model(config, autoencoder.latent_shape, conditioner)
    assert isinstance(model.backbone, ShapEBackbone), "the experiments shap_e_text and shap_e_image have this backbone"
    load_prior(model.backbone, files.prior)
    load_renderer(autoencoder, files.decoder)
    if has_encoder:
        load_encoder(autoencoder, files.decoder, encoder.heads)
    plain: Any = OmegaConf.to_container(config, resolve=True)
    own = {"format": FORMAT, "config": plain, "fingerprint": folder.name}
    label = {
        **own,
        "stage": DiffusionStage.kind,
        "autoencoder": {**own, "stage": AutoencoderStage.kind},
        "autoencoder_state_dict": dict(autoencoder.state_dict()),
        "encoders": conditioner.fingerprint(),
    }
    weights = torch.nn.ModuleDict({"model": model, "conditioner": conditioner}).state_dict()
    save_atomically({"fieldforge": label, "state_dict": dict(weights)}, folder / MODEL)
    return folder / MODEL


def _clip_folder(parts: tuple[Path, Path], folder: Path) -> Path:
    """One folder with the encoder and what prepares its input, which pipelines keep apart; large files are linked."""
    folder.mkdir(exist_ok=True)
    for part in parts:
        for path in part.iterdir():
            place = folder / path.name
            place.unlink(missing_ok=True)
            try:
                place.hardlink_to(path.resolve())
            except OSError:  # another disk
                shutil.copyfile(path, place)
    return folder.resolve()

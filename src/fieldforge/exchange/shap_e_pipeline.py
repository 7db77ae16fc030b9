"""A run of Shap-E's design → the folder of a pipeline that diffusers reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.hub import Pretrained
from fieldforge.conditioning.image_source import ImageSource
from fieldforge.conditioning.text_source import TextSource
from fieldforge.diffusion.backbones.shap_e import RATE, STEPS, ShapEBackbone
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.errors import UserError
from fieldforge.exchange.prior_files import save_diffusers
from fieldforge.exchange.renderer_files import save_diffusers_renderer
from fieldforge.exchange.weight_files import write_json
from fieldforge.generation import Generator
from fieldforge.noise.processes import Exponential

SCHEDULER = {
    "_class_name": "HeunDiscreteScheduler",
    "beta_schedule": "exp",
    "num_train_timesteps": STEPS,
    "prediction_type": "sample",
    "use_karras_sigmas": True,
    "clip_sample": True,
    "clip_sample_range": 1.0,
}
INDEX = {
    "prior": ["diffusers", "PriorTransformer"],
    "scheduler": ["diffusers", "HeunDiscreteScheduler"],
    "shap_e_renderer": ["shap_e", "ShapERenderer"],
}


def save_pipeline(generator: Generator, autoencoder: Autoencoder, folder: Path) -> None:
    """Write a folder that `ShapEPipeline` or `ShapEImg2ImgPipeline` `.from_pretrained` reads.

    Raises:
        UserError: a run of another design, or of a condition that these pipelines have not.
    """
    model = generator.model
    assert isinstance(model, DiffusionModel)
    process = model.process
    fits = isinstance(process, Exponential) and process.rate == RATE and not autoencoder.unit_variance
    if not isinstance(model.backbone, ShapEBackbone) or not fits:
        raise UserError(
            "format=diffusers holds models of Shap-E's design alone, as experiment=shap_e_text trains them: its "
            "denoiser, its process and latents without statistics"
        )
    encoder, kind = _encoder(generator)
    save_diffusers_renderer(autoencoder, folder / "shap_e_renderer")
    save_diffusers(model.backbone, folder / "prior")
    write_json(SCHEDULER, folder / "scheduler" / "scheduler_config.json")
    write_json({**INDEX, **_save_tower(encoder, kind, folder)}, folder / "model_index.json")


def _encoder(generator: Generator) -> tuple[Pretrained, str]:
    """The condition's encoder, and of what it is. UserError for another condition than one text or one picture."""
    sources = list(generator.conditioner.sources.values())
    if len(sources) == 1 and isinstance(sources[0], TextSource | ImageSource):
        encoder = sources[0].encoder
        if isinstance(encoder, Pretrained):
            return encoder, "text" if isinstance(sources[0], TextSource) else "image"
    raise UserError(
        "format=diffusers holds models that are led by CLIP's text or picture alone: this run has the sources "
        + ", ".join(generator.conditioner.sources)
    )


def _save_tower(encoder: Pretrained, kind: str, folder: Path) -> dict[str, Any]:
    """Write the encoder and what prepares its input; the lines of the index that name them and the pipeline."""
    from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModel
    from transformers.image_processing_base import ImageProcessingMixin

    network: Any = encoder.load_network(CLIPTextModelWithProjection if kind == "text" else CLIPVisionModel)
    network.save_pretrained(folder / f"{kind}_encoder")
    if kind == "text":
        tokenizer = encoder.load(AutoTokenizer)
        tokenizer.save_pretrained(folder / "tokenizer")
        return {
            "_class_name": "ShapEPipeline",
            "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", type(tokenizer).__name__],
        }
    settings, _ = encoder.load(ImageProcessingMixin, read="get_image_processor_dict")
    write_json(settings, folder / "image_processor" / "preprocessor_config.json")
    return {
        "_class_name": "ShapEImg2ImgPipeline",
        "image_encoder": ["transformers", "CLIPVisionModel"],
        "image_processor": ["transformers", "CLIPImageProcessor"],
    }

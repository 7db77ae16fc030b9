"""The denoiser of Shap-E from and to files of OpenAI's layout and folders of diffusers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fieldforge.diffusion.backbones.shap_e import ShapEBackbone
from fieldforge.errors import UserError
from fieldforge.exchange.prior_names import UNUSED, from_diffusers, from_openai, to_diffusers, to_openai
from fieldforge.exchange.weight_files import (
    CONFIG,
    check_tensors,
    heads_of,
    plain,
    read_weights,
    weight_file,
    write_folder,
)
from fieldforge.storage.files import atomic_file


def load_prior(backbone: ShapEBackbone, path: str | Path) -> None:
    """Fills `backbone` with the weights of OpenAI's file, or of diffusers' file or folder, at `path`.

    The number of heads is not in the tensors: OpenAI's text_cond.pt has 16, its image_cond.pt 8.

    Raises:
        UserError: missing or damaged, of another model or another size; names file and tensor.
    """
    state, file = read_weights(path), weight_file(path)
    own = backbone.state_dict()
    if any(name.startswith("wrapped.") for name in state):
        check_tensors(state, to_openai(own, backbone.heads), file)
        backbone.load_state_dict(from_openai(state, backbone.heads))
    elif "proj_in.weight" in state:
        _check_heads(backbone, file.with_name(CONFIG))
        zeros = {name: own["project.bias"].new_zeros(1, len(own["project.bias"])) for name in UNUSED}
        check_tensors(zeros | state, to_diffusers(own), file)
        backbone.load_state_dict(from_diffusers(state))
    else:
        raise UserError(
            f"{file} holds the tensor {next(iter(state))[:100]}, and neither wrapped.input_proj.weight (OpenAI's "
            f"layout) nor proj_in.weight (diffusers'): give the weights of a denoiser of Shap-E"
        )


def save_openai(backbone: ShapEBackbone, path: str | Path) -> None:
    """Writes a file of OpenAI's layout, as torch.save writes it."""
    with atomic_file(Path(path)) as file:
        torch.save(plain(to_openai(backbone.state_dict(), backbone.heads)), file)


def save_diffusers(backbone: ShapEBackbone, folder: str | Path) -> None:
    """Writes a folder that `diffusers.PriorTransformer.from_pretrained` reads: weights and config.json."""
    write_folder(to_diffusers(backbone.state_dict()), prior_config(backbone), Path(folder))


def prior_config(backbone: ShapEBackbone) -> dict[str, Any]:
    """Configuration of the `PriorTransformer` that computes what `backbone` does."""
    width = backbone.embed.out_features
    return {
        "_class_name": "PriorTransformer",
        "num_attention_heads": backbone.heads,
        "attention_head_dim": width // backbone.heads,
        "num_layers": len(backbone.transformer.blocks),
        "embedding_dim": backbone.embed.in_features,
        "num_embeddings": backbone.tokens,
        "additional_embeddings": 0,
        "dropout": 0.0,
        "time_embed_act_fn": "gelu",
        "norm_in_type": "layer",
        "embedding_proj_norm_type": None if backbone.reads == "vector" else "layer",
        "encoder_hid_proj_type": None,
        "added_emb_type": None,
        "time_embed_dim": 4 * width,
        "embedding_proj_dim": backbone.condition_width,
        "clip_embed_dim": backbone.project.out_features,
    }


def _check_heads(backbone: ShapEBackbone, config: Path) -> None:
    """UserError where the config.json beside the weights, if there is one, has another number of heads."""
    heads = heads_of(config)
    if heads not in (None, backbone.heads):
        raise UserError(f"{config}: the weights have {heads} heads: set backbone.heads={heads}")

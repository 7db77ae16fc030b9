"""The sizes of a published Shap-E, read from its weights, as settings of this project's experiments."""

from __future__ import annotations

from fieldforge.errors import UserError
from fieldforge.exchange.encoder_files import encoder_settings
from fieldforge.exchange.prior_names import from_diffusers, from_openai
from fieldforge.exchange.renderer_files import TABLES, layout_of
from fieldforge.exchange.renderer_names import count_layers, from_layout
from fieldforge.exchange.shap_e_files import ShapEFiles
from fieldforge.exchange.weight_files import CONFIG, heads_of, read_weights, weight_file

HEADS = {"text": 16, "image": 8}
"""Of OpenAI's denoisers, whose tensors do not say it."""


def size_settings(files: ShapEFiles) -> dict[str, object]:
    """Dotted key → value of backbone, conditioner, field and encoder. UserError for files of another model."""
    return {**_prior_settings(files), **_field_settings(files), **encoder_settings(files.decoder)}


def _prior_settings(files: ShapEFiles) -> dict[str, object]:
    state, file = read_weights(files.prior), weight_file(files.prior)
    openai = any(name.startswith("wrapped.") for name in state)
    heads = HEADS[files.kind] if openai else heads_of(file.with_name(CONFIG)) or HEADS[files.kind]
    try:
        ours = from_openai(state, heads) if openai else from_diffusers(state)
        condition = ours["embed_condition.weight" if files.kind == "text" else "embed_condition.1.weight"]
        positions, embed = ours["positions"], ours["embed.weight"]
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{file} holds no denoiser of Shap-E from {files.kind}, {error} is not there") from error
    return {
        "backbone.width": positions.shape[1],
        "backbone.layers": sum(name.endswith(".norm_feed.weight") for name in ours),
        "backbone.heads": heads,
        "conditioner.width": condition.shape[1],
        "autoencoder.encoder.tokens": positions.shape[0],
        "autoencoder.encoder.channels": embed.shape[1],
    }


def _field_settings(files: ShapEFiles) -> dict[str, object]:
    state, file = read_weights(files.decoder, TABLES), weight_file(files.decoder)
    layout = layout_of(state, file)
    generated = sum(name.startswith(layout.projections) and name.endswith("norm.weight") for name in state)
    try:
        ours = from_layout(state, layout, generated)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{file} holds no decoder of Shap-E, {error} is not there") from error
    hidden, first = ours["field.biases.0"].shape[0], ours["decoder.maps.weight_0.norm.weight"].shape[0]
    shared = [ours[f"field.shared.{number}.weight"] for number in range(count_layers(state, layout) - generated)]
    wide = [generated + number for number, weight in enumerate(shared) if weight.shape[1] > hidden]
    if len(wide) != 1:
        raise UserError(
            f"{file}: {len(wide)} layers of the field are wider than its {hidden} units, and one reads views"
        )
    beside = shared[wide[0] - generated].shape[1] - hidden
    return {
        "autoencoder.field.hidden": hidden,
        "autoencoder.field.layers": generated + len(shared) - 1,
        "autoencoder.field.generated": generated,
        "autoencoder.field.degrees": (first // 3 - 1) // 2,
        "autoencoder.field.direction_layer": wide[0],
        "autoencoder.field.direction_degrees": (beside // 3 - 1) // 2,
    }

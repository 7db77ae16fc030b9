"""Shap-E's decoder and field from and to files of OpenAI's layout and folders of diffusers' layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.weight_rows import WeightRows
from fieldforge.errors import UserError
from fieldforge.exchange.cube_tables import cube_tables
from fieldforge.exchange.renderer_names import (
    DIFFUSERS,
    OPENAI,
    OPENAI_DECODER,
    RendererLayout,
    from_layout,
    to_layout,
)
from fieldforge.exchange.weight_files import check_tensors, read_weights, weight_file, write_folder
from fieldforge.fields.shap_e_field import OUTPUTS, ShapEField

TABLES = "mesh_decoder."
PARTS = ("decoder.", "field.")


def load_renderer(autoencoder: Autoencoder, path: str | Path) -> None:
    """Fills decoder and field of `autoencoder` with the weights of OpenAI's file, or of diffusers' file or folder.

    OpenAI's are transmitter.pt, which holds an encoder too, and vector_decoder.pt.

    Raises:
        UserError: missing or damaged, of another model or another size; names file and tensor.
    """
    state, file = read_weights(path, TABLES), weight_file(path)
    layout = layout_of(state, file)
    parts = (layout.projections, layout.layers, layout.background)
    theirs = {name: value for name, value in state.items() if layout != OPENAI or name.startswith(parts)}
    own = renderer_weights(autoencoder)
    check_tensors(theirs, to_layout(own, layout), file)
    generated = sum(name.startswith("field.biases.") for name in own)
    autoencoder.load_state_dict({**autoencoder.state_dict(), **from_layout(theirs, layout, generated)})


def save_diffusers_renderer(autoencoder: Autoencoder, folder: str | Path, background: float = 0.0) -> None:
    """Writes a folder that `diffusers`' `ShapERenderer.from_pretrained` reads: weights and config.json.

    background: grey behind the shapes, 0…1.

    Raises:
        UserError: an autoencoder of another design than Shap-E's.
    """
    if not isinstance(autoencoder.field, ShapEField) or not isinstance(autoencoder.decoder, WeightRows):
        raise UserError(
            "this run's autoencoder is not of Shap-E's design, whose field and decoder autoencoder=shap_e has: "
            "diffusers has no class for it"
        )
    state = to_layout(renderer_weights(autoencoder), DIFFUSERS, background)
    state |= dict(zip((f"{TABLES}cases", f"{TABLES}masks"), cube_tables(), strict=True))
    write_folder(state, renderer_config(autoencoder.field, autoencoder.decoder, background), Path(folder))


def renderer_config(field: ShapEField, decoder: WeightRows, background: float) -> dict[str, Any]:
    """Configuration of the `ShapERenderer` that computes what field and decoder do."""
    shapes = list(field.param_shapes.values())
    return {
        "_class_name": "ShapERenderer",
        "param_names": [f"nerstf.mlp.{number}.weight" for number in range(len(shapes))],
        "param_shapes": shapes,
        "d_latent": decoder.channels,
        "d_hidden": field.hidden,
        "n_output": sum(OUTPUTS.values()),
        "n_hidden_layers": field.generated + len(field.shared) - 1,
        "act_fn": "swish",
        "insert_direction_at": field.direction_layer,
        "background": [255.0 * background] * 3,
    }


def renderer_weights(autoencoder: Autoencoder) -> dict[str, Tensor]:
    """The weights of decoder and field."""
    return {name: value for name, value in autoencoder.state_dict().items() if name.startswith(PARTS)}


def layout_of(state: Mapping[str, Tensor], file: Path) -> RendererLayout:
    """The layout by its names. UserError where it is none of Shap-E's."""
    for layout in (OPENAI, DIFFUSERS, OPENAI_DECODER):
        if all(any(name.startswith(part) for name in state) for part in (layout.projections, layout.layers)):
            return layout
    raise UserError(
        f"{file} holds no {OPENAI_DECODER.projections}* beside {OPENAI.layers}* (OpenAI's layout) or "
        f"{DIFFUSERS.layers}* (diffusers'): give the weights of Shap-E's transmitter, decoder or renderer"
    )

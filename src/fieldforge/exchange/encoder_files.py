"""Shap-E's encoder out of OpenAI's transmitter.pt: whether it is there, its sizes, its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.errors import UserError
from fieldforge.exchange.encoder_names import OPENAI, OURS, from_openai, to_openai
from fieldforge.exchange.renderer_files import TABLES
from fieldforge.exchange.renderer_names import OPENAI as WITH_ENCODER
from fieldforge.exchange.weight_files import check_tensors, read_weights, weight_file

HEADS = 8
"""Of OpenAI's encoder, whose tensors do not say it."""


ABSENT = "fieldforge.autoencoder.absent_encoder.AbsentEncoder"


def encoder_settings(path: str | Path) -> dict[str, object]:
    """Dotted key → value of the encoder in a file of Shap-E's decoder, `ABSENT` where it holds none.

    Raises:
        UserError: see `read_weights`; an encoder without one of its tensors.
    """
    state = _encoder(read_weights(path, TABLES))
    if not state:
        return {"autoencoder.encoder._target_": ABSENT}
    layers = sum(".processor.resblocks." in name and name.endswith(".ln_1.weight") for name in state)
    try:
        inputs, width = state[f"{OPENAI}input_proj.weight"].shape[1], state[f"{OPENAI}output_tokens"].shape[1]
        patch = state[f"{OPENAI}patch_emb.weight"].shape[-1]
    except (KeyError, IndexError) as error:
        raise UserError(f"{weight_file(path)} holds no encoder of Shap-E, {error} is not there") from error
    return {
        "autoencoder.encoder.width": width,
        "autoencoder.encoder.heads": HEADS,
        "autoencoder.encoder.layers": layers,
        "autoencoder.encoder.degrees": (inputs // 6 - 1) // 2,
        "autoencoder.encoder.patch": patch,
    }


def load_encoder(autoencoder: Autoencoder, path: str | Path, heads: int) -> None:
    """Fill the encoder of `autoencoder`, which has that many heads, with the one in OpenAI's file.

    Raises:
        UserError: an encoder of another size; names file and tensor.
    """
    state = _encoder(read_weights(path, TABLES))
    own = {f"{OURS}{name}": value for name, value in autoencoder.encoder.state_dict().items()}
    check_tensors(state, to_openai(own, heads), weight_file(path))
    autoencoder.load_state_dict({**autoencoder.state_dict(), **from_openai(state, heads)})


def _encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the encoder: in transmitter.pt the decoder's maps begin as they do."""
    maps = WITH_ENCODER.projections
    return {name: value for name, value in state.items() if name.startswith(OPENAI) and not name.startswith(maps)}

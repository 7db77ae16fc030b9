"""Names and layouts of Shap-E's encoder: `ShapEEncoder`'s in an `Autoencoder`, and OpenAI's transmitter.pt.

Both are pure functions, state dict → state dict with the same numbers. The projections to queries, keys and values have
rows [q | k | v] here, in OpenAI's file [q | k | v] of each head in turn; its convolutions over neighbours have a
second, empty side.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fieldforge.exchange.prior_names import by_head, by_part

State = Mapping[str, Tensor]

OURS, OPENAI = "encoder.", "encoder."
"""What all names begin with: in an `Autoencoder`, and in transmitter.pt."""
PARTS = {
    "output_tokens": "output_tokens",
    "embed": "input_proj",
    "point_conv.first": "point_conv.mlp_convs.0",
    "point_conv.second": "point_conv.mlp_convs.1",
    "view_patches.unknown": "mv_pcl_embed.unk_token",
    "view_patches.embed": "mv_pcl_embed",
    "view_patches.to_patch": "patch_emb",
    "norm_tokens": "ln_pre",
    "norm_output": "ln_post",
    "to_latent": "output_proj",
}
READ_BLOCK = {
    "norm_read": "ln_1",
    "norm_source": "ln_2",
    "norm_feed": "ln_3",
    "read.to_q": "attn.c_q",
    "read.to_kv": "attn.c_kv",
    "read.to_out": "attn.c_proj",
    "feed.0": "mlp.c_fc",
    "feed.2": "mlp.c_proj",
}
BLOCK = {
    "norm_attention": "ln_1",
    "norm_feed": "ln_2",
    "attention.to_qkv": "attn.c_qkv",
    "attention.to_out": "attn.c_proj",
    "feed.0": "mlp.c_fc",
    "feed.2": "mlp.c_proj",
}
"""Our modules and parameters → theirs; the blocks' within a block."""
SOURCES = {"read_points": "encoder.0.resblocks.0", "read_views": "encoder.1.resblocks.0"}
JOINED = {"to_qkv": 3, "to_kv": 2}
"""Projections to several things → their number."""


def from_openai(state: State, heads: int) -> dict[str, Tensor]:
    """The encoder in OpenAI's transmitter.pt → `encoder.*` of an autoencoder with that many heads.

    Tensors of the decoder and of the renderer are left out. KeyError names a missing tensor.
    """
    layers = sum(name.startswith(f"{OPENAI}processor.resblocks.") and name.endswith(".ln_1.weight") for name in state)
    return {
        OURS + own: _from_layout(own, state[OPENAI + theirs], heads) for own, theirs in parameter_names(layers).items()
    }


def to_openai(state: State, heads: int) -> dict[str, Tensor]:
    """`encoder.*` of an autoencoder with that many heads → the encoder's tensors of OpenAI's transmitter.pt."""
    layers = sum(name.startswith(f"{OURS}transformer.blocks.") and name.endswith(".norm_feed.weight") for name in state)
    return {
        OPENAI + theirs: _to_layout(own, state[OURS + own], heads) for own, theirs in parameter_names(layers).items()
    }


def parameter_names(layers: int) -> dict[str, str]:
    """Every parameter of the encoder with that many layers of self-attention, ours → OpenAI's, without prefixes."""
    modules = dict(PARTS)
    for own, theirs in SOURCES.items():
        modules |= {f"{own}.{name}": f"{theirs}.{other}" for name, other in READ_BLOCK.items()}
    for layer in range(layers):
        modules |= {
            f"transformer.blocks.{layer}.{name}": f"processor.resblocks.{layer}.{other}"
            for name, other in BLOCK.items()
        }
    alone = ("output_tokens", "view_patches.unknown")  # parameters, not modules
    names = {own: modules.pop(own) for own in alone}
    return names | {f"{own}.{leaf}": f"{modules[own]}.{leaf}" for own in modules for leaf in ("weight", "bias")}


def _from_layout(own: str, value: Tensor, heads: int) -> Tensor:
    if own.startswith("point_conv.") and value.ndim == 4:
        return value.squeeze(-1)
    parts = _joined(own)
    return value if parts is None else by_part(value, heads, parts)


def _to_layout(own: str, value: Tensor, heads: int) -> Tensor:
    if own.startswith("point_conv.") and value.ndim == 3:
        return value.unsqueeze(-1)
    parts = _joined(own)
    return value if parts is None else by_head(value, heads, parts)


def _joined(own: str) -> int | None:
    """How many projections the parameter joins; None for others."""
    return JOINED.get(own.rpartition(".")[0].rpartition(".")[2])

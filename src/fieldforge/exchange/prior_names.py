"""Names and layouts of the denoiser of Shap-E: `ShapEBackbone`'s, OpenAI's, and diffusers' `PriorTransformer`'s.

All functions are pure: state dict → state dict with the same numbers, and names that they do not know stay. The
projection to queries, keys and values is one matrix of rows [q | k | v] here, three matrices in diffusers, and in
OpenAI's files one matrix whose rows are [q | k | v] of each head in turn.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]

OPENAI = {
    "positions": "wrapped.pos_emb",
    "embed": "wrapped.input_proj",
    "embed_step.0": "wrapped.time_embed.c_fc",
    "embed_step.2": "wrapped.time_embed.c_proj",
    "embed_condition": "wrapped.clip_embed",
    "embed_condition.0": "wrapped.clip_embed.0",
    "embed_condition.1": "wrapped.clip_embed.1",
    "first_norm": "wrapped.ln_pre",
    "final_norm": "wrapped.ln_post",
    "project": "wrapped.output_proj",
}
DIFFUSERS = {
    "positions": "positional_embedding",
    "embed": "proj_in",
    "embed_step.0": "time_embedding.linear_1",
    "embed_step.2": "time_embedding.linear_2",
    "first_norm": "norm_in",
    "final_norm": "norm_out",
    "project": "proj_to_clip_embeddings",
}
"""Our modules → theirs; the condition's are in `_diffusers_modules`."""
OPENAI_BLOCK = {
    "norm_attention": "ln_1",
    "attention.to_qkv": "attn.c_qkv",
    "attention.to_out": "attn.c_proj",
    "norm_feed": "ln_2",
    "feed.0": "mlp.c_fc",
    "feed.2": "mlp.c_proj",
}
DIFFUSERS_BLOCK = {
    "norm_attention": "norm1",
    "attention.to_out": "attn1.to_out.0",
    "norm_feed": "norm3",
    "feed.0": "ff.net.0.proj",
    "feed.2": "ff.net.2",
}
"""Modules of a block."""
DIFFUSERS_QKV = tuple(f"attn1.to_{part}" for part in "qkv")
UNUSED = ("clip_mean", "clip_std")
"""Parameters of diffusers' class that no pipeline of Shap-E reads: written as zeros, dropped when read."""


def from_openai(state: State, heads: int) -> dict[str, Tensor]:
    """OpenAI's text_cond.pt or image_cond.pt → a `ShapEBackbone` of that many heads."""
    names = _inverse(_openai_modules(_layers(state, "wrapped.backbone.resblocks.")))
    ours = {_renamed(name, names): value for name, value in state.items()}
    return {name: by_part(value, heads) if ".to_qkv." in name else value for name, value in ours.items()}


def to_openai(state: State, heads: int) -> dict[str, Tensor]:
    """The inverse of `from_openai`."""
    names = _openai_modules(_layers(state, "transformer.blocks."))
    parts = {name: by_head(value, heads) if ".to_qkv." in name else value for name, value in state.items()}
    return {_renamed(name, names): value for name, value in parts.items()}


def from_diffusers(state: State) -> dict[str, Tensor]:
    """diffusers' `PriorTransformer` → a `ShapEBackbone`."""
    names = _inverse(_diffusers_modules(_layers(state, "transformer_blocks."), "embedding_proj_norm.weight" in state))
    ours = {_renamed(name, names): value for name, value in state.items() if name not in UNUSED}
    if "positions" in ours:
        ours["positions"] = ours["positions"][0]
    for name in [name for name in ours if f".{DIFFUSERS_QKV[0]}." in name]:
        parts = [name.replace(DIFFUSERS_QKV[0], part) for part in DIFFUSERS_QKV]
        block, _, leaf = name.partition(f".{DIFFUSERS_QKV[0]}.")
        joined = f"{block.replace('transformer_blocks', 'transformer.blocks')}.attention.to_qkv.{leaf}"
        ours[joined] = torch.cat([ours.pop(part) for part in parts])
    return ours


def to_diffusers(state: State) -> dict[str, Tensor]:
    """The inverse of `from_diffusers`; the parameters that it drops are zeros."""
    names = _diffusers_modules(_layers(state, "transformer.blocks."), "embed_condition.0.weight" in state)
    theirs: dict[str, Tensor] = {}
    for name, value in state.items():
        if ".to_qkv." in name:
            block, _, leaf = name.partition(".attention.to_qkv.")
            block = block.replace("transformer.blocks", "transformer_blocks")
            theirs |= {f"{block}.{part}.{leaf}": rows for part, rows in zip(DIFFUSERS_QKV, value.chunk(3), strict=True)}
        else:
            theirs[_renamed(name, names)] = value
    theirs["positional_embedding"] = state["positions"][None]
    outputs = len(state["project.bias"])
    return theirs | {name: state["project.bias"].new_zeros(1, outputs) for name in UNUSED}


def by_part(rows: Tensor, heads: int, parts: int = 3) -> Tensor:
    """Rows [q | k | v] of each head in turn → [q | k | v] of all heads: (parts · width, ...)."""
    return rows.unflatten(0, (heads, parts, -1)).transpose(0, 1).flatten(0, 2)


def by_head(rows: Tensor, heads: int, parts: int = 3) -> Tensor:
    """The inverse of `by_part`."""
    return rows.unflatten(0, (parts, heads, -1)).transpose(0, 1).flatten(0, 2)


def _openai_modules(layers: int) -> dict[str, str]:
    return {**OPENAI, **_blocks(layers, "wrapped.backbone.resblocks", OPENAI_BLOCK)}


def _diffusers_modules(layers: int, grid: bool) -> dict[str, str]:
    """`grid`: the condition is a picture, whose norm diffusers names apart."""
    grid_names = {"embed_condition.0": "embedding_proj_norm", "embed_condition.1": "embedding_proj"}
    condition = grid_names if grid else {"embed_condition": "embedding_proj"}
    return {**DIFFUSERS, **condition, **_blocks(layers, "transformer_blocks", DIFFUSERS_BLOCK)}


def _blocks(layers: int, theirs: str, modules: Mapping[str, str]) -> dict[str, str]:
    return {
        f"transformer.blocks.{layer}.{ours}": f"{theirs}.{layer}.{other}"
        for layer in range(layers)
        for ours, other in modules.items()
    }


def _layers(state: State, prefix: str) -> int:
    """Number of blocks, which are numbered from 0."""
    found = {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)}
    return 1 + max((int(number) for number in found if number.isdecimal() and len(number) < 5), default=-1)


def _inverse(names: Mapping[str, str]) -> dict[str, str]:
    return {theirs: ours for ours, theirs in names.items()}


def _renamed(name: str, modules: Mapping[str, str]) -> str:
    """The name of a parameter in the other layout; an unknown one stays."""
    if name in modules:
        return modules[name]
    module, _, leaf = name.rpartition(".")
    return f"{modules[module]}.{leaf}" if module in modules else name

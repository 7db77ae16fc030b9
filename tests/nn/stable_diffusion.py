"""Our joint blocks' weights in diffusers' implementation of Stable Diffusion 3."""

import torch
from diffusers.models.attention import JointTransformerBlock
from torch import Tensor, nn

from fieldforge.nn.joint_transformer import JointBlock


def with_our_constants(theirs: nn.Module) -> nn.Module:
    """Exact GELU in place of its approximation, and the epsilons of our norms."""
    for part in theirs.modules():
        if isinstance(part, nn.LayerNorm):
            part.eps = 1e-5
        if type(part).__name__ == "RMSNorm":
            part.eps = torch.finfo(torch.float32).eps
        if hasattr(part, "approximate"):
            part.approximate = "none"
    return theirs


def halves_exchanged(linear: nn.Linear) -> dict[str, Tensor]:
    """Ours gives shift and scale, theirs scale and shift where there are these two alone."""
    return {name: value.roll(len(value) // 2, 0) for name, value in linear.state_dict().items()}


@torch.no_grad()
def copy_block(ours: JointBlock, theirs: JointTransformerBlock) -> None:
    """Weights of ours into theirs. The queries of a last context, whose results they drop, stay as they are."""
    attention, last = theirs.attn, ours.context.last
    theirs.norm1.linear.load_state_dict(ours.latent.modulation.project.state_dict())
    split(ours.latent.to_qkv, attention.to_q, attention.to_k, attention.to_v)
    attention.to_out[0].load_state_dict(ours.latent.to_out.state_dict())
    copy_feed(ours.latent.feed, theirs.ff)
    if last:
        theirs.norm1_context.linear.load_state_dict(halves_exchanged(ours.context.modulation.project))
        split(ours.context.to_kv, attention.add_k_proj, attention.add_v_proj)
    else:
        theirs.norm1_context.linear.load_state_dict(ours.context.modulation.project.state_dict())
        split(ours.context.to_qkv, attention.add_q_proj, attention.add_k_proj, attention.add_v_proj)
        attention.to_add_out.load_state_dict(ours.context.to_out.state_dict())
        copy_feed(ours.context.feed, theirs.ff_context)
    if attention.norm_q is not None:
        attention.norm_q.weight.copy_(ours.latent.norm_q.gain)
        attention.norm_k.weight.copy_(ours.latent.norm_k.gain)
        attention.norm_added_k.weight.copy_(ours.context.norm_k.gain)
        if not last:
            attention.norm_added_q.weight.copy_(ours.context.norm_q.gain)


def split(ours: nn.Linear, *theirs: nn.Linear) -> None:
    """One linear map's rows into several."""
    for name, value in ours.state_dict().items():
        for part, rows in zip(theirs, value.chunk(len(theirs)), strict=True):
            getattr(part, name).copy_(rows)


def copy_feed(ours: nn.Sequential, theirs: nn.Module) -> None:
    theirs.net[0].proj.load_state_dict(ours[0].state_dict())
    theirs.net[2].load_state_dict(ours[2].state_dict())

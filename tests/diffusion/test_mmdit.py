"""MM-DiT against diffusers' Stable Diffusion 3, an independent implementation."""

import re

import pytest
import torch
from diffusers import SD3Transformer2DModel
from tests.nn.stable_diffusion import copy_block, halves_exchanged, with_our_constants
from torch import nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.diffusion.backbones.mmdit import MMDiT
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import PredictVelocity
from fieldforge.nn.embeddings import sinusoidal_embedding
from fieldforge.noise.processes import LinearInterpolation

SIDE, CHANNELS, WIDTH, HEADS, LAYERS, D = 8, 3, 32, 4, 3, 12


class Waves(nn.Module):
    """Our sinusoids of the noise level in the place of theirs of the time step."""

    def forward(self, noise_level):
        return sinusoidal_embedding(noise_level, 256)


def ours() -> MMDiT:
    return MMDiT(SIDE**2, CHANNELS, WIDTH, LAYERS, HEADS, D, group=4, grid=(SIDE, SIDE))


def shaken(backbone: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, parameter in backbone.named_parameters():
        if name != "positions":
            nn.init.normal_(parameter, std=0.15)
    return backbone


@torch.no_grad()
def theirs(backbone: MMDiT) -> SD3Transformer2DModel:
    """Theirs with the weights of ours."""
    model = SD3Transformer2DModel(
        sample_size=SIDE,
        patch_size=2,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        num_layers=LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=D,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=D,
        pos_embed_max_size=SIDE // 2,
        qk_norm="rms_norm",
    )
    kernel = backbone.embed.weight.view(WIDTH, 2, 2, CHANNELS).permute(0, 3, 1, 2)  # (width, C, 2, 2)
    model.pos_embed.proj.load_state_dict({"weight": kernel, "bias": backbone.embed.bias})
    rows, columns = backbone.positions.chunk(2, dim=1)
    positions = torch.cat([columns, rows], dim=1)  # in their order
    torch.testing.assert_close(model.pos_embed.pos_embed[0], positions)
    model.pos_embed.pos_embed.copy_(backbone.positions[None])
    embed = model.time_text_embed
    embed.time_proj = Waves()
    level, vector = backbone.embed_noise_level.project, backbone.embed_vector
    pairs = [(embed.timestep_embedder, level), (embed.text_embedder, vector)]
    for part, (first, _, second) in pairs:
        part.linear_1.load_state_dict(first.state_dict())
        part.linear_2.load_state_dict(second.state_dict())
    model.context_embedder.load_state_dict(backbone.embed_tokens.state_dict())
    for mine, block in zip(backbone.transformer.blocks, model.transformer_blocks, strict=True):
        copy_block(mine, block)
    model.norm_out.linear.load_state_dict(halves_exchanged(backbone.readout.modulation.project))
    model.proj_out.load_state_dict(backbone.readout.project.state_dict())
    return with_our_constants(model)


def inputs(batch=2, length=5):
    generator = torch.Generator().manual_seed(1)
    x, vector, context = (
        torch.randn(shape, generator=generator)
        for shape in ((batch, SIDE**2, CHANNELS), (batch, D), (batch, length, D))
    )
    return x, torch.linspace(-0.5, 1.0, batch), vector, context


def test_whole_network_is_stable_diffusions():
    backbone = shaken(ours())
    for parameter in backbone.readout.gain.parameters():
        nn.init.zeros_(parameter)  # theirs leads no input around
    x, level, vector, context = inputs()
    picture = x.view(len(x), SIDE, SIDE, CHANNELS).permute(0, 3, 1, 2)  # (B, C, H, W)
    with torch.no_grad():
        out = backbone(x, level, Condition(vector, context))  # (B, T, C)
        expected = theirs(backbone)(picture, context, vector, level, return_dict=False)[0]  # (B, C, H, W)
    assert expected.std() > 0.1
    torch.testing.assert_close(out, expected.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-5)


def test_without_tokens_it_is_a_dit():
    backbone = shaken(ours())
    dit = DiT(SIDE**2, CHANNELS, WIDTH, LAYERS, HEADS, D, group=4, grid=(SIDE, SIDE))
    weights = {
        re.sub(r"\.latent\.(?=to_|norm_[qk])", ".attention.", name).replace(".latent.", "."): value
        for name, value in backbone.state_dict().items()
        if ".context." not in name and not name.startswith(("embed_tokens", "embed_vector"))
    }
    missing, unexpected = dit.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["embed_condition.weight", "embed_condition.bias"], [])
    x, level, vector, _ = inputs()
    dit.embed_condition = backbone.embed_vector
    torch.testing.assert_close(backbone(x, level, Condition(vector)), dit(x, level, Condition(vector)))


@pytest.mark.parametrize("parts", [(), ("vector",), ("tokens",), ("vector", "tokens")])
def test_every_weight_takes_part_whatever_the_condition_has(parts):
    """Processes that share a training wait for the gradient of every weight."""
    backbone = shaken(ours())
    x, level, vector, context = inputs()
    condition = Condition(**{name: value for name, value in (("vector", vector), ("tokens", context)) if name in parts})
    backbone(x, level, condition).square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []
    of_text = [p.grad for name, p in backbone.named_parameters() if ".context." in name or "embed_tokens" in name]
    assert any(bool(gradient.any()) for gradient in of_text) == ("tokens" in parts)
    assert all(bool(gradient.isfinite().all()) for gradient in of_text)


def test_null_and_condition_share_a_batch():
    """Dropped rows get the null's tokens, which may be fewer: padded and hidden, they give what they give alone."""
    backbone = shaken(ours()).double()
    x, level, vector, context = (value.double() for value in inputs())
    null = Condition(torch.zeros_like(vector), context[:, :1].roll(1, dims=2))
    mixed = Condition(vector, context).where(torch.tensor([True, False]), null)
    out = backbone(x, level, mixed)
    torch.testing.assert_close(out[:1], backbone(x[:1], level[:1], null.rows(slice(0, 1))))
    torch.testing.assert_close(out[1:], backbone(x[1:], level[1:], Condition(vector, context).rows(slice(1, 2))))


@pytest.mark.parametrize("trained", [False, True])
def test_bfloat16_stays_close(trained):
    """`trained`: with gradients, where a CPU computes attention another way."""
    x, _, vector, context = inputs()
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    model = DiffusionModel(shaken(ours()), LinearInterpolation(), PredictVelocity())
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    with torch.set_grad_enabled(trained):
        exact = model(x, t, Condition(vector, context, mask))
        with torch.autocast("cpu", torch.bfloat16):
            close = model(x, t, Condition(vector, context, mask))
    assert close.dtype == torch.float32
    assert (close - exact).norm() / exact.norm() < 0.05

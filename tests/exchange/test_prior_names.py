"""Weights of Shap-E's denoiser in three layouts."""

import math

import pytest
import torch
import torch.nn.functional as F
from tests.diffusion.shap_e_prior import CHANNELS, FULL_KINDS, KINDS, TOKENS, random_prior

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.shap_e import STEPS, ShapEBackbone, step_waves
from fieldforge.diffusion.parameterization import noise_level
from fieldforge.exchange.prior_names import from_diffusers, from_openai, to_diffusers, to_openai
from fieldforge.noise.processes import Exponential


def assert_equal(state, other):
    assert state.keys() == other.keys()
    assert [name for name in state if not torch.equal(state[name], other[name])] == []


def openai_state(kind):
    """Random weights in OpenAI's layout, made of their names and shapes alone."""
    torch.manual_seed(3)
    shapes = to_openai(ShapEBackbone(**KINDS[kind]).state_dict(), KINDS[kind]["heads"])
    return {name: 0.3 * torch.randn(value.shape, dtype=torch.float64) for name, value in shapes.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips_change_no_bit(kind):
    heads, theirs = KINDS[kind]["heads"], openai_state(kind)
    assert_equal(to_openai(from_openai(theirs, heads), heads), theirs)
    prior = random_prior(kind).state_dict()
    assert_equal(to_diffusers(from_diffusers(prior)), prior)
    backbone = ShapEBackbone(**KINDS[kind])
    backbone.load_state_dict(from_openai(theirs, heads))  # every name and shape fits
    backbone.load_state_dict(from_diffusers(to_diffusers(backbone.state_dict())))


@pytest.mark.parametrize(
    ("kind", "openai", "diffusers"),
    [("text", (303, 315_692_032), (401, 315_696_128)), ("image", (305, 315_956_224), (403, 315_960_320))],
)
def test_the_full_size_has_the_tensors_of_the_published_files(kind, openai, diffusers):
    with torch.device("meta"):
        state = ShapEBackbone(**FULL_KINDS[kind]).state_dict()
    theirs = to_openai(state, FULL_KINDS[kind]["heads"])
    for layout, counts in ((theirs, openai), (to_diffusers(state), diffusers)):
        assert (len(layout), sum(value.numel() for value in layout.values())) == counts
    shapes = {
        "wrapped.pos_emb": (1024, 1024),
        "wrapped.time_embed.c_fc.weight": (4096, 1024),
        "wrapped.backbone.resblocks.23.attn.c_qkv.weight": (3072, 1024),
        "wrapped.backbone.resblocks.0.mlp.c_proj.weight": (1024, 4096),
        "wrapped.output_proj.weight": (2048, 1024),
        "wrapped.clip_embed.weight" if kind == "text" else "wrapped.clip_embed.1.weight": (
            1024,
            768 if kind == "text" else 1024,
        ),
    }
    assert {name: tuple(theirs[name].shape) for name in shapes} == shapes


def linear(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def norm(state, name, x):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def perceptron(state, name, x):
    return linear(state, f"{name}.c_proj", F.gelu(linear(state, f"{name}.c_fc", x)))


def block(state, name, x, heads):
    """Pre-norm attention whose projection gives each head its q, k and v side by side; then the perceptron."""
    rows = linear(state, f"{name}.attn.c_qkv", norm(state, f"{name}.ln_1", x))  # (B, N, 3 · width)
    each = rows.chunk(heads, dim=-1)
    attended = []
    for q, k, v in (head.chunk(3, dim=-1) for head in each):
        attended.append(torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), dim=-1) @ v)
    x = x + linear(state, f"{name}.attn.c_proj", torch.cat(attended, dim=-1))
    return x + perceptron(state, f"{name}.mlp", norm(state, f"{name}.ln_2", x))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_openai_s_layout_mean_what_its_equations_say(kind):
    state, heads, width = openai_state(kind), KINDS[kind]["heads"], KINDS[kind]["condition_width"]
    backbone = ShapEBackbone(**KINDS[kind]).double()
    backbone.load_state_dict(from_openai(state, heads))
    x, step = torch.randn(2, TOKENS, CHANNELS, dtype=torch.float64), torch.tensor([3.0, 700.0], dtype=torch.float64)
    if kind == "text":
        vector = torch.randn(2, width, dtype=torch.float64)
        condition = Condition(vector)
        embedded = linear(state, "wrapped.clip_embed", math.sqrt(width) * vector)[:, None]
    else:
        tokens = torch.randn(2, 5, width, dtype=torch.float64)
        condition = Condition(tokens=tokens)
        embedded = linear(state, "wrapped.clip_embed.1", norm(state, "wrapped.clip_embed.0", tokens))
    time = perceptron(state, "wrapped.time_embed", step_waves(step, 32))[:, None]
    latents = linear(state, "wrapped.input_proj", x) + state["wrapped.pos_emb"]
    h = norm(state, "wrapped.ln_pre", torch.cat([time, embedded, latents], dim=1))
    for layer in range(2):
        h = block(state, f"wrapped.backbone.resblocks.{layer}", h, heads)
    expected = linear(state, "wrapped.output_proj", norm(state, "wrapped.ln_post", h)[:, -TOKENS:])
    level = noise_level(Exponential(12.0).log_snr((step + 1) / STEPS))
    torch.testing.assert_close(backbone(x, level, condition), expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.1

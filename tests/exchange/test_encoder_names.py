"""Names and layouts of Shap-E's encoder, with random weights."""

import math

import pytest
import torch

from fieldforge.autoencoder.shap_e_encoder import ShapEEncoder
from fieldforge.exchange.encoder_names import from_openai, to_openai

HEADS = 2


def named(model: ShapEEncoder) -> dict[str, torch.Tensor]:
    return {f"encoder.{name}": value for name, value in model.state_dict().items()}


@pytest.fixture
def encoder() -> ShapEEncoder:
    torch.manual_seed(0)
    return ShapEEncoder(4, 3, width=8, heads=HEADS, layers=2, channels=5, patch=4, degrees=2, neighbours=8)


def test_names_and_shapes_are_those_of_the_release() -> None:
    with torch.device("meta"):
        state = to_openai(named(ShapEEncoder()), heads=8)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    block = {"ln_1": (1024,), "mlp.c_fc": (4096, 1024), "mlp.c_proj": (1024, 4096), "attn.c_proj": (1024, 1024)}
    read = block | {"ln_2": (1024,), "ln_3": (1024,), "attn.c_q": (1024, 1024), "attn.c_kv": (2048, 1024)}
    layer = block | {"ln_2": (1024,), "attn.c_qkv": (3072, 1024)}
    modules = {
        "input_proj": (1024, 186),
        "point_conv.mlp_convs.0": (1024, 1027, 8, 1),
        "point_conv.mlp_convs.1": (1024, 1024, 8, 1),
        "mv_pcl_embed": (512, 279, 3, 3),
        "patch_emb": (1024, 512, 8, 8),
        "output_proj": (1024, 1024),
        **{"ln_pre": (1024,), "ln_post": (1024,)},
        **{f"encoder.{source}.resblocks.0.{name}": shape for source in (0, 1) for name, shape in read.items()},
        **{f"processor.resblocks.{n}.{name}": shape for n in range(11) for name, shape in layer.items()},
    }
    expected = {"encoder.output_tokens": (1024, 1024), "encoder.mv_pcl_embed.unk_token": (279,)}
    for name, shape in modules.items():
        expected |= {f"encoder.{name}.weight": shape, f"encoder.{name}.bias": shape[:1]}
    assert shapes == expected
    # transmitter.pt has 213 tensors of 443,991,776 numbers; the maps to weights and the perceptron have the others.
    assert len(shapes) == 213 - 16 - 15
    maps = sum(1025 * rows * 256 + 2 * rows for rows in (93, 256, 256, 256))
    perceptron = 256 * (93 + 3 * 256 + 307 + 256 + 12) + 6 * 256 + 12 + 3
    assert sum(map(math.prod, shapes.values())) == 443_991_776 - maps - perceptron


def test_there_and_back_are_the_same_numbers(encoder: ShapEEncoder) -> None:
    ours = named(encoder)
    theirs = to_openai(ours, HEADS)
    back = from_openai(theirs | {"renderer.nerstf.mlp.0.bias": torch.zeros(3)}, HEADS)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], ours[name]) for name in ours)


def test_projections_are_in_turn_by_head_there(encoder: ShapEEncoder) -> None:
    ours = named(encoder)
    theirs = to_openai(ours, HEADS)
    kv = ours["encoder.read_points.read.to_kv.weight"]
    keys, values = kv[:8], kv[8:]
    expected = torch.cat([keys[:4], values[:4], keys[4:], values[4:]])
    assert torch.equal(theirs["encoder.encoder.0.resblocks.0.attn.c_kv.weight"], expected)
    q, k, v = ours["encoder.transformer.blocks.1.attention.to_qkv.bias"].chunk(3)
    expected = torch.cat([q[:4], k[:4], v[:4], q[4:], k[4:], v[4:]])
    assert torch.equal(theirs["encoder.processor.resblocks.1.attn.c_qkv.bias"], expected)


def test_a_missing_tensor_is_named(encoder: ShapEEncoder) -> None:
    theirs = to_openai(named(encoder), HEADS)
    del theirs["encoder.patch_emb.bias"]
    with pytest.raises(KeyError, match=r"encoder\.patch_emb\.bias"):
        from_openai(theirs, HEADS)

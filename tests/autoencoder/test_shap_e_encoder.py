"""Shap-E's encoder against its equations, written out in loops."""

import math

import pytest
import torch
from torch import Tensor

from fieldforge.autoencoder.point_conv import PointConv, first_neighbours
from fieldforge.autoencoder.shap_e_encoder import ReadBlock, ShapEEncoder
from fieldforge.autoencoder.view_patches import ViewPatches
from fieldforge.errors import UserError
from fieldforge.geometry.camera import Camera, fibonacci_poses
from fieldforge.nn.transformer import TransformerBlock
from fieldforge.noise.randomness import StepRandomness

WIDTH, HEADS, TOKENS, DATA, CHANNELS, DEGREES = 8, 2, 5, 6, 3, 15
POINTS, VIEWS, SIDE, FOV = 60, 3, 16, 0.7


@pytest.fixture
def encoder() -> ShapEEncoder:
    torch.manual_seed(0)
    sizes = {"width": WIDTH, "heads": HEADS, "layers": 2, "channels": CHANNELS, "neighbours": 16}
    model = ShapEEncoder(TOKENS, DATA, **sizes).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def batch(count: int = 2) -> dict[str, Tensor]:
    """Points of a ball's surface, and views with random colours, of which a disc is opaque."""
    generator = torch.Generator().manual_seed(1)
    normals = torch.nn.functional.normalize(torch.randn(count, POINTS, 3, generator=generator), dim=-1)
    surface = torch.cat([0.6 * normals, normals, torch.rand(count, POINTS, 3, generator=generator)], -1)
    axis = torch.linspace(-1, 1, SIDE)
    alpha = (axis[:, None] ** 2 + axis**2 < 0.5).float().expand(count, VIEWS, -1, -1).clone()
    alpha[:, :, SIDE // 2, 7:9] = 0.5  # the edge of something
    colors = torch.rand(count, VIEWS, SIDE, SIDE, 3, generator=generator)
    return {
        "input": surface.double(),
        "view_rgba": torch.cat([colors, alpha[..., None]], -1).double(),
        "view_depth": ((2 + torch.rand(count, VIEWS, SIDE, SIDE, generator=generator)) * (alpha > 0)).double(),
        "view_cameras": fibonacci_poses(VIEWS, 3.0).expand(count, -1, -1, -1).double(),
        "fov_y": torch.full((count,), FOV, dtype=torch.float64),
    }


def encoded(model: ShapEEncoder, samples: dict[str, Tensor], **options) -> Tensor:
    with torch.no_grad():
        return model(*(samples[name] for name in model.reads), **options)


def waves(vector: Tensor) -> Tensor:
    """NeRF's encoding of one vector, without π, the vector first."""
    angles = torch.cat([2**k * vector for k in range(DEGREES)])
    return torch.cat([vector, angles.sin(), angles.cos()])


def z_up(vector: Tensor) -> Tensor:
    return torch.stack([vector[0], -vector[2], vector[1]])


def slow_tokens(conv: PointConv, points: Tensor, features: Tensor) -> Tensor:
    """points (N, 3), features (N, C) → (S, width)."""
    tokens = []
    for centre in points[: conv.centres]:
        near = [n for n in range(len(points)) if float((points[n] - centre).norm()) <= 0.5][: conv.neighbours]
        near += [near[0]] * (conv.neighbours - len(near))
        rows = torch.stack([torch.cat([points[n] - centre, features[n]]) for n in near])  # (K, C)
        for layer, order in ((conv.first, conv.first_order[0]), (conv.second, conv.second_order[0])):
            rows = torch.stack([rows[order[:, c], c] for c in range(rows.shape[1])], 1)
            windows = []
            for start in range(-4, len(rows) - 3, 4):
                taps = torch.stack([rows[(start + tap) % len(rows)] for tap in range(8)], 1)  # (C, 8)
                windows.append(layer.bias + (layer.weight * taps).sum((1, 2)))
            rows = torch.nn.functional.silu(torch.stack(windows))
        tokens.append(rows.mean(0))
    return torch.stack(tokens)


def slow_patches(patches: ViewPatches, rgba: Tensor, depth: Tensor, pose: Tensor) -> Tensor:
    """One view → (patches, D)."""
    rays = Camera(pose, FOV, SIDE, SIDE).rays()
    image = torch.zeros(len(patches.unknown), SIDE + 2, SIDE + 2).double()  # zeros around
    for row in range(SIDE):
        for column in range(SIDE):
            vector = patches.unknown
            if rgba[row, column, 3] >= 0.999:
                seen = rays.origins[row, column] + depth[row, column] * rays.directions[row, column]
                parts = [2 * rgba[row, column, :3] - 1, z_up(pose[:3, 3]), z_up(seen)]
                vector = torch.cat([waves(part) for part in parts])
            image[:, row + 1, column + 1] = vector
    hidden = torch.zeros(WIDTH // 2, SIDE, SIDE).double()
    for row in range(SIDE):
        for column in range(SIDE):
            window = image[:, row : row + 3, column : column + 3]
            hidden[:, row, column] = patches.embed.bias + (patches.embed.weight * window).sum((1, 2, 3))
    tokens = []
    for row in range(0, SIDE, 8):
        for column in range(0, SIDE, 8):
            window = hidden[:, row : row + 8, column : column + 8]
            tokens.append(patches.to_patch.bias + (patches.to_patch.weight * window).sum((1, 2, 3)))
    return torch.stack(tokens)


def slow_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    rows = []
    for query in q:
        heads = []
        for head in range(HEADS):
            part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            weights = torch.softmax(k[:, part] @ query[part] / math.sqrt(WIDTH / HEADS), 0)
            heads.append(weights @ v[:, part])
        rows.append(torch.cat(heads))
    return torch.stack(rows)


def slow_read(block: ReadBlock, x: Tensor, source: Tensor) -> Tensor:
    k, v = block.read.to_kv(block.norm_source(source)).chunk(2, -1)
    x = x + block.read.to_out(slow_attention(block.read.to_q(block.norm_read(x)), k, v))
    return x + block.feed[2](torch.nn.functional.gelu(block.feed[0](block.norm_feed(x))))


def slow_block(block: TransformerBlock, x: Tensor) -> Tensor:
    q, k, v = block.attention.to_qkv(block.norm_attention(x)).chunk(3, -1)
    x = x + block.attention.to_out(slow_attention(q, k, v))
    return x + block.feed[2](torch.nn.functional.gelu(block.feed[0](block.norm_feed(x))))


@torch.no_grad()
def slow(model: ShapEEncoder, sample: dict[str, Tensor]) -> Tensor:
    """One sample of a batch, without its first axis → (T, C)."""
    surface = sample["input"]
    places = torch.stack([z_up(point) for point in surface[:, :3]])
    seen = torch.cat([places, surface[:, 6:]], 1)
    points = torch.stack([model.embed(waves(row)) for row in seen])
    x = model.norm_tokens(torch.cat([slow_tokens(model.point_conv, places, points), model.output_tokens]))
    views = [
        slow_patches(model.view_patches, *(sample[f"view_{name}"][view] for name in ("rgba", "depth", "cameras")))
        for view in range(VIEWS)
    ]
    x = slow_read(model.read_views, slow_read(model.read_points, x, points), torch.cat(views))
    for block in model.transformer.blocks:
        x = slow_block(block, x)
    return model.to_latent(model.norm_output(x[DATA:]))


def test_it_is_what_its_equations_say(encoder):
    samples = batch(1)
    expected = slow(encoder, {name: value[0] for name, value in samples.items()})
    torch.testing.assert_close(encoded(encoder, samples)[0], expected, atol=1e-6, rtol=1e-6)


def test_neighbours_are_the_first_in_reach_and_the_first_again_where_there_are_few():
    points = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [0.3, 0, 0], [0.5, 0, 0], [0.2, 0, 0]])[None]
    near = first_neighbours(points[:, :2], points, 0.5, 3)
    assert near.tolist() == [[[0, 2, 3], [1, 3, 1]]]


def test_a_sample_is_encoded_alone_as_in_a_batch_and_always_alike(encoder):
    both = batch(2)
    second = {name: value[1:] for name, value in both.items()}
    torch.testing.assert_close(encoded(encoder, both)[1:], encoded(encoder, second))
    fresh = ShapEEncoder(TOKENS, DATA, width=WIDTH, heads=HEADS, layers=2, channels=CHANNELS, neighbours=16).double()
    fresh.load_state_dict(encoder.state_dict())  # (orders are no weights)
    assert torch.equal(encoded(fresh.eval(), both), encoded(encoder, both))


def test_views_have_no_order_and_points_none_but_for_neighbours(encoder):
    samples = batch()
    turned = {name: value[:, [2, 0, 1]] if name.startswith("view") else value for name, value in samples.items()}
    torch.testing.assert_close(encoded(encoder, turned), encoded(encoder, samples))
    surface = samples["input"]
    centres = surface[:, :DATA, :3]
    near = first_neighbours(centres, surface[..., :3], 0.5, 16)
    free = sorted(set(range(DATA, POINTS)) - set(near.flatten().tolist()))  # neighbours of none
    assert len(free) > 3
    mixed = surface.clone()
    mixed[:, free] = surface[:, free[::-1]]
    torch.testing.assert_close(encoded(encoder, {**samples, "input": mixed}), encoded(encoder, samples))


def test_pixels_that_no_surface_covers_wholly_are_unknown(encoder):
    samples = batch()
    hidden = samples["view_rgba"][..., 3:] < 0.999
    other = {**samples, "view_rgba": torch.where(hidden, samples["view_rgba"] * 0.5, samples["view_rgba"])}
    torch.testing.assert_close(encoded(encoder, other), encoded(encoder, samples))
    without = {**samples, "view_depth": samples["view_depth"] * 0}
    clear = {**samples, "view_rgba": samples["view_rgba"] * 0}
    assert torch.equal(encoded(encoder, without), encoded(encoder, clear))  # depth 0: nothing hit
    assert (encoded(encoder, clear) - encoded(encoder, samples)).abs().max() > 1e-3


def test_training_draws_orders_for_each_sample_whatever_the_batch(encoder):
    samples, first = batch(2), {name: value[:1] for name, value in batch(2).items()}
    encoder.train()

    def draw(rows: dict[str, Tensor], step: int, slots: list[int]) -> Tensor:
        return encoded(encoder, rows, randomness=StepRandomness(0, step, slots, 2))

    torch.testing.assert_close(draw(samples, 0, [0, 1])[:1], draw(first, 0, [0]))
    assert (draw(first, 0, [0]) - draw(first, 1, [0])).abs().max() > 1e-6
    with pytest.raises(ValueError, match="needs randomness"):
        encoded(encoder, samples)


def test_every_weight_takes_part(encoder):
    encoder(*(batch()[name] for name in encoder.reads)).square().sum().backward()
    idle = [name for name, value in encoder.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert not idle


def test_without_views_it_reads_points_alone():
    model = ShapEEncoder(
        TOKENS, DATA, width=WIDTH, heads=HEADS, layers=1, channels=CHANNELS, neighbours=16, views=False
    )
    assert model.reads == ("input",)
    assert encoded(model.eval(), {"input": batch()["input"].float()}).shape == (2, TOKENS, CHANNELS)


def test_sizes_that_do_not_fit_are_named(encoder):
    samples = batch()
    with pytest.raises(UserError, match="4 points for 6 tokens"):
        encoded(encoder, {**samples, "input": samples["input"][:, :4]})
    cut = {**samples, "view_rgba": samples["view_rgba"][:, :, :12], "view_depth": samples["view_depth"][:, :, :12]}
    with pytest.raises(UserError, match=r"12 × 16 pixels are no whole number of patches of 8"):
        encoded(encoder, cut)

"""Shap-E's encoder at full size: OpenAI's class, from the package shap_e, and this project's, with the same weights."""

import importlib.util
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sides import products_of_trainings
from torch import Tensor

from fieldforge.autoencoder.shap_e_encoder import ShapEEncoder
from fieldforge.exchange.encoder_names import from_openai
from fieldforge.fields.z_up import to_z_up
from fieldforge.geometry.camera import fibonacci_poses

POINTS, VIEWS, SIZE, HEADS = 16384, 20, 256, 8


def is_installed() -> bool:
    """Whether the package shap_e is there. The script shap_e.py beside this file has its name, and is asked last."""
    here = str(Path(__file__).parent)
    sys.path[:] = [place for place in sys.path if place != here] + [here]
    spec = importlib.util.find_spec("shap_e")
    return spec is not None and spec.submodule_search_locations is not None


def original() -> Any:
    """The released configuration of OpenAI's encoder. Only its files of pictures would need the package blobfile."""
    is_installed()
    sys.modules.setdefault("blobfile", types.ModuleType("blobfile"))
    from shap_e.models.transmitter.channels_encoder import PointCloudPerceiverChannelsEncoder

    torch.manual_seed(0)
    rows = {"nerstf.mlp.0.weight": (1024, 5)}
    return PointCloudPerceiverChannelsEncoder(
        device=torch.device("cpu"), dtype=torch.float32, param_shapes=rows,
        params_proj=dict(name="channels", init_scale=1.0, learned_scale=0.0625, use_ln=True), d_latent=1024,
        latent_bottleneck=dict(name="identity"), cross_attention_dataset="pcl_and_multiview_pcl", data_ctx=1024,
        fps_method="first", heads=HEADS, init_scale=0.25, inner_batch_size=[POINTS, VIEWS], input_channels=6,
        layers=12, max_depth=9.0, max_unrolls=1, min_unrolls=1, patch_size=8, pointconv_hidden=[1024, 1024],
        pointconv_padding_mode="circular", pointconv_patch_size=8, pointconv_samples=64, pointconv_stride=4,
        pos_emb="nerf", use_depth=True, use_pointconv=True, width=1024, image_size=SIZE,
    ).eval()  # fmt: skip


def ours() -> ShapEEncoder:
    products_of_trainings()
    encoder = ShapEEncoder().eval()
    state = {f"encoder.{name}": value for name, value in original().state_dict().items()}
    encoder.load_state_dict({name.removeprefix("encoder."): v for name, v in from_openai(state, HEADS).items()})
    return encoder


def batch() -> dict[str, Tensor]:
    """A ball's points, and views of noise on a disc."""
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(1, POINTS, 3, generator=generator), dim=-1)
    colors = torch.rand(1, POINTS, 3, generator=generator)
    line = torch.linspace(-1, 1, SIZE)
    disc = (line[:, None].square() + line.square() < 0.3).float().expand(1, VIEWS, SIZE, SIZE)
    rgb = torch.rand(1, VIEWS, SIZE, SIZE, 3, generator=generator)
    return {
        "input": torch.cat([0.6 * normals, normals, colors], -1),
        "view_rgba": torch.cat([rgb, disc[..., None]], -1),
        "view_depth": disc * (2.2 + torch.rand(1, VIEWS, SIZE, SIZE, generator=generator)),
        "view_cameras": fibonacci_poses(VIEWS, 3.0)[None],
        "fov_y": torch.tensor([0.7]),
    }


def their_batch(values: dict[str, Tensor]):
    from shap_e.rendering.view_data import ProjectiveCamera
    from shap_e.util.collections import AttrDict

    points = torch.cat([to_z_up(values["input"][..., :3]), values["input"][..., 6:]], -1)
    rgba = values["view_rgba"]
    poses = values["view_cameras"][0]
    axes = [to_z_up(axis).numpy() for axis in (poses[:, :3, 0], -poses[:, :3, 1], -poses[:, :3, 2], poses[:, :3, 3])]
    fov = float(values["fov_y"])
    cameras = [
        ProjectiveCamera(origin=origin, x=x, y=y, z=z, width=SIZE, height=SIZE, x_fov=fov, y_fov=fov)
        for x, y, z, origin in zip(*axes, strict=True)
    ]
    return AttrDict(
        points=points.permute(0, 2, 1), views=(2 * rgba[..., :3] - 1).permute(0, 1, 4, 2, 3),
        depths=values["view_depth"][:, :, None], view_alphas=rgba[..., 3][:, :, None], cameras=[cameras],
    )  # fmt: skip


def their_step() -> Callable[[], Tensor]:
    encoder, values = original(), their_batch(batch())
    return torch.no_grad()(lambda: encoder.encode_to_bottleneck(values))


def our_step(bfloat16: bool = False) -> Callable[[], Tensor]:
    encoder, values = ours(), batch()

    def step() -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return encoder(*(values[name] for name in encoder.reads))

    return step


SIDES: dict[str, Callable[[], Callable[[], Tensor]]] = {
    "OpenAI's": their_step,
    "ours, float32": our_step,
    "ours, bfloat16": partial(our_step, bfloat16=True),
}


def check() -> None:
    """Tokens are alike. The original draws the orders of neighbours anew, and its rays meet corners of pixels."""
    theirs = their_step()()
    for bfloat16 in (False, True):
        own = our_step(bfloat16)().float()
        cosine = torch.nn.functional.cosine_similarity(theirs.reshape(own.shape), own, dim=-1).mean()
        assert cosine > 0.95, cosine

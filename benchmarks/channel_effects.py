"""What an error in each channel of the latents does to the field: sparse latents get their deviations after it.

    python benchmarks/channel_effects.py outputs/sparse_autoencoder/<id> --data shards/furniture [--limit 16]

Adds Gaussian noise of `--error` times a channel's own deviation to that channel alone, in active cells, and prints how
far signed distances near the surface and colours on it move (root of the mean square; box units, sRGB 0…1).
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shape_transforms import Distances, Surface
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Transform
from fieldforge.stages.autoencoder_stage import load_autoencoder

NEAR = 0.03  # distances below this count as near the surface
COLORED = 1024


def answers(autoencoder: Autoencoder, latents: Tensor, near: Tensor, painted: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances at points `near` (B, M, 3) and colours at points `painted` (B, P, 3)."""
    params = {name: value.float() for name, value in autoencoder.decode(latents).items()}
    values = autoencoder.field.query(torch.cat([near, painted], 1), params)
    return values["sdf"][:, : near.shape[1]], values["rgb"][:, near.shape[1] :]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", default="shards/furniture")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--error", type=float, default=0.3)
    arguments = parser.parse_args()
    autoencoder, _ = load_autoencoder(arguments.run / "model.ckpt")
    transforms: list[Transform] = [Surface(8192), Distances(2048, 64)]
    samples = HeldOut(open_shards(arguments.data, "heldout"), transforms, seed=0, batch_size=4, limit=arguments.limit)
    wanted = torch.tensor(autoencoder.encoder.deviations or [1.0] * autoencoder.latent_shape.channels)
    errors = arguments.error * wanted  # of normalised latents
    moved = torch.zeros(len(errors), 2, dtype=torch.float64)
    noise = torch.Generator().manual_seed(0)
    batches = 0
    for batch in samples:
        batches += 1
        latents, near, painted = autoencoder.encode(batch), batch["near_points"].float(), batch["input"]
        active = autoencoder.own_units(latents)[..., 0] > 0
        sdf, rgb = answers(autoencoder, latents, near, painted[:, :COLORED, :3])
        for channel in range(1, len(errors)):
            other = latents.clone()
            other[..., channel] += errors[channel] * torch.randn(active.shape, generator=noise) * active
            distances, colors = answers(autoencoder, other, near, painted[:, :COLORED, :3])
            moved[channel, 0] += (distances - sdf)[sdf.abs() < NEAR].square().mean()
            moved[channel, 1] += (colors - rgb).square().mean()
    print("channel   distance   colour")
    for channel, (distance, color) in enumerate((moved / batches).sqrt().tolist()):
        if channel:
            print(f"{channel:7d}   {distance:.5f}   {color:.4f}")


if __name__ == "__main__":
    main()

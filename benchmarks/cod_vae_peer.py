"""COD-VAE (Cho et al. 2025), as the package cod-vae has it, on the same shards, for the same time, by the same judge.

    pip install cod-vae    then    python benchmarks/cod_vae_peer.py --data shards/furniture [--minutes 10] [--limit 40]

Trains its first stage, the autoencoder before latents are compressed, in two sizes, by its own training and losses, on
one thread for so many minutes of processor time; at a learning rate of 5e-4, as its own is for far longer trainings. It
has occupancy alone: no colours, no views.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from cod_vae import CODVAEConfig
from cod_vae.checkpoint import load_npz
from cod_vae.torch.model import CODVAEModule
from cod_vae.torch.training import train
from cod_vae.training import TrainingConfig
from torch import Tensor

from fieldforge.data.heldout import HeldOut
from fieldforge.data.reader import ShardReader
from fieldforge.data.shape_transforms import Augment, Distances, Surface
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Transform
from fieldforge.domains.shape import ShapeDomain
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.isosurface import extract_mesh

BATCH, STEPS_A_LOOK, POINTS = 16, 5, 2048
SIZES = {
    "tiny": {"embed_dim": 128, "num_heads": 4, "encoder_num_layers_per_block": 1, "decoder_num_layers": 4},
    "small": {"embed_dim": 256, "num_heads": 8, "encoder_num_layers_per_block": 2, "decoder_num_layers": 6},
}
COMMON = {"num_latents": 64, "encoder_num_blocks": 2, "encoder_num_patches": 256, "decoder_output_resolution": 64}


class Spent(Exception):
    """The minutes are over."""


class Occupancies(torch.utils.data.Dataset):
    """Shapes of the training split as cod-vae's training wants them; ends it when the processor time is spent."""

    num_vol_queries = 1024

    def __init__(self, data: str, minutes: float):
        self.shards = open_shards(data, "train")
        self.reader, self.epoch, self.minutes = ShardReader(self.shards), 0, minutes
        self.places = [
            (shard, number)
            for shard, count in enumerate(self.shards.samples_per_shard.tolist())
            for number in range(count)
        ]
        self.parts = (Surface(POINTS), Distances(near=1024, volume=self.num_vol_queries))
        self.augment, self.began = Augment(turns=4, mirror=True), time.process_time()

    def __len__(self) -> int:
        return STEPS_A_LOOK * BATCH

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if time.process_time() - self.began > 60 * self.minutes:
            raise Spent

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.epoch, index))
        sample = self.reader.read(*self.places[rng.integers(len(self.places))])
        parts: dict[str, Any] = {}
        for part in self.parts:
            parts |= part(sample, rng)
        parts = self.augment(parts, rng)
        return {
            "surface": parts["input"][:, :3].astype(np.float32),
            "queries": np.concatenate([parts["volume_points"], parts["near_points"]]).astype(np.float32),
            "labels": (np.concatenate([parts["volume_sdf"], parts["near_sdf"]]) < 0).astype(np.float32),
        }


class Occupancy(Field):
    """The peer's field: minus its logits, which have the sign of a distance and not its size."""

    dimensions, heads = 3, SHAPE_HEADS
    param_shapes: dict[str, tuple[int, int]] = {}

    def __init__(self, module: CODVAEModule):
        super().__init__()
        self.module = module

    def query(self, points: Tensor, params: Params) -> Values:
        logits = self.module.decode_logits(params["planes"], points)
        return {"sdf": -logits, "density": torch.relu(logits), "rgb": torch.full((*points.shape[:2], 3), 0.5)}


class OccupancyShapes(Shapes):
    """Meshed from the whole grid, as logits do not say where they may change their sign."""

    def mesh(self, index: int = 0, resolution: int | None = None) -> ColoredMesh:
        cells, one = resolution or self.resolution, self[index]
        return extract_mesh(
            lambda points: one.field.query(points[None], one.params)["sdf"][0].clamp(-5, 5),
            lambda points: torch.full_like(points, 0.5),
            cells,
            coarsest=cells,
        )


def trained(size: str, data: str, minutes: float) -> tuple[CODVAEModule, int]:
    """The model and its steps."""
    config = CODVAEConfig(**COMMON, **SIZES[size])
    settings = TrainingConfig(epochs=10**6, batch_size=BATCH, lr=5e-4, base_batch_size=BATCH, log_every=10**9)
    shapes = Occupancies(data, minutes)
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(config, settings, shapes, out_dir=folder, device="cpu")  # type: ignore[arg-type]
        except Spent:
            weights = load_npz(Path(folder) / "checkpoint_last.npz")[1]
    module = CODVAEModule(config).eval()
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    return module, shapes.epoch * STEPS_A_LOOK


@torch.no_grad()
def measured(module: CODVAEModule, data: str, limit: int) -> list[dict[str, float]]:
    domain = ShapeDomain(views=1)
    transforms: list[Transform] = [Surface(POINTS), *domain.truth_transforms()]
    rows = []
    for batch in HeldOut(open_shards(data, "heldout"), transforms, seed=0, batch_size=1, limit=limit):
        planes = module.decode_embed(module.encode_embed(batch["input"][..., :3]))[0]
        outputs = OccupancyShapes(Occupancy(module), {"planes": planes}, domain.resolution)
        rows.append(domain.measure(outputs, batch))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shards/furniture")
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time")
    parser.add_argument("--limit", type=int, default=40, help="held-out assets to measure on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| model | parameters | steps | IoU mean / median | F@0.02 | normals | pieces |\n|---|---|---|---|---|---|---|"
    )
    for size in SIZES:
        module, steps = trained(size, arguments.data, arguments.minutes)
        rows = measured(module, arguments.data, arguments.limit)
        mean = {name: fmean(row[name] for row in rows) for name in rows[0]}
        parameters = sum(value.numel() for value in module.autoencoder.parameters()) / 1e6
        cells = [f"cod-vae, {size}", f"{parameters:.1f} M", f"{steps:,}"]
        cells += [f"{mean['iou']:.3f} / {median(row['iou'] for row in rows):.3f}", f"{mean['f_score']:.3f}"]
        cells += [f"{mean['normal_consistency']:.3f}", f"{mean['pieces']:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

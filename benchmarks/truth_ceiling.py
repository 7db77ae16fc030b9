"""What the judge of reconstructions says of the truth itself: the most that any autoencoder can reach.

    python benchmarks/truth_ceiling.py --data data/furniture [--limit 77] [--resolution 128]

Held-out assets of a furniture data set are read again from their libraries. Their own signed distance, as prepare.py
measures it, takes the field's place: meshed on the same grid, drawn from the same cameras, measured by the same code as
a reconstruction. Colour is that of the nearest stored surface point. What the grid, the rounding of points and the
slabs of open sheets cost shows here. Writes `truth_ceiling.json` into the data's folder.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from scipy.spatial import cKDTree
from torch import Tensor

from fieldforge.configuration.build import build
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shape_transforms import Surface
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Key, Meta, Transform
from fieldforge.domains.shape import LIMITS, ShapeDomain
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.density import LaplaceDensity
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.preparation.asset import clean_mesh
from fieldforge.preparation.asset_process import open_store
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.distance import Caster, signed_distance
from fieldforge.readers.file_store import Notes

CONFIGS = Path(__file__).parents[1] / "configs"
BETA = 0.004  # of the density: half-width of the surface in views, near the smallest that fields learn


class TrueField(Field):
    """The signed distance of a mesh, and the colours of points on it, asked like a field without parameters."""

    dimensions = 3
    heads = SHAPE_HEADS
    param_shapes: dict[str, tuple[int, int]] = {}

    def __init__(self, caster: Caster, points: np.ndarray, colors: np.ndarray, epsilon: float):
        super().__init__()
        self.caster, self.tree, self.colors, self.epsilon = caster, cKDTree(points), colors, epsilon
        self.density = LaplaceDensity(initial=BETA)

    def query(self, points: Tensor, params: Params) -> Values:
        flat = points.reshape(-1, 3).numpy()
        sdf = torch.from_numpy(signed_distance(self.caster, flat.astype(np.float64), self.epsilon)).view(
            points.shape[:-1]
        )
        rgb = torch.from_numpy(self.colors[self.tree.query(flat)[1]]).view(points.shape)
        return {"sdf": sdf, "density": self.density(sdf), "rgb": rgb}


def furniture_records() -> dict[str, AssetRecord]:
    """Id → record of all models of the libraries that `source=furniture` reads."""
    with initialize_config_dir(str(CONFIGS), version_base=None):
        config = compose("prepare", ["source=furniture"])
    source = build(config, "source")
    return {record.id: record for record in source.records(LIMITS.max_file_bytes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/furniture")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--resolution", type=int, default=128)
    arguments = parser.parse_args()
    records, domain = furniture_records(), ShapeDomain(resolution=arguments.resolution, views=1)
    transforms: list[Transform] = [Surface(16_384), *domain.truth_transforms(), Meta(), Key()]
    assets = []
    for batch in HeldOut(
        open_shards(arguments.data, "heldout"), transforms, seed=0, batch_size=1, limit=arguments.limit
    ):
        meta = batch["meta"][0]
        record = records[meta["id"]]
        caster = Caster(clean_mesh(record, open_store(record.archive, LIMITS.max_file_bytes), LIMITS, Notes([])).mesh)
        points = batch["input"][0].numpy()  # (N, 9)
        field = TrueField(caster, points[:, :3], points[:, 6:], meta["epsilon"])
        measures = domain.measure(Shapes(field, {"none": torch.zeros(1, 0, 0)}, arguments.resolution), batch)
        assets.append({"key": batch["key"][0], "name": meta["name"], **measures})
        print(meta["name"], {name: round(value, 3) for name, value in measures.items()}, flush=True)
    names = [name for name in assets[0] if name not in ("key", "name")]
    means = {name: fmean(asset[name] for asset in assets) for name in names}
    for name in names:
        print(f"{name:28s} {means[name]:8.4f}   median {median(asset[name] for asset in assets):8.4f}")
    output = Path(arguments.data) / "truth_ceiling.json"
    output.write_text(json.dumps({"resolution": arguments.resolution, "mean": means, "per_asset": assets}, indent=2))


if __name__ == "__main__":
    main()

"""The data configurations build, and what they build gives batches as the contract says."""

from pathlib import Path

import hydra
import pytest
from hydra import compose, initialize_config_dir
from tests.data.make import write_latents, write_spheres

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def first_batch(name: str, root: Path | str) -> dict:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose(overrides=[f"+data={name}", "+seed=0", f"++data.root={root}", "data.num_workers=0"])
    datamodule = hydra.utils.instantiate(config.data, batch_size=4, _convert_="all")
    assert {len(values) for values in next(iter(datamodule.val_dataloader())).values()} == {1}
    return next(iter(datamodule.train_dataloader()))


@pytest.mark.parametrize("name", ["furniture", "furniture_cc0"])
def test_sample_shards(tmp_path: Path, name: str) -> None:
    write_spheres(tmp_path, 3, 2, heldout=1)
    batch = first_batch(name, tmp_path)
    rays = batch["ray_depth"].shape[1]
    shapes = {name: tuple(value.shape) for name, value in batch.items() if not isinstance(value, list)}
    assert shapes["input"][::2] == (4, 9)
    assert shapes["near_points"] == (*shapes["near_sdf"], 3)
    assert shapes["volume_points"] == (*shapes["volume_sdf"], 3)
    assert shapes["ray_origins"] == shapes["ray_directions"] == (4, rays, 3)
    assert shapes["ray_rgba"] == (4, rays, 4)


def test_latent_shards(tmp_path: Path) -> None:
    write_latents(tmp_path / "a", 3, 2)
    write_latents(tmp_path / "b", 1, 1, split="heldout")
    batch = first_batch("latents", f"[{tmp_path}/a,{tmp_path}/b]")
    assert tuple(batch["latent"].shape) == (4, 2, 3)
    assert len(batch["caption"]) == len(batch["class"]) == 4

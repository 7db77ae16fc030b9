"""Sets of a few assets of one's own walk the whole road, also where nothing is held out."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from tests.preparation.make import tiny_settings, write_cubes
from tests.runs.conftest import Place

from fieldforge.data.shards import open_shards
from fieldforge.engines.engine import LocalEngine
from fieldforge.errors import UserError
from fieldforge.preparation.pipeline import prepare
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.train import run_training


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_assets_are_prepared_and_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int):
    caplog.set_level("INFO")
    prepare(write_cubes(tmp_path / "cubes", count), tiny_settings(), 0, tmp_path / "shards", LocalEngine(1))
    (tmp_path / "outputs").mkdir()
    place = Place(tmp_path / "shards", tmp_path / "outputs")
    done = run_training(place.compose())
    assert done["autoencoder"].finished
    assert done["diffusion"].finished
    assert list(done["diffusion"].pictures.glob("*.png"))
    [latents] = (done["autoencoder"].path / "latents").iterdir()
    assert open_shards(latents, "train").samples == max(1, count - 1)
    table = (done["autoencoder"].path / "metrics.csv").read_text()
    if count == 1:
        assert "heldout/loss" not in table
        assert caplog.text.count("validation is left out") == 2  # in each of the two stages that train
        with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
            config = compose("evaluate", [f"run={done['autoencoder'].path}"])
        with pytest.raises(UserError, match=r"there is no shard of split 'heldout', only of \['train'\]"):
            run_evaluation(config)
    else:
        assert "heldout/loss" in table
        assert "left out" not in caplog.text

"""Shards come out the same for any number of workers and after any interruption."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.preparation.make import DeadlyStaging, box_distance, record, stage, tiny_settings, write_cubes

from fieldforge.data.codec import decode_member
from fieldforge.data.shape_schema import DEPTH_UNIT, SAMPLE
from fieldforge.engines.engine import LocalEngine
from fieldforge.errors import UserError
from fieldforge.preparation.asset import prepare_asset
from fieldforge.preparation.pipeline import prepare
from fieldforge.preparation.preparation_job import job_of
from fieldforge.preparation.settings import ViewSettings
from fieldforge.preparation.stage_assets import stage_all
from fieldforge.preparation.staging import Staging
from fieldforge.readers.file_store import FolderStore
from fieldforge.storage.output import LocalOutput

COUNT = 5
SETTINGS = tiny_settings(heldout_share=0.5)
SEED = 3


def checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted run with one worker writes."""
    root = tmp_path_factory.mktemp("whole")
    prepare(write_cubes(root / "assets", COUNT), SETTINGS, SEED, root / "out", LocalEngine(1))
    return root


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path, whole: Path):
    report = prepare(write_cubes(tmp_path / "assets", COUNT), SETTINGS, SEED, tmp_path / "out", LocalEngine(3))
    assert checksums(tmp_path / "out") == checksums(whole / "out")
    assert sum(report.manifest.extra["splits"].values()) == COUNT
    assert set(checksums(whole / "out")) >= {"manifest.json", "rejected.jsonl", "notes.jsonl", "contact_sheet.png"}
    assert not (tmp_path / "out" / ".staging").exists()


def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path, whole: Path):
    code = (
        "import sys; from pathlib import Path; from fieldforge.preparation.pipeline import prepare\n"
        "from fieldforge.engines.engine import LocalEngine\n"
        "from tests.preparation.make import write_cubes; from tests.preparation import test_pipeline as t\n"
        "root = Path(sys.argv[1])\n"
        "prepare(write_cubes(root / 'assets', t.COUNT), t.SETTINGS, t.SEED, root / 'out', LocalEngine(1))\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    while not list((tmp_path / "out").glob(".staging/*/*/thing*.tar")) and run.poll() is None:
        time.sleep(0.002)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=120)  # ends when the last process that writes there has ended: workers leave with the run
    staged = list((tmp_path / "out").glob(".staging/*/*/thing*.tar"))
    if run.returncode != 0:  # killed in time; else it was faster than we
        assert 0 < len(staged) < COUNT
        assert not (tmp_path / "out" / "manifest.json").exists()
    prepare(write_cubes(tmp_path / "assets", COUNT), SETTINGS, SEED, tmp_path / "out", LocalEngine(1))
    assert checksums(tmp_path / "out") == checksums(whole / "out")


def test_a_finished_run_has_nothing_left_to_do(whole: Path):
    before = checksums(whole / "out")
    source = write_cubes(whole / "assets", COUNT)
    assert prepare(source, SETTINGS, SEED, whole / "out", LocalEngine(1)).cpu_seconds is None
    assert checksums(whole / "out") == before


def test_other_settings_are_refused_by_name(whole: Path):
    source = write_cubes(whole / "assets", COUNT)
    other = tiny_settings(heldout_share=0.5, views=ViewSettings(2, 16, 50, 0.0))
    with pytest.raises(UserError, match=r"other settings \(preparation\.views\.fov_y_degrees, seed\); choose another"):
        prepare(source, other, SEED + 1, whole / "out", LocalEngine(1))


def test_no_assets_and_nothing_usable(tmp_path: Path):
    with pytest.raises(UserError, match="holds no assets"):
        prepare(write_cubes(tmp_path / "none", 0), SETTINGS, SEED, tmp_path / "out", LocalEngine(1))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.obj").touch()
    with pytest.raises(UserError, match=r"of 1 asset none can be used; .*rejected\.jsonl says why"):
        prepare(write_cubes(tmp_path / "bad", 0), SETTINGS, SEED, tmp_path / "out", LocalEngine(1))


def test_missing_libraries_are_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package open3d.*\.\[prepare\]"):
        prepare(write_cubes(tmp_path / "assets", 1), SETTINGS, SEED, tmp_path / "out", LocalEngine(1))


def test_an_asset_that_kills_its_process_is_rejected_and_the_others_go_on(tmp_path: Path):
    records = write_cubes(tmp_path / "assets", 3).records(2**24)
    staging = DeadlyStaging(LocalOutput(tmp_path / "staging"))
    done, reasons = stage(staging, records, SETTINGS)
    assert sorted(done) == [record.id for record in records]
    assert [staging.reason(record) is None for record in records] == [True, False, True]
    assert reasons == {record.id: staging.reason(record) for record in records}
    assert "process died" in str(staging.reason(records[1]))


def test_a_command_ends_where_another_one_has_begun(tmp_path: Path):
    """As object storage lets two do."""
    records = write_cubes(tmp_path / "assets", 1).records(2**24)
    staging = Staging(LocalOutput(tmp_path / "staging"))
    with job_of(SETTINGS, SEED, staging) as first, job_of(SETTINGS, SEED, staging) as second:
        assert [first.is_current(), second.is_current()] == [False, True]
        with pytest.raises(UserError, match=r"another command has begun to write .*staging: this one ends"):
            first.check_current()
        assert stage_all(records, second, LocalEngine(1), lambda record, seconds: None) == {"thing-a.obj": None}


def test_a_changed_file_is_prepared_again(tmp_path: Path):
    (first,) = write_cubes(tmp_path / "assets", 1).records(2**24)
    staging = Staging(LocalOutput(tmp_path / "staging"))
    staging.put_rejected(first, "no")
    assert staging.name(first) in staging.found()
    with (tmp_path / "assets" / "thing-a.obj").open("a") as file:
        file.write("# changed\n")
    (second,) = write_cubes(tmp_path / "assets", 0).records(2**24)
    assert second.id == first.id
    assert staging.name(second) not in staging.found()


def test_a_sample_holds_what_the_contract_says(tmp_path: Path):
    write_cubes(tmp_path, 1)
    settings = tiny_settings(views=ViewSettings(3, 24, 40, 0.0))
    asset = record("thing-a.obj", tmp_path, name="White cube", tags=("toy",), names_by_language=(("de", "Würfel"),))
    prepared = prepare_asset(asset, FolderStore(tmp_path, 2**20), settings, seed=0)
    sample = {suffix: decode_member(suffix, payload) for suffix, payload in prepared.members.items()}
    SAMPLE.check(asset.key, sample)
    meta = sample["meta.json"]
    assert (meta["scale"], meta["center"], meta["epsilon"]) == (0.9, [0, 0, 0], 0.006)
    assert meta["captions"][:2] == ["White cube", "a white cube"]
    assert meta["captions_by_language"] == {"de": ["Würfel"]}
    assert np.allclose(np.abs(sample["surface_points.npy"]).max(axis=1), 0.9, atol=5e-4)
    assert sample["surface_exposed.npy"].all()
    assert (np.abs(sample["surface_normals.npy"].astype(int)).sum(axis=1) == 127).all()
    assert (sample["surface_colors.npy"] == round(0.8 * 255)).all()
    for kind in ("near", "volume"):
        points = sample[f"{kind}_points.npy"].astype(np.float64)
        expected = box_distance(points, 0.9) - 0.006
        np.testing.assert_allclose(sample[f"{kind}_sdf.npy"], expected, atol=1e-3)
    assert np.abs(box_distance(sample["near_points.npy"].astype(np.float64), 0.9)).mean() < 0.05
    for view, camera in enumerate(sample["cameras.npy"]):
        depth = sample[f"depth_{view:03d}.png"] * DEPTH_UNIT
        hit = sample[f"view_{view:03d}.png"][..., 3] == 255
        np.testing.assert_array_equal(hit, depth > 0)
        assert 0 < np.linalg.norm(camera[:3, 3]) - depth[hit].min() < 0.9 * np.sqrt(3) + 1e-3


def test_the_contact_sheet_shows_every_asset(whole: Path):
    with Image.open(whole / "out" / "contact_sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert sheet.size == (COUNT * 128, 142)
    tiles = pixels[:128].reshape(128, COUNT, 128, 3).swapaxes(0, 1)
    assert all(tile.std() > 5 for tile in tiles)

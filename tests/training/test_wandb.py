"""A training never fails for want of Weights & Biases: the real package, a loopback port that nobody listens on."""

import json
import logging
import os
import signal
import socket
import struct
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trimesh
import wandb
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

from fieldforge.configuration.build import check
from fieldforge.rendering.gallery import GLB, Exhibit, Media
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import check_training
from fieldforge.sweeps.forwarding import children
from fieldforge.training.callbacks import wandb_run, wandb_service
from fieldforge.training.callbacks.wandb_run import Wandb, clean_id
from fieldforge.training.callbacks.wandb_service import unreachable

KEY = "0123456789" * 4


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.fixture(autouse=True)
def account(tmp_path, monkeypatch):
    """A key, and a service that is away."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    yield
    wandb_run.finish()
    wandb.teardown()  # its process would keep the settings for the next test


def begun(folder: Path, name: str) -> wandb_run.Reporter:
    """The logger of a training."""
    context = SimpleNamespace(run=folder, config={"name": name}, stage="autoencoder", fingerprint="0123")
    return Wandb().begin(context)  # type: ignore[arg-type]


def reported(folder: Path, name: str = "tiny") -> wandb_run.Reporter:
    """A logger that has written a row."""
    logger = begun(folder, name)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"train/loss": 1.0}, 3)
    logger.finalize("success")
    return logger


def warnings(caplog) -> list[str]:
    """What the project says; the threads of a service that was killed before say more, at any time."""
    ours = [record for record in caplog.records if record.name.startswith("fieldforge")]
    return [record.message for record in ours if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("key", [KEY, "short", "with spaces and\ttabs " * 3])
def test_without_a_network_it_goes_on_offline_within_seconds(key, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", key)
    began = time.monotonic()
    reported(tmp_path)
    assert time.monotonic() - began < 15
    assert list(tmp_path.glob("wandb/offline-run-*-tiny-autoencoder-0123"))
    [warning] = warnings(caplog)
    assert "Connection refused" in warning
    assert "written offline" in warning


def test_the_library_does_not_report_its_own_use(tmp_path):
    reported(tmp_path)
    telemetry = pytest.importorskip("wandb.analytics.opentelemetry.opentelemetry_proxy")
    assert telemetry.get_open_telemetry_proxy() is None


def test_a_key_that_is_refused_is_one_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    monkeypatch.setattr(wandb_service, "unreachable", lambda url: None)
    reported(tmp_path)
    assert list(tmp_path.glob("wandb/offline-run-*"))
    [warning] = warnings(caplog)
    assert "key" in warning.lower()


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_disabled_is_disabled(name, value, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(name, value)
    assert reported(tmp_path).experiment.disabled
    assert not list(tmp_path.glob("wandb/*run*"))
    assert not warnings(caplog)


def test_ids_are_such_as_the_service_takes_and_never_collide():
    assert clean_id("shape_latent-diffusion-0123abcd") == "shape_latent-diffusion-0123abcd"
    odd = [f"a{letter}b-autoencoder-0123" for letter in ":;,#?/'% \n"] + ["x" * 200, "x" * 201, " a", "ä", ""]
    cleaned = [clean_id(name) for name in odd]
    assert len(set(cleaned)) == len(odd)
    assert cleaned == [clean_id(name) for name in odd]
    for name in cleaned:
        assert wandb.Settings(run_id=name).run_id == name
        assert len(name) <= 128


def test_a_name_that_the_service_refuses_is_reported(tmp_path, caplog):
    reported(tmp_path, "what's/this:one?")
    assert list(tmp_path.glob("wandb/offline-run-*-what-s-this-one--autoencoder-0123-*"))


def test_a_service_process_that_dies_does_not_end_the_training(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "offline")
    before = set(children())
    logger = begun(tmp_path, "killed")
    logger.log_metrics({"train/loss": 1.0}, 1)
    [service] = set(children()) - before
    os.kill(service, signal.SIGKILL)
    began = time.monotonic()
    for step in range(2, 300):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.finalize("success")
    wandb_run.finish()
    assert time.monotonic() - began < 30
    assert wandb.run is None


def test_an_error_of_the_library_is_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = begun(tmp_path, "broken")
    monkeypatch.setattr(type(logger.experiment), "log", lambda *a, **k: 1 / 0)
    logger.log_metrics({"train/loss": 1.0}, 1)
    logger.log_metrics({"train/loss": 1.0}, 2)
    [warning] = warnings(caplog)
    assert "division by zero" in warning


def records(folder: Path) -> list[Any]:
    """What `wandb sync` would send of an offline run: records, in parts, in blocks of 32 KiB as LevelDB's logs."""
    [file] = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, place, whole, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(Record.FromString(whole))
            whole = b""
    return found


def test_an_offline_run_holds_configuration_summary_samples_and_model(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    context = SimpleNamespace(run=tmp_path, config={"name": "tiny", "seed": 7}, stage="diffusion", fingerprint="0123")
    logger = Wandb(artifact=True).begin(context)
    for step, loss in ((1, 0.25), (2, 0.5)):
        logger.log_metrics({"heldout/loss": loss}, step)
    glb = trimesh.creation.icosphere(1).export(file_type="glb")
    shape = Exhibit("a ball", Image.new("RGBA", (8, 8), "red"), Media(GLB, glb), {"seed": 3})
    logger.log_exhibits([shape, Exhibit("nothing", Image.new("RGBA", (8, 8)), None, {"seed": 4})], 2)
    (tmp_path / "model.ckpt").write_bytes(b"weights")
    logger.log_model_file(tmp_path / "model.ckpt")
    logger.finalize("success")
    wandb_run.finish()
    wandb.teardown()  # its process has written all when it ends

    written = records(tmp_path)
    updates = [item for one in written for item in (*one.run.config.update, *one.config.update)]
    config = {item.key: json.loads(item.value_json) for item in updates}
    assert config["seed"] == 7
    rows = [
        {item.nested_key[0] if item.nested_key else item.key: item.value_json for item in one.history.item}
        for one in written
        if one.history.item
    ]
    assert [row["heldout/loss"] for row in rows if "heldout/loss" in row] == ["0.25", "0.5"]
    [best] = [one.metric for one in written if one.metric.glob_name == "heldout/*"]
    assert best.summary.min
    assert {"samples", "shapes"} <= rows[-1].keys()
    [files] = tmp_path.glob("wandb/offline-run-*/files")
    [table] = [json.loads(path.read_text()) for path in files.rglob("*.table.json")]
    assert table["columns"] == ["prompt", "seed", "picture"]
    assert [row[:2] for row in table["data"]] == [["a ball", 3], ["nothing", 4]]
    assert glb in [path.read_bytes() for path in files.rglob("*.glb")]
    assert "model" in {one.request.log_artifact.artifact.type for one in written} | {
        one.artifact.type for one in written
    }


def test_a_report_is_added_to_the_run_of_the_training(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    report = {
        "run": "x",
        "mean": {"iou": 0.5},
        "assets": 3,
        "per_asset": [{"iou": 1.0}],
        "measured_with": {"fast": True},
    }
    (tmp_path / "heldout.json").write_text(json.dumps(report))
    (tmp_path / "heldout.html").write_text("<p>page</p>")
    Image.new("RGB", (4, 4)).save(tmp_path / "heldout.png")
    stored = {"_target_": "fieldforge.training.callbacks.wandb_run.Wandb", "project": "mine", "artifact": True}
    choice = Wandb.of_training({"logger": stored})
    assert (choice.project, choice.artifact) == ("mine", False)
    assert Wandb.of_training({"logger": {"_target_": "another", "project": "x"}}).project == "fieldforge"
    logger = choice.goes_on({"name": "tiny"}, "autoencoder", "0123", tmp_path)
    logger.log_report(tmp_path / "heldout.json")
    logger.finalize("success")
    wandb_run.finish()
    wandb.teardown()

    [folder] = tmp_path.glob("wandb/offline-run-*-tiny-autoencoder-0123")
    updates = [item for one in records(tmp_path) for item in one.summary.update]
    summary = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in updates}
    assert summary["evaluation/heldout/mean/iou"] == 0.5
    assert summary["evaluation/heldout/assets"] == 3
    assert not [name for name in summary if "per_asset" in name or "fast" in name]
    assert [path.read_text() for path in folder.rglob("*.html")] == ["<p>page</p>"]
    assert len(list(folder.rglob("*.png"))) == 1


def test_under_an_agent_the_run_is_that_of_its_trial(tmp_path, monkeypatch):
    for name, value in (("MODE", "offline"), ("SWEEP_ID", "sweep1"), ("RUN_ID", "trial7")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    reported(tmp_path)
    assert list(tmp_path.glob("wandb/offline-run-*-trial7"))


SWEEPS = sorted((CONFIGS / "wandb").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_each_proposal_of_a_sweep_is_a_valid_command(path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep["command"] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    for pick in (0, -1):
        ends = {key: [*one.get("values", []), one.get("value", one.get("min")), one.get("max")]
                for key, one in sweep["parameters"].items()}  # fmt: skip
        words = [f"{key}={[end for end in each if end is not None][pick]}" for key, each in ends.items()]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", words)
        check(config)
        check_training(config)


def test_nobody_answers():
    assert unreachable(f"http://127.0.0.1:{closed_port()}") == "[Errno 111] Connection refused"
    assert unreachable("https://[not an address")
    assert unreachable("http://127.0.0.1:port")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert unreachable(f"http://127.0.0.1:{server.getsockname()[1]}") is None

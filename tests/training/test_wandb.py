"""A training never fails for want of Weights & Biases: the real package, a loopback port that nobody listens on."""

import logging
import os
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb

from fieldforge.sweeps.forwarding import children
from fieldforge.training.callbacks import wandb_run
from fieldforge.training.callbacks.wandb_run import Wandb, clean_id, unreachable

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
    monkeypatch.setattr(wandb_run, "unreachable", lambda url: None)
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


def test_nobody_answers():
    assert unreachable(f"http://127.0.0.1:{closed_port()}") == "[Errno 111] Connection refused"
    assert unreachable("https://[not an address")
    assert unreachable("http://127.0.0.1:port")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert unreachable(f"http://127.0.0.1:{server.getsockname()[1]}") is None

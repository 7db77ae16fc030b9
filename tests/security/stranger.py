"""Whole runs as a stranger might send them, untrained, and a server that counts who asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.autoencoder_stage import AutoencoderStage
from fieldforge.stages.denoiser_parts import build_model
from fieldforge.training.processes.checkpoints import FORMAT, save_atomically

ROOT = Path(__file__).resolve().parents[2]
SEARCH = f"hydra.searchpath=[file://{ROOT}/tests/configs]"
Change = Callable[[dict[str, Any]], None]


def command(name: str, *overrides: str) -> DictConfig:
    """The configuration of a command line."""
    folder = CONFIGS if name == "train" else CONFIGS / "commands"
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, [SEARCH, *overrides] if name == "train" else list(overrides))


def tiny(*overrides: str) -> DictConfig:
    return command("train", "experiment=tiny", "conditioner=none", "data.root=nowhere", *overrides)


def autoencoder_file(path: Path, change: Change) -> Path:
    """An autoencoder whose stored configuration `change` has altered in place."""
    config = tiny()
    stored = OmegaConf.to_container(config, resolve=True)
    change(stored)
    weights = AutoencoderStage(config).module().autoencoder.state_dict()
    label = {"format": FORMAT, "stage": "autoencoder", "fingerprint": "0" * 12, "config": stored}
    save_atomically({"fieldforge": label, "state_dict": weights}, path)
    return path


def diffusion_file(path: Path, change: Change, *overrides: str) -> Path:
    """The same of an unconditional diffusion model, of a design that `overrides` change."""
    config = tiny(*overrides)
    stored = OmegaConf.to_container(config, resolve=True)
    autoencoder = AutoencoderStage(config).module().autoencoder
    model = build_model(config, autoencoder.latent_shape, Conditioner({}))
    change(stored)
    label = {
        "format": FORMAT, "stage": "diffusion", "fingerprint": "1" * 12, "config": stored, "encoders": {},
        "autoencoder": {"config": stored, "fingerprint": "0" * 12},
        "autoencoder_state_dict": dict(autoencoder.state_dict()),
    }  # fmt: skip
    weights = torch.nn.ModuleDict({"model": model}).state_dict()
    save_atomically({"fieldforge": label, "state_dict": weights}, path)
    return path


class Host:
    """A web server on this machine that knows nothing and notes every request."""

    def __init__(self) -> None:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                self.send_error(404)

            do_HEAD = do_POST = do_PUT = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self.requests = requests
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def counting_host() -> Iterator[Host]:
    host = Host()
    Thread(target=host.server.serve_forever, daemon=True).start()
    yield host
    host.server.shutdown()
    host.server.server_close()

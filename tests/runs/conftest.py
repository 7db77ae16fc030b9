"""Runs on balls: in this process, or in one of their own as users start them."""

from dataclasses import dataclass
from functools import partial, partialmethod
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tests.runs.forked import ROOT, Forked, type_command
from tests.runs.tiny import write_balls

from fieldforge.domains import shape_outputs
from fieldforge.rendering.turntable import write_turntable
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages import pretrained
from fieldforge.training.processes import interruption

SEARCH = f"hydra.searchpath=[file://{ROOT}/tests/configs]"


@dataclass(frozen=True)
class Place:
    """A folder of balls and a folder for outputs."""

    data: Path
    outputs: Path
    experiment: str = "tiny"

    def overrides(self, *further: str) -> list[str]:
        return [f"experiment={self.experiment}", f"data.root={self.data}", f"output_dir={self.outputs}", *further]

    def compose(self, *further: str, name: str = "train") -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose(name, [SEARCH, *self.overrides(*further)])

    def start(self, *further: str) -> Forked:
        """train.py in a process of its own."""
        return type_command("train.py", [SEARCH, *self.overrides(*further)], self.outputs)


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    return write_balls(tmp_path_factory.mktemp("balls"))


@pytest.fixture
def place(balls: Path, tmp_path: Path) -> Place:
    (tmp_path / "outputs").mkdir()
    return Place(balls, tmp_path / "outputs")


@pytest.fixture(autouse=True)
def _no_pretrained_weights(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """Whatever weights the repository holds, tests use their own."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path_factory.mktemp("empty"))


@pytest.fixture(autouse=True)
def _short_turntables(monkeypatch: pytest.MonkeyPatch):
    """Of two small frames: whole ones, which tests/rendering and tests/domains look at, are most of drawing a shape."""
    monkeypatch.setattr(shape_outputs, "write_turntable", partial(write_turntable, size=32, frames=2))
    frames = partialmethod(shape_outputs.Shapes.radiance_frames, size=16, frames=2)
    monkeypatch.setattr(shape_outputs.Shapes, "radiance_frames", frames)


@pytest.fixture(autouse=True)
def _no_signal_left_over():
    interruption.forget()
    yield
    interruption.forget()
    interruption.uninstall()

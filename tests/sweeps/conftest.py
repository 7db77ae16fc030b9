"""Sweeps through the entry point, with a training that takes no time: its loss is a function of the settings."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.runs.conftest import SEARCH

from fieldforge.runs import entry
from fieldforge.sweeps.study import Judge
from fieldforge.training.callbacks.pruning import Pruned
from fieldforge.training.processes import interruption


def best_at_hundredth(config) -> float:
    """A loss whose minimum, 0, lies at a learning rate of 0.01."""
    return math.log10(config.training.autoencoder.optimizer.lr / 0.01) ** 2


def pretended(config, loss: float) -> dict:
    """What a training leaves: a table of metrics in a directory of its own."""
    run = Path(config.output_dir) / "runs" / Path(config.search.trial).stem
    run.mkdir(parents=True, exist_ok=True)
    (run / "metrics.csv").write_text(f"step,heldout/loss,train/loss\n4,{loss + 1},2.0\n9,{loss},1.0\n")
    return {"autoencoder": SimpleNamespace(path=run)}


@dataclass
class Bench:
    """Runs sweeps of pretended trainings and counts these."""

    outputs: Path
    capsys: pytest.CaptureFixture
    monkeypatch: pytest.MonkeyPatch
    trained: list[dict] = field(default_factory=list)

    def sweep(self, *arguments: str, act: Callable | None = None) -> tuple[int, str]:
        """Exit code, and what was printed. `act(config, loss, times)` may raise in place of a training."""

        def body(config):
            loss = best_at_hundredth(config)
            self.trained.append({"lr": config.training.autoencoder.optimizer.lr, "trial": config.search.trial})
            if act is not None:
                act(config, loss, len(self.trained))
            return pretended(config, loss)

        words = [SEARCH, "experiment=tiny", "stages=[autoencoder]", f"output_dir={self.outputs}", *arguments]
        self.monkeypatch.setattr(sys, "argv", ["train.py", *words])
        with pytest.raises(SystemExit) as left:
            entry.run(body, "train")
        printed = self.capsys.readouterr()
        return int(left.value.code or 0), printed.out + printed.err

    @property
    def study(self) -> Path:
        [study] = (self.outputs / "sweeps").iterdir()
        return study

    def rows(self) -> list[list[str]]:
        """Cells of the table that was written, best first."""
        lines = [line for line in (self.study / "table.md").read_text().splitlines() if line.startswith("|")][2:]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def judged(config, loss: float, times: int) -> None:
    """As the callback does: report on the way, end where the pruner says so."""
    judge = Judge(
        config.search.trial, "loss", "minimize", __import__("optuna").pruners.MedianPruner(n_startup_trials=2)
    )
    if judge.prune(5, loss + 1):
        raise Pruned(5, loss + 1, Path(config.output_dir))


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, capsys, monkeypatch)


@pytest.fixture(autouse=True)
def _no_signal_left_over():
    interruption.forget()
    yield
    interruption.forget()
    interruption.uninstall()

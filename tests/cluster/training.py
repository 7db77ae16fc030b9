"""A small training on balls, started by whatever starts trainings on a cluster, and its weights."""

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12  # of each stage
PATIENCE = 900.0  # seconds for anything to happen on a busy machine
CANCEL = threading.Event()  # set when nobody wants the results any more: whoever waits stops waiting
ENVIRONMENT = {
    "PYTHON": sys.executable,
    "PYTHONPATH": str(ROOT),
    "MASTER_ADDR": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True)
class Training:
    """One run of the experiment `tiny` (tests/configs): autoencoder, latents, diffusion.

    Args:
        folder: of its outputs, its log and the files of `Hold`.
        data: the shards.
    """

    folder: Path
    data: Path

    def overrides(self, *further: str, hold: dict[str, int] | None = None) -> list[str]:
        """What follows train.py on the command line; `hold`: stage → step in which it waits for a signal."""
        steps = ",".join(f"{stage}:{step}" for stage, step in (hold or {}).items())
        held = [f"+callbacks.hold={{_target_:tests.cluster.hold.Hold,folder:{self.folder},steps:{{{steps}}}}}"]
        return [
            f"hydra.searchpath=[file://{ROOT}/tests/configs]",
            "experiment=tiny",
            f"data.root={self.data}",
            f"output_dir={self.folder}",
            f"training.autoencoder.budget.max_steps={STEPS}",
            f"training.diffusion.budget.max_steps={STEPS}",
            "callbacks.checkpoints.every_steps=2",
            "callbacks.pictures=null",
            "trainer.precision=32-true",
            "trainer.matmul=highest",
            *(held if hold else []),
            *further,
        ]

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def output(self) -> str:
        """Its log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def wait_held(self, stage: str, over: Callable[[], bool]) -> None:
        """Until its rank 0 waits in the middle of a step of `stage`; an error once the training is `over`."""
        wait(lambda: (self.folder / f"held_{stage}").exists(), f"the training of the {stage}", self.output, over)

    def weights(self) -> dict[str, dict[str, torch.Tensor]]:
        """Of each finished stage, by its name."""
        contents = [torch.load(path, weights_only=True) for path in self.folder.glob("tiny/*/model.ckpt")]
        return {content["fieldforge"]["stage"]: content["state_dict"] for content in contents}


def differences(mine: Training, other: Training) -> dict[str, float]:
    """Greatest difference of each tensor that is not equal bit for bit, of finished trainings of both stages."""
    one, two = mine.weights(), other.weights()
    assert one.keys() == two.keys() == {"autoencoder", "diffusion"}, mine.output()
    distances = {}
    for stage, tensors in one.items():
        assert tensors.keys() == two[stage].keys()
        for name, value in tensors.items():
            if not torch.equal(value, two[stage][name]):
                distances[f"{stage}.{name}"] = float((value.double() - two[stage][name].double()).abs().max())
    return distances


def processes_with(**environment: str) -> list[int]:
    """Processes of train.py, without their data workers, whose environment has these values."""
    wanted = {f"{name}={value}".encode() for name, value in environment.items()}
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            has = set((entry / "environ").read_bytes().split(b"\0"))
            command = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # ended in the meantime, or another user's
            continue
        if wanted <= has and "python" in os.path.basename(command[0].decode()) and b"train.py" in command:
            parents[int(entry.name)] = parent
    return [process for process, parent in parents.items() if parent not in parents]


def wait(
    ready: Callable[[], bool], what: str, output: Callable[[], str] = str, over: Callable[[], bool] = lambda: False
) -> None:
    """Until something is so; an error with `output()` if it does not become so, at once where it cannot (`over`)."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if over() and not ready():  # what has ended may have become ready just before
            raise RuntimeError(f"{what} did not come before the end; it said:\n{output()}")
        if CANCEL.wait(0.2) or time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come in {PATIENCE:g} s; it said:\n{output()}")

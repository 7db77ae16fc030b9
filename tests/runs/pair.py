"""Two processes that train together, and what each of them runs: the trainings it is told, one after the other."""

import json
import os
import signal
import socket
import time
from pathlib import Path

from tests.runs.conftest import Place
from tests.runs.forked import Forked

from fieldforge.errors import UserError
from fieldforge.runs import train
from fieldforge.stages import latent_stage
from fieldforge.training.processes import checkpoints as checkpointing
from fieldforge.training.processes import interruption, ranks


def train_pair(balls: Path, outputs: Path, scenarios: list[dict]) -> None:
    """Let two processes train all scenarios; what they say goes to outputs/output."""
    for scenario in scenarios:
        (outputs / scenario["name"]).mkdir(exist_ok=True)
    plan = [{**scenario, "port": free_port()} for scenario in scenarios]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        Forked(train_all, (balls, outputs, plan), outputs, {**group, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    try:
        output = [process.communicate(timeout=900)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(output)
    (outputs / "output").write_text("\n".join(output))


def ends(pair: Path, name: str) -> list[str]:
    """How a scenario ended in each process."""
    return [json.loads((pair / f"{name}.{rank}.json").read_text()) for rank in (0, 1)]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def train_all(data: Path, outputs: Path, plan: list[dict]) -> None:
    """`plan`: list of {name, port, overrides, experiment, folder, full_disk, damaged, stopped_encoding}.

    Writes to outputs/<name>.<rank>.json how each ended.
    """
    train.rehearse = lambda stages: None  # takes as long as two steps
    (outputs / f"pid.{os.environ['RANK']}").write_text(str(os.getpid()))
    for part in plan:
        interruption.forget()
        os.environ["MASTER_PORT"] = str(part["port"])
        place = Place(data, outputs / part.get("folder", part["name"]), part.get("experiment", "tiny"))
        if part.get("full_disk") == os.environ["RANK"]:
            checkpointing.torch.save = _full
        for path in place.outputs.glob(part.get("damaged", "none")):
            os.truncate(path, 100)
        if part.get("stopped_encoding"):
            latent_stage.stop_on_request = lambda: _stop_the_other(outputs / "pid.1")
        try:
            train.run_training(place.compose(*part["overrides"]))
            end = "finished"
        except interruption.Interrupted as stop:
            end = str(stop)
        except UserError as error:
            end = f"error: {error}"
        finally:
            checkpointing.torch.save, latent_stage.stop_on_request = SAVE, STOP_ON_REQUEST
        (outputs / f"{part['name']}.{os.environ['RANK']}.json").write_text(json.dumps(end))
        assert ranks.world() == 1  # the group is left


def _full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def _stop_the_other(pid: Path) -> None:
    """The process that waits is asked to stop; this one, which encodes, hears of it."""
    os.kill(int(pid.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not ranks.stop_request():
        time.sleep(0.05)
    STOP_ON_REQUEST()


SAVE, STOP_ON_REQUEST = checkpointing.torch.save, latent_stage.stop_on_request

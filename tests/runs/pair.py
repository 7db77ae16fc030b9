"""One of two processes that train together: runs the trainings it is told, one after the other."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs import latent_stage
from fieldforge.runs.train import run_training
from fieldforge.training import checkpointing, interruption, ranks


def main(data: str, outputs: str, plan: str) -> None:
    """`plan`: list of {name, port, overrides, folder, full_disk, damaged, stopped_encoding}; see `SCENARIOS`.

    Writes to outputs/<name>.<rank>.json how each ended.
    """
    (Path(outputs) / f"pid.{os.environ['RANK']}").write_text(str(os.getpid()))
    for told in json.loads(plan):
        interruption.forget()
        os.environ["MASTER_PORT"] = str(told["port"])
        place = Place(Path(data), Path(outputs) / told.get("folder", told["name"]))
        if told.get("full_disk") == os.environ["RANK"]:
            checkpointing.torch.save = _full
        for path in place.outputs.glob(told.get("damaged", "none")):
            os.truncate(path, 100)
        if told.get("stopped_encoding"):
            latent_stage.stop_if_asked = lambda: _stop_the_other(Path(outputs) / "pid.1")
        try:
            run_training(place.compose(*told["overrides"]))
            end = "finished"
        except interruption.Interrupted as stop:
            end = str(stop)
        except UserError as error:
            end = f"error: {error}"
        finally:
            checkpointing.torch.save, latent_stage.stop_if_asked = SAVE, STOP_IF_ASKED
        (Path(outputs) / f"{told['name']}.{os.environ['RANK']}.json").write_text(json.dumps(end))
        assert ranks.world() == 1  # the group is left


def _full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def _stop_the_other(pid: Path) -> None:
    """The process that waits is asked to stop; this one, which encodes, hears of it."""
    os.kill(int(pid.read_text()), signal.SIGTERM)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not ranks.stop_asked():
        time.sleep(0.05)
    STOP_IF_ASKED()


SAVE, STOP_IF_ASKED = checkpointing.torch.save, latent_stage.stop_if_asked
if __name__ == "__main__":
    main(*sys.argv[1:])

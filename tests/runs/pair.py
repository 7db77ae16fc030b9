"""One of two processes that train together: runs the trainings it is told, one after the other."""

import json
import os
import sys
from pathlib import Path

from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training
from fieldforge.training import checkpointing, interruption, ranks


def main(data: str, outputs: str, plan: str) -> None:
    """`plan`: list of {name, port, overrides, full_disk}; writes to outputs/<name>.<rank>.json how each ended."""
    for told in json.loads(plan):
        interruption.forget()
        os.environ["MASTER_PORT"] = str(told["port"])
        place = Place(Path(data), Path(outputs) / told["name"])
        if told.get("full_disk") == os.environ["RANK"]:
            checkpointing.torch.save = _full
        try:
            run_training(place.compose(*told["overrides"]))
            end = "finished"
        except interruption.Interrupted as stop:
            end = str(stop)
        except UserError as error:
            end = f"error: {error}"
        finally:
            checkpointing.torch.save = SAVE
        (Path(outputs) / f"{told['name']}.{os.environ['RANK']}.json").write_text(json.dumps(end))
        assert ranks.world() == 1  # the group is left


def _full(*args, **kwargs):
    raise OSError(28, "No space left on device")


SAVE = checkpointing.torch.save
if __name__ == "__main__":
    main(*sys.argv[1:])

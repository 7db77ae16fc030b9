"""Ends a training after its first step."""

import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl


class FirstStep(pl.Callback):
    """Writes the time of the first step's end into the file `mark` and leaves the process at once."""

    def __init__(self, mark: str) -> None:
        self.mark = Path(mark)

    def on_train_batch_end(self, *args: Any) -> None:
        self.mark.write_text(str(time.time()))
        os._exit(0)

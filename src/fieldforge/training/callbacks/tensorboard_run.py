"""TensorBoard, opt-in: metrics and pictures below the run's directory."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from fieldforge.errors import UserError
from fieldforge.training.callbacks.context import TrainingContext


class PictureBoard(TensorBoardLogger):
    """Lightning's logger, which also takes picture files."""

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        """Logs picture files, (H, W, 3) each."""
        for number, path in enumerate(images):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self.experiment.add_image(f"{key}/{number}" if number else key, pixels, step, dataformats="HWC")


class TensorBoard:
    """The choice `logger=tensorboard`: `begin` makes the logger; a resumed training goes on in the same folder."""

    def begin(self, context: TrainingContext) -> PictureBoard:
        """Its files lie in the run's directory, in `tensorboard/`. UserError without the library."""
        try:
            return PictureBoard(str(context.run), name="", version="tensorboard")
        except ModuleNotFoundError as error:
            raise UserError("logger=tensorboard needs its library: pip install '.[tensorboard]'") from error

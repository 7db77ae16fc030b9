"""TensorBoard's own reader finds metrics and pictures."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fieldforge.training.callbacks.tensorboard_run import TensorBoard

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_metrics_and_pictures_of_a_resumed_run_lie_in_one_folder(tmp_path):
    Image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "a.png")
    for step in (1, 2):  # the second is that of the resumed training
        logger = TensorBoard().begin(SimpleNamespace(run=tmp_path))  # type: ignore[arg-type]
        logger.log_metrics({"train/loss": 0.5 / step}, step)
        logger.log_image("pictures", [str(tmp_path / "a.png")], step=step)
        logger.finalize("success")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    pictures = events.Images("pictures")
    assert [one.step for one in pictures] == [1, 2]
    assert (pictures[0].width, pictures[0].height) == (6, 4)
    with Image.open(io.BytesIO(pictures[0].encoded_image_string)) as picture:
        assert np.asarray(picture.convert("RGB"))[0, 0].tolist() == [255, 0, 0]

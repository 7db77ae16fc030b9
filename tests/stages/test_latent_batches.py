"""Batches that a plan makes up have the shapes that the stage's conditioner reads."""

from fieldforge.conditioning.aligned import AlignedSource
from fieldforge.conditioning.class_label import ClassSource
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.number_source import NumbersSource
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.stages.latent_batches import feature_widths, latent_batches


def test_a_batch_passes_its_conditioner():
    angles = NumbersSource(16, "angles", 2, each_frame=True)
    conditioner = Conditioner(
        {"class": ClassSource(["a", "b", "c"], 16), "coarse": AlignedSource(16, 3), "angles": angles}
    )
    widths = feature_widths(conditioner, text_tokens=7)
    assert widths["class"] == (3, 7, None, 0, 0)
    batch = latent_batches(LatentShape(9, 4, (3, 3)), widths, ["a", "b", "c"])(5)
    assert batch["latent"].shape == (5, 9, 4)
    assert batch["class"] == ["a"] * 5
    assert batch["features"]["coarse"].aligned.shape == (5, 9, 3)
    condition = conditioner(batch["features"])
    assert (condition.vector.shape, condition.aligned.shape[:2]) == ((5, 16), (5, 9))
    assert condition.frames.shape == (5, 3, 16)

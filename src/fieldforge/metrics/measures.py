"""The measures of the project: name, unit, which way is better, and by which reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Measure:
    """A measure of one sample, or of a set of them.

    Args:
        name: by which reports and `search.objective` know it.
        title: for people.
        unit: "share" (0 … 1), "dB", "box" (box units), "count", or "" for a plain number.
        better: the direction of better samples; "neither": the best value lies between.
        reference: what the samples are compared with.
    """

    name: str
    title: str
    unit: str
    better: Direction
    reference: str

    def text(self, value: float) -> str:
        """The value for people; an em dash for none."""
        if value != value:
            return "—"
        if self.unit == "share":
            return f"{100 * value:.1f} %"
        digits = {"dB": 2, "box": 4, "count": 2}.get(self.unit, 3)
        unit = f" {self.unit}" if self.unit == "dB" else ""
        return f"{value:.{digits}f}{unit}"


TRUTH, TRAINING = "the true sample", "the training samples"
MEASURES = {
    measure.name: measure
    for measure in (
        Measure("iou", "volume IoU", "share", "higher", TRUTH),
        Measure("chamfer_l1", "Chamfer L1", "box", "lower", TRUTH),
        Measure("f_score", "F-score", "share", "higher", TRUTH),
        Measure("normal_consistency", "normal consistency", "share", "higher", TRUTH),
        Measure("chamfer_l1_exposed", "Chamfer L1, outside", "box", "lower", TRUTH),
        Measure("f_score_exposed", "F-score, outside", "share", "higher", TRUTH),
        Measure("normal_consistency_exposed", "normal consistency, outside", "share", "higher", TRUTH),
        Measure("view_psnr", "PSNR of volume renderings", "dB", "higher", TRUTH),
        Measure("mesh_psnr", "PSNR of unlit views of the mesh", "dB", "higher", TRUTH),
        Measure("psnr", "PSNR", "dB", "higher", TRUTH),
        Measure("ssim", "SSIM", "share", "higher", TRUTH),
        Measure("perceptual", "perceptual distance", "", "lower", TRUTH),
        Measure("motion", "mean difference of neighbouring frames", "", "neither", "true_motion"),
        Measure("true_motion", "… of the true clip", "", "neither", "none"),
        Measure("thickness", "mean thickness of the truth", "box", "neither", TRUTH),
        Measure("pieces", "pieces above 0.5 % of the area", "count", "neither", "the nearest training sample"),
        Measure("empty", "empty samples", "share", "lower", "none"),
        Measure("name", "nearest training sample has the prompted name", "share", "higher", TRAINING),
        Measure("class", "… is of its class", "share", "higher", TRAINING),
        Measure("nearest_distance", "distance to the nearest training sample", "", "neither", "that of held-out ones"),
        Measure("nearest_neighbour_accuracy", "1-NN accuracy (best: 50 %)", "share", "neither", TRAINING),
        Measure("coverage", "coverage", "share", "higher", TRAINING),
        Measure("frechet", "Fréchet distance of features", "", "lower", TRAINING),
        Measure("kernel", "kernel distance of features", "", "lower", TRAINING),
    )
}
"""Every measure by its name."""

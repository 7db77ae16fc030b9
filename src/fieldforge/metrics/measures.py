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
        unit: "share" (0 … 1), "dB", "box" (box units), "count", "degrees", or "" for a plain number.
        better: the direction of better samples; "neither": the best value lies between.
        reference: what the samples are compared with.
    """

    name: str
    title: str
    unit: str
    better: Direction
    reference: str

    @property
    def unit_text(self) -> str:
        """The unit for people, of the values that `text` gives."""
        return {"share": "%", "box": "box units"}.get(self.unit, self.unit)

    def text(self, value: float) -> str:
        """The value for people; an em dash for none."""
        if value != value:
            return "—"
        if self.unit == "share":
            return f"{100 * value:.1f} %"
        digits = {"dB": 2, "box": 4, "count": 2, "degrees": 1}.get(self.unit, 3)
        unit = f" {self.unit}" if self.unit == "dB" else ""
        return f"{value:.{digits}f}{unit}"


TRUTH, TRAINING, STORED = "the true sample", "the training samples", "a split of the data"
MEASURES = {
    measure.name: measure
    for measure in (
        Measure("iou", "volume IoU", "share", "higher", TRUTH),
        Measure("chamfer_l1", "Chamfer L1", "box", "lower", TRUTH),
        Measure("f_score", "F-score", "share", "higher", TRUTH),
        Measure("normal_consistency", "normal consistency", "share", "higher", TRUTH),
        Measure("sharp_normal_error", "error of normals at sharp edges", "degrees", "lower", TRUTH),
        Measure("chamfer_l1_exposed", "Chamfer L1, outside", "box", "lower", TRUTH),
        Measure("f_score_exposed", "F-score, outside", "share", "higher", TRUTH),
        Measure("normal_consistency_exposed", "normal consistency, outside", "share", "higher", TRUTH),
        Measure("view_psnr", "PSNR of volume renderings", "dB", "higher", TRUTH),
        Measure("mesh_psnr", "PSNR of unlit views of the mesh", "dB", "higher", TRUTH),
        Measure("psnr", "PSNR", "dB", "higher", TRUTH),
        Measure("ssim", "SSIM", "share", "higher", TRUTH),
        Measure("perceptual", "perceptual distance", "", "lower", TRUTH),
        Measure("motion", "mean difference of neighbouring frames", "", "neither", "true_motion"),
        Measure("true_motion", "that of the true clip", "", "neither", "none"),
        Measure("thickness", "mean thickness of the truth", "box", "neither", "none"),
        Measure("openness", "share of the truth's surface without an inside behind it", "share", "neither", "none"),
        Measure("parts", "parts of the truth that stand apart", "count", "neither", "none"),
        Measure("texture", "difference of the truth's colours from their neighbours'", "", "neither", "none"),
        Measure("pieces", "pieces above 0.5 % of the area", "count", "neither", "the nearest training sample"),
        Measure("empty", "empty samples", "share", "lower", "none"),
        Measure("name", "nearest training sample has the prompted name", "share", "higher", TRAINING),
        Measure("class", "nearest training sample is of the prompted class", "share", "higher", TRAINING),
        Measure("nearest_distance", "distance to the nearest training sample", "", "neither", "that of held-out ones"),
        Measure("novelty", "novelty: this distance over the reference", "", "neither", "that of held-out ones"),
        Measure("nearest_neighbour_accuracy", "1-NN accuracy (best: 50 %)", "share", "neither", STORED),
        Measure("coverage", "coverage", "share", "higher", STORED),
        Measure("minimum_matching_distance", "minimum matching distance", "box", "lower", STORED),
        Measure(
            "nearest_neighbour_accuracy_emd", "1-NN accuracy by earth mover's distance", "share", "neither", STORED
        ),
        Measure("coverage_emd", "coverage by earth mover's distance", "share", "higher", STORED),
        Measure("minimum_matching_distance_emd", "minimum matching distance by EMD", "box", "lower", STORED),
        Measure("view_distance", "distance to the sample whose view is given", "", "lower", TRUTH),
        Measure("icon", "nearest training sample is the one whose icon is given", "share", "higher", TRAINING),
        Measure("own_cosine", "cosine to the views of the asset meant", "", "higher", TRUTH),
        Measure("other_cosine", "cosine to the views of others", "", "lower", TRUTH),
        Measure("top_1", "nearest view is of the asset meant", "share", "higher", TRUTH),
        Measure("top_5", "the asset meant is among the five nearest", "share", "higher", TRUTH),
        Measure("denoising_error_fine", "error of denoised latents, little noise", "", "lower", TRUTH),
        Measure("denoising_error_middle", "error of denoised latents, as much noise as signal", "", "lower", TRUTH),
        Measure("denoising_error_coarse", "error of denoised latents, much noise", "", "lower", TRUTH),
        Measure("retrieval", "picture is nearest to its own prompt", "share", "higher", "all prompts asked"),
        Measure("view_frechet", "Fréchet distance of rendered views", "", "lower", STORED),
        Measure("view_kernel", "kernel distance of rendered views", "", "lower", STORED),
        Measure("frechet", "Fréchet distance of features", "", "lower", STORED),
        Measure("kernel", "kernel distance of features", "", "lower", STORED),
    )
}
"""Every measure by its name."""


def measure_of(name: str) -> Measure:
    """The measure of that name; one of a domain beside the package, of which nothing is known, bears its name alone."""
    return MEASURES.get(name) or Measure(name, name.replace("_", " "), "", "neither", "")

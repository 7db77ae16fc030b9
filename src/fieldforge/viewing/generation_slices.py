"""Generated samples as groups: every one is kept, with what it was asked with, its scores and its files."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldforge.asking.settings import SamplingSettings
from fieldforge.configuration.settings import read_settings
from fieldforge.domains.domain import Outputs
from fieldforge.errors import UserError
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.rendering.sheet import text_picture
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.runs.sample import asked_model, run_sampling
from fieldforge.storage.file_names import slug
from fieldforge.viewing.commands import configured
from fieldforge.viewing.groups import Slice, add_group, check_kept, kept_dataset
from fieldforge.viewing.media import SCENE, moving, write_scene
from fieldforge.viewing.scoring import Score, Scoring, scoring_by
from fieldforge.viewing.stored_slices import KINDS, StoredFiles, stored_files

PICTURE = "picture"
"""The slice that the grid shows."""
FILES = ("glb", "ply", "obj", "usdz", "turntable", "radiance", "picture", "mp4", "gif", "strip", "thumbnail")
"""Entries of `samples.json` that name files."""
OTHERS = ("caption", "image", "images", "checkpoint", *FILES)
"""Entries that become no field under their own name."""
SPELT = {"guidance": "guidance.scale"}
PROMPT_SIZE = 320  # pixels
Progress = Callable[[int], None]


@dataclass
class Collector:
    """Adds each sample to a dataset as soon as its files are written.

    Args:
        dataset: name of the dataset, which is made for the first sample.
        run: that is asked, as the command names it.
        scoring: of the samples; None: they get no scores.
        progress: called with the number of samples so far.
    """

    dataset: str
    run: str
    scoring: Scoring | None
    progress: Progress
    samples: int = 0

    def __call__(self, output: Outputs, entry: Mapping[str, Any], folder: Path) -> None:
        score = None if self.scoring is None else self.scoring.of(output, entry.get("caption"))
        fields = {key: value for key, value in entry.items() if key not in OTHERS and value is not None}
        fields |= {"prompt": entry.get("caption"), "prompt_picture": asked_picture(entry), "model": self.run}
        if isinstance(scale := entry.get("guidance"), int | float):
            fields["guidance"] = float(scale)
        slices = generated_slices(entry, folder, nearest_files(score, self.scoring, entry, folder))
        add_group(kept_dataset(self.dataset, PICTURE), slices, fields | score_fields(score), ["generated"])
        self.samples += 1
        self.progress(self.samples)


def generate(
    asked: Mapping[str, Any], dataset: str, data_root: str | None, output_dir: str, progress: Progress
) -> tuple[int, str]:
    """Sample as sample.py does, and add every sample to a dataset.

    Args:
        asked: keys of sample.py and their values.
        dataset: its name.
        data_root: shards that score; None: those that the run was trained on, if they are here.
        output_dir: where runs lie, and the files go to a folder of their own.
        progress: see `Collector`.

    Returns:
        The number of samples, and why they have no scores; empty where they have.

    Raises:
        UserError: as sample.py, or for shards that do not score; then nothing is written.
    """
    check_kept(dataset)
    title = str(asked.get("prompt") or Path(str(asked.get("image") or "unconditional")).stem)
    folder = Path(output_dir) / "fiftyone" / slug(dataset) / f"{slug(title)}_{secrets.token_hex(4)}"
    values = {"output_dir": output_dir, "output": str(folder), **{SPELT.get(key, key): asked[key] for key in asked}}
    config = with_local_models(configured("sample", values, values.pop("sampler", None)))
    model, _ = asked_model(read_settings(config, SamplingSettings))
    scoring, unscored = None, ""
    try:
        scoring = scoring_by(model, data_root)
    except UserError as error:
        if data_root is not None:
            raise
        unscored = str(error)
    collector = Collector(dataset, str(asked.get("run") or model.parent), scoring, progress)
    run_sampling(config, collector)
    return collector.samples, unscored


def generated_slices(entry: Mapping[str, Any], folder: Path, nearest: StoredFiles | None) -> dict[str, Slice]:
    """Picture, prompt, mesh with the nearest training shape's points beside it, turntable or clip, the nearest sample.

    Those of them that there are: `entry` of `samples.json` names the files.
    """
    name = Path(entry["thumbnail"]).stem
    slices = {PICTURE: folder / (entry.get("picture") or entry["thumbnail"])}
    if asked := asked_picture(entry):
        slices["prompt"] = folder / f"{name}_prompt{Path(asked).suffix}"
        shutil.copyfile(asked, slices["prompt"])  # the user's own file may go away
    elif entry.get("caption"):
        slices["prompt"] = folder / f"{name}_prompt.png"
        write_picture(text_picture(entry["caption"], PROMPT_SIZE), slices["prompt"])
    assets = {} if not entry.get("glb") else {"shape": folder / entry["glb"]}
    if assets and nearest is not None and nearest.cloud is not None:
        assets["nearest training shape"] = nearest.cloud
    if assets:
        slices["mesh"] = write_scene(assets, folder / f"{name}{SCENE}")
    for key, title in (("turntable", "turntable"), ("radiance", "radiance"), ("gif", "clip")):
        if entry.get(key):
            slices[title] = moving(folder / entry[key])
    for number, path in enumerate([] if nearest is None else nearest.slices.values()):
        slices[f"nearest {number + 1}" if number else "nearest"] = path
    return {title: Slice(path) for title, path in slices.items()}


def asked_picture(entry: Mapping[str, Any]) -> str | None:
    """The path of the picture that a sample was asked with; a model that reads several has it under another key."""
    return entry.get("image") or entry.get("images")


def nearest_files(
    score: Score | None, scoring: Scoring | None, entry: Mapping[str, Any], folder: Path
) -> StoredFiles | None:
    """The files of the nearest training sample; None where there is none, or nothing to look at."""
    if score is None or score.nearest is None or scoring is None or scoring.kind not in KINDS:
        return None
    return stored_files(score.nearest, scoring.kind, folder, f"{Path(entry['thumbnail']).stem}_nearest")


def score_fields(score: Score | None) -> dict[str, Any]:
    """`score_<measure>`, and what is known of the nearest training sample as `nearest_<key>`."""
    if score is None:
        return {}
    fields: dict[str, Any] = {f"score_{name}": value for name, value in score.values.items()}
    if score.nearest is not None:
        meta = score.nearest["meta.json"]
        fields |= {f"nearest_{key}": meta[key] for key in ("id", "name", "class", "licence", "creator")}
    return fields

"""Several models on one prompt as groups: a group for each seed, slices for each model."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fieldforge.configuration.settings import read_settings
from fieldforge.domains.domain import Outputs
from fieldforge.errors import UserError
from fieldforge.evaluation.comparison import Comparison, compare_models
from fieldforge.evaluation.settings import ComparisonSettings
from fieldforge.rendering.bitmaps import flatten, write_picture
from fieldforge.rendering.sheet import text_picture
from fieldforge.runs.compare import own_place
from fieldforge.stages.locate import find_diffusion
from fieldforge.storage.file_names import slug
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.viewing.commands import configured
from fieldforge.viewing.generation_slices import PROMPT_SIZE
from fieldforge.viewing.groups import Slice, add_group, check_kept, kept_dataset
from fieldforge.viewing.media import SCENE, write_scene
from fieldforge.viewing.scoring import shards_of

POSTER = 320  # pixels
PROMPT, MESHES = "prompt", "meshes"


def compare(asked: Mapping[str, Any], dataset: str, output_dir: str) -> tuple[str, int]:
    """Sample as compare.py does, and add a group for each prompt and seed; returns a summary and the number of groups.

    Args:
        asked: keys of compare.py and their values.
        dataset: its name.
        output_dir: where runs lie, and the files go to a folder of their own.

    Raises:
        UserError: as compare.py; then nothing is written.
    """
    check_kept(dataset)
    config = configured("compare", {**asked, "output_dir": output_dir})
    settings = read_settings(config, ComparisonSettings)
    places = {name: own_place(place, output_dir) for name, place in settings.named.items()}
    settings = replace(settings, runs=places, data_root=settings.data_root or known_shards(places, output_dir))
    comparison, _ = compare_models(settings)
    folder = Path(output_dir) / "fiftyone" / slug(dataset) / f"{slug(comparison.prompts[0])}_{secrets.token_hex(4)}"
    target = kept_dataset(dataset, PROMPT)
    make_folder(folder, "output")
    with writing(folder, MACHINE):
        for place, (question, seed) in enumerate(comparison.jobs):
            prompt = folder / f"{place:03d}_prompt.png"
            write_picture(text_picture(question.text, PROMPT_SIZE), prompt)
            slices = {PROMPT: Slice(prompt)}
            meshes: dict[str, Path] = {}
            for name in comparison.outputs:
                add_model(comparison, name, place, folder, slices, meshes)
            if meshes:
                slices[MESHES] = Slice(write_scene(meshes, folder / f"{place:03d}{SCENE}"))
            fields = {
                "prompt": question.text,
                "seed": seed,
                "guidance": float(settings.guidance_scale),
                "steps": settings.steps,
            }
            add_group(target, slices, fields, ["compared"])
    return summary(comparison), len(comparison.jobs)


def known_shards(places: Mapping[str, str], output_dir: str) -> Any:
    """Those of the first run that knows its own; None where none does, which compare.py says in its own words."""
    for place in places.values():
        with suppress(UserError):
            return shards_of(find_diffusion(place, output_dir), None)
    return None


def add_model(
    comparison: Comparison, name: str, place: int, folder: Path, slices: dict[str, Slice], meshes: dict[str, Path]
) -> None:
    """Add the picture of a model's output, with the model and its scores as fields, to `slices`, its mesh to `meshes`.

    place: of the job in the comparison.
    """
    output: Outputs = comparison.outputs[name][place]
    values = {key: float(comparison.values(name, key)[place]) for key in comparison.measured}
    scores = {f"score_{key}": value for key, value in values.items() if np.isfinite(value)}
    stem = f"{place:03d}_{list(comparison.outputs).index(name)}_{slug(name)}"
    write_picture(flatten(output.picture(POSTER)), folder / f"{stem}.png")
    title = name.replace(".", "_")  # a dot parts names in FiftyOne
    while title in {*slices, MESHES}:
        title += "_"
    slices[title] = Slice(folder / f"{stem}.png", {"model": name, **scores})
    if not output.is_empty and (glb := output.write(folder, stem).get("glb")):
        meshes[title] = folder / glb


def summary(comparison: Comparison) -> str:
    """Each model's mean of each measure, in a line."""
    figures = comparison.figures()
    return "; ".join(
        f"{name}: " + ", ".join(f"{key} {figures[name]['mean'][key].mean:.3g}" for key in comparison.measured)
        for name in comparison.outputs
    )

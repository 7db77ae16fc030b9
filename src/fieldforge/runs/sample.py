"""Body of sample.py: prompts or classes → shapes in files, and a gallery to look at."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from fieldforge.errors import UserError
from fieldforge.generation import Sampler, decode
from fieldforge.geometry.mesh_files import glb_bytes, write_mesh
from fieldforge.rendering.gallery import Exhibit, write_gallery
from fieldforge.rendering.pictures import flatten, write_picture, write_whole
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.turntable import write_turntable
from fieldforge.runs.diffusion_stage import load_diffusion
from fieldforge.runs.locate import find_model
from fieldforge.runs.prompts import read_prompts
from fieldforge.runs.terminal import status
from fieldforge.runs.training_run import whole_number
from fieldforge.training.trainer import best_device

log = logging.getLogger(__name__)
MANY_FACES = 100_000  # a turntable's small frames do not show them, but draw them all


def run_sampling(config: DictConfig) -> Path:
    """Write GLB, PLY, turntable, thumbnail of every shape, `samples.json` and `index.html`; returns the page's path."""
    wanted = requests(config)
    model, _ = find_model(config.run, config.output_dir, "diffusion")
    overrides = OmegaConf.create({"sampler": {"steps": whole_number(config, "steps")}}) if config.steps else None
    sampler, autoencoder, label = load_diffusion(model, overrides, best_device(config.device))
    check_known(wanted, sampler)
    count, seed, scale = whole_number(config, "n"), whole_number(config, "seed", least=0), number(config, "guidance")
    folder = Path(config.output) if config.output else model.parent / "samples" / folder_name(wanted, config)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(request, seed + index) for request in wanted for index in range(count)]
    exhibits, listed = [], []
    resolution = whole_number(config, "mesh_resolution")
    size = whole_number(config, "batch_size")
    for start in range(0, len(jobs), size):
        part = jobs[start : start + size]
        keys = {key for request, _ in part for key in request}
        batch = {key: [request[key] for request, _ in part] for key in keys}
        shapes = decode(autoencoder, sampler(batch, [job_seed for _, job_seed in part], scale))  # (B, T, C) → B shapes
        for index, (request, job_seed) in enumerate(part):
            title = request.get("caption") or request.get("class") or "unconditional"
            name = f"{start + index:03d}_{slug(title)}_{job_seed}"
            mesh = shapes.mesh(index, resolution)
            files: dict[str, str | None] = {"glb": None, "ply": None, "turntable": None}
            if mesh.is_empty:
                log.warning("%s (seed %d) came out empty: there is only its thumbnail", title, job_seed)
            else:
                write_mesh(mesh, folder / f"{name}.glb")
                write_mesh(mesh, folder / f"{name}.ply")
                small = mesh if len(mesh.faces) < MANY_FACES else shapes.mesh(index, resolution // 2)
                write_turntable(small, folder / f"{name}.gif")
                files = {"glb": f"{name}.glb", "ply": f"{name}.ply", "turntable": f"{name}.gif"}
            picture = portrait(mesh, 320)
            write_picture(flatten(picture), folder / f"{name}.png")
            said = {"seed": job_seed, "guidance": scale, "steps": sampler.sampling.steps}
            exhibits.append(Exhibit(title, picture, None if mesh.is_empty else glb_bytes(mesh), said))
            listed.append({**request, **said, **files, "thumbnail": f"{name}.png", "checkpoint": str(model)})
            status(f"{start + index + 1}/{len(jobs)} {title[:50]}")
    status("")
    report = {"run": str(model.parent), "fingerprint": label["fingerprint"], "samples": listed}
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / "samples.json")
    page = folder / "index.html"
    write_gallery(exhibits, page, "Samples", f"{label['config'].get('name', '')} · guidance {scale:g}")
    print(page)
    return page


def requests(config: DictConfig) -> list[dict[str, str]]:
    """What is asked for: one dict a request, with `caption`, `class`, both, or nothing (unconditional)."""
    given = [name for name in ("prompt", "prompts") if config.get(name) is not None]
    if len(given) > 1:
        raise UserError("both prompt= and prompts= are given: give the text or the file")
    if config.prompts is not None:
        texts: list[str | None] = list(read_prompts(config.prompts))
    else:
        texts = [None if config.prompt is None else str(config.prompt)]
    if texts == [""]:
        raise UserError("prompt= is empty: write what to make, or leave it out for an unconditional sample")
    kinds = config.get("class")
    classes = list(kinds) if isinstance(kinds, ListConfig) else [kinds]
    return [
        {key: str(value) for key, value in (("caption", text), ("class", kind)) if value is not None}
        for text in texts
        for kind in classes
    ]


def check_known(wanted: list[dict[str, str]], sampler: Sampler) -> None:
    """UserError if the model cannot be asked so."""
    known = sampler.keys
    said = {"caption": "prompt=", "class": "class="}
    for key in {key for request in wanted for key in request} - known:
        ways = " or ".join(said.get(way, way) for way in sorted(known)) or "nothing, it is unconditional"
        raise UserError(f"{said[key]} is given, but this model was not trained with it: it understands {ways}")


def number(config: DictConfig, key: str) -> float:
    value: Any = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"config key {key} = {value!r} must be a number: correct it")
    return float(value)


def slug(text: str) -> str:
    """Letters and digits of the text, for a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "sample"


def folder_name(wanted: list[dict[str, str]], config: DictConfig) -> str:
    first = wanted[0].get("caption") or wanted[0].get("class") or "unconditional"
    more = f"-and-{len(wanted) - 1}-more" if len(wanted) > 1 else ""
    return f"{slug(first)}{more}_g{config.guidance:g}_s{config.seed}"

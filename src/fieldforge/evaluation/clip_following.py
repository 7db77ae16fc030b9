"""Clips that begin with held-out pictures, against the true ones, beside what needs no model of clips."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.configuration.stored_config import plain_config
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Transform, apply_transforms
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.evaluation.evaluation_report import (
    INTERVALS,
    columns_of,
    figures_of,
    print_means,
    table_of,
    write_report,
)
from fieldforge.evaluation.settings import ClipSettings
from fieldforge.generation import Generator
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.directory import MODEL
from fieldforge.stages.locate import find_model
from fieldforge.terminal import quantity, result, status

log = logging.getLogger(__name__)
MADE, ALONE, STILL = "the model", "its frames one by one", "the first picture repeated"
NEAREST, OWN = "the nearest training clip", "the autoencoder's own"
"""Ways to a clip. Frames one by one: the model of pictures that this one started from."""
ENCODED = 8  # clips at a time


def evaluate_clips(judge: ClipJudge, label: Mapping[str, Any], root: Any, about: Mapping[str, Any], path: Path) -> Path:
    """Writes `clips.json`, `.html` and `.png` into the folder of `path`, the file of the report; returns it.

    Args:
        judge: of the run.
        label: of the run.
        root: its sample shards.
        about: facts about the run for the report.
        path: of the report.
    """
    samples = judge.heldout(label, root)
    outputs = judge.outputs(samples, nearest_clips(samples["input"][:, 0], judge.training(root), turns_of(label)))
    status("")
    columns, count = columns_of(judge.domain, outputs, samples["input"]), len(samples["input"])
    report = {**about, "samples": count, "measured_with": asdict(judge.settings), **figures_of(columns)}
    tables = [table_of("All samples", f"{quantity(count, 'held-out clip')}; {INTERVALS} them", columns)]
    write_report(path, report, "Clips", tables, {f"{path.stem}.png": lambda: judge.sheet(outputs, samples)})
    print_means(columns)
    result(f"{count} held-out {judge.domain.noun}s; {path.with_suffix('')}.json, .html and .png")
    return path


def started_from(model: Path, choice: str | None, output_dir: str) -> Path | None:
    """The file of the model of pictures: the run `choice`, or the one that the model in `model` started from.

    Raises:
        UserError: `choice` is no finished diffusion run.
    """
    if choice is not None:
        return find_model(choice, output_dir, "diffusion", key="clips.pictures")[0]
    file = model.parent / "fingerprint.json"
    start = json.loads(file.read_bytes()).get("init_from") if file.is_file() else None
    beside = model.parent.parent / str(start) / MODEL
    if start is None or not beside.is_file():
        log.warning("the model of pictures that %s started from is not beside it: clips.pictures= names it", model)
        return None
    return beside


@dataclass(frozen=True)
class ClipJudge:
    """Clips by the model and by the baselines, in one run.

    Args:
        generator, autoencoder, domain: of the run.
        pictures: file of the model of pictures that it started from; None: it is left out.
        settings: the block `clips` of the configuration.
    """

    generator: Generator
    autoencoder: Autoencoder
    domain: Domain
    pictures: Path | None
    settings: ClipSettings

    def heldout(self, label: Mapping[str, Any], root: Any) -> dict[str, Any]:
        """Held-out samples as `input`, their `latent` (B, V · n, C), `meta`, and what the generator reads."""
        shards, keys = open_shards(root, "heldout"), self.generator.keys
        transforms: list[Transform] = [*self.domain.input_transforms(), *self.domain.condition_transforms(keys), Meta()]
        size = shards.samples if self.settings.count is None else min(self.settings.count, shards.samples)
        samples = dict(next(iter(HeldOut(shards, transforms, seed=0, batch_size=size, limit=size))))
        samples["latent"] = self.encoded(samples["input"])
        if "image" in samples:
            samples["image"] = list(samples["image"].numpy())
        beside = beside_latent(label)
        given = [
            apply_transforms({"meta.json": meta, "latent.npy": latent}, [beside], np.random.default_rng(0))
            for meta, latent in zip(samples["meta"], samples["latent"].numpy(), strict=True)
        ]
        return samples | {
            key: torch.from_numpy(np.stack([one[key] for one in given])) for key in given[0] if key in keys
        }

    def encoded(self, clips: Tensor) -> Tensor:
        """`input` (B, V, …) → latents (B, V · n, C) on the CPU."""
        place = self.autoencoder.latent_mean.device
        with torch.no_grad():
            return torch.cat([self.autoencoder.encode({"input": p.to(place)}).cpu() for p in clips.split(ENCODED)])

    def training(self, root: Any) -> Iterator[Tensor]:
        """`input` of all training samples, some at a time."""
        shards, read = open_shards(root, "train"), 0
        for batch in HeldOut(shards, self.domain.input_transforms(), seed=0, batch_size=ENCODED):
            yield batch["input"]
            read += len(batch["input"])
            status(f"training {self.domain.noun}s read: {read}/{shards.samples}")

    def outputs(self, samples: Mapping[str, Any], nearest: Tensor) -> dict[str, list[Outputs]]:
        """Method → one output per sample; `nearest`: training samples as `input`, one per sample."""
        columns = {MADE: self.decoded(self.generated(self.generator, samples))}
        if self.pictures is not None:
            alone = load_diffusion(self.pictures, None, self.generator.device)[0]
            columns[ALONE] = self.decoded(self.generated(alone, samples))
        truth = samples["input"]
        columns[STILL] = [self.domain.shown(one[:, :1].expand_as(one)) for one in truth.split(1)]
        columns[NEAREST] = [self.domain.shown(one) for one in nearest.split(1)]
        return columns | {OWN: self.decoded(samples["latent"])}

    def generated(self, generator: Generator, samples: Mapping[str, Any]) -> Tensor:
        """Latents of a generator for all samples; sample i has seed i."""
        generator, parts = generator.with_steps(self.settings.steps), list[Tensor]()
        total = len(samples["input"])
        for start in range(0, total, self.settings.batch_size):
            part = slice(start, min(start + self.settings.batch_size, total))
            batch = {key: samples[key][part] for key in generator.keys if key in samples}
            parts.append(generator(batch, list(range(part.start, part.stop)), self.settings.guidance).cpu())
            status(f"generated: {part.stop}/{total}")
        return torch.cat(parts)

    def decoded(self, latents: Tensor) -> list[Outputs]:
        place, outputs = self.autoencoder.latent_mean.device, list[Outputs]()
        for part in latents.split(ENCODED):
            decoded = self.domain.decode(self.autoencoder, part.to(place))
            outputs += [decoded[index] for index in range(len(decoded))]
        return outputs

    def sheet(self, outputs: Mapping[str, Sequence[Outputs]], samples: Mapping[str, Any]) -> Image.Image:
        """A row per sample: the true clip, then every method's."""
        size, count = self.settings.picture_size, min(self.settings.rows, len(samples["input"]))
        rows = []
        for row in range(count):
            true = self.domain.compare(outputs[OWN][row], {"input": samples["input"][row : row + 1]}, size)[0][0]
            rows.append([true, *(column[row].picture(size) for column in outputs.values())])
        names = [meta["name"].replace("_", " ") for meta in samples["meta"][:count]]
        return picture_sheet(rows, names, ["true", *outputs], cell=size)


def beside_latent(label: Mapping[str, Any]) -> Transform:
    """The run's transform of a stored latent, which gives what its sources read, with the clip's own first frame."""
    config = plain_config(label["config"])
    if "turns" in config.latent_data.transforms.latent:
        config.latent_data.transforms.latent.turns = False
    transform: Transform = build(config, "latent_data.transforms.latent", trusted=False)
    return transform


def turns_of(label: Mapping[str, Any]) -> bool:
    """Whether the run's clips are closed, and begin at any frame."""
    return bool(plain_config(label["config"]).latent_data.transforms.latent.get("turns"))


def nearest_clips(first: Tensor, training: Iterable[Tensor], turns: bool) -> Tensor:
    """Training samples (B, V, …) whose first picture is nearest to the given ones (B, …), by squared differences.

    Args:
        first: pictures.
        training: samples as `input` (N, V, …), some at a time.
        turns: any picture of a training sample may be its first one, and the sample is turned to begin there.
    """
    least, found = torch.full((len(first),), torch.inf), first.new_zeros(0)
    for clips in training:
        beginnings = clips if turns else clips[:, :1]
        distances, places = torch.cdist(first.flatten(1), beginnings.flatten(0, 1).flatten(1)).min(1)  # (B,) each
        found = found if len(found) else clips[:1].repeat(len(first), *[1] * (clips.ndim - 1))
        for row in (distances < least).nonzero().flatten().tolist():
            number, begin = divmod(int(places[row]), beginnings.shape[1])
            found[row] = clips[number].roll(-begin, 0)
        least = torch.minimum(least, distances)
    return found

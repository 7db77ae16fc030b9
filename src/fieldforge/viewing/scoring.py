"""Scores of single samples by the training set, as compare.py measures them, and the nearest training sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fieldforge.configuration.stored_config import data_root
from fieldforge.data.reader import LazySample, ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.domains.domain import Outputs
from fieldforge.evaluation.questions import Question, questions_of
from fieldforge.stages.diffusion_stage import load_domain
from fieldforge.stages.locate import label_of
from fieldforge.stages.sample_judge import SampleJudge
from fieldforge.viewing.commands import at_home


@dataclass(frozen=True)
class Score:
    """values: measure → value. nearest: the nearest training sample; None of an empty output."""

    values: Mapping[str, float]
    nearest: LazySample | None


@dataclass(frozen=True)
class Scoring:
    """Scores outputs of a model by the samples of a training split.

    judge: of the samples. reader: gives each of them by its number.
    """

    judge: SampleJudge
    reader: ShardReader

    @property
    def kind(self) -> str:
        """Of the training samples' schema."""
        return self.reader.shards.schema.kind

    def of(self, output: Outputs, prompt: str | None) -> Score:
        """The score of one output. `prompt`: the text that it was asked with; None: without any."""
        question = Question("", None, None)
        if prompt is not None:
            (question,) = questions_of([prompt], self.judge.metas, {"caption"})
        measured = self.judge.measure([question], [output], splits=())
        values = {name: float(row[0]) for name, row in measured.rows.items()}
        finite = {name: value for name, value in values.items() if np.isfinite(value)}
        empty = measured.nearest[0] < 0 or measured.described[0] is None
        return Score(finite, None if empty else self.reader.read_number(int(measured.nearest[0])))


def scoring_by(model: Path, root: str | None) -> Scoring:
    """The scoring of outputs of the model in a file, see `shards_of`."""
    place = shards_of(model, root)
    shards = open_shards(place, "train")
    contents = (label_of(model)["fingerprint"], *(manifest.fingerprint for manifest in shards.manifests))
    return _scoring(model, tuple(place) if isinstance(place, list) else str(place), contents)


def shards_of(model: Path, root: str | None) -> Any:
    """The shards whose training split scores outputs of the model in a file.

    Args:
        model: of the run.
        root: their place; None: that which the model was trained on, a relative one below `HOME`.

    Raises:
        UserError: no `root`, and the run names no shards that are here.
    """
    config = label_of(model)["config"]
    own = config.get("data", {}).get("root")
    if isinstance(own, str | list):
        config = {**config, "data": {"root": at_home(own) if isinstance(own, str) else [at_home(one) for one in own]}}
    return data_root(root, config, model)


@lru_cache(maxsize=2)
def _scoring(model: Path, root: Any, contents: tuple[str, ...]) -> Scoring:
    """Kept while the contents are these, as the signatures of a large training set take minutes."""
    domain = load_domain(label_of(model), model)
    places = list(root) if isinstance(root, tuple) else root
    return Scoring(SampleJudge.of(domain, places), ShardReader(open_shards(places, "train")))

"""The settings of `python -m fieldforge.fiftyone import`; they check themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fieldforge.errors import UserError
from fieldforge.ranges import Count


@dataclass(frozen=True)
class ImportSettings:
    """All settings of the command.

    Args:
        shards: what `prepare.py` wrote.
        split: of the samples; None: every split.
        name: of the dataset; None: that of the folder of the shards.
        views: how many of a shape's stored views.
        limit: the largest number of samples of a split; None: all.
        output_dir: where runs lie.
        output: folder for the files that the App shows; None: one below `output_dir`.
    """

    shards: str
    split: str | None
    name: str | None
    views: Count
    limit: Count | None
    output_dir: str
    output: str | None

    def __post_init__(self) -> None:
        for key, value in {"shards": self.shards, "split": self.split, "name": self.name}.items():
            if value is not None and not value.strip():
                raise UserError(f"{key}= is empty: write something, or leave it out")
        if self.name is not None and (Path(self.name).name != self.name or self.name == ".."):
            raise UserError(f"name={self.name} leads to another folder: write a name without slashes")

    @property
    def dataset(self) -> str:
        return self.name or Path(self.shards).resolve().name

    @property
    def folder(self) -> Path:
        return Path(self.output_dir) / "fiftyone" / self.dataset if self.output is None else Path(self.output)

"""Datasets of groups: the files that show one sample are the slices of a group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError
from fieldforge.viewing.library import fiftyone
from fieldforge.viewing.media import metadata_of

GROUP = "group"
"""The field that FiftyOne finds the slices of a group by."""
OWN = ("primitives", "tags")
"""Names of FiftyOne for the fields of a dataset that are numbers and texts, and for its tags."""


@dataclass(frozen=True)
class Slice:
    """A file of a group, with fields of its own beside those of the group."""

    path: Path
    fields: Mapping[str, Any] = field(default_factory=dict)


def new_dataset(name: str, default: str) -> Any:
    """A dataset without samples; `default` is the slice that its grid shows. UserError for a name that is taken."""
    library = fiftyone()
    if library.dataset_exists(name):
        raise UserError(f"name={name}: FiftyOne has a dataset of that name: give another, or delete that one there")
    dataset = library.Dataset(name)
    dataset.add_group_field(GROUP, default=default)
    return dataset


def kept_dataset(name: str, default: str) -> Any:
    """The dataset that results are added to; made where it is missing, and persistent. See `check_kept`."""
    library = fiftyone()
    check_kept(name)
    if library.dataset_exists(name):
        return library.load_dataset(name)
    dataset = new_dataset(name, default)
    dataset.persistent = True
    return dataset


def check_kept(name: str) -> None:
    """UserError where results cannot be added to a dataset of that name, as its samples are no groups."""
    library = fiftyone()
    if not name.strip():
        raise UserError("dataset is empty: give the name of the dataset that the samples are added to")
    if library.dataset_exists(name) and library.load_dataset(name).group_field != GROUP:
        raise UserError(f"dataset={name} holds samples that are no groups of Fieldforge: give another name")


def add_group(dataset: Any, slices: Mapping[str, Slice], fields: Mapping[str, Any], tags: Sequence[str] = ()) -> None:
    """Add a group. Each slice gets all `fields`, so that a filter of any slice finds it."""
    library = fiftyone()
    group = library.Group()
    samples = []
    for name, one in slices.items():
        values = {key: plain(value) for key, value in {**fields, **one.fields}.items() if value is not None}
        path = one.path.resolve()
        samples.append(
            library.Sample(str(path), group=group.element(name), tags=list(tags), metadata=metadata_of(path), **values)
        )
    dataset.add_samples(samples, progress=False)
    if not dataset.app_config.sidebar_groups:
        arrange_sidebar(dataset)


def arrange_sidebar(dataset: Any) -> None:
    """The App's list of fields begins with those of `add_group`; what FiftyOne knows of the files is folded."""
    groups = fiftyone().DatasetAppConfig.default_sidebar_groups(dataset)
    for group in groups:
        group.expanded = group.name in OWN
    dataset.app_config.sidebar_groups = sorted(groups, key=lambda group: [*OWN, group.name].index(group.name))
    dataset.save()


def plain(value: Any) -> Any:
    """A value as a field of FiftyOne has it, always of the same type: numbers but whole ones of `int` are floats."""
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, float) or hasattr(value, "dtype"):
        return float(value)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return list(value)
    if isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value):
        return [float(one) for one in value]
    return json.dumps(value, ensure_ascii=False)

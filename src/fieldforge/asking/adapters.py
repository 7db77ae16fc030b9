"""Adapters of a sample.py command, added to its model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fieldforge.diffusion.adapter_files import read_adapter
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.errors import UserError

log = logging.getLogger(__name__)


def add_adapters(adapters: Sequence[tuple[str, float]], model: DiffusionModel, label: Mapping[str, Any]) -> None:
    """Add adapters, folder and weight of each, to the model of the run with this `label`; their corrections sum up.

    Raises:
        UserError: no such adapter, one of another model, or one that the run has in it already.
    """
    own = label["fingerprint"]
    for place, weight in adapters:
        adapter = read_adapter(place)
        if adapter.run and adapter.run == own:
            raise UserError(
                f"adapter={place} is in the weights of run={own} already, which it was trained in: give run= the model "
                f"that it was trained on, {adapter.base}"
            )
        if adapter.base and adapter.base != own:
            log.warning("adapter=%s was trained on the model %s, and corrects %s here", place, adapter.base, own)
        adapter.add_to(model.backbone, weight)

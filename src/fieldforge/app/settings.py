"""The settings of app.py, besides those of a model that are sample.py's."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from omegaconf import DictConfig, OmegaConf

from fieldforge.asking.settings import SamplingSettings
from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.ranges import Count, GridCells, Positive, Range, Steps

ONE = {"n": 1, "batch_size": 1, "remove_background": False, "complete": False, "paste": False}
"""Settings of sample.py that the page has no control for."""


@dataclass(frozen=True)
class AppSettings:
    """Settings of the page.

    Args:
        host: address that the server listens on.
        port: of the server; 0: any free one.
        visitors: pages that are open at a time.
        waiting: wishes that wait at a time.
        max_steps: of the sampler, at the slider's end.
        upload_mb: megabytes of a picture.
        preview: cells along an axis of the grid of a shape that is still denoised, pixels of a picture.
        history: samples that a page lists.
    """

    host: str
    port: Annotated[int, Range(0, 65_535)]
    visitors: Count
    waiting: Count
    max_steps: Steps
    upload_mb: Positive
    preview: GridCells
    history: Count

    def __post_init__(self) -> None:
        if not self.host.strip():
            raise UserError("host= is empty: give an address of this machine, such as 127.0.0.1")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def with_fixed(config: DictConfig) -> DictConfig:
    """The configuration with the settings of sample.py that are fixed here."""
    merged = OmegaConf.merge(ONE, config)
    assert isinstance(merged, DictConfig)
    return merged


def read_app(config: DictConfig) -> tuple[SamplingSettings, AppSettings]:
    """The settings of the model and those of the page. UserError for an invalid one, or one without effect."""
    sampling = read_settings(with_fixed(config), SamplingSettings)
    app = read_settings(config, AppSettings)
    if sampling.steps is not None and sampling.steps > app.max_steps:
        raise UserError(f"steps={sampling.steps} is more than max_steps={app.max_steps}: give a greater max_steps")
    if (size := sampling.mesh.chosen.get("size_cm")) is not None:
        raise UserError(
            f"mesh.size_cm={size:g} has no effect on this page, whose shapes fill the box of the model: leave it out, "
            "and scale what you download by export.py meshes="
        )
    return sampling, app

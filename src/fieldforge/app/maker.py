"""From a wish to a sample, with a look at what is denoised so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from fieldforge.app.wish import Wish
from fieldforge.asking.facts import facts_of
from fieldforge.asking.jobs import Job, jobs
from fieldforge.asking.sampling_model import SamplingModel
from fieldforge.asking.settings import SamplingSettings
from fieldforge.domains.domain import Outputs
from fieldforge.errors import UserError
from fieldforge.rendering.gallery import GLB

LOOKS = 12
"""Estimates of one sample that are decoded: each costs about as much as a step."""
PICTURE = 320  # pixels

Shown = bytes | Image.Image
"""What a page shows: a GLB, or a picture of what is no shape."""


@dataclass(frozen=True)
class Made:
    """A finished sample with its facts."""

    output: Outputs
    job: Job
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Maker:
    """A model, ready to make samples one by one.

    Args:
        model: loaded.
        settings: of the command, for all that a wish does not say.
        preview: resolution of estimates.
    """

    model: SamplingModel
    settings: SamplingSettings
    preview: int

    def __call__(self, wish: Wish, show: Callable[[int, int, Shown | None], None]) -> Made:
        """The sample of a checked wish.

        Args:
            wish: what it is to be.
            show: called after each evaluation of the denoiser with the number of evaluations, how many there will be,
                and now and then a decoded estimate; what it raises ends the sample.

        Raises:
            UserError: a condition that the model cannot use.
        """
        model = self.led(wish)
        drawing = model.drawing(self.settings)
        request = wish.request(model)
        [job] = jobs([request], [request], wish.seed, wish.seed, 1, 1)
        total = drawing.evaluations
        every = max(1, total // LOOKS)

        def look(count: int, x0: Tensor) -> None:
            due = count % every == 0 and count < total
            show(count, total, self.estimate(x0) if due else None)

        output = model.outputs(drawing([job], look), self.settings)[0]
        return Made(output, job, {"seed": wish.seed, **facts_of(self.settings, model.guided)})

    def led(self, wish: Wish) -> SamplingModel:
        """The model with the guidance and the steps of a wish."""
        guided = self.model.guided
        scale = guided.scale if wish.guidance is None else wish.guidance
        generator = guided.generator.with_steps(wish.steps)
        return replace(self.model, guided=replace(guided, generator=generator, scale=scale))

    def estimate(self, x0: Tensor) -> Shown | None:
        """What an estimate (1, T, C) shows, decoded at the resolution of previews; None where there is no surface."""
        try:
            output = self.model.domain.decode(self.model.autoencoder, x0, self.preview)[0]
            return None if output.is_empty else shown(output)
        except UserError:  # the domain has no such resolution: the sample itself goes on
            return None


def shown(output: Outputs) -> Shown:
    """What a page shows of one output."""
    media = output.media()
    return media[1] if media is not None and media[0] == GLB else output.picture(PICTURE)
